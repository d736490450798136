"""A client's connection: what never becomes a request, and clients that are slow."""

import asyncio
import logging
from typing import Any, Final, cast

from aiohttp import web
from aiohttp.http_exceptions import LineTooLong

from controller.dispatcher.problems import problem

logger = logging.getLogger(__name__)

#: Headers that a request may have.
MOST_HEADERS: Final = 128


class Connection(web.RequestHandler):
    """A client's connection. What never becomes a request (malformed HTTP), or fails, is answered with a problem."""

    def __init__(self, manager: web.Server, **options: Any) -> None:
        super().__init__(manager, max_headers=MOST_HEADERS, **options)
        self._wire: asyncio.Transport | None = None
        #: Since when a request's head is awaited; None while none is.
        self._head_since: float | None = None
        #: Bytes of answers that the client has not taken, and since when it is that many.
        self._left = 0
        self._left_since = 0.0

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """The answer to an error; ends the connection."""
        if isinstance(exc, ConnectionError):
            raise exc
        if status >= 500:
            logger.error("%s %s", request.method, request.path, exc_info=exc)
        if request.writer.output_size > 0:
            # A part of the answer is under way: a second status line would be taken for its body.
            raise ConnectionResetError("the answer could not be completed")
        response = _refusal(status, exc, " ".join(str(message or exc).split()), self.max_field_size)
        response.force_close()
        return response

    # --- clients that are slow ------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It begins."""
        super().connection_made(transport)
        self._wire = cast("asyncio.Transport", transport)
        self._head_since = self._loop.time()

    def data_received(self, data: bytes) -> None:
        """Something came."""
        super().data_received(data)
        if self._head_since is None and self._current_request is None and not self._messages:
            # It was idle, and a part of the next request's head is here.
            self._head_since = self._loop.time()

    def has_request(self) -> None:
        """A request's head is here in whole."""
        self._head_since = None

    def linger_no_more(self) -> None:
        """The rest of the request's body was waited for long enough: after the answer, hardly any more."""
        self._lingering_time = 0.5

    def stalls(self, now: float, idle: float) -> bool:
        """Whether the client does not go on.

        That is one that has not sent the whole head of a request within so many seconds of the connection's or the
        head's beginning, and one that has not taken anything for so long of an answer that is otherwise done with.
        A connection that is idle between two requests does no harm.

        Args:
            now: loop time.
            idle: seconds.
        """
        if self._waiter is not None and self._head_since is not None:
            return now - self._head_since > idle
        left = 0 if self._wire is None or self._current_request is not None else self._wire.get_write_buffer_size()
        if left != self._left or not left:
            self._left, self._left_since = left, now
        return now - self._left_since > idle

    def abort(self) -> None:
        """End it at once, with whatever has not been taken."""
        if self._wire is not None:
            self._wire.abort()


def _refusal(status: int, error: BaseException | None, message: str, limit: int) -> web.Response:
    """The answer to a request that is none, or on which the dispatcher failed."""
    if status >= 500:
        return problem(500, "Internal Server Error", "the dispatcher failed on this request; its log has the reason")
    if isinstance(error, LineTooLong):
        detail = f"the request line or a header is longer than {limit} bytes (queue.maxHeaderBytes)"
        return problem(431, "Headers too large", detail)
    if "Too many headers" in message:
        return problem(431, "Headers too large", f"a request may have {MOST_HEADERS} headers")
    return problem(400, "Malformed request", f"this is no HTTP request: {message}")
