"""One request to one server: to the letter, sent as often as it may be, and what can go wrong with it."""

from collections.abc import AsyncIterator

import aiohttp
import msgspec
from aiohttp import web
from multidict import CIMultiDict
from yarl import URL

from controller.api.queue import Route, SlowClients
from controller.dispatcher import headers
from controller.dispatcher.connections import Connections, UnreachableError
from controller.dispatcher.identity import Identity
from controller.dispatcher.servers import Server
from controller.dispatcher.slow import SlowBodyError, paced
from controller.dispatcher.spool import BodyTooLargeError
from controller.dispatcher.state import View
from controller.dispatcher.upstream import Payload, Reply


class ServerLostError(Exception):
    """The server failed before the first byte of its answer; another one may do better.

    Attributes:
        sent: whether the server may have got the request.
        withdrawn: whether that is only because the pool took the server away.
    """

    def __init__(self, message: str, *, sent: bool = True, withdrawn: bool = False) -> None:
        super().__init__(message)
        self.sent = sent
        self.withdrawn = withdrawn


class ServerSilentError(Exception):
    """The server said nothing for too long, before the first byte of its answer."""


class AnswerBrokeError(Exception):
    """The server failed in the middle of its answer; the client holds a part of it."""


class UnsendableError(Exception):
    """The request cannot be put into HTTP again: a target or header with bytes that are not text."""


class Exchange(msgspec.Struct, frozen=True):
    """One request and what is known about it."""

    request: web.BaseRequest
    #: Path and query, as the client wrote them.
    target: str
    view: View
    identity: Identity
    route: Route
    #: Whether the peer is a proxy whose word counts.
    trusted: bool


class Outgoing(msgspec.Struct, frozen=True):
    """A request as it is sent to a server, as often as it takes."""

    method: str
    #: Path and query, to the letter.
    target: str
    #: Without Content-Length.
    headers: CIMultiDict[str]
    #: Makes the body; None: there is none.
    payload: Payload | None
    #: Bytes of the body, where known.
    length: int | None
    #: Whether a server may get the request twice.
    repeatable: bool
    #: Seconds the server may be silent.
    idle: float | None = None


class Upload:
    """A request body on its way through, capped."""

    def __init__(self, content: aiohttp.StreamReader, limit: int, slow: SlowClients) -> None:
        self._content = content
        self._limit = limit
        self._slow = slow
        #: What was wrong with it: too large, too slow, or malformed. The server is not to blame then.
        self.error: Exception | None = None

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body as it comes.

        Raises:
            BodyTooLargeError, SlowBodyError, aiohttp.web.RequestPayloadError: also in `error`.
        """
        size = 0
        try:
            async for chunk in paced(self._content, self._slow):
                size += len(chunk)
                if size > self._limit:
                    raise BodyTooLargeError
                yield chunk
        except (BodyTooLargeError, SlowBodyError, web.RequestPayloadError) as error:
            self.error = error
            raise


def url(server: Server, target: str) -> URL:
    """Where a request goes at a server; nothing is quoted anew.

    Raises:
        UnsendableError: that is no URL.
    """
    try:
        return URL(server.spec.address + target, encoded=True)
    except ValueError as error:
        raise UnsendableError(f"the request target is no URL: {error}") from error


def request_headers(exchange: Exchange) -> CIMultiDict[str]:
    """The client's headers for a server."""
    request = exchange.request
    return headers.to_server(
        request.headers,
        peer=request.remote or "unknown",
        client=exchange.identity.ip,
        scheme=request.scheme,
        trusted=exchange.trusted,
        believed=exchange.view.identifier.chain_header,
    )


async def send(connections: Connections, server: Server, outgoing: Outgoing) -> Reply:
    """Send a request; returns the answer, whose body has not been read yet.

    Raises:
        ServerLostError, ServerSilentError: there is no answer.
        UnsendableError: the server is not to blame.
    """
    try:
        return await connections.request(
            outgoing.method,
            server.spec.address,
            outgoing.target,
            outgoing.headers,
            body=outgoing.payload,
            length=outgoing.length,
            repeatable=outgoing.repeatable,
            idle=outgoing.idle,
        )
    except aiohttp.SocketTimeoutError as error:
        raise ServerSilentError(f"{server.spec.name} said nothing for {outgoing.idle:g} s") from error
    except UnreachableError as error:
        raise ServerLostError(f"{server.spec.name} cannot be reached: {error}", sent=False) from error
    except (aiohttp.ClientError, ConnectionError) as error:
        raise ServerLostError(f"{server.spec.name} did not answer: {error}") from error
    except ValueError as error:
        raise UnsendableError(f"the request cannot be sent on: {error}") from error


async def invite_body(request: web.BaseRequest) -> None:
    """Tell a client that asked first (`Expect: 100-continue`) to send its body: it is known now to be wanted."""
    if expects_continue(request):
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        # What was written does not belong to the answer; aiohttp takes an answer that wrote nothing for not begun.
        request.writer.output_size = 0


def expects_continue(request: web.BaseRequest) -> bool:
    """Whether the client waits to be asked for the body."""
    return request.version >= aiohttp.HttpVersion11 and request.headers.get("Expect", "").lower() == "100-continue"
