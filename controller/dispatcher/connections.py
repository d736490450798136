"""The connections to the servers."""

from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any, Final

import aiohttp
from yarl import URL

#: A server that does not accept a connection by then has failed.
CONNECT_SECONDS: Final = 5.0
#: Idle connections are given up before common servers do so (uvicorn after 5 s): a task that is sent on a connection
#: which the server is just closing would count as failed.
KEEPALIVE_SECONDS: Final = 4.0


#: Makes a request's body, anew for each time that it is sent.
Payload = Callable[[], bytes | AsyncIterator[bytes]]


async def _once(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Keep aiohttp from sending a request again by itself: whether that may be is for the route to say."""
    try:
        return await handler(request)
    except aiohttp.ClientConnectorError:
        raise  # it never connected, and aiohttp does not repeat that
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise aiohttp.ClientConnectionError(str(error) or type(error).__name__) from error


#: Methods that aiohttp sends again by itself when a connection breaks.
_REPEATED: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})


class _Sent(SimpleNamespace):
    """What is noted of a request while it is being sent."""

    reused = False


async def _note_reuse(_: aiohttp.ClientSession, context: SimpleNamespace, __: object) -> None:
    context.trace_request_ctx.reused = True


class Connections:
    """The connections to the servers: bodies and headers pass untouched, nothing is followed, kept or repeated.

    A server closes a connection that was idle for some seconds, and a request may meet that very moment. `pooled` is
    for requests that may be sent again then; others travel on a connection of their own, which cannot be stale.
    """

    def __init__(self) -> None:
        trace = aiohttp.TraceConfig()
        trace.on_connection_reuseconn.append(_note_reuse)
        self.pooled = _session(aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEPALIVE_SECONDS), [trace])
        self.fresh = _session(aiohttp.TCPConnector(limit=0, force_close=True), [])

    async def request(
        self, method: str, url: URL, *, body: Payload | None, repeatable: bool, **options: Any
    ) -> aiohttp.ClientResponse:
        """The answer to one request, whose body has not been read yet.

        Args:
            method: HTTP method.
            url: of the request.
            body: makes its body.
            repeatable: whether it may be sent once more if its connection turns out to be closed.
            options: of `aiohttp.ClientSession.request`.

        Raises:
            aiohttp.ClientError, ConnectionError, ValueError: as aiohttp raises them.
        """
        # Middleware costs every request something, and a POST needs none.
        options["middlewares"] = (_once,) if method in _REPEATED else ()
        if repeatable:
            sent = _Sent()
            try:
                data = body() if body else None
                return await self.pooled.request(method, url, data=data, trace_request_ctx=sent, **options)
            except aiohttp.ClientConnectionError as error:
                if not sent.reused or isinstance(error, aiohttp.SocketTimeoutError):
                    raise
        return await self.fresh.request(method, url, data=body() if body else None, **options)

    async def close(self) -> None:
        """Close them."""
        await self.pooled.close()
        await self.fresh.close()


def _session(connector: aiohttp.TCPConnector, traces: list[aiohttp.TraceConfig]) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=connector,
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS),
        skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
        trace_configs=traces,
    )
