"""Asking a Prometheus server for signals: `spec.metrics.prometheus`. All questions of a decision at once."""

import asyncio
from collections.abc import Mapping
from typing import Final

import aiohttp

from controller.api.gpupool import GpuPool
from controller.operator.tokens import TokenError, Tokens
from controller.scaling.promql import AnswerError, Question, judge, number, questions, unknown
from controller.scaling.signals import Asked, Figure
from controller.scaling.snapshot import Missing

#: As long as a scrape of the dispatchers, which goes on at the same time.
QUERY_TIMEOUT_SECONDS: Final = 3.0
#: Largest answer read: it is to be one sample.
ANSWER_LIMIT_BYTES: Final = 1024 * 1024
#: An error rather than an answer from a part of the storage (Thanos, VictoriaMetrics): it has to be asked for. Others
#: leave parameters alone that they do not know.
_WHOLE: Final = {"partial_response": "false", "deny_partial_response": "1", "timeout": f"{QUERY_TIMEOUT_SECONDS:g}s"}


class PrometheusClient:
    """Asks any number of servers, for all pools."""

    def __init__(self, tokens: Tokens | None = None, *, timeout: float = QUERY_TIMEOUT_SECONDS) -> None:
        self._tokens = tokens
        self._timeout = timeout
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=timeout), auto_decompress=False)

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()

    async def ask(self, pool: GpuPool) -> Asked:
        """The signals that this pool has from Prometheus, each with its figure or why there is none."""
        source = pool.spec.metrics.prometheus
        if source is None:
            return {}
        asked = questions(source)
        try:
            headers = await self._headers(pool)
        except TokenError as error:
            return {q.signal: Missing("PrometheusFailed", str(error)) for q in asked}
        url = f"{source.url.rstrip('/')}/api/v1/query"
        queries = list(dict.fromkeys(text for q in asked for text in (q.query, q.age, q.lacks) if text is not None))
        answers = await asyncio.gather(*(self._answer(url, query, headers) for query in queries))
        known = dict(zip(queries, answers, strict=True))
        return {q.signal: _figure(q, known, float(source.max_age_seconds)) for q in asked}

    async def _headers(self, pool: GpuPool) -> dict[str, str]:
        source = pool.spec.metrics.prometheus
        headers = {"Accept-Encoding": "identity"}
        if self._tokens and source and source.token_secret:
            token = await self._tokens.read(pool, source.token_secret, "metrics.prometheus.tokenSecret")
            headers["Authorization"] = f"Bearer {token}"
        return headers

    async def _answer(self, url: str, query: str, headers: Mapping[str, str]) -> float | AnswerError | None:
        """The number that a query gives; None: nothing; or why neither is known."""
        try:
            async with self._session.post(
                url, data={"query": query, **_WHOLE}, headers=headers, allow_redirects=False
            ) as response:
                raw = await _bounded(response)
            return number(raw) if response.status == 200 else _refused(response.status, raw)
        except TimeoutError:
            return AnswerError(f"no answer within {self._timeout:g} s")
        except aiohttp.ClientError as error:
            return AnswerError(f"cannot be asked: {type(error).__name__}: {error}")
        except AnswerError as error:
            return error


def _figure(question: Question, known: Mapping[str, float | AnswerError | None], max_age: float) -> Figure | Missing:
    answers = [None if text is None else known[text] for text in (question.query, question.age, question.lacks)]
    failed = next((answer for answer in answers if isinstance(answer, AnswerError)), None)
    if failed is not None:
        return unknown(question, str(failed))
    value, age, lacks = (None if isinstance(answer, AnswerError) else answer for answer in answers)
    try:
        return judge(question, value, age, lacks, max_age=max_age)
    except AnswerError as error:
        return unknown(question, str(error))


def _refused(status: int, raw: bytes) -> AnswerError:
    """An answer other than 200; a Prometheus says in its body what is wrong with the query."""
    hint = {401: ": see metrics.prometheus.tokenSecret", 403: ": see metrics.prometheus.tokenSecret"}.get(status, "")
    try:
        number(raw)
    except AnswerError as error:
        said = str(error)
        return AnswerError(f"answered {status}{hint}" if said.startswith("no answer") else f"answered {status}: {said}")
    return AnswerError(f"answered {status}{hint}")


async def _bounded(response: aiohttp.ClientResponse) -> bytes:
    raw = bytearray()
    async for part in response.content.iter_any():
        raw += part
        if len(raw) > ANSWER_LIMIT_BYTES:
            raise AnswerError(f"answered with more than {ANSWER_LIMIT_BYTES // 1024} kiB")
    return bytes(raw)
