"""What happens to a request: a task waits for its turn and a slot, anything else goes to a server at once."""

import asyncio
import itertools
import logging
import os
from collections.abc import Iterator

from aiohttp import WSCloseCode, web

from controller.dispatcher.admission import declared_too_large, malformed, refusal, too_large, too_slow, unread
from controller.dispatcher.answer import ClientSink, Sink, cut
from controller.dispatcher.connections import Connections
from controller.dispatcher.detached import Detached
from controller.dispatcher.execute import Executor, Job
from controller.dispatcher.forward import Exchange, Outgoing, invite_body, request_headers
from controller.dispatcher.passing import PassThrough
from controller.dispatcher.problems import problem
from controller.dispatcher.saving.saving import saving_of
from controller.dispatcher.slow import SlowBodyError
from controller.dispatcher.spool import Body, BodyTooLargeError, Spool, SpoolError
from controller.dispatcher.state import State

logger = logging.getLogger(__name__)


class Proxy:
    """Forwards requests. One per process; it owns the connections to the servers."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._connections = Connections()
        self._spool = Spool(state.spool)
        self._websockets: set[web.WebSocketResponse] = set()
        self.executor = Executor(state, self._connections)
        self._ids = task_ids()
        self._detached = Detached(self.executor)
        self._passing = PassThrough(state, self._connections, self.executor, self._spool, self._websockets)

    async def close(self) -> None:
        """Give up what still runs, and close the connections to the servers."""
        await self._detached.close()
        self.executor.close()
        await self._connections.close()
        await self._state.images.close()

    async def close_websockets(self) -> None:
        """Tell the clients of all WebSockets that this dispatcher goes away."""
        await asyncio.gather(*(socket.close(code=WSCloseCode.GOING_AWAY) for socket in tuple(self._websockets)))

    async def pass_through(self, exchange: Exchange) -> web.StreamResponse:
        """Forward a request at once."""
        return await self._passing.handle(exchange)

    async def task(self, exchange: Exchange) -> web.StreamResponse:
        """Queue a task, run it when its turn comes, answer."""
        state, request = self._state, exchange.request
        refused = declared_too_large(state, exchange) or refusal(state, exchange)
        if refused is not None:
            return unread(request, refused)
        body = await self.receive(exchange)
        if isinstance(body, web.Response):
            return body
        # The caps again: other bodies arrived while this one did.
        refused = refusal(state, exchange)
        if refused is not None:
            body.close()
            return refused
        return await self._run(exchange, body)

    async def receive(self, exchange: Exchange) -> Body | web.Response:
        """The request's whole body, or the answer to one that cannot be had."""
        limit = exchange.view.spec.queue.max_body_bytes
        try:
            await invite_body(exchange.request)
            slow = exchange.view.spec.queue.slow_clients
            return await self._spool.receive(exchange.request.content, limit=limit, slow=slow)
        except SlowBodyError as error:
            return too_slow(self._state, exchange.request, error)
        except BodyTooLargeError:
            return too_large(self._state, limit)
        except web.RequestPayloadError as error:
            return malformed(error)
        except SpoolError as error:
            logger.error("%s", error)  # noqa: TRY400 - the sentence says it all
            self._state.metrics.shed.labels("spool").inc()
            return problem(503, "No room for the body", "the dispatcher cannot keep request bodies now", retry_after=30)

    async def _run(self, exchange: Exchange, body: Body) -> web.StreamResponse:
        identity, sink = exchange.identity, ClientSink(exchange.request, self._spool, exchange.view.spec.queue)
        request, saving = outgoing(exchange, body), saving_of(exchange, self._state)
        if saving is not None:
            saving.ask(request.headers)
        task = self._state.scheduler.submit(
            next(self._ids), identity, route=exchange.route.name, cost=exchange.route.cost
        )
        into: Sink = sink if saving is None else saving.sink(sink)
        job = Job(task, exchange.route, exchange.view.spec.queue, request, into)

        def close() -> None:
            body.close()
            sink.close()
            if saving is not None:
                saving.close()

        if job.polled:
            outcome = await self._detached.run(job, close)
        else:
            try:
                outcome = await self.executor.run(job)
            finally:
                close()
        if outcome is None:
            return sink.response
        if outcome.broke:
            raise cut(exchange.request)
        return outcome.problem or sink.response


def task_ids() -> Iterator[str]:
    """Ids for tasks: unique among all dispatchers, and in the order of coming."""
    process = os.urandom(6).hex()
    return (f"{process}-{number:x}" for number in itertools.count(1))


def outgoing(exchange: Exchange, body: Body) -> Outgoing:
    """A task's request as servers get it."""
    # An empty body is sent as one where a method has one: a server may insist on the Content-Length.
    wanted = body.size or exchange.request.method in ("POST", "PUT", "PATCH")
    return Outgoing(
        exchange.request.method,
        exchange.target,
        request_headers(exchange),
        body.payload if wanted else None,
        body.size,
        repeatable=exchange.route.idempotent,
    )
