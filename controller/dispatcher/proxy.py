"""Requests on their way to a server and back: streamed, never buffered, and given up as soon as either end is gone."""

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Final

import aiohttp
from aiohttp import hdrs, web

from controller.api.gpupool import Route
from controller.dispatcher import headers
from controller.dispatcher.identity import Identity
from controller.dispatcher.problems import problem
from controller.dispatcher.scheduler import ClosingError, ExpiredError, Task
from controller.dispatcher.servers import Server
from controller.dispatcher.spool import Body, BodyTooLargeError
from controller.dispatcher.state import State, View

logger = logging.getLogger(__name__)


#: A pass-through connection on which the server says nothing for so long is given up.
PASS_IDLE_SECONDS: Final = 300.0


class ServerLostError(Exception):
    """The server failed before the first byte of its answer; another one may do better."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request and what is known about it."""

    request: web.Request
    view: View
    identity: Identity
    route: Route


@dataclass(slots=True)
class Answer:
    """Whether the client has been sent anything of the answer."""

    begun: bool = False


class Proxy:
    """Forwards requests. One per process; it owns the connections to the servers."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=30),
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=5),
            skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
        )

    async def close(self) -> None:
        """Close the connections to the servers."""
        await self._session.close()

    # --- tasks ---------------------------------------------------------------------------------------------------

    async def task(self, exchange: Exchange) -> web.StreamResponse:
        """Queue a task, run it when its turn comes, answer."""
        state, queue = self._state, exchange.view.spec.queue
        refused = self._refusal(exchange)
        if refused is not None:
            return refused
        try:
            body = await Body.receive(exchange.request.content, limit=queue.max_body_bytes, folder=state.spool)
        except BodyTooLargeError:
            return self.too_large(queue.max_body_bytes)
        try:
            # The caps again: other bodies arrived while this one did.
            return self._refusal(exchange) or await self._run(exchange, body)
        finally:
            body.close()

    def _refusal(self, exchange: Exchange) -> web.Response | None:
        """The answer to a task that may not queue; None if it may."""
        state, queue = self._state, exchange.view.spec.queue
        declared = exchange.request.content_length
        waiting = state.scheduler.queue
        if declared is not None and declared > queue.max_body_bytes:
            return self.too_large(queue.max_body_bytes)
        if state.closing:
            state.metrics.shed.labels("closing").inc()
            return problem(
                503, "Shutting down", "this dispatcher is being replaced; send the task again", retry_after=5
            )
        if len(waiting) >= queue.max_tasks:
            state.metrics.shed.labels("queue_full").inc()
            detail = f"{len(waiting)} tasks are waiting, queue.maxTasks is {queue.max_tasks}"
            return problem(429, "Queue full", detail, retry_after=self._drain_time(len(waiting)))
        mine = waiting.waiting_of(exchange.identity.user)
        if mine >= queue.max_tasks_per_user:
            state.metrics.shed.labels("user_cap").inc()
            detail = f"{mine} of your tasks are waiting, queue.maxTasksPerUser is {queue.max_tasks_per_user}"
            return problem(429, "Too many tasks", detail, retry_after=self._drain_time(mine))
        return None

    def too_large(self, limit: int) -> web.Response:
        """The answer to a body above the limit."""
        self._state.metrics.shed.labels("body_too_large").inc()
        return problem(413, "Body too large", f"a request body may have {limit} bytes (queue.maxBodyBytes)")

    def _drain_time(self, tasks: int) -> float:
        """Seconds until about so many tasks are done, from what the servers did lately."""
        servers = [s for s in self._state.scheduler.servers if s.usable]
        rate = sum(s.spec.slots / (s.ewma or 1.0) for s in servers)
        return 60.0 if rate <= 0 else min(3600.0, tasks / rate)

    async def _run(self, exchange: Exchange, body: Body) -> web.StreamResponse:
        state, identity = self._state, exchange.identity
        task = state.scheduler.submit(secrets.token_hex(8), identity.user, identity.network)
        status = "cancelled"
        try:
            response = await self._attempts(exchange, task, body)
            status = "success" if response.status < 500 else "failed"
            return response
        except ExpiredError:
            status = "expired"
            limit = exchange.view.spec.queue.max_wait_seconds
            detail = f"no server was free within {limit} s (queue.maxWaitSeconds)"
            return problem(503, "Waited too long", detail, retry_after=self._drain_time(len(state.scheduler.queue)))
        except ClosingError:
            return _closing()
        except aiohttp.ClientConnectionResetError:
            raise  # the client went away
        except (ConnectionError, aiohttp.ClientError) as error:
            # The answer was under way: the connection is cut, so that the client sees that it is incomplete.
            status = "failed"
            logger.info("task %s broke off: %s", task.task_id, error)
            raise
        finally:
            state.metrics.tasks.labels(status).inc()
            state.scheduler.finish(task)

    async def _attempts(self, exchange: Exchange, task: Task, body: Body) -> web.StreamResponse:
        scheduler, limit = self._state.scheduler, float(exchange.view.spec.queue.max_wait_seconds)
        while True:
            server = await scheduler.granted(task, limit)
            if not task.tried:
                self._state.metrics.wait.observe((task.started or task.submitted) - task.submitted)
            try:
                return await self._at(server, exchange, task, body)
            except ServerLostError as error:
                logger.warning("task %s: %s", task.task_id, error)
                if not exchange.route.idempotent:
                    return problem(
                        502, "Server failed", f"{error}; the route is not idempotent, so it was not repeated"
                    )
                if not scheduler.can_retry({*task.tried, server.spec.name}):
                    return problem(502, "Server failed", f"{error}; no other server is left to try")
                self._state.metrics.retries.inc()
                scheduler.retry(task, server)

    async def _at(self, server: Server, exchange: Exchange, task: Task, body: Body) -> web.StreamResponse:
        """Run a task at a server and release the slot when the server's side is closed."""
        loop, scheduler = asyncio.get_running_loop(), self._state.scheduler
        began, seconds = loop.time(), None
        answer, timeout = Answer(), exchange.route.timeout_seconds
        try:
            async with asyncio.timeout(timeout) as limit:
                unwatch = scheduler.watch_gone(server, lambda: limit.reschedule(loop.time()))
                try:
                    headers_ = _task_headers(task, server)
                    response = await self._forward(server, exchange, body.payload(), headers_, answer, idle=None)
                finally:
                    unwatch()
            seconds = loop.time() - began
            self._state.metrics.duration.observe(seconds)
            return response
        except TimeoutError:
            return self._cut_short(server, answer, timed_out=loop.time() - began >= timeout, limit=timeout)
        finally:
            scheduler.release(task, server, seconds=seconds)

    def _cut_short(self, server: Server, answer: "Answer", *, timed_out: bool, limit: float) -> web.StreamResponse:
        """What follows when a task was stopped: its time was over, or the pool withdrew the server."""
        if answer.begun:
            # The client holds a part of an answer: only a cut connection tells it that the rest will not come.
            raise ConnectionResetError(f"{server.spec.name} was stopped in the middle of its answer")
        if timed_out:
            return problem(504, "Task timed out", f"{server.spec.name} did not finish within {limit:g} s")
        raise ServerLostError(f"{server.spec.name} was withdrawn")

    # --- pass-through --------------------------------------------------------------------------------------------

    async def pass_through(self, exchange: Exchange) -> web.StreamResponse:
        """Forward a request at once, to the server that this network always gets."""
        state = self._state
        server = state.scheduler.servers.for_network(exchange.identity.network)
        if server is None:
            state.metrics.passed.labels("no_server").inc()
            return problem(503, "No server yet", f"no server of pool {state.pool} is Ready", retry_after=30)
        server.passing += 1
        outcome = "failed"
        try:
            if exchange.request.headers.get(hdrs.UPGRADE, "").lower() == "websocket":
                response = await self._websocket(server, exchange)
            else:
                payload = exchange.request.content.iter_any() if exchange.request.can_read_body else None
                response = await self._forward(server, exchange, payload, {}, Answer(), idle=PASS_IDLE_SECONDS)
            outcome = "ok"
            return response
        except ServerLostError as error:
            return problem(502, "Server failed", str(error))
        except TimeoutError:
            return problem(504, "Server timed out", f"{server.spec.name} said nothing for {PASS_IDLE_SECONDS:g} s")
        finally:
            server.passing -= 1
            state.metrics.passed.labels(outcome).inc()

    # --- both ----------------------------------------------------------------------------------------------------

    async def _forward(
        self,
        server: Server,
        exchange: Exchange,
        payload: bytes | AsyncIterator[bytes] | None,
        extra: Mapping[str, str],
        answer: "Answer",
        *,
        idle: float | None,
    ) -> web.StreamResponse:
        """Send the request, stream the answer.

        Raises:
            ServerLostError: the server failed before its answer began.
            aiohttp.ClientError, ConnectionError: it failed, or the client went away, after that.
        """
        request = exchange.request
        sent = headers.to_server(
            request.headers, peer=request.remote or "unknown", scheme=request.scheme, host=request.host
        )
        if payload == b"" and request.method not in ("POST", "PUT", "PATCH"):
            payload = None
        try:
            upstream = await self._session.request(
                request.method,
                _url(server, request),
                headers=sent,
                data=payload,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=idle),
            )
        except (aiohttp.ClientError, ConnectionError) as error:
            server.failures += 1
            raise ServerLostError(f"{server.spec.name} did not answer: {error}") from error
        async with upstream:
            return await _stream(request, upstream, extra, answer)

    async def _websocket(self, server: Server, exchange: Exchange) -> web.StreamResponse:
        """Both directions until either side closes."""
        request = exchange.request
        sent = headers.to_server(
            request.headers, peer=request.remote or "unknown", scheme=request.scheme, host=request.host
        )
        protocols = [p.strip() for p in request.headers.get("Sec-WebSocket-Protocol", "").split(",") if p.strip()]
        for name in [n for n in sent if n.lower().startswith("sec-websocket-")]:
            sent.popall(name, None)
        try:
            upstream = await self._session.ws_connect(
                _url(server, request), headers=sent, protocols=protocols, max_msg_size=0, autoclose=False
            )
        except (aiohttp.ClientError, ConnectionError) as error:
            raise ServerLostError(f"{server.spec.name} refused the WebSocket: {error}") from error
        async with upstream:
            downstream = web.WebSocketResponse(
                protocols=[upstream.protocol] if upstream.protocol else (), max_msg_size=0, autoclose=False
            )
            await downstream.prepare(request)
            await _relay(downstream, upstream)
            return downstream


def _closing() -> web.Response:
    detail = "this dispatcher is being replaced; send the task again"
    return problem(503, "Shutting down", detail, retry_after=5)


def _url(server: Server, request: web.Request) -> str:
    return server.spec.address + request.raw_path


def _task_headers(task: Task, server: Server) -> dict[str, str]:
    """What a client may want to know about its task."""
    return {
        "X-Haipool-Task": task.task_id,
        "X-Haipool-User": task.user,
        "X-Haipool-User-Sequence": str(task.number),
        "X-Haipool-Start-Sequence": str(task.start_number),
        "X-Haipool-Wait-Seconds": f"{(task.started or task.submitted) - task.submitted:.6f}",
        "X-Haipool-Server": server.spec.name,
    }


async def _stream(
    request: web.Request, upstream: aiohttp.ClientResponse, extra: Mapping[str, str], answer: Answer
) -> web.StreamResponse:
    """The answer as it comes, with the server's own framing decisions."""
    response = web.StreamResponse(status=upstream.status, reason=upstream.reason)
    response.headers.update(headers.to_client(upstream.headers, extra))
    answer.begun = True
    await response.prepare(request)
    if request.method != "HEAD" and upstream.status not in (204, 304):
        async for chunk in upstream.content.iter_any():
            await response.write(chunk)
    await response.write_eof()
    return response


async def _relay(downstream: web.WebSocketResponse, upstream: aiohttp.ClientWebSocketResponse) -> None:
    """Copy messages both ways; when one side ends, the other is closed with the same code."""

    async def copy(
        source: web.WebSocketResponse | aiohttp.ClientWebSocketResponse,
        target: web.WebSocketResponse | aiohttp.ClientWebSocketResponse,
    ) -> None:
        while True:
            message = await source.receive()
            if message.type is aiohttp.WSMsgType.TEXT:
                await target.send_str(message.data)
            elif message.type is aiohttp.WSMsgType.BINARY:
                await target.send_bytes(message.data)
            else:
                await target.close(code=source.close_code or 1001)
                return

    tasks = {asyncio.create_task(copy(downstream, upstream)), asyncio.create_task(copy(upstream, downstream))}
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await downstream.close()
