"""What happens to a request: a task waits for its turn and a slot, anything else goes to a server at once."""

import asyncio
import logging
import os
from collections.abc import Coroutine
from typing import Any, Final

from aiohttp import WSCloseCode, web

from controller.dispatcher import headers, websocket
from controller.dispatcher.admission import (
    closing,
    declared_too_large,
    drain_time,
    malformed,
    refusal,
    too_large,
    unread,
)
from controller.dispatcher.connections import Connections
from controller.dispatcher.forward import (
    Answer,
    AnswerBrokeError,
    Exchange,
    ServerLostError,
    ServerSilentError,
    UnsendableError,
    Upload,
    cut,
    forward,
    invite_body,
    request_headers,
    url,
)
from controller.dispatcher.problems import problem
from controller.dispatcher.scheduler import ClosingError, ExpiredError, Task
from controller.dispatcher.servers import Server
from controller.dispatcher.spool import Body, BodyTooLargeError, Spool, SpoolError
from controller.dispatcher.state import State

logger = logging.getLogger(__name__)

#: A pass-through connection on which the server says nothing for so long is given up.
PASS_IDLE_SECONDS: Final = 300.0


class Proxy:
    """Forwards requests. One per process; it owns the connections to the servers."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._connections = Connections()
        self._spool = Spool(state.spool)
        self._websockets: set[web.WebSocketResponse] = set()

    async def close(self) -> None:
        """Close the connections to the servers."""
        await self._connections.close()

    async def close_websockets(self) -> None:
        """Tell the clients of all WebSockets that this dispatcher goes away."""
        await asyncio.gather(*(socket.close(code=WSCloseCode.GOING_AWAY) for socket in tuple(self._websockets)))

    # --- tasks ---------------------------------------------------------------------------------------------------

    async def task(self, exchange: Exchange) -> web.StreamResponse:
        """Queue a task, run it when its turn comes, answer."""
        state, request = self._state, exchange.request
        limit = exchange.view.spec.queue.max_body_bytes
        refused = declared_too_large(state, exchange) or refusal(state, exchange)
        if refused is not None:
            return unread(request, refused)
        try:
            await invite_body(request)
            body = await self._spool.receive(request.content, limit=limit)
        except BodyTooLargeError:
            return too_large(state, limit)
        except web.RequestPayloadError as error:
            return malformed(error)
        except SpoolError as error:
            logger.error("%s", error)  # noqa: TRY400 - the sentence says it all
            state.metrics.shed.labels("spool").inc()
            return problem(503, "No room for the body", "the dispatcher cannot keep request bodies now", retry_after=30)
        try:
            # The caps again: other bodies arrived while this one did.
            return refusal(state, exchange) or await self._run(exchange, body)
        finally:
            body.close()

    async def _run(self, exchange: Exchange, body: Body) -> web.StreamResponse:
        state, identity = self._state, exchange.identity
        task = state.scheduler.submit(os.urandom(8).hex(), identity.user, identity.network)
        status, answer = "cancelled", Answer()
        try:
            response = await self._attempts(exchange, task, body, answer)
            status = "success" if response.status < 500 else "failed"
            return response
        except ExpiredError:
            status = "expired"
            limit = exchange.view.spec.queue.max_wait_seconds
            detail = f"no server was free within {limit} s (queue.maxWaitSeconds)"
            retry_after = drain_time(state.scheduler, state.scheduler.waiting)
            return problem(503, "Waited too long", detail, retry_after=retry_after)
        except ClosingError:
            return closing(state)
        except AnswerBrokeError as error:
            status = "failed"
            logger.warning("task %s: %s", task.task_id, error)
            raise cut(exchange.request) from error
        finally:
            state.metrics.tasks.labels(status).inc()
            state.scheduler.finish(task, answered=answer.begun and status in ("success", "failed"))

    async def _attempts(self, exchange: Exchange, task: Task, body: Body, answer: Answer) -> web.StreamResponse:
        scheduler, limit = self._state.scheduler, float(exchange.view.spec.queue.max_wait_seconds)
        while True:
            server = await scheduler.granted(task, limit)
            if not task.tried:
                self._state.metrics.wait.observe((task.started or task.submitted) - task.submitted)
            try:
                return await self._at(server, exchange, task, body, answer)
            except ServerLostError as error:
                logger.warning("task %s: %s", task.task_id, error)
                if error.sent and not exchange.route.idempotent:
                    detail = f"{error}; the route is not idempotent, so it was not repeated"
                    return problem(502, "Server failed", detail)
                if not scheduler.can_retry({*task.tried, server.spec.name}):
                    return problem(502, "Server failed", f"{error}; no other server is left to try")
                self._state.metrics.retries.inc()
                scheduler.retry(task, server)
            except UnsendableError as error:
                return problem(400, "Malformed request", str(error))

    async def _at(
        self, server: Server, exchange: Exchange, task: Task, body: Body, answer: Answer
    ) -> web.StreamResponse:
        """Run a task at a server, and release the slot when the server's side is closed."""
        clock, scheduler, timeout = (
            asyncio.get_running_loop().time,
            self._state.scheduler,
            exchange.route.timeout_seconds,
        )
        began, seconds = clock(), None
        try:
            if not scheduler.has(server):
                raise ServerLostError(f"{server.spec.name} was withdrawn", sent=False)
            response = await self._limited(server, timeout, answer, self._send(server, exchange, task, body, answer))
            self._state.metrics.duration.observe(clock() - began)
            server.failures = 0
            if response.status < 500:
                seconds = clock() - began
            else:
                server.errors += 1
            return response
        except (ServerLostError, AnswerBrokeError):
            self._blame(server, exchange)
            raise
        finally:
            scheduler.release(task, server, seconds=seconds)

    def _send(
        self, server: Server, exchange: Exchange, task: Task, body: Body, answer: Answer
    ) -> Coroutine[Any, Any, web.StreamResponse]:
        # An empty body is sent as one where a method has one: a server may insist on the Content-Length.
        wanted = body.size or exchange.request.method in ("POST", "PUT", "PATCH")
        return forward(
            self._connections,
            server,
            exchange,
            body.payload if wanted else None,
            extra=headers.about_task(task, server),
            answer=answer,
            length=body.size,
            repeatable=exchange.route.idempotent,
        )

    async def _limited(
        self, server: Server, seconds: float, answer: Answer, work: Coroutine[Any, Any, web.StreamResponse]
    ) -> web.StreamResponse:
        """The work, unless its time is over or the pool withdraws the server.

        Raises:
            ServerLostError: the server was withdrawn before its answer began.
            AnswerBrokeError: the work was stopped in the middle of its answer.
        """
        withdrawn = False

        def withdraw() -> None:
            nonlocal withdrawn
            if not limit.expired():
                withdrawn = True
                limit.reschedule(0.0)

        try:
            async with asyncio.timeout(seconds) as limit:
                with self._state.scheduler.told_if_gone(server, withdraw):
                    return await work
        except TimeoutError as error:
            why = "was withdrawn" if withdrawn else f"did not finish within {seconds:g} s"
            if answer.begun:
                raise AnswerBrokeError(f"{server.spec.name} {why}") from error
            if withdrawn:
                raise ServerLostError(f"{server.spec.name} {why}") from error
            return problem(504, "Task timed out", f"{server.spec.name} {why}")

    # --- pass-through --------------------------------------------------------------------------------------------

    async def pass_through(self, exchange: Exchange) -> web.StreamResponse:
        """Forward a request at once, to the server that this network always gets."""
        state, request = self._state, exchange.request
        refused = declared_too_large(state, exchange)
        if refused is not None:
            return unread(request, refused)
        server = state.scheduler.servers.for_network(exchange.identity.network)
        if server is None:
            state.metrics.passed.labels("no_server").inc()
            detail = f"no server of pool {state.pool} is Ready"
            return unread(request, problem(503, "No server yet", detail, retry_after=30))
        server.passing += 1
        outcome = "failed"
        try:
            socket = headers.is_websocket(request.method, request.headers)
            response = await (self._websocket(server, exchange) if socket else self._pass(server, exchange))
            outcome = "ok" if response.status < 500 else "failed"
            return response
        finally:
            server.passing -= 1
            state.metrics.passed.labels(outcome).inc()

    async def _pass(self, server: Server, exchange: Exchange) -> web.StreamResponse:
        request, limit, payload = exchange.request, exchange.view.spec.queue.max_body_bytes, None
        upload = Upload(request.content, limit)
        if request.can_read_body:
            await invite_body(request)
            payload = upload.chunks
        try:
            return await forward(
                self._connections,
                server,
                exchange,
                payload,
                extra={},
                answer=Answer(),
                length=request.content_length,
                repeatable=payload is None and request.method in ("GET", "HEAD", "OPTIONS"),
                idle=PASS_IDLE_SECONDS,
            )
        except (ServerLostError, ServerSilentError) as error:
            if isinstance(upload.error, BodyTooLargeError):
                return too_large(self._state, limit)
            if upload.error is not None:
                return malformed(upload.error)
            self._blame(server, exchange)
            if isinstance(error, ServerSilentError):
                return problem(504, "Server timed out", str(error))
            return problem(502, "Server failed", str(error))
        except UnsendableError as error:
            return problem(400, "Malformed request", str(error))
        except AnswerBrokeError as error:
            logger.warning("%s %s: %s", request.method, request.path, error)
            raise cut(request) from error

    async def _websocket(self, server: Server, exchange: Exchange) -> web.StreamResponse:
        """Both directions until either side closes."""
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
            upstream = await websocket.connect(self._connections.fresh, url(server, exchange), sent, protocols, limit)
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

    def _blame(self, server: Server, exchange: Exchange) -> None:
        """A failed request counts like a failed probe, so that a dead server is left alone before the next probe."""
        threshold = exchange.view.spec.server.failure_threshold
        if self._state.scheduler.has(server) and server.noted(good=False, threshold=threshold):
            logger.warning("server %s is down: %d requests failed in a row", server.spec.name, threshold)
