"""Binds the fair queue to the servers: late, when a slot is free, and for whoever's turn it is then."""

import asyncio
from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Final, NamedTuple

from controller.dispatcher.fairqueue import FairQueue, Ticket
from controller.dispatcher.identity import Identity
from controller.dispatcher.servers import Server, Servers, ServerSpec
from controller.dispatcher.window import ResponseWindow
from controller.scaling.readings import longest_wait, mean_response

#: Starts kept for inspection.
RECENT_STARTS: Final = 1000


class ExpiredError(Exception):
    """The task waited longer than `queue.maxWaitSeconds`."""


class ClosingError(Exception):
    """The dispatcher is shutting down and takes this task no further."""


@dataclass(slots=True, eq=False)
class Task:
    """One task from admission to its end. Times are seconds of the scheduler's clock."""

    task_id: str
    identity: Identity
    #: Number of this task among its user's, from 1.
    number: int
    submitted: float
    #: The slot, once there is one.
    grant: "asyncio.Future[Server]"
    #: Told of the first slot, where nobody waits. Such a task is in a store, and outlives this process.
    on_grant: "Callable[[Task], None] | None" = None
    started: float | None = None
    #: Number of this start among all, from 1.
    start_number: int = 0
    #: When it got the slot it has now, or had last.
    occupied: float = 0.0
    #: Seconds it kept servers busy, all attempts together.
    used: float = 0.0
    #: Servers that failed it. Never changed in place: almost all tasks share the empty one.
    tried: frozenset[str] = frozenset()
    #: Servers it was given to, and the last of them.
    attempts: int = 0
    place: ServerSpec | None = None


class Start(NamedTuple):
    """A start, as it is kept for inspection."""

    start: int
    task: str
    user: str
    number: int
    server: str
    #: Seconds.
    wait: float


class Scheduler:
    """Admission, turns, slots. All methods run on the event loop; none waits except `granted`."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.servers = Servers()
        self.queue = FairQueue()
        self.responses = ResponseWindow(60.0)
        self.recent: deque[Start] = deque(maxlen=RECENT_STARTS)
        self.total_response = False
        self.started = 0
        self._clock = clock
        #: The slot of all tasks for which nobody waits: it never comes. None before the first of them.
        self._nobody: asyncio.Future[Server] | None = None
        self._tasks: dict[str, Task] = {}
        self._numbers: dict[str, int] = {}
        #: Waiting tasks by what limits are counted by.
        self._quotas: dict[str, int] = {}
        #: Tasks whose server failed, and that wait for another one.
        self._ahead: list[Task] = []
        #: Told of each server that the pool has withdrawn: whoever waits for its answer waits in vain.
        self.on_gone: Callable[[Server], None] = lambda _: None
        #: Set while no task is here, neither waiting nor running.
        self.idle = asyncio.Event()
        self.idle.set()

    # --- admission -----------------------------------------------------------------------------------------------

    def submit(self, task_id: str, identity: Identity, *, cost: float = 1.0) -> Task:
        """Queue a task for which somebody waits. Its body is here already: a slow client must not hold a slot.

        Args:
            task_id: unique among all tasks.
            identity: whose it is.
            cost: turns it counts for.
        """
        grant = asyncio.get_running_loop().create_future()
        return self._submit(Task(task_id, identity, self._number(identity), self._clock(), grant), cost)

    def submit_stored(
        self, task_id: str, identity: Identity, *, cost: float, age: float, on_grant: Callable[[Task], None]
    ) -> Task:
        """Queue a task that is in a store. Very many may wait: each costs its place, and nothing that waits for it.

        Args:
            task_id: unique among all tasks.
            identity: whose it is.
            cost: turns it counts for.
            age: seconds since it was submitted.
            on_grant: told when it has a slot; then `granted` returns at once.
        """
        if self._nobody is None:
            self._nobody = asyncio.get_running_loop().create_future()
        number, submitted = self._number(identity), self._clock() - age
        return self._submit(Task(task_id, identity, number, submitted, self._nobody, on_grant), cost)

    def _number(self, identity: Identity) -> int:
        number = self._numbers[identity.user] = self._numbers.get(identity.user, 0) + 1
        return number

    def _submit(self, task: Task, cost: float) -> Task:
        identity = task.identity
        self._tasks[task.task_id] = task
        self.idle.clear()
        weights = identity.network_weight, identity.user_weight
        who = identity.network, identity.user
        self.queue.push(Ticket(task.task_id, *who, task.submitted, cost, *weights, identity.flow))
        self._quotas[identity.quota] = self._quotas.get(identity.quota, 0) + 1
        self.pump()
        return task

    def waiting_of(self, quota: str) -> int:
        """Waiting tasks that count against one allowance (`Identity.quota`)."""
        return self._quotas.get(quota, 0)

    def _unqueue(self, task: Task) -> None:
        """The task waits no more, if it did: without having had a turn."""
        if self.queue.remove(task.task_id) is not None:
            self._waits_no_more(task)

    def _waits_no_more(self, task: Task) -> None:
        quota = task.identity.quota
        left = self._quotas.pop(quota) - 1
        if left:
            self._quotas[quota] = left

    def withdraw(self, task_id: str) -> Task | None:
        """Take out a task that waits, and for which nobody waits; None if there is no such task (any more)."""
        task = self._tasks.get(task_id)
        if task is None or task.grant is not self._nobody:
            return None
        self._unqueue(task)
        self.finish(task, answered=False)
        return task

    def abandon(self, task: Task) -> None:
        """A task that was told of its slot will not run after all."""
        self._give_back(task)
        self.finish(task, answered=False)

    def waiting_longer(self, than: float, *, at_most: int) -> list[Task]:
        """Tasks that wait longer than so many seconds, and for which nobody waits; oldest first, the first few."""
        latest, found = self._clock() - than, list[Task]()
        for ticket in self.queue:
            if ticket.submitted > latest or len(found) >= at_most:
                break
            task = self._tasks[ticket.task_id]
            if task.grant is self._nobody:
                found.append(task)
        return found

    def forget_users(self, keep: Callable[[str], bool]) -> None:
        """Drop the counters of users whose window is over and who have nothing waiting."""
        waiting = self.queue.users()
        for user in [u for u in self._numbers if u not in waiting and not keep(u)]:
            del self._numbers[user]

    async def granted(self, task: Task, limit: float) -> Server:
        """Wait for a slot.

        Args:
            task: a submitted task.
            limit: seconds it may wait from now.

        Raises:
            ExpiredError: none came in time.
            ClosingError: the dispatcher shuts down.
        """
        try:
            if task.grant.done():
                return task.grant.result()
            async with asyncio.timeout(limit):
                return await task.grant
        except BaseException as error:
            self._give_back(task)
            if isinstance(error, TimeoutError):
                raise ExpiredError from None
            raise

    def _give_back(self, task: Task) -> None:
        """Nobody waits for this task any more; a slot granted in the same instant must not leak."""
        grant = task.grant
        if grant.done() and not grant.cancelled() and grant.exception() is None:
            self.release(task, grant.result(), seconds=None)
        self._unqueue(task)
        if task in self._ahead:
            self._ahead.remove(task)

    # --- slots ---------------------------------------------------------------------------------------------------

    def pump(self) -> None:
        """Give every free slot to the task whose turn it is."""
        if self._ahead:
            for task in tuple(self._ahead):
                self._grant_retry(task)
        while self.queue:
            ticket = self.queue.peek()
            server = self.servers.choose()
            if server is None or ticket is None:
                return
            task = self._tasks[ticket.task_id]
            if task.grant.done():
                # Given up in this very instant: it takes neither slot nor turn.
                self._unqueue(task)
                continue
            self.queue.pop()
            self._waits_no_more(task)
            self._start(task, server)

    def _grant_retry(self, task: Task) -> None:
        """A task whose server died had its turn already: it goes first, to a server it has not failed on."""
        server = None if task.grant.done() else self.servers.choose(exclude=task.tried)
        if server is not None:
            self._ahead.remove(task)
            self._occupy(task, server)

    def _start(self, task: Task, server: Server) -> None:
        now = self._clock()
        task.started = now
        self.started += 1
        task.start_number = self.started
        if not self.total_response:
            self.responses.add(now, now - task.submitted)
        wait, user = now - task.submitted, task.identity.user
        self.recent.append(Start(task.start_number, task.task_id, user, task.number, server.spec.name, wait))
        self._occupy(task, server)

    def _occupy(self, task: Task, server: Server) -> None:
        task.attempts += 1
        task.place = server.spec
        server.running.add(task.task_id)
        task.occupied = self._clock()
        if task.grant is self._nobody:
            task.grant = self._nobody.get_loop().create_future()
        task.grant.set_result(server)
        if task.on_grant is not None:
            on_grant, task.on_grant = task.on_grant, None
            on_grant(task)

    def release(self, task: Task, server: Server, *, seconds: float | None) -> None:
        """The task left its slot.

        Args:
            task: the task.
            server: where it ran.
            seconds: how long it took there; None if it did not end well.

        Raises:
            KeyError: it has left before.
        """
        server.running.remove(task.task_id)
        task.used += self._clock() - task.occupied
        if seconds is not None:
            server.finished(seconds)
        self.pump()

    def finish(self, task: Task, *, answered: bool) -> None:
        """The task is over, and out of its slot if it had one.

        Args:
            task: the task.
            answered: whether a server's whole answer went to the client; all else says nothing about response times.
        """
        if self._tasks.pop(task.task_id, None) is not None and task.started is not None:
            self.queue.settle(task.task_id, task.used)
        if not self._tasks:
            self.idle.set()
        if self.total_response and answered:
            now = self._clock()
            self.responses.add(now, now - task.submitted)

    def retry(self, task: Task, failed: Server) -> None:
        """Let a started task have another server, ahead of the queue; await `granted` again."""
        task.tried |= {failed.spec.name}
        task.grant = asyncio.get_running_loop().create_future()
        self._ahead.append(task)
        self.pump()

    def can_retry(self, tried: Collection[str]) -> bool:
        """Whether there is a usable server besides these."""
        return any(s.usable and s.spec.name not in tried for s in self.servers)

    # --- servers -------------------------------------------------------------------------------------------------

    def update_servers(self, specs: list[ServerSpec]) -> None:
        """Take over the pool's servers; whoever waits for one that is gone is told so."""
        for server in self.servers.update(specs):
            self.on_gone(server)
        self.pump()

    def has(self, server: Server) -> bool:
        """Whether the pool still has this very server."""
        return self.servers.get(server.spec.name) is server

    def working_for(self, flow: str) -> Server | None:
        """The server that works on a task of this user; on the one that started first if there are several."""
        running = ((self._tasks.get(task_id), server) for server in self.servers for task_id in server.running)
        mine = [(task.start_number, server) for task, server in running if task and task.identity.flow == flow]
        return min(mine, key=lambda found: found[0])[1] if mine else None

    # --- figures -------------------------------------------------------------------------------------------------

    @property
    def waiting(self) -> int:
        """Tasks that wait: for their turn, or for another server after theirs failed."""
        return len(self.queue) + len(self._ahead)

    def elapsed(self) -> list[float]:
        """How long each running task has had its slot, seconds."""
        now = self._clock()
        running = (self._tasks.get(task_id) for server in self.servers for task_id in server.running)
        return [now - task.occupied for task in running if task is not None]

    def mean_response(self) -> float:
        """The mean response as scaling reads it."""
        now = self._clock()
        measured = self.responses.values(now)
        ages = () if measured else [now - ticket.submitted for ticket in self.queue]
        return mean_response(measured, ages)

    def oldest_age(self) -> float:
        """Age of the oldest waiting task, seconds."""
        oldest = self.queue.oldest()
        submitted = [task.submitted for task in self._ahead] + ([] if oldest is None else [oldest.submitted])
        return longest_wait(submitted, self._clock())

    def shut_out(self) -> None:
        """Refuse everything that still waits, or leave it in its store; what runs goes on."""
        for task in list(self._tasks.values()):
            if task.grant is self._nobody:
                self.withdraw(task.task_id)
            elif not task.grant.done():
                task.grant.set_exception(ClosingError())
                self._unqueue(task)
        self._ahead.clear()
