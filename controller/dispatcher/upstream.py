"""One request over one connection to a server, and its answer: HTTP/1.1 without the conveniences of a client.

aiohttp's own connection, parser and writer do the work. Its `ClientSession` is left out: it makes every request ready
for redirects, cookies, proxies, credentials, tracing and middleware, of which a proxy wants none, and that costs more
than all else that happens to a small request here.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from types import TracebackType
from typing import Final, Self

import aiohttp
import msgspec
from aiohttp.client_proto import ResponseHandler
from aiohttp.http import HttpProcessingError, RawResponseMessage, StreamWriter
from multidict import CIMultiDict, CIMultiDictProxy

#: A body up to this is written at once, below the mark from which a transport asks to wait. A larger one is sent beside
#: the reading of the answer, which may well come before the body's end.
AT_ONCE_BYTES: Final = 32 * 1024
#: Methods whose requests say so when they have no body (RFC 9110, 8.6).
_HAVE_BODIES: Final = frozenset({"POST", "PUT", "PATCH"})

#: Makes a request's body, anew for each time that it is sent.
Payload = Callable[[], bytes | AsyncIterator[bytes]]


class Request(msgspec.Struct, frozen=True):
    """A request as it goes over the wire."""

    method: str
    #: Path and query, to the letter.
    target: str
    #: With Host; without Content-Length and Transfer-Encoding.
    headers: CIMultiDict[str]
    #: Makes the body; None: there is none.
    body: Payload | None = None
    #: Bytes of the body; None: not known before its end.
    length: int | None = None
    #: Seconds the server may be silent; None: any.
    idle: float | None = None


class Link(ResponseHandler):
    """A connection to a server."""

    #: When it was laid by, seconds of the loop's clock.
    idle_since = 0.0

    def set_exception(self, exc: BaseException, exc_cause: BaseException | None = None) -> None:
        """The connection is of no use any more; who reads a body that cannot be understood learns of it too.

        The parser in C does not tell its reader, who would wait for ever.
        """
        if exc_cause is None:
            super().set_exception(exc)
        else:
            super().set_exception(exc, exc_cause)
        payload = self._payload
        if isinstance(exc, HttpProcessingError) and payload is not None and not payload.is_eof():
            payload.set_exception(aiohttp.ClientPayloadError(f"it is no HTTP: {exc.message or exc}"))

    def is_usable(self) -> bool:
        """Whether another request may go over it: both sides have it open, and nothing is left over of the last."""
        return self.is_connected() and not self.should_close


class Reply:
    """A server's answer, whose body has not been read yet. An async context manager, which ends it.

    Attributes:
        status: HTTP status.
        reason: its phrase.
        headers: as they came.
        content: the body as it comes, as sent: nothing is decompressed.
    """

    __slots__ = ("_lay_by", "_link", "_upload", "content", "headers", "reason", "status")

    def __init__(
        self,
        message: RawResponseMessage,
        content: aiohttp.StreamReader,
        link: Link,
        upload: "asyncio.Task[None] | None",
        lay_by: Callable[[Link], None],
    ) -> None:
        self.status: int = message.code
        self.reason: str = message.reason
        self.headers: CIMultiDictProxy[str] = message.headers
        self.content = content
        self._link = link
        self._upload = upload
        self._lay_by = lay_by

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        sent = self._upload is None or self._upload.done()
        if sent and self.content.at_eof() and self._link.is_usable():
            self._lay_by(self._link)
        else:
            await _give_up(self._link, self._upload)


async def exchange(link: Link, request: Request, lay_by: Callable[[Link], None]) -> Reply:
    """Send a request; returns its answer as soon as its head is there.

    Args:
        link: a usable connection.
        request: the request.
        lay_by: told when the connection is free for another request; it is closed if it cannot be.

    Raises:
        aiohttp.SocketTimeoutError: the server was silent for too long.
        aiohttp.ClientError: there is no answer, or none that can be understood.
        ValueError: a header or the target cannot be sent; nothing was.
    """
    upload: asyncio.Task[None] | None = None
    try:
        upload = await _write(link, request)
        message, content = await _head(link)
    except BaseException:
        await _give_up(link, upload)
        raise
    return Reply(message, content, link, upload, lay_by)


async def _write(link: Link, request: Request) -> "asyncio.Task[None] | None":
    """Write the request; returns what still writes its body."""
    link.set_response_params(
        skip_payload=request.method == "HEAD", read_until_eof=True, auto_decompress=False, read_timeout=request.idle
    )
    loop = asyncio.get_running_loop()
    writer, headers, body = StreamWriter(link, loop), request.headers.copy(), request.body
    if body is None:
        if request.method in _HAVE_BODIES:
            headers["Content-Length"] = "0"
    elif request.length is None:
        headers["Transfer-Encoding"] = "chunked"
        writer.enable_chunking()
    else:
        headers["Content-Length"] = str(request.length)
    if not request.target.isascii():
        request.target.encode()  # Bytes that are no text would become others on their way.
    await writer.write_headers(f"{request.method} {request.target} HTTP/1.1", headers)
    parts, upload = b"" if body is None else body(), None
    if isinstance(parts, bytes) and len(parts) <= AT_ONCE_BYTES:
        await writer.write_eof(parts)
    else:
        upload = loop.create_task(_send(link, writer, parts))
    link.start_timeout()
    return upload


async def _send(link: Link, writer: StreamWriter, parts: bytes | AsyncIterator[bytes]) -> None:
    """Send a body. Who reads the answer learns of a failure: the server has got a part only, and waits for the rest."""
    try:
        if isinstance(parts, bytes):
            await writer.write_eof(parts)
            return
        async for part in parts:
            await writer.write(part)
        await writer.write_eof()
    except ConnectionError:
        # The connection says so itself, unless it ends with an answer, which then counts.
        return
    except Exception as error:  # noqa: BLE001 - handed on to whoever reads the answer
        link.set_exception(aiohttp.ClientConnectionError(f"the request could not be sent in whole: {error}"), error)
        _abort(link)
    finally:
        if isinstance(parts, AsyncGenerator):
            await parts.aclose()


async def _head(link: Link) -> tuple[RawResponseMessage, aiohttp.StreamReader]:
    """The head of the answer and its body to come; interim answers (1xx) are dropped."""
    while True:
        try:
            message, content = await link.read()
        except HttpProcessingError as error:
            raise aiohttp.ClientPayloadError(f"it is no HTTP: {error.message or error}") from error
        if message.code == 101:
            raise aiohttp.ClientPayloadError("it switched protocols without being asked to")
        if message.code >= 200:
            return message, content


async def _give_up(link: Link, upload: "asyncio.Task[None] | None") -> None:
    """Close a connection, and see that nothing is read for it any more."""
    _abort(link)
    if upload is not None:
        upload.cancel()
        await asyncio.wait([upload])


def _abort(link: Link) -> None:
    """Close a connection at once: what waits to be written is of no use any more."""
    if link.transport is not None:
        link.transport.abort()
