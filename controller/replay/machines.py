"""The servers of a replayed pool: bought, deployed, at work, drained, destroyed; and what they cost."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from controller.scaling.ledger import Bill
from controller.scaling.readings import cost
from controller.scaling.replicas import Scrape, ServerReading, drained, tasks
from controller.scaling.snapshot import Offer, ServerState, ServerView


@dataclass(slots=True, eq=False)
class Machine:
    """One server, from its purchase on. Times are seconds of the virtual clock."""

    name: str
    #: Its place among all purchases.
    number: int
    offer: Offer
    slots: int
    speed: float
    #: When it was bought: billing starts.
    bought_at: float
    state: ServerState = ServerState.DEPLOYING
    ready_at: float | None = None
    #: When its drain began; None: it does not drain.
    drain_since: float | None = None
    #: When billing ended; None: it has not.
    gone_at: float | None = None
    #: Why it was bought.
    reason: str = ""
    #: Indexes of the tasks it works on.
    running: set[int] = field(default_factory=set)
    #: Its standing among those that have a free slot, see `Desk`; None: it has none.
    standing: float | None = None
    #: Seconds for which slots were taken until `busy_until`, since when the same tasks have been running.
    busy: float = 0.0
    busy_until: float = 0.0

    @property
    def usable(self) -> bool:
        """Takes new tasks."""
        return self.state is ServerState.READY and self.drain_since is None

    @property
    def load(self) -> float:
        """What its load would be with one task more, relative to what it can do."""
        return (len(self.running) + 1) / (self.slots * self.speed)

    def settle(self, now: float) -> None:
        """Count how long slots were taken, before another task runs, or one less."""
        self.busy = self.busy_seconds(now)
        self.busy_until = now

    def busy_seconds(self, now: float) -> float:
        """For how long slots were taken so far, summed over slots."""
        return self.busy + len(self.running) * (now - self.busy_until)

    def reading(self, now: float) -> ServerReading:
        """The server as the dispatcher's metrics show it."""
        tasks, draining = float(len(self.running)), self.drain_since is not None
        return ServerReading(
            in_flight=tasks,
            tasks=tasks,
            slots=float(self.slots),
            up=True,
            draining=draining,
            busy_seconds=self.busy_seconds(now),
        )

    def view(self, scrape: Scrape, *, drain_timeout: float, now: float) -> ServerView:
        """The server as a decision sees it."""
        draining = self.drain_since is not None
        return ServerView(
            name=self.name,
            region=self.offer.region,
            bundle=self.offer.bundle,
            price_per_hour=self.offer.price_per_hour,
            state=self.state,
            created_at=self.bought_at,
            ready_at=self.ready_at,
            in_flight=tasks(scrape, self.name),
            slots=self.slots,
            speed=self.speed,
            draining=draining,
            drained_by_pool=draining,
            bought_for=self.reason,
            worked_seconds=self.busy_seconds(now),
            drained=drained(scrape, self.name, since=self.drain_since, timeout_seconds=drain_timeout, now=now),
        )

    def billed(self, *, until: float) -> float:
        """Seconds that were billed from the start of the replay up to this time."""
        end = until if self.gone_at is None else min(self.gone_at, until)
        return max(0.0, end - max(self.bought_at, 0.0))

    def bill(self) -> Bill:
        """Its life in the ledger, from the start of the replay on."""
        return Bill(self.name, self.offer.price_per_hour, max(self.bought_at, 0.0), self.gone_at, 0.0)

    def cost(self, *, until: float) -> float:
        """CNY that it cost from the start of the replay up to this time, billed by the second."""
        end = until if self.gone_at is None else min(self.gone_at, until)
        return cost(self.offer.price_per_hour, start=self.bought_at, end=end)


class Fleet:
    """The servers that there are, and what is seen of them: brought up to date by what changed, not from scratch."""

    def __init__(self) -> None:
        self._machines: dict[str, Machine] = {}
        self._changed: dict[str, Machine] = {}
        self._draining: dict[str, Machine] = {}
        #: Those that had a task when last looked at: how long they were busy changes by itself.
        self._working: dict[str, Machine] = {}
        self._views: dict[str, ServerView] = {}
        #: What the dispatcher's metrics show of each server that it knows, by name.
        self.readings: dict[str, ServerReading] = {}
        #: Names of the servers that take new tasks.
        self.ready: dict[str, None] = {}

    def __len__(self) -> int:
        return len(self._machines)

    def __iter__(self) -> Iterator[Machine]:
        return iter(self._machines.values())

    def __getitem__(self, name: str) -> Machine:
        return self._machines[name]

    @property
    def settled(self) -> bool:
        """All servers are Ready, and none leaves."""
        return len(self.ready) == len(self._machines)

    def add(self, machine: Machine) -> None:
        """A server was bought."""
        self._machines[machine.name] = machine
        self.changed(machine)

    def remove(self, machine: Machine) -> None:
        """A server is gone."""
        for table in (self._machines, self._changed, self._draining, self._working, self._views, self.readings):
            table.pop(machine.name, None)
        self.ready.pop(machine.name, None)

    def changed(self, machine: Machine) -> None:
        """Something of this server changed."""
        self._changed[machine.name] = machine

    def look(self, now: float) -> None:
        """Bring `readings` and `ready` up to date."""
        for name, machine in (self._working | self._changed).items():
            if machine.state is ServerState.READY:
                self.readings[name] = machine.reading(now)
            else:
                self.readings.pop(name, None)
            if machine.running:
                self._working[name] = machine
            else:
                self._working.pop(name, None)
            if machine.usable:
                self.ready[name] = None
            else:
                self.ready.pop(name, None)

    def views(self, scrape: Scrape, *, drain_timeout: float, now: float) -> tuple[ServerView, ...]:
        """What a decision sees, after `look`. A drain may end by time alone, so draining servers always count anew."""
        for name, machine in (self._draining | self._changed).items():
            self._views[name] = machine.view(scrape, drain_timeout=drain_timeout, now=now)
            if machine.drain_since is None:
                self._draining.pop(name, None)
            else:
                self._draining[name] = machine
        self._changed.clear()
        return tuple(self._views.values())
