"""The data port: every request is identified, classified, and either queued or passed through."""

import asyncio
import logging
from typing import Any, Final

from aiohttp import web

from controller.api.queue import Queue
from controller.dispatcher.clients import Connection
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
#: Connections are looked at at least so often.
LOOK_SECONDS: Final = 5.0
#: Compressed bodies travel on as they are; requests are counted, not logged.
_CONNECTION: Final[dict[str, Any]] = {"access_log": None, "auto_decompress": False}


class DataServer(web.Server):
    """The data port's connections. A handler is cancelled when its client goes away."""

    def __init__(self, state: State, proxy: Proxy, tasks: AsyncTasks) -> None:
        self._state = state
        self._proxy = proxy
        self._tasks = TaskApi(state, proxy, tasks)
        super().__init__(self._handle, handler_cancellation=True)

    def __call__(self) -> web.RequestHandler:
        """A new connection."""
        limit = (self._state.view.spec.queue if self._state.view else Queue()).max_header_bytes
        return Connection(
            self, loop=asyncio.get_running_loop(), max_line_size=limit, max_field_size=limit, **_CONNECTION
        )

    def cut(self) -> None:
        """End all connections, whatever they are in the middle of."""
        for connection in self.connections:
            if isinstance(connection, Connection):
                connection.abort()

    async def watch(self) -> None:
        """End the connections of clients that are too slow, for ever."""
        while True:
            idle = (self._state.view.spec.queue if self._state.view else Queue()).slow_clients.idle_seconds
            await asyncio.sleep(min(LOOK_SECONDS, idle / 4))
            now = asyncio.get_running_loop().time()
            for connection in self.connections:
                if isinstance(connection, Connection) and connection.stalls(now, idle):
                    connection.abort()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        if isinstance(request.protocol, Connection):
            request.protocol.has_request()
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
