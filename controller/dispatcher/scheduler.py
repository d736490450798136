"""Binds the fair queue to the servers: late, when a slot is free, and for whoever's turn it is then."""

import asyncio
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import inf
from types import MappingProxyType
from typing import Final, NamedTuple

from controller.dispatcher.fairqueue import FairQueue, Ticket
from controller.dispatcher.identity import Identity
from controller.dispatcher.patience import Alarm, Patience
from controller.dispatcher.placement import Placement, home_key
from controller.dispatcher.servers import Change, Server, Servers, ServerSpec
from controller.dispatcher.signals import Signals
from controller.dispatcher.window import ResponseWindow
from controller.scaling.readings import longest_wait, mean_response

#: Starts kept for inspection.
RECENT_STARTS: Final = 1000
#: Retries that a pool may always have under way.
LEAST_RETRIES: Final = 3
#: What almost all tasks have tried.
_NOTHING: Final[Mapping[str, float]] = MappingProxyType({})


class ExpiredError(Exception):
    """The task waited longer than `queue.maxWaitSeconds`."""


class NoServerError(Exception):
    """There was no server at all for `queue.noServerWaitSeconds`."""


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
    #: Whether it is in a store: it can wait without anybody, and for longer.
    stored: bool = False
    started: float | None = None
    #: Number of this start among all, from 1.
    start_number: int = 0
    #: When it got the slot it has now, or had last.
    occupied: float = 0.0
    #: Seconds it kept servers busy, all attempts together.
    used: float = 0.0
    #: Servers it was given to, and the last of them.
    attempts: int = 0
    place: ServerSpec | None = None
    #: When its wait began as scaling counts it: see `signals`. None until then.
    counted: float | None = None
    #: Servers that failed it, and when. Never changed in place: almost all tasks share the empty one.
    tried: Mapping[str, float] = field(default_factory=lambda: _NOTHING)
    #: Servers that died with it.
    deaths: int = 0
    #: With affinity: what its server is chosen by.
    home: str | None = None


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
        self.signals = Signals(10)
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
        #: Tasks under which a server died, and that are not over.
        self._retries = 0
        #: Waiting tasks for which somebody waits, with the times of their submission: oldest first.
        self._held: OrderedDict[str, float] = OrderedDict()
        self._placement = Placement(self.queue, self.servers)
        self._patience = Patience(900.0)
        self._alarm = Alarm(self._tick)
        self._loop: asyncio.AbstractEventLoop | None = None
        #: Told of each server that the pool has withdrawn: whoever waits for its answer waits in vain.
        self.on_gone: Callable[[Server], None] = lambda _: None
        #: Set while no task is here, neither waiting nor running.
        self.idle = asyncio.Event()
        self.idle.set()

    def now(self) -> float:
        """The time, seconds of the scheduler's clock."""
        return self._clock()

    # --- admission -----------------------------------------------------------------------------------------------

    def submit(self, task_id: str, identity: Identity, *, cost: float = 1.0) -> Task:
        """Queue a task for which somebody waits. Its body is here already: a slow client must not hold a slot.

        Args:
            task_id: unique among all tasks.
            identity: whose it is.
            cost: turns it counts for.
        """
        now, grant = self._clock(), asyncio.get_running_loop().create_future()
        self._held[task_id] = now
        return self._submit(Task(task_id, identity, self._number(identity), now, grant), cost)

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
        return self._submit(Task(task_id, identity, number, submitted, self._nobody, on_grant, stored=True), cost)

    def _number(self, identity: Identity) -> int:
        number = self._numbers[identity.user] = self._numbers.get(identity.user, 0) + 1
        return number

    def _submit(self, task: Task, cost: float) -> Task:
        identity = task.identity
        self._loop = task.grant.get_loop()
        self._tasks[task.task_id] = task
        self.idle.clear()
        weights = identity.network_weight, identity.user_weight
        who = identity.network, identity.user
        self.queue.push(Ticket(task.task_id, *who, task.submitted, cost, *weights, identity.flow))
        self._quotas[identity.quota] = self._quotas.get(identity.quota, 0) + 1
        self.signals.join(task.task_id, identity.quota, task.submitted)
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
        quota, now = task.identity.quota, self._clock()
        left = self._quotas.pop(quota) - 1
        if left:
            self._quotas[quota] = left
        self._held.pop(task.task_id, None)
        since = self.signals.leave(task.task_id, quota, now)
        task.counted = now if since is None else since

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
            NoServerError: there was no server at all for too long.
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

    def limit_waits(self, *, no_server: float, counted: int) -> None:
        """Take over limits.

        Args:
            no_server: seconds that a task waits while there is no server at all.
            counted: waiting tasks of one user that count in what scaling reads.
        """
        self._patience.seconds = no_server
        self.signals.set_limit(counted, self._clock())
        self.pump()

    # --- slots ---------------------------------------------------------------------------------------------------

    def pump(self) -> None:
        """Give every free slot to the task whose turn it is."""
        now = self._clock()
        if self.servers.changing:
            self.servers.advance(now)
        if self._ahead:
            for task in tuple(self._ahead):
                self._grant_retry(task, now)
        if self.servers.affine or self._placement.active:
            self._placement.refresh()
        while (found := self._next(now)) is not None:
            task, server = found
            self.queue.pop()
            self._waits_no_more(task)
            self._start(task, server)
        if self.queue or self._ahead or self._alarm.armed:
            self._look_again(now)

    def _next(self, now: float) -> tuple[Task, Server] | None:
        """The task whose turn it is, and its server; None when there is no task or no slot for it."""
        while (ticket := self.queue.peek()) is not None:
            task = self._tasks[ticket.task_id]
            if task.grant.done():
                # Given up in this very instant: it takes neither slot nor turn.
                self._unqueue(task)
                continue
            server = self.servers.choose()
            if server is not None and self.servers.affine:
                server = self._placement.at_home(ticket.network, home_key(task.identity), now)
                if server is None:
                    continue
            return None if server is None else (task, server)
        return None

    def _grant_retry(self, task: Task, now: float) -> None:
        """A task whose server died had its turn already: it goes first, to a server it has not failed on.

        One that has shown since then that it works may get it again.
        """
        if task.grant.done():
            return
        exclude = {s.spec.name for s in self.servers if s.proven <= task.tried.get(s.spec.uid, -inf) > -inf}
        affine = self.servers.affine
        key = home_key(task.identity)
        server = self._placement.again(key, exclude, now) if affine else self.servers.choose(exclude)
        if server is not None:
            self._ahead.remove(task)
            self._occupy(task, server)

    # --- what time brings ----------------------------------------------------------------------------------------

    def _look_again(self, now: float) -> None:
        """See to it that `pump` runs when time alone lets a waiting task go on, or ends its patience."""
        bare = self._patience_ends(now)
        change = self.servers.next_change(now) if self.waiting else None
        wanted = min((at for at in (bare, change) if at is not None), default=None)
        if self._loop is not None:
            self._alarm.set(wanted, now, self._loop)

    def _patience_ends(self, now: float) -> float | None:
        """When who waits longest has been without any server for too long; None while there is one."""
        served = any(server.usable for server in self.servers)
        submitted = [task.submitted for task in self._ahead if not task.stored]
        submitted += [next(iter(self._held.values()))] if self._held else []
        return self._patience.until(now, min(submitted, default=None), served=served)

    def _tick(self) -> None:
        now = self._clock()
        bare = self._patience_ends(now)
        if bare is not None and bare <= now:
            self._send_away(now - self._patience.seconds)
        self.pump()

    def _send_away(self, submitted: float) -> None:
        """There is no server: refuse who has waited since this time or longer. Tasks in a store go on waiting."""
        waiting = [task for task in self._ahead if task.submitted <= submitted and not task.stored]
        for task_id, since in self._held.items():
            if since > submitted:
                break
            waiting.append(self._tasks[task_id])
        for task in waiting:
            self._refuse(task, NoServerError())

    def _refuse(self, task: Task, error: Exception) -> None:
        """Tell whoever waits for a slot that there will be none."""
        if not task.grant.done():
            task.grant.set_exception(error)
        self._unqueue(task)
        if task in self._ahead:
            self._ahead.remove(task)

    # --- running -------------------------------------------------------------------------------------------------

    def _start(self, task: Task, server: Server) -> None:
        now = self._clock()
        task.started = now
        self.started += 1
        task.start_number = self.started
        if not self.total_response:
            self.responses.add(now, now - _counted(task))
        wait, user = now - task.submitted, task.identity.user
        self.recent.append(Start(task.start_number, task.task_id, user, task.number, server.spec.name, wait))
        self._occupy(task, server)

    def _occupy(self, task: Task, server: Server) -> None:
        task.attempts += 1
        task.place = server.spec
        server.running.add(task.task_id)
        if self.servers.affine:
            task.home = home_key(task.identity)
            server.guests[task.home] += 1
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
        if task.home is not None:
            server.guests -= Counter({task.home: 1})
            task.home = None
        now = self._clock()
        task.used += now - task.occupied
        if seconds is not None:
            self.servers.succeeded(server, now, seconds)
        self.pump()

    def finish(self, task: Task, *, answered: bool) -> None:
        """The task is over, and out of its slot if it had one.

        Args:
            task: the task.
            answered: whether a server's whole answer went to the client; all else says nothing about response times.
        """
        if self._tasks.pop(task.task_id, None) is not None and task.started is not None:
            self.queue.settle(task.task_id, task.used)
            self._retries -= task.deaths > 0
        if not self._tasks:
            self.idle.set()
        if self.total_response and answered:
            now = self._clock()
            self.responses.add(now, now - _counted(task))

    def died_under(self, task: Task) -> None:
        """A server that had got this task died before it answered."""
        self._retries += not task.deaths
        task.deaths += 1

    def retry_budget(self, percent: float) -> int:
        """How many tasks that a server died under may be kept at a time.

        Args:
            percent: `queue.retryBudgetPercent`, of the tasks that run or wait.

        Returns:
            Three at least, and as many as one server may have: the death of a single server uses up no budget.
        """
        most = max((server.spec.slots for server in self.servers), default=0)
        return max(LEAST_RETRIES, most, int(percent / 100.0 * len(self._tasks)))

    @property
    def retries(self) -> int:
        """Tasks that a server died under, and that are not over."""
        return self._retries

    def retry(self, task: Task, failed: Server) -> None:
        """Let a started task have another server, ahead of the queue; await `granted` again."""
        task.tried = {**task.tried, failed.spec.uid: self._clock()}
        task.grant = asyncio.get_running_loop().create_future()
        self._ahead.append(task)
        self.pump()

    # --- servers -------------------------------------------------------------------------------------------------

    def update_servers(self, specs: list[ServerSpec]) -> None:
        """Take over the pool's servers; whoever waits for one that is gone is told so."""
        for server in self.servers.update(specs, self._clock()):
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

    def probed(self, server: Server, *, good: bool) -> Change | None:
        """A probe of a server was answered, or not; returns what changed because of it."""
        change = self.servers.probed(server, self._clock(), good=good)
        if change is not None or self._ahead:
            self.pump()
        return change

    def unreachable(self, server: Server) -> Change | None:
        """No connection to a server came about; returns what changed. Give its slot back afterwards."""
        return self.servers.unreachable(server, self._clock()) if self.has(server) else None

    def failed(self, server: Server, *, answered: bool) -> Change | None:
        """A server failed a task; returns what changed. Give its slot back afterwards."""
        return self.servers.failed(server, self._clock(), answered=answered) if self.has(server) else None

    def server_for(self, identity: Identity) -> Server | None:
        """The server for a pass-through request of this user."""
        now = self._clock()
        self.servers.advance(now)
        return self.servers.for_network(home_key(identity), now)

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

    def longest_wait(self) -> float:
        """Age of the task that waits longest, seconds; 0 when none does."""
        oldest = self.queue.oldest()
        submitted = [task.submitted for task in self._ahead] + ([] if oldest is None else [oldest.submitted])
        return longest_wait(submitted, self._clock())

    # What scaling reads: of each user only the first tasks count, and their waits since they came among them. A task
    # whose server died counts in any case: there are no more of them than slots.

    def queue_length(self) -> int:
        """The queue length as scaling reads it."""
        return self.signals.length + len(self._ahead)

    def mean_response(self) -> float:
        """The mean response as scaling reads it, seconds."""
        now = self._clock()
        measured = self.responses.values(now)
        return mean_response(measured, (self.signals.mean_age(now),)) if measured or self.signals.length else 0.0

    def oldest_age(self) -> float:
        """The longest wait as scaling reads it, seconds."""
        oldest = self.signals.oldest()
        since = [_counted(task) for task in self._ahead] + ([] if oldest is None else [oldest])
        return longest_wait(since, self._clock())

    def shut_out(self) -> None:
        """Refuse everything that still waits, or leave it in its store; what runs goes on."""
        for task in list(self._tasks.values()):
            if task.grant is self._nobody:
                self.withdraw(task.task_id)
            elif not task.grant.done():
                self._refuse(task, ClosingError())


def _counted(task: Task) -> float:
    """When the task's wait began as scaling counts it."""
    return task.submitted if task.counted is None else task.counted
