"""One request to one server and its answer back: streamed, to the letter, and cut where it cannot be whole."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

import aiohttp
from aiohttp import web
from multidict import CIMultiDict
from yarl import URL

from controller.api.queue import Route
from controller.dispatcher import headers
from controller.dispatcher.connections import CONNECT_SECONDS, Connections, Payload
from controller.dispatcher.identity import Identity
from controller.dispatcher.servers import Server
from controller.dispatcher.spool import BodyTooLargeError
from controller.dispatcher.state import View


class ServerLostError(Exception):
    """The server failed before the first byte of its answer; another one may do better.

    Attributes:
        sent: whether the server may have got the request.
    """

    def __init__(self, message: str, *, sent: bool = True) -> None:
        super().__init__(message)
        self.sent = sent


class ServerSilentError(Exception):
    """The server said nothing for too long, before the first byte of its answer."""


class AnswerBrokeError(Exception):
    """The server failed in the middle of its answer; the client holds a part of it."""


class UnsendableError(Exception):
    """The request cannot be put into HTTP again: a target or header with bytes that are not text."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request and what is known about it."""

    request: web.BaseRequest
    #: Path and query, as the client wrote them.
    target: str
    view: View
    identity: Identity
    route: Route
    #: Whether the peer is a proxy whose word counts.
    trusted: bool


@dataclass(slots=True)
class Answer:
    """Whether the client has been sent anything of the answer."""

    begun: bool = False


class Upload:
    """A request body on its way through, capped."""

    def __init__(self, content: aiohttp.StreamReader, limit: int) -> None:
        self._content = content
        self._limit = limit
        #: What was wrong with it: too large, or malformed. The server is not to blame then.
        self.error: Exception | None = None

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body as it comes.

        Raises:
            BodyTooLargeError, aiohttp.web.RequestPayloadError: also in `error`.
        """
        size = 0
        try:
            async for chunk in self._content.iter_any():
                size += len(chunk)
                if size > self._limit:
                    raise BodyTooLargeError
                yield chunk
        except (BodyTooLargeError, web.RequestPayloadError) as error:
            self.error = error
            raise


def url(server: Server, exchange: Exchange) -> URL:
    """Where a request goes at a server; nothing is quoted anew.

    Raises:
        UnsendableError: that is no URL.
    """
    try:
        return URL(server.spec.address + exchange.target, encoded=True)
    except ValueError as error:
        raise UnsendableError(f"the request target is no URL: {error}") from error


def request_headers(exchange: Exchange) -> CIMultiDict[str]:
    """The client's headers for a server."""
    request = exchange.request
    return headers.to_server(
        request.headers, peer=request.remote or "unknown", scheme=request.scheme, trusted=exchange.trusted
    )


async def forward(
    connections: Connections,
    server: Server,
    exchange: Exchange,
    body: Payload | None,
    *,
    extra: Mapping[str, str],
    answer: Answer,
    length: int | None,
    repeatable: bool,
    idle: float | None = None,
) -> web.StreamResponse:
    """Send the request, stream the answer.

    Args:
        connections: to the servers.
        server: where to.
        exchange: the request.
        body: makes its body.
        extra: headers to add to the answer.
        answer: told when the answer begins.
        length: bytes of the body, where known.
        repeatable: whether the server may get the request twice.
        idle: seconds the server may be silent.

    Raises:
        ServerLostError, ServerSilentError: before the answer began.
        AnswerBrokeError: after it began.
        UnsendableError: the server is not to blame.
        ConnectionError: the client went away.
    """
    request, sent = exchange.request, request_headers(exchange)
    if length is not None and body is not None:
        sent["Content-Length"] = str(length)
    try:
        upstream = await connections.request(
            request.method,
            url(server, exchange),
            body=body,
            repeatable=repeatable,
            headers=sent,
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=idle),
        )
    except aiohttp.SocketTimeoutError as error:
        raise ServerSilentError(f"{server.spec.name} said nothing for {idle:g} s") from error
    except aiohttp.InvalidURL as error:
        raise UnsendableError(f"the request target is no URL: {error}") from error
    except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
        raise ServerLostError(f"{server.spec.name} cannot be reached: {error}", sent=False) from error
    except (aiohttp.ClientError, ConnectionError) as error:
        raise ServerLostError(f"{server.spec.name} did not answer: {error}") from error
    except ValueError as error:
        raise UnsendableError(f"a header of the request cannot be sent on: {error}") from error
    async with upstream:
        return await _stream(request, server, upstream, extra, answer)


async def _stream(
    request: web.BaseRequest,
    server: Server,
    upstream: aiohttp.ClientResponse,
    extra: Mapping[str, str],
    answer: Answer,
) -> web.StreamResponse:
    response = web.StreamResponse(status=upstream.status, reason=upstream.reason)
    response.headers.update(headers.to_client(upstream.headers, extra))
    answer.begun = True
    await response.prepare(request)
    if request.method != "HEAD" and upstream.status not in (204, 304):
        while chunk := await _next(server, upstream):
            await response.write(chunk)
    await response.write_eof()
    return response


async def _next(server: Server, upstream: aiohttp.ClientResponse) -> bytes:
    """The next part of the answer; empty at its end."""
    try:
        return await upstream.content.readany()
    except (aiohttp.ClientError, ConnectionError) as error:
        raise AnswerBrokeError(f"{server.spec.name} broke off in the middle of its answer: {error}") from error


def cut(request: web.BaseRequest) -> ConnectionResetError:
    """Cut the client's connection, and what to raise then.

    Nothing else tells a client that the rest of an answer will not come: a second status line would be taken for a
    part of the first answer's body, and an orderly end for its end.
    """
    if request.transport is not None:
        request.transport.abort()
    return ConnectionResetError("the answer could not be completed")


async def invite_body(request: web.BaseRequest) -> None:
    """Tell a client that asked first (`Expect: 100-continue`) to send its body: it is known now to be wanted."""
    if expects_continue(request):
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        # What was written does not belong to the answer; aiohttp takes an answer that wrote nothing for not begun.
        request.writer.output_size = 0


def expects_continue(request: web.BaseRequest) -> bool:
    """Whether the client waits to be asked for the body."""
    return request.version >= aiohttp.HttpVersion11 and request.headers.get("Expect", "").lower() == "100-continue"
