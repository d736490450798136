"""Binds the fair queue to the servers: late, when a slot is free, and for whoever's turn it is then."""

import asyncio
from collections import Counter, OrderedDict
from collections.abc import Callable
from math import inf
from time import perf_counter

from controller.dispatcher.allowance import Allowances
from controller.dispatcher.fairqueue import FairQueue, Ticket
from controller.dispatcher.fairqueue.estimate import Estimator
from controller.dispatcher.figures import Figures
from controller.dispatcher.identity import Identity
from controller.dispatcher.patience import Alarm, Patience
from controller.dispatcher.placement import Placement, home_key
from controller.dispatcher.retries import Retries
from controller.dispatcher.servers import Change, Server, Servers, ServerSpec
from controller.dispatcher.task import ClosingError, ExpiredError, NoServerError, Task
from controller.scaling.readings import longest_wait


class Scheduler:
    """Admission, turns, slots. All methods run on the event loop; none waits except `granted`."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.servers = Servers()
        self.queue = FairQueue()
        self.figures = Figures(clock)
        #: What tasks probably take, for turns that are counted in seconds.
        self.estimates = Estimator()
        self._clock = clock
        #: The slot of all tasks for which nobody waits: it never comes. None before the first of them.
        self._nobody: asyncio.Future[Server] | None = None
        self._tasks: dict[str, Task] = {}
        self.allowances = Allowances()
        #: Tasks whose server failed, and that wait for another one.
        self._ahead: list[Task] = []
        self.retries = Retries()
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

    def submit(self, task_id: str, identity: Identity, *, route: str = "", cost: float = 1.0) -> Task:
        """Queue a task for which somebody waits. Its body is here already: a slow client must not hold a slot.

        Args:
            task_id: unique among all tasks.
            identity: whose it is.
            route: name of its route.
            cost: turns it counts for.
        """
        now, grant = self._clock(), asyncio.get_running_loop().create_future()
        return self._submit(Task(task_id, identity, self.allowances.number(identity), now, grant, route, cost))

    def submit_stored(
        self,
        task_id: str,
        identity: Identity,
        *,
        route: str = "",
        cost: float = 1.0,
        age: float,
        on_grant: Callable[[Task], None],
    ) -> Task:
        """Queue a task that is in a store. Very many may wait: each costs its place, and nothing that waits for it.

        Args:
            task_id: unique among all tasks.
            identity: whose it is.
            route: name of its route.
            cost: turns it counts for.
            age: seconds since it was submitted.
            on_grant: told when it has a slot; then `granted` returns at once.
        """
        if self._nobody is None:
            self._nobody = asyncio.get_running_loop().create_future()
        number, submitted = self.allowances.number(identity), self._clock() - age
        grant = self._nobody
        return self._submit(Task(task_id, identity, number, submitted, grant, route, cost, on_grant, stored=True))

    def _submit(self, task: Task) -> Task:
        identity = task.identity
        self._loop = task.grant.get_loop()
        self._tasks[task.task_id] = task
        self.idle.clear()
        self.queue.push(_ticket(task, identity))
        if len(self.queue) == 1 and not (self._ahead or self.servers.affine or self.servers.changing):
            # Nobody waits: where a slot is free, this task need not be booked as waiting for an instant.
            server = self.servers.choose()
            if server is not None:
                self._start(task, server, self._clock(), waited=False)
                return task
        if not task.stored:
            self._held[task.task_id] = task.submitted
        self.allowances.waits(identity)
        self.figures.waits(task)
        self.pump()
        return task

    def _unqueue(self, task: Task) -> None:
        """The task waits no more, if it did: without having had a turn."""
        if self.queue.remove(task.task_id) is not None:
            self._waits_no_more(task)

    def _waits_no_more(self, task: Task) -> None:
        self.allowances.waits_no_more(task.identity)
        self._held.pop(task.task_id, None)
        self.figures.waits_no_more(task, self._clock())

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
        self.allowances.forget(self.queue.users(), keep)

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
        self.figures.signals.set_limit(counted, self._clock())
        self.pump()

    # --- slots ---------------------------------------------------------------------------------------------------

    def pump(self) -> None:
        """Give every free slot to the task whose turn it is."""
        began, now = perf_counter(), self._clock()
        if self.servers.changing:
            self.servers.advance(now)
        if self._ahead:
            for task in tuple(self._ahead):
                self._grant_retry(task, now)
        if self.servers.affine or self._placement.active:
            self._placement.refresh()
        while (found := self._next(now)) is not None:
            self._start(*found, now, waited=True)
        if self.queue or self._ahead or self._alarm.armed:
            self._look_again(now)
        self.figures.round(began)

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

    def _start(self, task: Task, server: Server, now: float, *, waited: bool) -> None:
        """The task whose turn it is has a slot; `waited` if it was booked as waiting."""
        task.charge = task.cost
        if self.queue.fairness == "Seconds":
            task.charge = self.estimates.estimate((task.route, server.spec.bundle), task.cost)
        self.queue.pop(task.charge)
        self.figures.fairness.served(task.identity.network, task.charge)
        if waited:
            self._waits_no_more(task)
        self.figures.starts(task, server, now)
        self._occupy(task, server)

    def _occupy(self, task: Task, server: Server) -> None:
        task.attempts += 1
        task.place = server.spec
        now = self._clock()
        server.enter(task.task_id, now)
        if self.servers.affine:
            task.home = home_key(task.identity)
            server.guests[task.home] += 1
        task.occupied = now
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
        now = self._clock()
        server.leave(task.task_id, now)
        if task.home is not None:
            server.guests -= Counter({task.home: 1})
            task.home = None
        task.used += now - task.occupied
        if seconds is not None:
            self.servers.succeeded(server, now, seconds)
            if self.queue.fairness == "Seconds":
                self.estimates.observe((task.route, server.spec.bundle), seconds, task.cost)
        if self.queue or self._ahead or self._alarm.armed:
            self.pump()

    def finish(self, task: Task, *, answered: bool) -> None:
        """The task is over, and out of its slot if it had one.

        Args:
            task: the task.
            answered: whether a server's whole answer went to the client; all else says nothing about response times.
        """
        if self._tasks.pop(task.task_id, None) is not None and task.started is not None:
            self.queue.settle(task.task_id, task.used)
            if self.queue.fairness == "Seconds":
                self.figures.fairness.served(task.identity.network, task.used - task.charge)
            self.retries.over(task)
        if not self._tasks:
            self.idle.set()
        if answered:
            self.figures.answered(task)

    def retry_budget(self, percent: float) -> int:
        """How many tasks under which a server died may be kept at a time; see `Retries.budget`."""
        most = max((server.spec.slots for server in self.servers), default=0)
        return self.retries.budget(percent, len(self._tasks), most)

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

    def queue_length(self) -> int:
        """The queue length as scaling reads it."""
        return self.figures.queue_length(len(self._ahead))

    def oldest_age(self) -> float:
        """The longest wait as scaling reads it, seconds."""
        return self.figures.oldest_age(self._ahead)

    def shut_out(self) -> None:
        """Refuse everything that still waits, or leave it in its store; what runs goes on."""
        for task in list(self._tasks.values()):
            if task.grant is self._nobody:
                self.withdraw(task.task_id)
            elif not task.grant.done():
                self._refuse(task, ClosingError())


def _ticket(task: Task, identity: Identity) -> Ticket:
    """The task's place in the queue."""
    weights = identity.network_weight, identity.user_weight
    return Ticket(task.task_id, identity.network, identity.user, task.submitted, task.cost, *weights, identity.flow)
