"""Servers, users and a clock that costs no time: who gets what, and waits how long."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import Protocol

from controller.dispatcher.fairqueue import Estimator, Ticket


class Queue(Protocol):
    """What the simulator asks of a queue."""

    def push(self, ticket: Ticket) -> None: ...
    def pop(self, estimate: float | None = None) -> Ticket | None: ...
    def peek(self) -> Ticket | None: ...
    def settle(self, task_id: str, seconds: float) -> Ticket: ...


class FirstComeFirstServed:
    """The negative control: unfair, and every measure must say so."""

    def __init__(self) -> None:
        self._tickets: list[Ticket] = []
        self._running: dict[str, Ticket] = {}

    def push(self, ticket: Ticket) -> None:
        self._tickets.append(ticket)

    def peek(self) -> Ticket | None:
        return self._tickets[0] if self._tickets else None

    def pop(self, estimate: float | None = None) -> Ticket | None:
        if not self._tickets:
            return None
        ticket = self._tickets.pop(0)
        self._running[ticket.task_id] = ticket
        return ticket

    def settle(self, task_id: str, seconds: float) -> Ticket:
        return self._running.pop(task_id)


@dataclass(frozen=True)
class Task:
    """A task to come."""

    at: float
    user: str
    seconds: float
    network: str = ""
    #: The user without its window, as `Ticket.flow`.
    flow: str = ""
    network_weight: float = 1.0
    user_weight: float = 1.0
    #: What tasks are told apart by when their seconds are estimated.
    route: str = "task"


def backlog(user: str, tasks: int, seconds: float, at: float = 0.0, **more: object) -> list[Task]:
    """So many tasks at once."""
    return [Task(at, user, seconds, **more) for _ in range(tasks)]  # type: ignore[arg-type]


@dataclass
class Outcome:
    """Who got what until the end."""

    #: Server-seconds by network, up to the end.
    busy: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    #: Waits of the tasks that started, by network.
    waits: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    order: list[str] = field(default_factory=list)
    #: When the last task ended.
    end: float = 0.0

    def share(self, *networks: str) -> float:
        """Of the server-seconds, what these networks got."""
        return sum(self.busy[network] for network in networks) / sum(self.busy.values())

    def mean_wait(self, *networks: str) -> float:
        """Seconds that their tasks waited on average."""
        waits = [wait for network in networks for wait in self.waits[network]]
        return sum(waits) / len(waits)


class Simulation:
    """One run."""

    def __init__(self, queue: Queue, servers: int, until: float) -> None:
        self.queue = queue
        self.until = until
        self.outcome = Outcome()
        #: Called with a task that has ended and the time; returns the tasks that its user sends then.
        self.on_end: Callable[[Task, float], Iterable[Task]] = lambda _task, _now: ()
        self._free = servers
        self._now = 0.0
        self._made = 0
        self._tasks: dict[str, Task] = {}
        #: (time, number, what comes, or the id of the task that ends)
        self._events: list[tuple[float, int, Task | str]] = []
        self._estimates = Estimator()

    def add(self, tasks: Iterable[Task]) -> "Simulation":
        """These come."""
        for task in tasks:
            self._made += 1
            heappush(self._events, (task.at, self._made, task))
        return self

    def run(self) -> Outcome:
        """Until the end, or until nothing is left."""
        while self._events and self._events[0][0] <= self.until:
            self._now = self._events[0][0]
            while self._events and self._events[0][0] == self._now:
                event = heappop(self._events)[2]
                self._ended(event) if isinstance(event, str) else self._came(event)
            self._start()
        return self.outcome

    def _came(self, task: Task) -> None:
        task_id = f"t{len(self._tasks)}"
        self._tasks[task_id] = task
        self.queue.push(
            Ticket(
                task_id,
                task.network or task.user,
                task.user,
                self._now,
                network_weight=task.network_weight,
                user_weight=task.user_weight,
                flow=task.flow,
            )
        )

    def _start(self) -> None:
        while self._free and (ticket := self.queue.peek()) is not None:
            task = self._tasks[ticket.task_id]
            assert self.queue.pop(self._estimates.estimate(task.route)) == ticket
            self._free -= 1
            self.outcome.waits[ticket.network].append(self._now - ticket.submitted)
            self.outcome.order.append(ticket.network)
            self.outcome.busy[ticket.network] += min(task.seconds, self.until - self._now)
            self._made += 1
            heappush(self._events, (self._now + task.seconds, self._made, ticket.task_id))

    def _ended(self, task_id: str) -> None:
        task = self._tasks[task_id]
        self._free += 1
        self.outcome.end = self._now
        self.queue.settle(task_id, task.seconds)
        self._estimates.observe(task.route, task.seconds)
        self.add(self.on_end(task, self._now))


def simulate(queue: Queue, *loads: Iterable[Task], servers: int = 1, until: float = 1e9) -> Outcome:
    """Run loads that are known beforehand."""
    simulation = Simulation(queue, servers, until)
    for load in loads:
        simulation.add(load)
    return simulation.run()
