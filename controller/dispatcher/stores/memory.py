"""Tasks in memory: gone with the process, so clients are not offered to come back for them. For trying things out."""

from collections import OrderedDict
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

from controller.dispatcher.stores.base import (
    INTERRUPTED,
    NO_ROOM,
    ROW_BYTES,
    Added,
    Claim,
    Figures,
    NewTask,
    Outcome,
    Recovered,
    Request,
    StoredTask,
    TaskState,
)
from controller.dispatcher.stores.blobs import Blob, Content
from controller.dispatcher.stores.errors import StoreFullError


@dataclass(slots=True)
class _Entry:
    task: StoredTask
    request: Request | None
    #: Body of the request, or of the answer once it has ended.
    body: bytes
    bytes: int
    key: tuple[str, str] | None


class MemoryStore:
    """A store without a disk."""

    durable = False

    def __init__(self) -> None:
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._keys: dict[tuple[str, str], str] = {}
        self._sequence = 0
        #: Kept up to date, since every task that comes asks for them.
        self._counts = dict.fromkeys(TaskState, 0)
        self._bytes = self._ended_bytes = 0

    @property
    def figures(self) -> Figures:
        """What it holds."""
        return Figures(dict(self._counts), self._bytes, self._ended_bytes)

    def _count(self, entry: _Entry, sign: int) -> None:
        self._counts[entry.task.state] += sign
        self._bytes += sign * entry.bytes
        self._ended_bytes += sign * entry.bytes * entry.task.state.ended

    def _set(self, entry: _Entry, task: StoredTask, size: int | None = None) -> None:
        """What is known of a task changes, and what it takes."""
        self._count(entry, -1)
        entry.task, entry.bytes = task, entry.bytes if size is None else size
        self._count(entry, 1)

    def blob(self) -> Blob:
        """A place for content that is coming in."""
        return Blob(None)

    async def add(self, task: NewTask, body: Blob, *, limit: int) -> Added:
        """Keep a task; see `Store.add`."""
        key = None if task.key is None else (task.key.scope, task.key.key)
        if key is not None and key in self._keys:
            return Added(self._entries[self._keys[key]].task, new=False)
        size = ROW_BYTES + body.size + len(task.request.target) + sum(len(n) + len(v) for n, v in task.request.headers)
        if not self._make_room(size, limit):
            raise StoreFullError(f"{size} bytes more would be above {limit} (queue.asyncTasks.maxStoredBytes)")
        self._sequence += 1
        stored = StoredTask(
            task.task_id,
            self._sequence,
            TaskState.QUEUED,
            task.identity,
            task.route,
            task.submitted,
            fingerprint=None if task.key is None else task.key.fingerprint,
        )
        entry = self._entries[task.task_id] = _Entry(stored, task.request, body.data or b"", size, key)
        self._count(entry, 1)
        if key is not None:
            self._keys[key] = task.task_id
        return Added(stored, new=True)

    def _make_room(self, size: int, limit: int) -> bool:
        too_much = self._bytes + size - limit
        if too_much <= 0 or too_much > self._ended_bytes:
            return too_much <= 0
        ended = sorted((e for e in self._entries.values() if e.task.state.ended), key=_oldest_first)
        for entry in ended:
            if too_much <= 0:
                return True
            too_much -= entry.bytes
            if entry.task.gone:
                self._delete(entry)
            else:
                self._forget(entry)
                too_much += ROW_BYTES
        return too_much <= 0 or self._make_room(size, limit)

    async def claim(self, task_id: str, server: str, now: float) -> Claim | None:
        """A queued task runs from now on; see `Store.claim`."""
        entry = self._entries.get(task_id)
        if entry is None or entry.task.state is not TaskState.QUEUED or entry.request is None:
            return None
        task = entry.task
        servers = (*task.servers, server)
        self._set(entry, replace(task, state=TaskState.RUNNING, started=task.started or now, servers=servers))
        return Claim(entry.task, entry.request, Content(len(entry.body), data=entry.body), entry.task.attempts)

    def _claimed(self, claim: Claim) -> _Entry | None:
        """The task of a claim that is not void."""
        entry = self._entries.get(claim.task.task_id)
        if entry is None or entry.task.state is not TaskState.RUNNING or entry.task.attempts != claim.token:
            return None
        return entry

    async def give_back(self, claim: Claim) -> bool:
        """A claimed task is queued again; see `Store.give_back`."""
        entry = self._claimed(claim)
        if entry is None:
            return False
        self._set(entry, replace(entry.task, state=TaskState.QUEUED))
        return True

    async def finish(
        self, claim: Claim, outcome: Outcome, body: Blob | None, *, now: float, limit: int
    ) -> StoredTask | None:
        """A claimed task has ended; see `Store.finish`."""
        entry = self._claimed(claim)
        if entry is None:
            return None
        content = b"" if body is None else body.data or b""
        size = len(content) + sum(len(name) + len(value) for name, value in outcome.headers)
        if not self._make_room(size + ROW_BYTES - entry.bytes, limit):
            outcome, content, size = Outcome(TaskState.FAILED, failure=NO_ROOM), b"", 0
        self._end(entry, outcome.state, now, outcome)
        entry.body = content
        self._set(entry, entry.task, ROW_BYTES + size)
        return entry.task

    def _end(self, entry: _Entry, state: TaskState, now: float, outcome: Outcome | None = None) -> None:
        entry.request, entry.body = None, b""
        self._set(entry, replace(entry.task, state=state, completed=now, outcome=outcome), ROW_BYTES)

    def _forget(self, entry: _Entry) -> None:
        entry.body = b""
        self._set(entry, replace(entry.task, gone=True, outcome=None), ROW_BYTES)
        if entry.key is not None:
            del self._keys[entry.key]
            entry.key = None

    def _delete(self, entry: _Entry) -> None:
        del self._entries[entry.task.task_id]
        self._count(entry, -1)

    async def cancel(self, task_id: str, now: float) -> StoredTask | None:
        """The client does not want it any more; see `Store.cancel`."""
        entry = self._entries.get(task_id)
        if entry is None:
            return None
        task = entry.task
        if not task.state.ended:
            self._end(entry, TaskState.CANCELLED, now)
        elif task.outcome is not None:
            self._forget(entry)
        return task

    async def expire(self, task_ids: list[str], now: float) -> list[StoredTask]:
        """Those of these tasks that were queued have expired; see `Store.expire`."""
        found = [self._entries[task_id] for task_id in task_ids if task_id in self._entries]
        queued = [entry for entry in found if entry.task.state is TaskState.QUEUED]
        for entry in queued:
            self._end(entry, TaskState.EXPIRED, now)
        return [entry.task for entry in queued]

    async def get(self, task_id: str) -> StoredTask | None:
        """The task of this id."""
        entry = self._entries.get(task_id)
        return None if entry is None else entry.task

    async def result(self, task_id: str) -> Content | None:
        """The body of a task's answer; see `Store.result`."""
        entry = self._entries.get(task_id)
        if entry is None or entry.task.outcome is None:
            return None
        return Content(len(entry.body), data=entry.body)

    async def recover(self, now: float) -> Recovered:
        """Settle what ran when the last process ended; see `Store.recover`."""
        running = [entry for entry in self._entries.values() if entry.task.state is TaskState.RUNNING]
        once = [entry for entry in running if not entry.task.route.idempotent]
        for entry in running:
            if entry.task.route.idempotent:
                self._set(entry, replace(entry.task, state=TaskState.QUEUED))
            else:
                self._end(entry, TaskState.FAILED, now, Outcome(TaskState.FAILED, failure=INTERRUPTED))
        return Recovered(len(running) - len(once), tuple(entry.task for entry in once))

    async def queued(self) -> AsyncIterator[list[StoredTask]]:
        """All queued tasks in the order of their submission."""
        found = [entry.task for entry in self._entries.values() if entry.task.state is TaskState.QUEUED]
        if found:
            yield found

    async def purge(self, now: float, ttl: float) -> int:
        """Drop old answers; see `Store.purge`."""
        ended = [entry for entry in self._entries.values() if entry.task.completed is not None]
        dropped = 0
        for entry in ended:
            age = now - (entry.task.completed or now)
            if age > ttl and not entry.task.gone:
                self._forget(entry)
                dropped += 1
            if age > 2 * ttl:
                self._delete(entry)
        return dropped

    async def close(self) -> None:
        """Nothing to give back."""


def _oldest_first(entry: _Entry) -> tuple[bool, float]:
    return entry.task.gone, entry.task.completed or 0.0
