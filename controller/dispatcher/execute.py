"""The executor: runs a task at servers until one has answered it, whoever wants the answer.

It knows no client connection. What the answer goes into is a `Sink`: the client's stream, or a store. Attempts,
retries, limits in time, the release of the slot, and the one place where a task ends are here.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, Literal, Protocol, cast

import msgspec
from aiohttp import web
from msgspec.structs import replace
from multidict import CIMultiDict

from controller.api.queue import Queue, Route
from controller.dispatcher import headers
from controller.dispatcher.admission import closing, drain_time
from controller.dispatcher.answer import RefusedAnswerError, Sink, next_part
from controller.dispatcher.completion import Overheard, Places
from controller.dispatcher.connections import Connections
from controller.dispatcher.deadlines import Deadlines
from controller.dispatcher.follow import Follower
from controller.dispatcher.forward import AnswerBrokeError, Outgoing, ServerLostError, UnsendableError, send
from controller.dispatcher.health import told
from controller.dispatcher.problems import problem
from controller.dispatcher.servers import Change, Server
from controller.dispatcher.slow import SlowClientError
from controller.dispatcher.state import State
from controller.dispatcher.task import ClosingError, ExpiredError, NoServerError, Task
from controller.dispatcher.upstream import Reply

logger = logging.getLogger(__name__)

TaskStatus = Literal["success", "failed", "cancelled", "expired"]


class UnwantedError(Exception):
    """The task is not to be run any more: its store says so."""


class Attempts(Protocol):
    """The request of a task that is in a store, which knows of each attempt at it."""

    async def begin(self, server: Server) -> Outgoing:
        """This server is about to get the task; returns what it gets.

        Raises:
            UnwantedError: it must not.
        """
        ...

    async def failed(self) -> None:
        """The server that has the task is lost, and it may be given to another one."""
        ...


class Job(msgspec.Struct, frozen=True):
    """A queued task and what running it takes."""

    task: Task
    route: Route
    queue: Queue
    #: Its request, or where to get it from for each attempt.
    outgoing: Outgoing | Attempts
    sink: Sink
    #: Called when the whole answer was brought home although the task goes on (`completion: Poll`).
    answered: Callable[[], None] | None = None

    @property
    def polled(self) -> bool:
        """Whether the task may go on after its answer."""
        return self.route.completion == "Poll" and self.route.poll is not None


class Outcome(msgspec.Struct, frozen=True):
    """How a task ended."""

    status: TaskStatus
    #: Why it is no success.
    reason: str | None = None
    #: The answer that the dispatcher gives in place of a server's; None: the sink has a server's.
    problem: web.Response | None = None
    #: The server's answer broke off in its middle: nothing that follows can be told from the answer.
    broke: bool = False
    #: The answer was brought home before the task was over.
    delivered: bool = False


class Executor:
    """Runs tasks. One per process."""

    def __init__(self, state: State, connections: Connections) -> None:
        self._state = state
        self._connections = connections
        self._deadlines = Deadlines()
        self._follower = Follower(state, connections, self._deadlines)
        state.scheduler.on_gone = self._deadlines.withdraw

    def close(self) -> None:
        """No work is under way any more."""
        self._deadlines.close()

    @property
    def places(self) -> Places:
        """At which server each polled task ran."""
        return self._follower.places

    async def run(self, job: Job) -> Outcome:
        """Wait for the task's turns, run it, and book its end (where no store does).

        Raises:
            asyncio.CancelledError, ConnectionError: who wanted the answer has gone; the task is booked as cancelled.
        """
        outcome = Outcome("cancelled", "the dispatcher shut down" if self._state.closing else "the client went away")
        try:
            outcome = await self._until_ended(job)
            brought = outcome.delivered or outcome.broke or outcome.problem is not None
            if not brought and outcome.status in ("success", "failed"):
                ended = outcome
                outcome = Outcome("cancelled", "the client went away during the answer")
                outcome = await self._brought_home(job, ended)
            return outcome
        finally:
            self._ended(job, outcome)

    async def _brought_home(self, job: Job, outcome: Outcome) -> Outcome:
        try:
            await job.sink.finish()
        except SlowClientError as error:
            logger.warning("task %s: %s", job.task.task_id, error)
            return Outcome("failed", str(error), broke=True)
        except RefusedAnswerError as error:
            return Outcome("failed", str(error), error.response)
        return outcome

    async def _until_ended(self, job: Job) -> Outcome:
        try:
            return await self._attempts(job)
        except ExpiredError:
            limit = job.queue.max_wait_seconds
            detail = f"no server was free within {limit} s (queue.maxWaitSeconds)"
            retry_after = drain_time(self._state.scheduler, self._state.scheduler.waiting)
            return Outcome("expired", detail, problem(503, "Waited too long", detail, retry_after=retry_after))
        except NoServerError:
            detail = f"there was no server at all for {job.queue.no_server_wait_seconds} s (queue.noServerWaitSeconds)"
            self._state.metrics.shed.labels("no_server").inc()
            retry_after = drain_time(self._state.scheduler, self._state.scheduler.waiting)
            return Outcome("expired", detail, problem(503, "No server", detail, retry_after=retry_after))
        except ClosingError:
            return Outcome("cancelled", "the dispatcher shut down", closing(self._state))
        except UnwantedError as error:
            return Outcome("cancelled", str(error))
        except (AnswerBrokeError, SlowClientError) as error:
            logger.warning("task %s: %s", job.task.task_id, error)
            return Outcome("failed", str(error), broke=True)

    def _ended(self, job: Job, outcome: Outcome) -> None:
        """The one place where a task ends that somebody waits for. Of others their store says how they have ended."""
        if isinstance(job.outgoing, Outgoing):
            self._state.metrics.ended[outcome.status].inc()
            if self._state.recorder is not None:
                self._state.recorder.task_ended(job.task, job.route, outcome.status, outcome.reason)
        scheduler, task = self._state.scheduler, job.task
        answered = job.sink.begun and outcome.status in ("success", "failed")
        if answered:
            self._state.metrics.response.observe(scheduler.now() - task.submitted)
        scheduler.finish(task, answered=answered)

    async def _attempts(self, job: Job) -> Outcome:
        scheduler, task, limit = self._state.scheduler, job.task, float(job.queue.max_wait_seconds)
        while True:
            server = await scheduler.granted(task, limit)
            if not task.tried:
                self._state.metrics.wait.observe((task.started or task.submitted) - task.submitted)
            try:
                return await self._at(server, job)
            except ServerLostError as error:
                logger.warning("task %s: %s", task.task_id, error)
                refused = self._not_again(job, error)
                if refused is not None:
                    return refused
                self._state.metrics.retries.inc()
                if not isinstance(job.outgoing, Outgoing):
                    await job.outgoing.failed()
                scheduler.retry(task, server)
            except RefusedAnswerError as error:
                return Outcome("failed", str(error), error.response)
            except UnsendableError as error:
                return Outcome("failed", str(error), problem(400, "Malformed request", str(error)))

    def _not_again(self, job: Job, error: ServerLostError) -> Outcome | None:
        """The end of a task that may not be given to another server; None if it may."""
        if error.sent and not job.route.idempotent:
            return _server_failed(f"{error}; the route is not idempotent, so it was not repeated")
        if not error.sent or error.withdrawn:
            return None
        scheduler, task, metrics = self._state.scheduler, job.task, self._state.metrics
        scheduler.retries.died_under(task)
        if task.deaths >= job.queue.max_attempts:
            metrics.quarantined.inc()
            why = f"{error}; {task.deaths} servers failed while they worked on this task (queue.maxAttempts)"
            return Outcome("failed", why, problem(502, "Task quarantined", why))
        budget = scheduler.retry_budget(job.queue.retry_budget_percent)
        if scheduler.retries.under_way > budget:
            metrics.shed.labels("retry_budget").inc()
            return _server_failed(f"{error}; {budget} other tasks are being repeated (queue.retryBudgetPercent)")
        return None

    async def _at(self, server: Server, job: Job) -> Outcome:
        """Run a task at a server, and release the slot when the server's side is closed."""
        clock, scheduler, task = asyncio.get_running_loop().time, self._state.scheduler, job.task
        began, seconds, copy = clock(), None, bytearray()
        try:
            if not scheduler.has(server):
                raise ServerLostError(f"{server.spec.name} was withdrawn", sent=False, withdrawn=True)
            outgoing = job.outgoing if isinstance(job.outgoing, Outgoing) else await job.outgoing.begin(server)
            work = self._send(server, job, outgoing, copy)
            outcome = self._answered(job, server, await self._limited(server, job, work))
            if job.polled and 200 <= job.sink.status < 300 and outcome.status == "success":
                left = began + job.route.timeout_seconds - clock()
                outcome = await self._followed(server, job, bytes(copy), asks=outgoing.headers, seconds=left)
            took = clock() - began
            self._state.metrics.duration.observe(took)
            if outcome.status == "success":
                seconds = took
            elif outcome.status == "failed":
                self._note(server, scheduler.failed(server, answered=True))
            return outcome
        except ServerLostError as error:
            self.blame(server, error)
            raise
        except AnswerBrokeError:
            self._note(server, scheduler.failed(server, answered=False))
            raise
        finally:
            scheduler.release(task, server, seconds=seconds)

    @staticmethod
    def _answered(job: Job, server: Server, late: str | None) -> Outcome:
        """What an answer says of the task."""
        if late is not None:
            return Outcome("failed", late, problem(504, "Task timed out", late))
        if job.sink.status < 500:
            return Outcome("success")
        return Outcome("failed", f"{server.spec.name} answered with status {job.sink.status}")

    async def _followed(
        self, server: Server, job: Job, answer: bytes, *, asks: CIMultiDict[str], seconds: float
    ) -> Outcome:
        """Bring the answer home, then wait for the task's end at the server."""
        try:
            await job.sink.finish()
        except ConnectionError:
            logger.debug("task %s: the client went away; the server has its task all the same", job.task.task_id)
        if job.answered is not None:
            job.answered()
        assert job.route.poll is not None  # noqa: S101 - the route's own rule
        end = await self._follower.await_end(server, job.route.poll, answer, headers=asks, seconds=seconds)
        if end.reason is not None:
            logger.warning("task %s: %s", job.task.task_id, end.reason)
        return Outcome(end.status, end.reason, delivered=True)

    async def _send(self, server: Server, job: Job, outgoing: Outgoing, copy: bytearray) -> None:
        extra = headers.about_task(job.task, server)
        if not job.polled:
            async with await send(self._connections, server, outgoing) as upstream:
                await job.sink.take(server, upstream, extra)
            return
        async with await send(self._connections, server, _readable(outgoing)) as upstream:
            overheard = cast("Reply", Overheard(upstream, copy))
            try:
                await job.sink.take(server, overheard, extra)
            except ConnectionError:  # the client has gone; the task has not
                while await next_part(server, overheard):
                    pass

    async def _limited(self, server: Server, job: Job, work: Coroutine[Any, Any, None]) -> str | None:
        """The work, unless its time is over or the pool withdraws the server.

        Returns:
            What is wrong if the time is over and nothing of an answer has left; None if the work is done.

        Raises:
            ServerLostError: the server was withdrawn before its answer began.
            AnswerBrokeError: the work was stopped in the middle of its answer.
        """
        seconds, running = job.route.timeout_seconds, self._deadlines.begin(server, job.route.timeout_seconds)
        try:
            await work
            return None
        except asyncio.CancelledError as error:
            if not running.is_ours():
                raise
            why = f"{server.spec.name} "
            why += "was withdrawn" if running.withdrawn else f"did not finish within {seconds:g} s"
            if job.sink.begun:
                raise AnswerBrokeError(why) from error
            if running.withdrawn:
                raise ServerLostError(why, withdrawn=True) from error
            return why
        finally:
            self._deadlines.end(running)

    def blame(self, server: Server, error: ServerLostError) -> None:
        """What a lost request says of its server.

        An attempt to connect that failed counts like a probe, so that a dead server is left alone before the next one.
        A connection that broke with a request on its way may be the request's doing: see `ejection`.
        """
        scheduler = self._state.scheduler
        if not error.sent:
            self._note(server, scheduler.unreachable(server))
        elif not error.withdrawn:
            self._note(server, scheduler.failed(server, answered=False))

    def _note(self, server: Server, change: Change | None) -> None:
        if change is not None:
            logger.warning("%s", told(server, change))


def _server_failed(why: str) -> Outcome:
    return Outcome("failed", why, problem(502, "Server failed", why))


def _readable(outgoing: Outgoing) -> Outgoing:
    """The request, to be answered without compression: its answer is read here."""
    sent = outgoing.headers.copy()
    sent.popall("Accept-Encoding", None)
    return replace(outgoing, headers=sent)
