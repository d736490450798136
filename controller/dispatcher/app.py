"""The data port: every request is identified, classified, and either queued or passed through."""

import asyncio
import logging
from http import HTTPStatus
from typing import Any, Final

from aiohttp import web

from controller.dispatcher.forward import Exchange
from controller.dispatcher.headers import is_websocket
from controller.dispatcher.prefer import read_preferences
from controller.dispatcher.problems import problem
from controller.dispatcher.proxy import Proxy
from controller.dispatcher.state import State, View
from controller.dispatcher.strict import admitted
from controller.dispatcher.tasks.api import TaskApi
from controller.dispatcher.tasks.lifecycle import AsyncTasks

logger = logging.getLogger(__name__)

#: The only path that is not the application's.
RESERVED: Final = "/-/"
#: Compressed bodies travel on as they are; requests are counted, not logged.
_CONNECTION: Final[dict[str, Any]] = {"access_log": None, "auto_decompress": False}


class _Connection(web.RequestHandler):
    """A client's connection. What never becomes a request (malformed HTTP), or fails, is answered with a problem."""

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
        detail = "the dispatcher failed on this request; its log has the reason"
        if status < 500:
            detail = f"this is no HTTP request: {message or exc}"
        title = "Malformed request" if status == 400 else HTTPStatus(status).phrase
        response = problem(status, title, " ".join(detail.split()))
        response.force_close()
        return response


class DataServer(web.Server):
    """The data port's connections. A handler is cancelled when its client goes away."""

    def __init__(self, state: State, proxy: Proxy, tasks: AsyncTasks) -> None:
        self._state = state
        self._proxy = proxy
        self._tasks = TaskApi(state, proxy, tasks)
        super().__init__(self._handle, handler_cancellation=True)

    def __call__(self) -> web.RequestHandler:
        """A new connection."""
        return _Connection(self, loop=asyncio.get_running_loop(), **_CONNECTION)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        target = admitted(request)
        if isinstance(target, web.Response):
            return target
        if request.path.startswith(RESERVED):
            return await self._tasks.handle(request)
        view = self._state.view
        if view is None:
            detail = f"the GpuPool {self._state.pool} has not been read yet; does it exist?"
            return problem(503, "Not ready", detail, retry_after=5)
        exchange = self._exchange(request, target, view)
        if exchange is None:
            return problem(400, "Unknown client", "the client address of the connection cannot be read")
        if exchange.route.kind == "Task" and not is_websocket(request.method, request.headers):
            return await self._task(exchange)
        return await self._proxy.pass_through(exchange)

    async def _task(self, exchange: Exchange) -> web.StreamResponse:
        headers = exchange.request.headers
        if "Prefer" in headers and self._tasks.offered:
            preferences = read_preferences(headers.getall("Prefer"))
            if preferences.respond_async:
                return await self._tasks.accept(exchange, preferences)
        return await self._proxy.task(exchange)

    def _exchange(self, request: web.BaseRequest, target: str, view: View) -> Exchange | None:
        """The request with its user and route; None if the peer has no address."""
        now, state = self._state.wall(), self._state
        caller = view.identifier.identify(request.remote or "", request.headers, state.keys, now)
        if caller is None:
            return None
        if state.dominance.count(caller.identity.flow, now, unheard=caller.unheard):
            warning = state.dominance.warning(now, view.identifier)
            if warning is not None:
                logger.warning("%s", warning)
        route = view.routes.classify(request.method, target)
        return Exchange(request, target, view, caller.identity, route, caller.proxied)
