"""Signals from a Prometheus server: which questions to ask, and what an answer is worth. Pure.

An answer to an instant query carries the time of the question, not of the samples behind it, and Prometheus goes on
answering with a sample for five minutes after the last one came, where it could not write that the series ended (it was
down itself, an agent or a gateway died). So with each query goes another one for the age of the newest sample behind
it, made of the series that the query names. It works on every server that speaks PromQL, of whatever version.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from controller.api import metrics
from controller.api.sources import Prometheus, Queries
from controller.scaling.readings import PERCENT_LIMIT
from controller.scaling.replicas import plausible
from controller.scaling.signals import Figure
from controller.scaling.snapshot import Missing, Signal

#: Longest query that is quoted in a reason.
QUOTED: Final = 60
#: These are followed by labels in parentheses, which are no series.
_LABEL_LISTS: Final = frozenset({"by", "without", "on", "ignoring", "group_left", "group_right"})
_KEYWORDS: Final = _LABEL_LISTS | {"and", "or", "unless", "bool", "offset", "atan2", "inf", "nan"}
_TOKEN: Final = re.compile(
    r"""(?P<space>\s+|\#[^\n]*)
      | (?P<string>"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|`[^`]*`)
      | (?P<number>0[xX][0-9a-fA-F]+|(?:[0-9][0-9_]*\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+|[a-z]+[0-9a-z]*)?)
      | (?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)
      | (?P<mark>.)""",
    re.VERBOSE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Question:
    """One signal to ask for."""

    #: The signal, as `Signals` names it.
    signal: str
    #: Where the query comes from: a field of the spec, or the default for it.
    origin: str
    query: str
    #: Seconds since the newest sample behind the query; None: it names no series, so its answer has no age.
    age: str | None
    #: The largest answer that can be a measurement.
    limit: float
    #: Replicas that the answer may lack; None: it is the user's own query, and answers as the user wants.
    lacks: str | None = None


#: Signal, field of `Queries`, its name in the spec, the dispatcher's metric, and the largest figure.
_SIGNALS: Final = (
    ("mean_response", "mean_response_seconds", "meanResponseSeconds", metrics.MEAN_RESPONSE),
    ("queue_length", "queue_length", "queueLength", metrics.QUEUE_LENGTH),
    ("longest_wait", "longest_wait_seconds", "longestWaitSeconds", metrics.QUEUE_OLDEST_AGE),
)


def questions(source: Prometheus) -> tuple[Question, ...]:
    """What to ask. CPU is asked for only by a query of its own: else `scaling.cpu.source` says where it comes from."""
    return tuple(_questions(source, source.queries))


def _questions(source: Prometheus, queries: Queries) -> Iterator[Question]:
    for signal, field, name, metric in _SIGNALS:
        own: str | None = getattr(queries, field)
        if own is not None:
            yield Question(signal, f"queries.{name}", own, age_query(own), metrics.LIMITS[metric])
        elif source.dispatchers is not None:
            query = f"max({metric}{{{source.dispatchers}}})"
            lacks = _lacks(source.dispatchers)
            yield Question(signal, f"dispatchers ({name})", query, age_query(query), metrics.LIMITS[metric], lacks)
    if queries.cpu_percent is not None:
        own = queries.cpu_percent
        yield Question("cpu", "queries.cpuPercent", own, age_query(own), PERCENT_LIMIT)


def _lacks(matchers: str) -> str:
    """Counts the dispatchers that Prometheus cannot scrape, or whose own view is not current."""
    return f"count(up{{{matchers}}} == 0 or {metrics.DISPATCHER_SYNCED}{{{matchers}}} != 1)"


def age_query(query: str) -> str | None:
    """The query for the age of the newest sample behind a query, in seconds; None where it names no series.

    Of several series selectors the one whose newest sample is oldest counts. A selector with `offset` or `@` looks back
    on purpose and does not count.
    """
    found = list(dict.fromkeys(selectors(query)))
    if not found:
        return None
    newest = [f'label_replace(max(timestamp({one})), "of", "{n}", "", "")' for n, one in enumerate(found)]
    return f"time() - min({' or '.join(newest)})"


def selectors(query: str) -> Iterator[str]:
    """The series selectors of a PromQL expression, without ranges: `sum(rate(a{b="c"}[1m]))` has `a{b="c"}`."""
    tokens = [(m.lastgroup, m.group()) for m in _TOKEN.finditer(query) if m.lastgroup != "space"]
    at = 0
    while at < len(tokens):
        kind, text = tokens[at]
        following = tokens[at + 1][1].lower() if at + 1 < len(tokens) else ""
        if text == "[":
            at = _after(tokens, at, "[", "]")
        elif kind == "name" and text.lower() in _KEYWORDS:
            labels = text.lower() in _LABEL_LISTS and following == "("
            at = _after(tokens, at + 1, "(", ")") if labels else at + 1
        elif text == "{" or (kind == "name" and following not in ("(", "by", "without")):
            end = at + 1 if kind == "name" else at
            if end < len(tokens) and tokens[end][1] == "{":
                end = _after(tokens, end, "{", "}")
            if not _looks_back(tokens, end):
                yield "".join(part for _, part in tokens[at:end])
            at = end
        else:
            at += 1


def _after(tokens: list[tuple[str | None, str]], at: int, opening: str, closing: str) -> int:
    """The place after the bracket that closes the one at `at`."""
    depth = 0
    for place in range(at, len(tokens)):
        depth += (tokens[place][1] == opening) - (tokens[place][1] == closing)
        if depth == 0:
            return place + 1
    return len(tokens)


def _looks_back(tokens: list[tuple[str | None, str]], at: int) -> bool:
    """Whether the selector that ends here is evaluated at another time than now."""
    if at < len(tokens) and tokens[at][1] == "[":
        at = _after(tokens, at, "[", "]")
    return at < len(tokens) and tokens[at][1].lower() in ("offset", "@")


# --- answers -----------------------------------------------------------------------------------------------------


class _Data(msgspec.Struct, frozen=True, rename="camel"):
    result_type: str
    result: list[Any]


class Answer(msgspec.Struct, frozen=True, rename="camel"):
    """What `/api/v1/query` answers."""

    status: str
    data: _Data | None = None
    error: str = ""
    #: Of VictoriaMetrics and Thanos: a part of the storage did not answer.
    is_partial: bool = False


class AnswerError(ValueError):
    """There is no figure; the text says why."""


def number(raw: bytes) -> float | None:
    """The one sample of an answer, NaN and infinities included; None where the result is empty.

    Raises:
        AnswerError: it is no answer, an error, a part of one, more than one sample, or a range.
    """
    try:
        answer = msgspec.json.decode(raw, type=Answer)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise AnswerError(f"no answer of a Prometheus: {error}") from error
    if answer.status != "success" or answer.data is None:
        raise AnswerError(answer.error or f"status {answer.status}")
    if answer.is_partial:
        raise AnswerError("the answer is partial")
    result = answer.data.result
    if answer.data.result_type == "scalar":
        return _value(result)
    if answer.data.result_type != "vector":
        raise AnswerError(f"gives a {answer.data.result_type}, not one sample")
    if len(result) > 1:
        raise AnswerError(f"gives {len(result)} samples, not one: aggregate them, with max() say")
    return _value(result[0].get("value") if isinstance(result[0], Mapping) else None) if result else None


def _value(pair: Any) -> float:
    match pair:
        case [_, str(text)]:
            try:
                return float(text)
            except ValueError as error:
                raise AnswerError(f"gives {text[:QUOTED]!r}, which is no number") from error
    raise AnswerError("gives no plain number; a histogram perhaps")


def judge(question: Question, value: float | None, age: float | None, lacks: float | None, *, max_age: float) -> Figure:
    """The figure that the answers to a question make.

    Args:
        question: what was asked.
        value: the answer to its query; None: empty.
        age: to the one for the age of its samples.
        lacks: to the one for replicas it may lack.
        max_age: seconds, `maxAgeSeconds`.

    Raises:
        AnswerError: they make none.
    """
    if value is None:
        raise AnswerError("gives no sample: the series do not exist, or their targets are down")
    if not plausible(value, question.limit):
        raise AnswerError(f"gives {value:g}, which cannot be a measurement")
    if question.age is not None and age is None:
        raise AnswerError(f"gives {value:g} with no sample behind it; what is absent is unknown, not that")
    if age is not None and not abs(age) <= max_age:
        raise AnswerError(f"is {age:.0f} s old, more than maxAgeSeconds {max_age:g}")
    value = min(value, 100.0) if question.signal == "cpu" else value
    missing = f"{lacks:g} dispatchers are not scraped, or not current" if lacks else ""
    return Figure(Signal(value, max(0.0, age or 0.0), "prometheus"), missing)


def unknown(question: Question, why: str) -> Missing:
    """The signal is unknown, with the query in words that fit into a condition."""
    query = question.query if len(question.query) <= QUOTED else question.query[: QUOTED - 1] + "…"
    return Missing("PrometheusFailed", f"spec.metrics.prometheus.{question.origin} {why}: {query}")
