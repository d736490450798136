"""What a store of asynchronous tasks promises, and the records that go in and out of it.

A store is the truth of which tasks exist, never of whose turn it is: that is the fair queue's, in memory. What a store
has acknowledged outlives the process where `durable` says so. Synchronous tasks are in no store: after a crash nobody
waits for their answers.

Every change of a running task is fenced: a claim carries a token, each claim of a task a higher one, and what is said
with an older token changes nothing. A worker that was given up can so not end a task that another one has by now.
"""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Protocol

from controller.api.queue import Route
from controller.dispatcher.identity import Identity
from controller.dispatcher.stores.blobs import Blob, Content

Headers = tuple[tuple[str, str], ...]

#: What a task counts for in `queue.asyncTasks.maxStoredBytes` besides its texts, body and answer.
ROW_BYTES: Final = 512


class TaskState(StrEnum):
    """Where a task stands. The last four are ends: a task never leaves them."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"

    @property
    def ended(self) -> bool:
        """Whether nothing will come of it any more."""
        return self not in (TaskState.QUEUED, TaskState.RUNNING)


@dataclass(frozen=True, slots=True)
class Request:
    """A request as it will be sent to a server, but for its body."""

    method: str
    #: Path and query, as the client wrote them.
    target: str
    headers: Headers


@dataclass(frozen=True, slots=True)
class IdempotencyKey:
    """Which tasks are the same one to their client."""

    #: Whose key it is: two clients may use the same one.
    scope: str
    key: str
    #: Hash of the request: under one key there is only one.
    fingerprint: bytes


@dataclass(frozen=True, slots=True)
class NewTask:
    """A task as it comes."""

    task_id: str
    request: Request
    identity: Identity
    #: As it was when the task came; a pool that is changed since changes nothing about it.
    route: Route
    #: Unix seconds.
    submitted: float
    key: IdempotencyKey | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a task has no answer of a server: the parts of a problem (RFC 9457)."""

    status: int
    title: str
    detail: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a task ended at a server: with an answer, or with a failure."""

    state: TaskState
    #: Status and headers of the server's answer.
    status: int | None = None
    headers: Headers = ()
    failure: Failure | None = None


@dataclass(frozen=True, slots=True)
class StoredTask:
    """A task as the store has it. Times are Unix seconds."""

    task_id: str
    #: Total order of submission.
    sequence: int
    state: TaskState
    identity: Identity
    route: Route
    submitted: float
    started: float | None = None
    completed: float | None = None
    #: Servers that were given the task, in order; also the token of its last claim.
    servers: tuple[str, ...] = ()
    fingerprint: bytes | None = None
    outcome: Outcome | None = None
    #: Whether its answer was dropped since: by time, by size, or because its client asked for that.
    gone: bool = False

    @property
    def attempts(self) -> int:
        """How often it was given to a server."""
        return len(self.servers)


@dataclass(frozen=True, slots=True)
class Added:
    """What came of adding a task."""

    task: StoredTask
    #: False: there was one with this key already, which is `task`; the new one was dropped.
    new: bool


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to run a task."""

    task: StoredTask
    request: Request
    body: Content
    token: int


@dataclass(frozen=True, slots=True)
class Figures:
    """What a store holds."""

    tasks: Mapping[TaskState, int] = field(default_factory=dict)
    #: As `queue.asyncTasks.maxStoredBytes` counts them.
    bytes: int = 0
    #: Those of ended tasks, which make room for others where it is needed.
    ended_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Recovered:
    """What a store did about the tasks that ran when its last process ended."""

    #: How many are queued again.
    requeued: int
    #: Those that may not run twice, as they are now.
    failed: tuple[StoredTask, ...]


#: How a task ends that ran when the dispatcher stopped, and that may not be run twice.
INTERRUPTED: Final = Failure(
    502, "Task interrupted", "the dispatcher restarted while it ran, and its route is not idempotent"
)
#: How a task ends whose answer finds no room.
NO_ROOM: Final = Failure(
    507,
    "No room for the answer",
    "a server did the task, but its answer finds no room (queue.asyncTasks.maxStoredBytes)",
)
#: How a task ends whose body was removed from under the store.
BODY_LOST: Final = Failure(500, "Body lost", "the body of the request is missing from the dispatcher's folder")


class Store(Protocol):
    """Asynchronous tasks. All methods may be called at the same time; each takes effect wholly or not at all.

    What returns without an error is kept, as far as the store is `durable`. Every method may raise `StoreError`.
    """

    @property
    def durable(self) -> bool:
        """Whether tasks outlive the process. Only then are clients offered to come back for an answer."""
        ...

    @property
    def figures(self) -> Figures:
        """What it holds, as of the last change. Does not wait."""
        ...

    def blob(self) -> Blob:
        """A place for content that is coming in; give it to `add` or `finish`, or discard it."""
        ...

    async def add(self, task: NewTask, body: Blob, *, limit: int) -> Added:
        """Keep a task, queued. Takes the blob over, unless it raises.

        Args:
            task: with an id that was never used.
            body: of its request.
            limit: `queue.asyncTasks.maxStoredBytes`; answers of ended tasks make room, the oldest first.

        Raises:
            StoreFullError: no room.
        """
        ...

    async def claim(self, task_id: str, server: str, now: float) -> Claim | None:
        """A queued task runs from now on; None if it is not queued (any more). The caller closes the claim's body."""
        ...

    async def give_back(self, claim: Claim) -> bool:
        """A claimed task is queued again, in its old place. False, and nothing happens, if the claim is void."""
        ...

    async def finish(
        self, claim: Claim, outcome: Outcome, body: Blob | None, *, now: float, limit: int
    ) -> StoredTask | None:
        """A claimed task has ended. Its request is forgotten. Takes the blob over, unless it raises.

        An answer that finds no room under `limit` turns the outcome into the failure `NO_ROOM`.

        Returns:
            The task as it is now; None, and nothing happens, if the claim is void.

        Raises:
            StoreFullError: no room on disk; the task still runs, for the store.
        """
        ...

    async def cancel(self, task_id: str, now: float) -> StoredTask | None:
        """The client does not want it any more: an unfinished task is cancelled, an ended one's answer is dropped.

        Returns:
            The task as it was before; None if there is none. Doing it again changes nothing.
        """
        ...

    async def expire(self, task_ids: list[str], now: float) -> list[StoredTask]:
        """Those of these tasks that were queued have expired; returns them as they are now."""
        ...

    async def get(self, task_id: str) -> StoredTask | None:
        """The task of this id."""
        ...

    async def result(self, task_id: str) -> Content | None:
        """The body of a task's answer; None if it has none (any more). The caller closes it."""
        ...

    async def recover(self, now: float) -> Recovered:
        """Settle what ran when the last process ended. To be called once, before anything is claimed."""
        ...

    def queued(self) -> AsyncIterator[list[StoredTask]]:
        """All queued tasks in the order of their submission, some at a time."""
        ...

    async def purge(self, now: float, ttl: float) -> int:
        """Drop answers of tasks that ended more than `ttl` seconds ago; returns how many.

        What is left of such a task says for the same time again that it was there.
        """
        ...

    async def close(self) -> None:
        """Finish what was asked for, and give everything back."""
        ...
