"""Reading the dispatcher's metrics: every replica of a pool, each time, never from memory.

Whatever is at the other end, a scrape is over within three seconds and holds no more than eight MiB.
"""

import asyncio
import socket
from collections.abc import Callable, Mapping
from typing import Final

import aiohttp

from controller.api import metrics
from controller.api.gpupool import GpuPool
from controller.operator.page import ScrapeError, parse
from controller.operator.prometheus import PrometheusClient
from controller.operator.tokens import TokenError, Tokens
from controller.scaling.replicas import ReplicaReading, Scrape, max_age

#: A dispatcher answers from memory; one that takes longer is in trouble.
SCRAPE_TIMEOUT_SECONDS: Final = 3.0
#: Largest answer read: 1 000 servers take about 400 kB.
SCRAPE_LIMIT_BYTES: Final = 8 * 1024 * 1024
#: Replicas read at most.
MAX_REPLICAS: Final = 64


class Scraper:
    """Finds and reads the dispatcher replicas of a pool, and a Prometheus in their place where a pool names one."""

    def __init__(
        self,
        clock: Callable[[], float],
        dispatcher_url: str | None = None,
        tokens: Tokens | None = None,
        *,
        timeout: float = SCRAPE_TIMEOUT_SECONDS,
    ) -> None:
        self._clock = clock
        self._timeout = timeout
        self._tokens = tokens
        self._fallback = dispatcher_url
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=timeout), auto_decompress=False)

        #: What stands in for the dispatchers' own figures.
        self.prometheus = PrometheusClient(tokens)

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()
        await self.prometheus.close()

    async def scrape(self, pool: GpuPool) -> Scrape:
        """Read every replica now."""
        try:
            urls = await self._urls(pool)
        except OSError as error:
            why = str(error) or f"no answer within {self._timeout:g} s"
            return Scrape(failed=((service_address(pool)[0], f"cannot be resolved: {why}"),))
        try:
            token = await self._tokens.of(pool) if self._tokens else None
        except TokenError as error:
            return Scrape(failed=tuple((url, str(error)) for url in urls))
        headers = {"Accept-Encoding": "identity"} | ({"Authorization": f"Bearer {token}"} if token else {})
        oldest = max_age(pool.spec.scaling.interval_seconds)
        results = await asyncio.gather(*(self._read(url, headers, oldest) for url in urls[:MAX_REPLICAS]))
        good = tuple(r for r in results if isinstance(r, ReplicaReading))
        bad = [(url, str(r)) for url, r in zip(urls, results, strict=False) if isinstance(r, ScrapeError)]
        if len(urls) > MAX_REPLICAS:
            bad.append((service_address(pool)[0], f"has {len(urls)} addresses, more than {MAX_REPLICAS}"))
        return Scrape(good, tuple(bad))

    async def _urls(self, pool: GpuPool) -> list[str]:
        source = pool.spec.metrics
        if source.urls:
            return list(source.urls)
        if source.service is None and self._fallback:
            return [self._fallback]
        host, port = service_address(pool)
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(self._timeout):
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        hosts = sorted({str(entry[4][0]) for entry in found})
        return [f"http://{f'[{h}]' if ':' in h else h}:{port}/metrics" for h in hosts]

    async def _read(self, url: str, headers: Mapping[str, str], max_age: float) -> ReplicaReading | ScrapeError:
        try:
            async with self._session.get(url, headers=headers, allow_redirects=False) as response:
                raw = await _body(response)
            return parse(url, raw.decode("utf-8"), at=self._clock(), max_age=max_age)
        except TimeoutError:
            return ScrapeError(f"no whole answer within {self._timeout:g} s")
        except (aiohttp.ClientError, UnicodeDecodeError, ValueError) as error:
            return ScrapeError(f"{type(error).__name__}: {error}")
        except ScrapeError as error:
            return error


async def _body(response: aiohttp.ClientResponse) -> bytes:
    """The whole page, and no more than a page can have.

    Raises:
        ScrapeError: it is none.
    """
    if response.status != 200:
        hint = ": see spec.metrics.tokenSecret" if response.status == 401 else ""
        raise ScrapeError(f"answered {response.status}{hint}")
    if response.headers.get("Content-Encoding", "identity") != "identity":
        raise ScrapeError("answered compressed, unasked")
    if response.content_length is None and response.headers.get("Transfer-Encoding") != "chunked":
        raise ScrapeError("answered without saying how long the page is, so one that breaks off could not be told")
    raw = bytearray()
    async for part in response.content.iter_any():
        raw += part
        if len(raw) > SCRAPE_LIMIT_BYTES:
            raise ScrapeError(f"answered with more than {SCRAPE_LIMIT_BYTES // 1024**2} MiB")
    return bytes(raw)


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
