"""Reading the dispatcher's metrics: every replica of a pool, each time, never from memory.

A figure is used only if it can be a measurement; a replica that answers nonsense counts as failed, and what it may
know is unknown.
"""

import asyncio
import socket
from collections.abc import Callable, Iterable, Mapping
from typing import Final

import aiohttp
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from controller.api import metrics
from controller.api.gpupool import GpuPool
from controller.operator.tokens import TokenError, Tokens
from controller.scaling.replicas import ReplicaReading, Scrape, ServerReading, plausible

#: A dispatcher answers from memory; one that takes longer is in trouble.
SCRAPE_TIMEOUT_SECONDS: Final = 3.0
#: Largest answer read: 1 000 servers take about 400 kB.
SCRAPE_LIMIT_BYTES: Final = 8 * 1024 * 1024


class ScrapeError(Exception):
    """A replica could not be read; the text says why."""


class Scraper:
    """Finds and reads the dispatcher replicas of a pool."""

    def __init__(
        self, clock: Callable[[], float], dispatcher_url: str | None = None, tokens: Tokens | None = None
    ) -> None:
        self._clock = clock
        self._tokens = tokens
        self._fallback = dispatcher_url
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=SCRAPE_TIMEOUT_SECONDS), auto_decompress=True
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()

    async def scrape(self, pool: GpuPool) -> Scrape:
        """Read every replica now."""
        try:
            urls = await self._urls(pool)
        except OSError as error:
            return Scrape(failed=((default_service(pool), f"cannot be resolved: {error}"),))
        try:
            token = await self._tokens.of(pool) if self._tokens else None
        except TokenError as error:
            return Scrape(failed=tuple((url, str(error)) for url in urls))
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        results = await asyncio.gather(*(self._read(url, headers) for url in urls))
        good = tuple(r for r in results if isinstance(r, ReplicaReading))
        bad = tuple((url, str(r)) for url, r in zip(urls, results, strict=True) if isinstance(r, ScrapeError))
        return Scrape(good, bad)

    async def _urls(self, pool: GpuPool) -> list[str]:
        source = pool.spec.metrics
        if source.urls:
            return list(source.urls)
        if source.service is None and self._fallback:
            return [self._fallback]
        host, port = service_address(pool)
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(SCRAPE_TIMEOUT_SECONDS):
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        hosts = sorted({str(entry[4][0]) for entry in found})
        return [f"http://{f'[{h}]' if ':' in h else h}:{port}/metrics" for h in hosts]

    async def _read(self, url: str, headers: Mapping[str, str]) -> ReplicaReading | ScrapeError:
        try:
            async with self._session.get(url, headers=headers, allow_redirects=False) as response:
                if response.status != 200:
                    hint = ": see spec.metrics.tokenSecret" if response.status == 401 else ""
                    return ScrapeError(f"answered {response.status}{hint}")
                raw = await response.content.read(SCRAPE_LIMIT_BYTES + 1)
                while len(raw) <= SCRAPE_LIMIT_BYTES and not response.content.at_eof():
                    raw += await response.content.read(SCRAPE_LIMIT_BYTES + 1 - len(raw))
            if len(raw) > SCRAPE_LIMIT_BYTES:
                return ScrapeError("answered with more than 8 MiB")
            return parse(url, raw.decode("utf-8"), at=self._clock())
        except TimeoutError:
            return ScrapeError(f"no answer within {SCRAPE_TIMEOUT_SECONDS:g} s")
        except (aiohttp.ClientError, UnicodeDecodeError, ValueError) as error:
            return ScrapeError(f"{type(error).__name__}: {error}")
        except ScrapeError as error:
            return error


def default_service(pool: GpuPool) -> str:
    """Name of the headless Service that a pool's dispatcher has by convention."""
    return f"{pool.metadata.name}-dispatcher-headless"


def service_address(pool: GpuPool) -> tuple[str, int]:
    """DNS name and port of the Service to scrape.

    A name without a dot is in the pool's namespace; `NAME.NAMESPACE` and longer names are taken as they are.
    """
    text = pool.spec.metrics.service or default_service(pool)
    name, _, port = text.partition(":")
    if "." not in name:
        name = f"{name}.{pool.metadata.namespace}"
    return f"{name}.svc" if name.count(".") == 1 else name, int(port or metrics.ADMIN_PORT)


def parse(url: str, text: str, *, at: float) -> ReplicaReading:
    """One replica's metrics page.

    Raises:
        ScrapeError: a required metric is missing, implausible, or the replica says that its own view is not current.
        ValueError: not the Prometheus text format.
    """
    samples = [s for family in text_string_to_metric_families(text) for s in family.samples]
    queue_wide = {s.name: s.value for s in samples if s.name in metrics.REQUIRED}
    for name in metrics.REQUIRED:
        if name not in queue_wide:
            raise ScrapeError(f"{name} is missing: is this the dispatcher's admin port?")
        if not plausible(queue_wide[name]):
            raise ScrapeError(f"{name} is {queue_wide[name]}, which cannot be a measurement")
    if queue_wide[metrics.DISPATCHER_SYNCED] != 1:
        raise ScrapeError("it has not caught up with the Kubernetes API")
    return ReplicaReading(
        url=url,
        at=at,
        queue_length=queue_wide[metrics.QUEUE_LENGTH],
        oldest_age=queue_wide[metrics.QUEUE_OLDEST_AGE],
        mean_response=queue_wide[metrics.MEAN_RESPONSE],
        started=queue_wide[metrics.DISPATCHER_STARTED],
        servers=_servers(samples),
        totals=_totals(samples),
    )


def _totals(samples: Iterable[Sample]) -> tuple[float, float, float] | None:
    """The counters of demand; None where one is missing or implausible: demand is unknown then, and nothing else."""
    values = {s.name: s.value for s in samples if s.name in metrics.TOTALS and not s.labels}
    if len(values) < len(metrics.TOTALS) or not all(plausible(value) for value in values.values()):
        return None
    submitted, ended, seconds = (values[name] for name in metrics.TOTALS)
    return submitted, ended, seconds


def _servers(samples: Iterable[Sample]) -> dict[str, ServerReading]:
    names = {
        metrics.SERVER_IN_FLIGHT: "in_flight",
        metrics.SERVER_TASKS: "tasks",
        metrics.SERVER_SLOTS: "slots",
        metrics.SERVER_UP: "up",
        metrics.SERVER_DRAINING: "draining",
    }
    found: dict[str, dict[str, float]] = {}
    for sample in samples:
        if sample.name in names and "server" in sample.labels:
            if not plausible(sample.value):
                raise ScrapeError(f"{sample.name} of {sample.labels['server']} is {sample.value}")
            found.setdefault(sample.labels["server"], {})[names[sample.name]] = sample.value
    return {name: _server(name, values) for name, values in found.items()}


def _server(name: str, values: dict[str, float]) -> ServerReading:
    """One server's figures. A missing one is no zero: it would read as drained, or as dead."""
    try:
        return ServerReading(
            in_flight=values["in_flight"],
            tasks=values["tasks"],
            slots=values["slots"],
            up=bool(values["up"]),
            draining=bool(values["draining"]),
        )
    except KeyError as error:
        raise ScrapeError(f"the figure {error} of server {name} is missing") from error
