"""The dispatcher's part of a replay: the fair queue, slots given late, and the figures that drive scaling.

Turns, limits, response window and figures are the dispatcher's own code or rules. What it does about failures has no
part here: the servers of a replay do not fail.
"""

from array import array
from collections.abc import Callable
from heapq import heappop, heappush
from math import inf, nan
from typing import Final

from controller.api.gpupool import GpuPoolSpec
from controller.dispatcher.fairqueue import Estimator, FairQueue, Ticket
from controller.dispatcher.signals import Signals
from controller.dispatcher.window import ResponseWindow
from controller.replay.machines import Fleet, Machine
from controller.replay.trace import Trace
from controller.scaling.readings import longest_wait, mean_response, window_number
from controller.scaling.replicas import ReplicaReading

#: All tasks of a trace are of one kind: it says nothing of routes.
KIND: Final = "task"
#: When the dispatcher was started: before everything, and only once.
STARTED: Final = 0.0


class Desk:
    """Takes tasks in, gives them to servers when their turn comes, and keeps the books on waits."""

    def __init__(
        self, spec: GpuPoolSpec, trace: Trace, fleet: Fleet, *, ends: Callable[[Machine, int, float], None]
    ) -> None:
        """Make a desk where nothing waits.

        Args:
            spec: the pool's.
            trace: whose tasks come.
            fleet: is told which servers change.
            ends: told of (server, task, when it will be done) whenever a task starts.
        """
        self._limits, self._trace, self._fleet, self._ends = spec.queue, trace, fleet, ends
        self._queue = FairQueue(spec.queue.fairness)
        self._estimator = Estimator()
        self._responses = ResponseWindow(float(spec.scaling.window_seconds))
        self._total = spec.scaling.response_time == "Total"
        self._by_seconds = spec.queue.fairness == "Seconds"
        #: (load with one task more, number, server): one valid entry for each that has a free slot.
        self._free: list[tuple[float, int, Machine]] = []
        #: The window of the newest task, and the users' names in it.
        self._window, self._users = 0, dict[int, str]()
        #: When each task started and ended; NaN: it has not.
        self.starts = array("d", [nan]) * len(trace)
        self.ends = array("d", [nan]) * len(trace)
        #: What the queue says to scaling: so many tasks of each user count. And since when each task that started has
        #: counted.
        self._signals = Signals(spec.queue.max_signal_tasks_per_user)
        self._counted = array("d", [nan]) * len(trace)
        #: Waiting tasks of each user, and tasks whose server was destroyed, which count in any case.
        self._waiting = [0] * len(trace.names)
        self._again: dict[int, None] = {}
        #: Tasks that ended, and the seconds they took.
        self._ended, self._seconds, self._ended_at = 0, 0.0, -inf
        self.refused = 0
        self.expired = 0
        self.running = 0

    @property
    def waiting(self) -> int:
        """Tasks that wait."""
        return len(self._queue)

    def busy(self, now: float) -> bool:
        """Whether anything is here that would make the next figures others than these."""
        ended = now - self._ended_at <= self._responses.seconds
        return bool(ended or self.running or self._queue or self._responses.values(now))

    # --- a task's life ---------------------------------------------------------------------------------------------

    def submit(self, task: int, now: float) -> None:
        """A task comes: it is refused if there is no room for it, else it waits for its turn."""
        number = self._trace.users[task]
        name, user = self._trace.names[number], self._user(number, now)
        limits = self._limits
        if len(self._queue) >= limits.max_tasks or self._waiting[number] >= limits.max_tasks_per_user:
            self.refused += 1
            return
        self._waiting[number] += 1
        self._signals.join(str(task), name, now)
        network = name if limits.share_by == "Network" else user
        self._queue.push(Ticket(str(task), network, user, now, flow=name))
        if self._free:
            self.pump(now)

    def _user(self, number: int, now: float) -> str:
        """The user's name in the window that this is in."""
        window = window_number(now, origin=0.0, window_seconds=self._limits.window_seconds)
        if window != self._window:
            self._window, self._users = window, {}
        user = self._users.get(number)
        if user is None:
            user = self._users[number] = f"user_{self._trace.names[number]}_{window}"
        return user

    def _waits_no_more(self, task: int, now: float) -> None:
        number = self._trace.users[task]
        self._waiting[number] -= 1
        since = self._signals.leave(str(task), self._trace.names[number], now)
        self._counted[task] = now if since is None else since

    def expire(self, now: float) -> None:
        """Whoever has waited too long waits no more."""
        limit = self._limits.max_wait_seconds
        while (oldest := self._queue.oldest()) is not None and now - oldest.submitted >= limit:
            self._queue.remove(oldest.task_id)
            task = int(oldest.task_id)
            if task in self._again:
                del self._again[task]
            else:
                self._waits_no_more(task, now)
            self.expired += 1

    def pump(self, now: float) -> None:
        """Give every free slot to the task whose turn it is."""
        while self._queue and (machine := self._choose()) is not None:
            self._start(machine, now)

    def _start(self, machine: Machine, now: float) -> None:
        estimate = self._estimator.estimate(KIND) if self._by_seconds else None
        ticket = self._queue.pop(estimate)
        if ticket is None:
            raise AssertionError("nothing is ever parked here, so whatever waits has a turn")
        task = int(ticket.task_id)
        if task in self._again:
            del self._again[task]
        else:
            self.starts[task] = now
            self._waits_no_more(task, now)
            if not self._total:
                self._responses.add(now, now - self._counted[task])
        machine.settle(now)
        machine.running.add(task)
        self.running += 1
        self.offer(machine)
        self._ends(machine, task, now + self._trace.services[task] / machine.speed)

    def finish(self, machine: Machine, task: int, now: float) -> None:
        """A task is done."""
        machine.settle(now)
        machine.running.remove(task)
        self.running -= 1
        self._ended_at = now
        self.ends[task] = now
        seconds = self._trace.services[task] / machine.speed
        self._queue.settle(str(task), seconds)
        self._ended += 1
        self._seconds += seconds
        if self._by_seconds:
            self._estimator.observe(KIND, seconds)
        if self._total:
            self._responses.add(now, now - self._counted[task])
        self.offer(machine)
        if self._queue:
            self.pump(now)

    def interrupt(self, machine: Machine, now: float) -> None:
        """The server goes, drain time over: what it works on is given to others, ahead of all else."""
        for task in sorted(machine.running):
            self._queue.push_back(str(task))
            self._again[task] = None
            self.running -= 1
        machine.settle(now)
        machine.running.clear()
        self.offer(machine)
        self.pump(now)

    # --- slots -----------------------------------------------------------------------------------------------------

    def offer(self, machine: Machine) -> None:
        """The server changed: it has a free slot, or another standing, or none any more."""
        self._fleet.changed(machine)
        if not machine.usable or len(machine.running) >= machine.slots:
            machine.standing = None
            return
        machine.standing = machine.load
        heappush(self._free, (machine.standing, machine.number, machine))

    def _choose(self) -> Machine | None:
        """The least loaded server for what it can do, as the dispatcher chooses; None: no slot is free."""
        free = self._free
        while free:
            load, _, machine = heappop(free)
            if machine.standing == load:
                machine.standing = None
                return machine
        return None

    # --- figures ---------------------------------------------------------------------------------------------------

    def reading(self, now: float) -> ReplicaReading:
        """What the dispatcher exports now."""
        measured = self._responses.values(now)
        signals, again = self._signals, [self._counted[task] for task in self._again]
        ages = () if measured or not signals.length else (signals.mean_age(now),)
        oldest = signals.oldest()
        self._fleet.look(now)
        return ReplicaReading(
            url="replay",
            at=now,
            queue_length=float(signals.length + len(again)),
            oldest_age=longest_wait(again if oldest is None else [*again, oldest], now),
            mean_response=mean_response(measured, ages),
            started=STARTED,
            servers=self._fleet.readings,
            totals=(float(self._signals.came), float(self._ended), self._seconds),
        )
