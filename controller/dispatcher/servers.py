"""The pool's servers and what is known of them. Pure: keyed by GpuInstance, never by address.

Clouds reuse addresses, so health and load that hung on an address would pass from a dead server to its successor.
Which server a task goes to is `balance`'s matter, or `affinity`'s; when one is left alone, `ejection`'s.

Three things are said of a server's health, and they are kept apart. Whether it is *up*: probes, and attempts to
connect, say so. Whether it is *ejected*: its answers to tasks say so. Whether it is *Ready* or *draining*: the operator
says so.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from math import inf
from typing import Final, Literal

from controller.api.server import Server as ServerSettings
from controller.dispatcher import balance
from controller.dispatcher.affinity import Homes, rendezvous, settle
from controller.dispatcher.ejection import PassiveHealth, may_be_ejected

#: Weight of the newest duration in a server's moving average.
EWMA_WEIGHT: Final = 0.2
#: While servers start slowly, it is looked at most so often whether another slot opens.
LOOKS_PER_RAMP: Final = 100

#: What a failure, or a probe, changed for its server.
Change = Literal["down", "up", "ejected"]


@dataclass(frozen=True, slots=True)
class ServerSpec:
    """A server as the pool knows it."""

    #: Name of the GpuInstance.
    name: str
    #: UID of the object: another object of the same name is another server.
    uid: str
    #: Base URL; empty once it is withdrawn.
    address: str
    region: str = ""
    bundle: str = ""
    slots: int = 1
    speed: float = 1.0
    #: Ready for new work.
    ready: bool = True
    #: Takes no new tasks, finishes what it has.
    draining: bool = False


@dataclass(slots=True)
class Server:
    """A server and its load. Times are seconds of the caller's clock."""

    spec: ServerSpec
    passing: int = 0
    #: Moving average of task durations, seconds; 0 before the first.
    ewma: float = 0.0
    #: What this dispatcher's own checks say.
    up: bool = True
    #: Probes and attempts to connect that failed, in a row.
    failures: int = 0
    health: PassiveHealth = field(default_factory=PassiveHealth)
    #: Ids of the tasks in flight. A set, not a number: what is taken out twice is an error, not a free slot.
    running: set[str] = field(default_factory=set)
    #: Seconds for which slots were taken until `busy_until`, since when the same tasks have been running.
    busy: float = 0.0
    busy_until: float = 0.0
    #: Tasks in flight by network, as far as anybody noted them.
    guests: Counter[str] = field(default_factory=Counter)
    #: Since when it is able to work: its slow start began then.
    since: float = 0.0
    #: Share of the work it gets compared with the others: below 1 during its slow start.
    share: float = 1.0
    #: Since when it drains.
    draining_since: float | None = None
    #: When it last showed that it works: a good probe, or a task that ended well.
    proven: float = -inf

    @property
    def tasks(self) -> int:
        """Tasks in flight."""
        return len(self.running)

    @property
    def in_flight(self) -> int:
        """Tasks and pass-through requests."""
        return self.tasks + self.passing

    @property
    def able(self) -> bool:
        """Could work: Ready, alive, not draining."""
        return self.spec.ready and self.up and not self.spec.draining and bool(self.spec.address)

    @property
    def usable(self) -> bool:
        """May be sent new work."""
        spec = self.spec
        return self.health.until is None and self.up and spec.ready and not spec.draining and bool(spec.address)

    @property
    def free(self) -> int:
        """Slots that can take a task now."""
        slots = self.spec.slots if self.share >= 1.0 else balance.open_slots(self.spec.slots, self.share)
        left = slots - len(self.running)
        return left if left > 0 and self.usable else 0

    @property
    def suspicion(self) -> int:
        """Failures of any kind in a row."""
        return self.failures + self.health.failures

    def enter(self, task: str, now: float) -> None:
        """A task takes a slot."""
        self.busy, self.busy_until = self.busy_seconds(now), now
        self.running.add(task)

    def leave(self, task: str, now: float) -> None:
        """A task leaves its slot.

        Raises:
            KeyError: it has left before.
        """
        self.busy, self.busy_until = self.busy_seconds(now), now
        self.running.remove(task)

    def busy_seconds(self, now: float) -> float:
        """For how long slots were taken so far, summed over slots."""
        return self.busy + len(self.running) * (now - self.busy_until)

    def noted(self, *, good: bool, threshold: int) -> Change | None:
        """Count a probe, or an attempt to connect.

        Args:
            good: whether the server answered it.
            threshold: failures in a row after which it is down. Only a good probe brings it up again.

        Returns:
            `down` if it is down because of this and was not before.
        """
        self.failures = 0 if good else self.failures + 1
        if not self.up or self.failures < threshold:
            return None
        self.up = False
        return "down"

    def finished(self, seconds: float) -> None:
        """A task took this long here, and ended well: a server that fails fast is not a fast server."""
        self.ewma = seconds if self.ewma == 0.0 else (1 - EWMA_WEIGHT) * self.ewma + EWMA_WEIGHT * seconds


class Servers:
    """All servers of the pool that this dispatcher knows.

    `advance` brings what depends on time up to date; all else reads what it left. `next_change` says when to call it
    again if nothing else happens.
    """

    def __init__(self) -> None:
        self.settings = ServerSettings()
        #: Whether a network's tasks go only to the server that its other requests go to.
        self.affine = False
        self._servers: dict[str, Server] = {}
        self._by_uid: dict[str, Server] = {}
        self._homes = Homes()
        #: Servers in their slow start, and those that are ejected; by UID.
        self._starting: dict[str, Server] = {}
        #: When the shares are to be brought up to date again.
        self._ramp_at = -inf
        self._ejected: dict[str, Server] = {}

    def __iter__(self) -> Iterator[Server]:
        return iter(self._servers.values())

    def __len__(self) -> int:
        return len(self._servers)

    def get(self, name: str) -> Server | None:
        """The server of this name."""
        return self._servers.get(name)

    @property
    def slots(self) -> int:
        """Slots of the usable servers."""
        return sum(s.spec.slots for s in self._servers.values() if s.usable)

    # --- what the pool says --------------------------------------------------------------------------------------

    def update(self, specs: Iterable[ServerSpec], now: float) -> list[Server]:
        """Take over the pool's present servers.

        Returns:
            The servers that are gone; what still runs on them has to be ended.
        """
        wanted = {spec.name: spec for spec in specs}
        gone = [s for s in self._servers.values() if (new := wanted.get(s.spec.name)) is None or new.uid != s.spec.uid]
        for server in gone:
            del self._servers[server.spec.name]
            for known in (self._by_uid, self._starting, self._ejected):
                known.pop(server.spec.uid, None)
        for spec in wanted.values():
            server = self._servers.get(spec.name) or self._new(spec, now)
            self._change(server, spec, now)
            if not spec.draining:
                server.draining_since = None
            elif server.draining_since is None:
                server.draining_since = now
        self._ramp_at = -inf
        self.advance(now)
        return gone

    def _new(self, spec: ServerSpec, now: float) -> Server:
        server = self._servers[spec.name] = self._by_uid[spec.uid] = Server(spec)
        self._starts(server, now)
        return server

    def _change(self, server: Server, spec: ServerSpec, now: float) -> None:
        old, server.spec = server.spec, spec
        if old.address != spec.address:
            server.up, server.failures, server.health = True, 0, PassiveHealth(total=server.health.total)
            self._ejected.pop(spec.uid, None)
        if old.address != spec.address or (spec.ready and not old.ready):
            self._starts(server, now)

    # --- what requests and probes say ----------------------------------------------------------------------------

    def probed(self, server: Server, now: float, *, good: bool) -> Change | None:
        """A probe was answered, or not. Returns what changed because of it."""
        change = server.noted(good=good, threshold=self.settings.failure_threshold)
        if good:
            server.proven = now
        if good and not server.up:
            server.up, change = True, "up"
            # What failed before was the process that died. One that dies again and again has no second such favour.
            if server.health.ejected and server.health.ejections == 1:
                self._readmit(server, now)
            self._starts(server, now)
        if change is not None:
            self._ramp_at = -inf
            self.advance(now)
        return change

    def unreachable(self, server: Server, now: float) -> Change | None:
        """No connection came about: as bad as a probe that failed, and known sooner. Returns what changed."""
        return self.probed(server, now, good=False)

    def failed(self, server: Server, now: float, *, answered: bool) -> Change | None:
        """A task failed here.

        Args:
            server: where.
            now: the time.
            answered: whether by an answer, if a bad one or one too late: the server is not dead then.

        Returns:
            What changed because of it.
        """
        if answered:
            server.failures = 0
        if not server.health.failed(now, self.settings.ejection) or not self._can_spare(server):
            return None
        server.health.eject(now, self.settings.ejection)
        self._ramp_at = -inf
        self._ejected[server.spec.uid] = server
        return "ejected"

    def succeeded(self, server: Server, now: float, seconds: float) -> None:
        """A task took so long here and ended well."""
        server.failures, server.proven = 0, now
        server.health.succeeded()
        server.finished(seconds)

    def _can_spare(self, server: Server) -> bool:
        """Whether this one, too, may be ejected."""
        able = [s for s in self._servers.values() if s.able]
        ejected = sum(s.health.ejected for s in able)
        return any(s is server for s in able) and ejected < may_be_ejected(len(able), self.settings.ejection)

    # --- what time says ------------------------------------------------------------------------------------------

    def advance(self, now: float) -> None:
        """End the ejections that are over, or that the pool cannot afford any more; let slow starts go on."""
        if self._ejected:
            self._end_ejections(now)
        if self._starting and now >= self._ramp_at:
            self._ramp(now)

    def _end_ejections(self, now: float) -> None:
        allowed = may_be_ejected(sum(s.able for s in self._servers.values()), self.settings.ejection)
        ejected = sorted(self._ejected.values(), key=_until)
        kept = sum(s.able for s in ejected)
        for server in ejected:
            if _until(server) <= now or (server.able and kept > allowed):
                kept -= server.able
                self._readmit(server, now)

    def _readmit(self, server: Server, now: float) -> None:
        server.health.readmit(now)
        self._ejected.pop(server.spec.uid, None)
        self._starts(server, now)

    def _starts(self, server: Server, now: float) -> None:
        """Its slow start begins."""
        server.since, self._ramp_at = now, -inf
        self._starting[server.spec.uid] = server

    def _ramp(self, now: float) -> None:
        """Bring the shares up to date.

        They are relative to the most seasoned server: where all are new (when the dispatcher starts, say), none has to
        stand back.
        """
        seconds = float(self.settings.slow_start_seconds)
        self._ramp_at = now + seconds / LOOKS_PER_RAMP
        shares = {name: balance.ramp(now - server.since, seconds) for name, server in self._servers.items()}
        most = max((shares[name] for name, server in self._servers.items() if server.usable), default=1.0)
        for name, server in self._servers.items():
            server.share = min(1.0, shares[name] / most)
        self._starting = {uid: s for uid, s in self._starting.items() if shares[s.spec.name] < 1.0}

    @property
    def changing(self) -> bool:
        """Whether `advance` may have something to do."""
        return bool(self._starting or self._ejected)

    def next_change(self, now: float) -> float | None:
        """When `advance` has something to do next; None: nothing that time alone brings."""
        if not self._ejected and not self._starting:
            return None
        times = [_until(server) for server in self._ejected.values()]
        seconds = float(self.settings.slow_start_seconds)
        for server in self._starting.values():
            if server.usable and server.share < 1.0 and server.spec.slots > 1:
                at = server.since + balance.next_slot_age(server.spec.slots, server.share, seconds)
                times.append(max(at, now + seconds / LOOKS_PER_RAMP))
        return min(times, default=None)

    # --- which one -----------------------------------------------------------------------------------------------

    def choose(self, exclude: Collection[str] = ()) -> Server | None:
        """The server for the next task; None when no slot is free.

        Args:
            exclude: names of servers that already failed this task.
        """
        return balance.choose(self._servers.values(), exclude)

    def for_network(self, network: str, now: float) -> Server | None:
        """The server for a pass-through request: the same one for the same network while it lasts."""
        if not self.affine:
            return rendezvous(network, (s for s in self._servers.values() if s.usable))
        return self._home(network, now, lambda server: server.usable or _still_serves(server, network))

    def for_task(self, network: str, now: float) -> Server | None:
        """With affinity: the server of this network's tasks, whether or not it has a free slot; None: there is none."""
        return self._home(network, now, lambda server: server.usable)

    def _home(self, network: str, now: float, good: Callable[[Server], bool]) -> Server | None:
        uid = self._homes.find(network, now)
        home = self._by_uid.get(uid or "")
        if home is not None and good(home):
            return home
        chosen = settle(network, [s for s in self._servers.values() if s.usable], self._homes)
        if chosen is not None:
            self.move_home(network, chosen, now)
        return chosen

    def move_home(self, network: str, server: Server, now: float) -> None:
        """With affinity: a task of this network had to go here, so the rest follows."""
        self._homes.move(network, server.spec.uid, now)


def _until(server: Server) -> float:
    """When the ejection of an ejected server ends."""
    return inf if server.health.until is None else server.health.until


def _still_serves(server: Server, network: str) -> bool:
    """Whether a server that takes no new tasks works on one of this network, which wants to watch it."""
    return server.up and bool(server.spec.address) and server.guests[network] > 0
