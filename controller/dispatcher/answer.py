"""Where a server's answer goes: a sink takes it in while the slot is held, and brings it home afterwards."""

from collections.abc import Mapping
from typing import Protocol

import aiohttp
from aiohttp import web

from controller.dispatcher import headers
from controller.dispatcher.forward import AnswerBrokeError
from controller.dispatcher.servers import Server
from controller.dispatcher.upstream import Reply


class RefusedAnswerError(Exception):
    """The answer came, but cannot be taken; no other server's would do better.

    Attributes:
        response: what is answered in its place.
    """

    def __init__(self, message: str, response: web.Response) -> None:
        super().__init__(message)
        self.response = response


class Sink(Protocol):
    """Takes one answer. `take` may be called again for another server's as long as `begun` is False."""

    #: Whether something of an answer has left for good: no other server's can take its place then.
    begun: bool
    #: Status of the answer; 0 before there was one.
    status: int

    async def take(self, server: Server, upstream: Reply, extra: Mapping[str, str]) -> None:
        """Take the server's whole answer; when this returns, the server has nothing to do with it any more.

        Args:
            server: whose answer it is.
            upstream: the answer, whose body has not been read yet.
            extra: headers to add to it.

        Raises:
            AnswerBrokeError: the server failed in the middle of it.
            ServerLostError: so it did, but nothing has left yet.
            RefusedAnswerError: it cannot be taken.
            ConnectionError: who wanted the answer has gone.
        """

    async def finish(self) -> None:
        """Bring what was taken home; the slot is free by now.

        Raises:
            ConnectionError: who wanted the answer has gone.
        """


class _Response(web.StreamResponse):
    """An answer whose headers leave together with the first part of its body, in one packet instead of two."""

    _send_headers_immediately = False


class ClientSink:
    """Streams an answer to the client of a request."""

    def __init__(self, request: web.BaseRequest) -> None:
        self.begun = False
        self.status = 0
        self._request = request
        self._response: web.StreamResponse | None = None

    @property
    def response(self) -> web.StreamResponse:
        """The answer that was taken."""
        assert self._response is not None  # noqa: S101 - asked for only after `take`
        return self._response

    async def take(self, server: Server, upstream: Reply, extra: Mapping[str, str]) -> None:
        """Pass the answer on as it comes, unbuffered."""
        request, content = self._request, upstream.content
        response = _Response(status=upstream.status, reason=upstream.reason)
        response.headers.update(headers.to_client(upstream.headers, extra))
        if headers.UPGRADE in request.headers:
            # The parser takes what follows for another protocol, which nobody agreed on.
            response.force_close()
        self.begun, self.status, self._response = True, upstream.status, response
        await response.prepare(request)
        if request.method == "HEAD" or upstream.status in (204, 304):
            return
        if not content.at_eof() and not content.total_bytes:
            # The body may be long in coming: the headers do not wait for it.
            await response.write(b"")
        while chunk := await next_part(server, upstream):
            await response.write(chunk)
            if content.at_eof():
                break

    async def finish(self) -> None:
        """End the answer."""
        await self.response.write_eof()


async def next_part(server: Server, upstream: Reply) -> bytes:
    """The next part of an answer; empty at its end.

    Raises:
        AnswerBrokeError: there will be no next part.
    """
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
