"""Pass-through: what is no task goes at once to the server that the client's network always gets; WebSockets too."""

import logging
from typing import Final

from aiohttp import web

from controller.dispatcher import headers, websocket
from controller.dispatcher.admission import declared_too_large, malformed, too_large, too_slow, unread
from controller.dispatcher.answer import ClientSink, Sink, cut
from controller.dispatcher.connections import Connections
from controller.dispatcher.execute import Executor
from controller.dispatcher.forward import (
    AnswerBrokeError,
    Exchange,
    Outgoing,
    ServerLostError,
    ServerSilentError,
    UnsendableError,
    Upload,
    invite_body,
    request_headers,
    send,
    url,
)
from controller.dispatcher.problems import problem
from controller.dispatcher.saving.saving import saving_of
from controller.dispatcher.servers import Server
from controller.dispatcher.slow import SlowBodyError, SlowClientError
from controller.dispatcher.spool import BodyTooLargeError, Spool
from controller.dispatcher.state import State

logger = logging.getLogger(__name__)

#: A pass-through connection on which the server says nothing for so long is given up.
PASS_IDLE_SECONDS: Final = 300.0


class PassThrough:
    """Forwards requests that are no tasks."""

    def __init__(
        self,
        state: State,
        connections: Connections,
        executor: Executor,
        spool: Spool,
        websockets: set[web.WebSocketResponse],
    ) -> None:
        self._state = state
        self._connections = connections
        self._executor = executor
        self._spool = spool
        self._websockets = websockets

    async def handle(self, exchange: Exchange) -> web.StreamResponse:
        """Forward a request at once."""
        state, request = self._state, exchange.request
        refused = declared_too_large(state, exchange)
        if refused is not None:
            return unread(request, refused)
        server = self._server(exchange)
        if server is None:
            return unread(request, self._nowhere(exchange))
        outcome = "failed"
        try:
            if headers.is_websocket(request.method, request.headers):
                response = await self._websocket(server, exchange)
            else:
                response = await self._pass(server, exchange)
            outcome = "ok" if response.status < 500 else "failed"
            return response
        finally:
            state.metrics.passed.labels(outcome).inc()

    def _server(self, exchange: Exchange) -> Server | None:
        """Where a request goes: to the task that it is about, or to the server that its network always gets."""
        scheduler, identity = self._state.scheduler, exchange.identity
        name = exchange.view.routes.polled_id(exchange.target)
        place = self._executor.places.get(name) if name else None
        if place is not None and scheduler.has(place) and place.spec.address:
            return place
        working = None if exchange.route.forward_to == "Network" else scheduler.working_for(identity.flow)
        if working is not None or exchange.route.forward_to == "OnlyRunning":
            return working
        return scheduler.server_for(identity)

    def _nowhere(self, exchange: Exchange) -> web.Response:
        """The answer to a request for which there is no server."""
        self._state.metrics.passed.labels("no_server").inc()
        if exchange.route.forward_to == "OnlyRunning":
            detail = f"{exchange.route.name} is about a running task, and no server works on one of yours"
            return problem(409, "No running task", detail)
        detail = f"no server of pool {self._state.pool} is Ready"
        return problem(503, "No server yet", detail, retry_after=30)

    async def _pass(self, server: Server, exchange: Exchange) -> web.StreamResponse:
        request, queue = exchange.request, exchange.view.spec.queue
        upload = Upload(request.content, queue.max_body_bytes, queue.slow_clients)
        sink, outgoing = ClientSink(request, self._spool, queue), _outgoing(exchange, upload)
        saving = saving_of(exchange, self._state)
        into: Sink = sink if saving is None else saving.sink(sink)
        if saving is not None:
            saving.ask(outgoing.headers)
        if request.can_read_body:
            await invite_body(request)
        try:
            server.passing += 1
            try:
                async with await send(self._connections, server, outgoing) as upstream:
                    await into.take(server, upstream, {})
            finally:
                server.passing -= 1
            await into.finish()
            return sink.response
        except SlowClientError as error:
            logger.warning("%s %s: %s", request.method, request.path, error)
            raise cut(request) from error
        except (ServerLostError, ServerSilentError) as error:
            return self._lost(server, request, upload, queue.max_body_bytes, error)
        except UnsendableError as error:
            return problem(400, "Malformed request", str(error))
        except AnswerBrokeError as error:
            logger.warning("%s %s: %s", request.method, request.path, error)
            raise cut(request) from error
        finally:
            sink.close()
            if saving is not None:
                saving.close()

    def _lost(
        self,
        server: Server,
        request: web.BaseRequest,
        upload: Upload,
        limit: int,
        error: ServerLostError | ServerSilentError,
    ) -> web.Response:
        """The answer when there is none of the server: its fault, or the client's whose body was none."""
        if isinstance(upload.error, BodyTooLargeError):
            return too_large(self._state, limit)
        if isinstance(upload.error, SlowBodyError):
            return too_slow(self._state, request, upload.error)
        if upload.error is not None:
            return malformed(upload.error)
        if isinstance(error, ServerSilentError):
            return problem(504, "Server timed out", str(error))
        self._executor.blame(server, error)
        return problem(502, "Server failed", str(error))

    async def _websocket(self, server: Server, exchange: Exchange) -> web.StreamResponse:
        """Both directions until either side closes."""
        server.passing += 1
        try:
            return await self._joined(server, exchange)
        finally:
            server.passing -= 1

    async def _joined(self, server: Server, exchange: Exchange) -> web.StreamResponse:
        request, limit = exchange.request, exchange.view.spec.queue.max_body_bytes
        protocols = websocket.offered_protocols(request)
        if not web.WebSocketResponse(protocols=protocols).can_prepare(request).ok:
            return problem(
                400, "Malformed request", "the WebSocket handshake is incomplete, or of another version than 13"
            )
        sent = request_headers(exchange)
        for name in [n for n in sent if n.lower().startswith("sec-websocket-")]:
            sent.popall(name, None)
        try:
            where = url(server, exchange.target)
            upstream = await websocket.connect(self._connections.fresh, where, sent, protocols, limit)
        except websocket.RefusedError as error:
            return problem(error.status if error.status >= 400 else 502, "Server refused", str(error))
        except ServerLostError as error:
            return problem(502, "Server failed", f"{server.spec.name}: {error}")
        except UnsendableError as error:
            return problem(400, "Malformed request", str(error))
        async with upstream:
            downstream = websocket.accept(upstream, limit)
            await downstream.prepare(request)
            self._websockets.add(downstream)
            try:
                await websocket.relay(downstream, upstream)
            finally:
                self._websockets.discard(downstream)
            return downstream


def _outgoing(exchange: Exchange, upload: Upload) -> Outgoing:
    request = exchange.request
    payload = upload.chunks if request.can_read_body else None
    return Outgoing(
        request.method,
        exchange.target,
        request_headers(exchange),
        payload,
        request.content_length,
        repeatable=payload is None and request.method in ("GET", "HEAD", "OPTIONS"),
        idle=PASS_IDLE_SECONDS,
    )
