"""Asynchronous tasks from their coming to their end.

Each is kept before it is acknowledged, then queued, run, and its answer kept for a while. The fair queue decides whose
turn it is, for these tasks as for all others; a task that waits costs its place there and nothing else. What a task is,
is in the store. A coroutine begins when there is a slot.
"""

import asyncio
import json
import logging
from collections import Counter
from collections.abc import Coroutine
from dataclasses import dataclass, replace
from typing import Any, Final

from multidict import CIMultiDict

from controller.api.queue import Queue
from controller.dispatcher.answer import Sink
from controller.dispatcher.execute import Executor, Job, Outcome, TaskStatus
from controller.dispatcher.identity import Identity
from controller.dispatcher.problems import problem
from controller.dispatcher.saving.saving import Saving
from controller.dispatcher.state import State
from controller.dispatcher.stores import base
from controller.dispatcher.stores.base import Added, Failure, NewTask, Store, StoredTask, TaskState
from controller.dispatcher.stores.blobs import Blob
from controller.dispatcher.stores.errors import StoreError
from controller.dispatcher.task import Task
from controller.dispatcher.tasks.attempts import StoredAttempts, StoreSink, insist
from controller.dispatcher.tasks.board import Board

logger = logging.getLogger(__name__)

#: How often tasks are looked for that wait too long.
EXPIRE_SECONDS: Final = 1.0
#: How often answers are looked for whose time is over.
PURGE_SECONDS: Final = 10.0
#: Tasks that expire in one transaction.
EXPIRED_AT_ONCE: Final = 500
#: For a store that must still be told of the last ends, when the process ends.
LAST_WORDS_SECONDS: Final = 5.0
#: How the ends of tasks are counted.
_STATUS: Final[dict[TaskState, TaskStatus]] = {
    TaskState.SUCCEEDED: "success",
    TaskState.FAILED: "failed",
    TaskState.CANCELLED: "cancelled",
    TaskState.EXPIRED: "expired",
}


@dataclass(slots=True, eq=False)
class _Run:
    """A task that has a slot, or is about to leave it."""

    task: Task
    handle: "asyncio.Task[None] | None" = None
    #: Whether the executor has it, which then gives the slot back.
    executed: bool = False


class AsyncTasks:
    """The asynchronous tasks of this process."""

    def __init__(self, state: State, executor: Executor) -> None:
        self.board = Board()
        #: No event will come any more: the process ends.
        self.over = asyncio.Event()
        self._state = state
        self._executor = executor
        #: One for all tasks: a bound method made anew would cost each of them.
        self._on_grant = self._granted
        self._runs: dict[str, _Run] = {}
        #: What must not be cut off: tasks on their way into the store, and ends on theirs.
        self._writing: set[asyncio.Task[Any]] = set()
        self._arriving: Counter[str] = Counter()

    @property
    def store(self) -> Store:
        """Where they are."""
        return self._state.store

    @property
    def offered(self) -> bool:
        """Whether clients may come back for their answers."""
        return self.store.durable

    @property
    def queue(self) -> Queue:
        """The pool's settings."""
        view = self._state.view
        return Queue() if view is None else view.spec.queue

    def arriving(self, quota: str) -> tuple[int, int]:
        """Tasks that are being kept and do not wait in the queue yet: in all, and of one allowance."""
        return self._arriving.total(), self._arriving[quota]

    # --- coming ------------------------------------------------------------------------------------------------------

    async def recover(self) -> None:
        """Queue what a process before this one has left, in the order of its submission.

        Raises:
            StoreError: the store cannot be read.
        """
        recovered = await self.store.recover(self._state.wall())
        for failed in recovered.failed:
            self._book(failed, None, base.INTERRUPTED.detail)
        count, known = 0, dict[Identity, Identity]()
        async for page in self.store.queued():
            for task in page:
                # Many tasks of one user share what is known of it.
                self._queue(task, known.setdefault(task.identity, task.identity))
            count += len(page)
        if count or recovered.failed:
            logger.info(
                "%d tasks wait since before the start; %d of them ran then. %d others ran that may not run twice",
                *(count, recovered.requeued, len(recovered.failed)),
            )

    async def add(self, task: NewTask, body: Blob) -> Added:
        """Keep a task and queue it. Goes on if the caller is cancelled. Takes the blob over.

        Raises:
            StoreError: it was not kept.
        """
        self._arriving[task.identity.quota] += 1
        return await asyncio.shield(self._write(self._add(task, body)))

    async def _add(self, task: NewTask, body: Blob) -> Added:
        quota = task.identity.quota
        try:
            added = await self.store.add(task, body, limit=self.queue.async_tasks.max_stored_bytes)
        except StoreError:
            body.discard()
            raise
        finally:
            self._arriving[quota] -= 1
            if not self._arriving[quota]:
                del self._arriving[quota]
        if added.new and not self._state.closing:
            self._queue(added.task, task.identity)
        return added

    def _queue(self, task: StoredTask, identity: Identity) -> None:
        age = max(0.0, self._state.wall() - task.submitted)
        route = task.route
        self._state.scheduler.submit_stored(
            task.task_id, identity, route=route.name, cost=route.cost, age=age, on_grant=self._on_grant
        )

    def _write(self, work: Coroutine[Any, Any, Added]) -> "asyncio.Task[Added]":
        job = asyncio.create_task(work)
        self._writing.add(job)
        job.add_done_callback(self._writing.discard)
        return job

    # --- running -----------------------------------------------------------------------------------------------------

    def _granted(self, task: Task) -> None:
        run = self._runs[task.task_id] = _Run(task)
        run.handle = asyncio.create_task(self._run(run))
        run.handle.add_done_callback(lambda _: self._left(run))

    def _left(self, run: _Run) -> None:
        """The coroutine is over, in whatever way, and be it before it began."""
        self._runs.pop(run.task.task_id, None)
        if not run.executed:
            self._state.scheduler.abandon(run.task)
        handle = run.handle
        if handle is not None and not handle.cancelled() and (error := handle.exception()) is not None:
            logger.error("task %s", run.task.task_id, exc_info=error)

    async def _run(self, run: _Run) -> None:
        task, store, wall = run.task, self.store, self._state.wall
        server = task.grant.result().spec.name
        claim = await insist(lambda: store.claim(task.task_id, server, wall()))
        if claim is None:
            return  # cancelled or expired in this very moment
        self.board.changed(task.task_id)
        saving = self._saving(claim)
        attempts = StoredAttempts(store, claim, wall, self.board.changed, saving)
        sink = StoreSink(store, self.queue.async_tasks.max_result_bytes)
        into: Sink = sink if saving is None else saving.sink(sink)
        try:
            run.executed = True
            outcome = await self._execute(Job(task, claim.task.route, self.queue, attempts, into))
            del self._runs[task.task_id]
            await self._end(task, attempts, sink, outcome)
        finally:
            attempts.close()
            sink.discard()
            if saving is not None:
                saving.close()
            self.board.changed(task.task_id)

    def _saving(self, claim: base.Claim) -> Saving | None:
        view = self._state.view
        if view is None or view.saving is None:
            return None
        request = claim.request
        return Saving(self._state, view.saving, request.method, CIMultiDict(request.headers), stored=True)

    async def _execute(self, job: Job) -> Outcome:
        try:
            return await self._executor.run(job)
        except Exception:
            logger.exception("task %s", job.task.task_id)
            detail = "the dispatcher failed on this task; its log has the reason"
            return Outcome("failed", detail, problem(500, "Internal Server Error", detail))

    async def _end(self, task: Task, attempts: StoredAttempts, sink: StoreSink, outcome: Outcome) -> None:
        """Tell the store how a task has ended; nothing cuts this off but the end of the process."""
        handle = asyncio.current_task()
        assert handle is not None  # noqa: S101 - this is a coroutine
        self._writing.add(handle)
        handle.add_done_callback(self._writing.discard)
        if outcome.status == "cancelled":
            return  # by the store's own word, or it stays there for the next process
        if outcome.status == "expired":
            ended = await insist(lambda: self.store.expire([task.task_id], self._state.wall()))
        else:
            told, body = _told(outcome, sink)
            finished = await self._finish(attempts.claim, told, body)
            ended = [] if finished is None else [finished]
        for stored in ended:
            self._book(stored, task, outcome.reason)

    async def _finish(self, claim: base.Claim, outcome: base.Outcome, body: Blob | None) -> StoredTask | None:
        now, limit = self._state.wall(), self.queue.async_tasks.max_stored_bytes
        try:
            return await self.store.finish(claim, outcome, body, now=now, limit=limit)
        except StoreError as error:
            logger.error("task %s: its end cannot be kept: %s", claim.task.task_id, error)  # noqa: TRY400
            if body is not None:
                body.discard()
                outcome = base.Outcome(TaskState.FAILED, failure=base.NO_ROOM)
            return await insist(lambda: self.store.finish(claim, outcome, None, now=now, limit=limit))

    def _book(self, stored: StoredTask, task: Task | None, reason: str | None) -> None:
        """The one place where a task ends that is in a store.

        Args:
            stored: as it has ended.
            task: what this process knows of it.
            reason: why that is no success.
        """
        status = _STATUS[stored.state]
        self._state.metrics.ended[status].inc()
        if self._state.recorder is not None:
            self._state.recorder.stored_task_ended(stored, task, status, reason)

    # --- ends that no server brings ----------------------------------------------------------------------------------

    async def cancel(self, task_id: str) -> StoredTask | None:
        """The client does not want this task any more; its server is left alone by the time this returns.

        Returns:
            The task as it was before; None if there is none.

        Raises:
            StoreError: nothing was changed.
        """
        before = await self.store.cancel(task_id, self._state.wall())
        if before is None or before.state.ended:
            return before
        task, run = self._state.scheduler.withdraw(task_id), self._runs.get(task_id)
        if run is not None and run.handle is not None:
            run.handle.cancel()
            await asyncio.wait([run.handle])
            task = run.task
        cancelled = replace(before, state=TaskState.CANCELLED, completed=self._state.wall())
        self._book(cancelled, task, "its client cancelled it")
        self.board.changed(task_id)
        return before

    async def run_timers(self) -> None:
        """Expire tasks and drop answers, for ever."""
        async with asyncio.TaskGroup() as group:
            group.create_task(_every(EXPIRE_SECONDS, self.expire))
            group.create_task(_every(PURGE_SECONDS, self.purge))

    async def expire(self) -> None:
        """End the tasks that waited too long: by the clock, not only when something happens to be looked at."""
        limit = self.queue.max_wait_seconds
        while late := self._state.scheduler.waiting_longer(limit, at_most=EXPIRED_AT_ONCE):
            ended = await self.store.expire([task.task_id for task in late], self._state.wall())
            here = {task.task_id: task for task in late}
            for expired in ended:
                reason = f"no server was free within {limit} s (queue.maxWaitSeconds)"
                self._book(expired, here[expired.task_id], reason)
                self.board.changed(expired.task_id)
            for task in late:
                self._state.scheduler.withdraw(task.task_id)

    async def purge(self) -> None:
        """Drop the answers whose time is over."""
        await self.store.purge(self._state.wall(), self.queue.async_tasks.result_ttl_seconds)

    # --- the end of the process --------------------------------------------------------------------------------------

    def end_streams(self) -> None:
        """Nothing more will be told."""
        self.over.set()
        self.board.all_changed()

    async def close(self) -> None:
        """Leave what runs to the next process, and close the store."""
        self.end_streams()
        self._state.scheduler.shut_out()
        running = [run.handle for run in self._runs.values() if run.handle is not None]
        for handle in running:
            handle.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        if self._writing:
            _, late = await asyncio.wait(self._writing, timeout=LAST_WORDS_SECONDS)
            for job in late:
                job.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        await self.store.close()


def _told(outcome: Outcome, sink: StoreSink) -> tuple[base.Outcome, Blob | None]:
    """What the store is told of an end, and the body of the answer."""
    if outcome.problem is not None:
        # The parts of the problem that a client that waits would have got.
        assert isinstance(outcome.problem.body, bytes)  # noqa: S101 - as problems are made
        told = json.loads(outcome.problem.body)
        return base.Outcome(TaskState.FAILED, failure=Failure(told["status"], told["title"], told["detail"])), None
    if outcome.status == "success":
        return base.Outcome(TaskState.SUCCEEDED, sink.status, sink.headers), sink.taken()
    # Its server answered with an error, or answered and failed afterwards (`completion: Poll`).
    failure = Failure(502, "Server failed", outcome.reason or "") if outcome.delivered else None
    return base.Outcome(TaskState.FAILED, sink.status, sink.headers, failure), sink.taken()


async def _every(seconds: float, what: Any) -> None:
    """Do this again and again; what a store cannot do now it can do later."""
    while True:
        await asyncio.sleep(seconds)
        try:
            await what()
        except StoreError as error:
            logger.error("%s", error)  # noqa: TRY400 - the sentence says it all
