"""Where a server's answer goes: a sink takes it in while the slot is held, and brings it home afterwards."""

import asyncio
from collections.abc import Mapping
from typing import Protocol, cast

import aiohttp
from aiohttp import web
from aiohttp.http import StreamWriter

from controller.api.queue import Queue
from controller.dispatcher import headers
from controller.dispatcher.backlog import Backlog
from controller.dispatcher.forward import AnswerBrokeError
from controller.dispatcher.servers import Server
from controller.dispatcher.slow import catch_up, is_behind
from controller.dispatcher.spool import Spool
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

    @property
    def begun(self) -> bool:
        """Whether something of an answer has left for good: no other server's can take its place then."""

    @property
    def status(self) -> int:
        """Status of the answer; 0 before there was one."""

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
    """Streams an answer to the client of a request: at once while it keeps pace, else by way of a backlog."""

    def __init__(self, request: web.BaseRequest, spool: Spool, queue: Queue) -> None:
        self.begun = False
        self.status = 0
        self._request = request
        self._spool = spool
        self._queue = queue
        #: None until the client could not keep pace.
        self._backlog: Backlog | None = None
        #: Writes the backlog on to the client.
        self._writing: asyncio.Task[None] | None = None
        self._response: web.StreamResponse | None = None

    @property
    def response(self) -> web.StreamResponse:
        """The answer that was taken."""
        assert self._response is not None  # noqa: S101 - asked for only after `take`
        return self._response

    async def take(self, server: Server, upstream: Reply, extra: Mapping[str, str]) -> None:
        """Pass the answer on as it comes."""
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
        protocol, writer = request.protocol, cast("StreamWriter", request.writer)
        while part := await next_part(server, upstream):
            if self._writing is None and not protocol.writing_paused:
                # Without waiting until it has left: the next part may be here by then.
                await writer.write(part, drain=False)
            else:
                await self._pass_on(part)
            if content.at_eof():
                break

    async def _pass_on(self, part: bytes) -> None:
        """Pass a part on to a client that does not keep pace, or did not lately."""
        if self._writing is None:
            # What the loop has written last is about to leave; that alone makes nobody slow.
            await asyncio.sleep(0)
            if not is_behind(self._request):
                await cast("StreamWriter", self._request.writer).write(part, drain=False)
                return
        backlog = self._backlog = self._backlog or Backlog(self._spool, self._queue.max_body_bytes)
        writing = self._writing = self._writing or asyncio.create_task(self._write_on(backlog))
        while not await backlog.add(part):
            room = asyncio.create_task(backlog.room())
            await asyncio.wait({room, writing}, return_when=asyncio.FIRST_COMPLETED)
            room.cancel()
            writing = self._keep_writing(writing, backlog)
        writing = self._keep_writing(writing, backlog)
        self._writing = None if writing.done() else writing

    def _keep_writing(self, writing: "asyncio.Task[None]", backlog: Backlog) -> "asyncio.Task[None]":
        """Have the backlog written on if it grew when it had just been written; learn of a client that is gone."""
        if writing.done():
            writing.result()
            if len(backlog):
                writing = self._writing = asyncio.create_task(self._write_on(backlog))
        return writing

    async def _write_on(self, backlog: Backlog) -> None:
        """Write on until the client has caught up."""
        writer = cast("StreamWriter", self._request.writer)
        while True:
            await catch_up(self._request, self._queue.slow_clients.idle_seconds)
            part = await backlog.take()
            if not part:
                return
            await writer.write(part, drain=False)

    async def finish(self) -> None:
        """End the answer, once the client has taken it."""
        if self._writing is not None:
            await self._writing
        if self._backlog is not None:
            await self._write_on(self._backlog)
        if is_behind(self._request):
            await catch_up(self._request, self._queue.slow_clients.idle_seconds)
        await self.response.write_eof()

    def close(self) -> None:
        """Keep nothing any more; call it in any case."""
        if self._writing is not None:
            # Not before a thread is done with the file.
            self._writing.add_done_callback(self._written)
            self._writing.cancel()
        elif self._backlog is not None:
            self._backlog.close()

    def _written(self, writing: "asyncio.Task[None]") -> None:
        if not writing.cancelled():
            writing.exception()
        if self._backlog is not None:
            self._backlog.close()


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
