"""The connections to the servers."""

import asyncio
import ssl
from collections import deque
from functools import cached_property, lru_cache
from typing import Final, NamedTuple

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from controller.dispatcher.upstream import Link, Payload, Reply, Request, exchange

#: A server that does not accept a connection by then has failed.
CONNECT_SECONDS: Final = 5.0
#: Idle connections are given up before common servers do so (uvicorn after 5 s): a task that is sent on a connection
#: which the server is just closing would count as failed.
KEEPALIVE_SECONDS: Final = 4.0


class UnreachableError(aiohttp.ClientConnectionError):
    """There is no connection to the server: nothing was sent."""


class Endpoint(NamedTuple):
    """Where a server listens."""

    host: str
    port: int
    tls: bool
    #: Host and port as a Host header has them.
    authority: str


@lru_cache(4096)
def endpoint(address: str) -> Endpoint:
    """The endpoint of a base URL.

    Raises:
        ValueError: it is no URL with a host and a port.
    """
    url = URL(address)
    if url.host is None or url.port is None:
        raise ValueError(f"{address} names no host and port")
    return Endpoint(url.host, url.port, url.scheme == "https", url.host_port_subcomponent or "")


class Connections:
    """The connections to the servers: bodies and headers pass untouched, nothing is followed, kept or repeated.

    A server closes a connection that was idle for some seconds, and a request may meet that very moment. A request that
    may be sent again goes over a connection that was laid by, and over a new one if it was closed; others travel on a
    new one only, which cannot be stale.
    """

    def __init__(self) -> None:
        #: For WebSockets.
        self.fresh = _session()
        self._loop = asyncio.get_running_loop()
        #: By endpoint, the one laid by last at the end.
        self._idle: dict[Endpoint, deque[Link]] = {}
        self._sweeping: asyncio.TimerHandle | None = None

    async def request(
        self,
        method: str,
        address: str,
        target: str,
        headers: CIMultiDict[str],
        *,
        body: Payload | None = None,
        length: int | None = None,
        repeatable: bool,
        idle: float | None = None,
    ) -> Reply:
        """The answer to one request, whose body has not been read yet.

        Args:
            method: HTTP method.
            address: base URL of the server.
            target: path and query.
            headers: of the request, without Content-Length and Transfer-Encoding.
            body: makes its body.
            length: bytes of the body, where known.
            repeatable: whether it may be sent once more if its connection turns out to be closed.
            idle: seconds the server may be silent.

        Raises:
            UnreachableError: there is no connection.
            aiohttp.SocketTimeoutError: the server was silent for too long.
            aiohttp.ClientError: there is no answer.
            ValueError: the request cannot be put into HTTP.
        """
        where = endpoint(address)
        if "Host" not in headers:
            headers = headers.copy()
            headers["Host"] = where.authority
        request = Request(method, target, headers, body, length, idle)

        def lay_by(link: Link) -> None:
            self._lay_by(where, link)

        link = self._laid_by(where) if repeatable else None
        if link is not None:
            try:
                return await exchange(link, request, lay_by)
            except aiohttp.SocketTimeoutError:
                raise
            except aiohttp.ClientConnectionError:
                pass
        return await exchange(await self._open(where), request, lay_by)

    async def _open(self, where: Endpoint) -> Link:
        loop, context = self._loop, self._tls if where.tls else None
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                _, link = await loop.create_connection(lambda: Link(loop), where.host, where.port, ssl=context)
        except TimeoutError as error:
            raise UnreachableError(f"no connection to {where.authority} within {CONNECT_SECONDS:g} s") from error
        except OSError as error:
            raise UnreachableError(f"no connection to {where.authority}: {error.strerror or error}") from error
        return link

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        """Made when a server wants it: the authorities' certificates take memory."""
        context = ssl.create_default_context()
        context.set_alpn_protocols(["http/1.1"])
        return context

    def _laid_by(self, where: Endpoint) -> Link | None:
        """A usable connection, the one that was used last; None if there is none."""
        idle = self._idle.get(where)
        since = self._loop.time() - KEEPALIVE_SECONDS
        while idle:
            link = idle.pop()
            if link.idle_since > since and link.is_usable():
                return link
            link.close()
        return None

    def _lay_by(self, where: Endpoint, link: Link) -> None:
        link.idle_since = self._loop.time()
        self._idle.setdefault(where, deque()).append(link)
        if self._sweeping is None:
            self._sweeping = self._loop.call_later(KEEPALIVE_SECONDS, self._sweep)

    def _sweep(self) -> None:
        """Close what was idle for too long."""
        since = self._loop.time() - KEEPALIVE_SECONDS
        for where, idle in tuple(self._idle.items()):
            while idle and idle[0].idle_since <= since:
                idle.popleft().close()
            if not idle:
                del self._idle[where]
        self._sweeping = self._loop.call_later(KEEPALIVE_SECONDS / 2, self._sweep) if self._idle else None

    async def close(self) -> None:
        """Close them."""
        if self._sweeping is not None:
            self._sweeping.cancel()
        links = [link for idle in self._idle.values() for link in idle]
        self._idle.clear()
        closed = [future for link in links if (future := link.closed) is not None]
        for link in links:
            link.close()
        await asyncio.gather(*closed, return_exceptions=True)
        await self.fresh.close()


def _session() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, force_close=True),
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS),
        skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
    )
