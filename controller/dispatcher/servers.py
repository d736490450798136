"""The pool's servers, and which of them a task goes to. Pure: keyed by GpuInstance, never by address.

Clouds reuse addresses, so health and load that hung on an address would pass from a dead server to its successor.
"""

import hashlib
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

#: Weight of the newest duration in a server's moving average.
EWMA_WEIGHT: Final = 0.2


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
    """A server and its load."""

    spec: ServerSpec
    passing: int = 0
    #: Moving average of task durations, seconds; 0 before the first.
    ewma: float = 0.0
    #: What this dispatcher's own checks say.
    up: bool = True
    failures: int = 0
    #: Answers with a status of 500 or more, in a row.
    errors: int = 0
    #: Ids of the tasks in flight. A set, not a number: what is taken out twice is an error, not a free slot.
    running: set[str] = field(default_factory=set)

    @property
    def tasks(self) -> int:
        """Tasks in flight."""
        return len(self.running)

    @property
    def in_flight(self) -> int:
        """Tasks and pass-through requests."""
        return self.tasks + self.passing

    @property
    def usable(self) -> bool:
        """May be sent new work."""
        return self.spec.ready and self.up and not self.spec.draining and bool(self.spec.address)

    @property
    def free(self) -> int:
        """Slots that can take a task now."""
        return max(0, self.spec.slots - self.tasks) if self.usable else 0

    def noted(self, *, good: bool, threshold: int) -> bool:
        """Count a probe or a request.

        Args:
            good: whether the server answered it.
            threshold: failures in a row after which it is down. Only a good probe brings it up again.

        Returns:
            Whether the server is down because of this, and was not before.
        """
        self.failures = 0 if good else self.failures + 1
        if not self.up or self.failures < threshold:
            return False
        self.up = False
        return True

    def finished(self, seconds: float) -> None:
        """A task took this long here, and ended well: a server that fails fast is not a fast server."""
        self.errors = 0
        self.ewma = seconds if self.ewma == 0.0 else (1 - EWMA_WEIGHT) * self.ewma + EWMA_WEIGHT * seconds


class Servers:
    """All servers of the pool that this dispatcher knows."""

    def __init__(self) -> None:
        self._servers: dict[str, Server] = {}

    def __iter__(self) -> Iterator[Server]:
        return iter(self._servers.values())

    def __len__(self) -> int:
        return len(self._servers)

    def get(self, name: str) -> Server | None:
        """The server of this name."""
        return self._servers.get(name)

    def update(self, specs: Iterable[ServerSpec]) -> list[Server]:
        """Take over the pool's present servers.

        Returns:
            The servers that are gone; what still runs on them has to be ended.
        """
        wanted = {spec.name: spec for spec in specs}
        gone = [s for s in self._servers.values() if (new := wanted.get(s.spec.name)) is None or new.uid != s.spec.uid]
        for server in gone:
            del self._servers[server.spec.name]
        for spec in wanted.values():
            known = self._servers.get(spec.name)
            if known is None:
                self._servers[spec.name] = Server(spec)
            else:
                if known.spec.address != spec.address:
                    known.up, known.failures = True, 0
                known.spec = spec
        return gone

    def choose(self, exclude: Collection[str] = ()) -> Server | None:
        """The server for the next task: least loaded with it, for what it can do; then as it did lately; then by name.

        Args:
            exclude: names of servers that already failed this task.
        """
        best: Server | None = None
        best_rank: tuple[int, float, int, float, str] | None = None
        for server in self._servers.values():
            if server.free <= 0 or server.spec.name in exclude:
                continue
            load = (server.tasks + 1) / (server.spec.slots * server.spec.speed)
            # What fails at once is always idle: it comes last until it answers something, and errors say no speed.
            rank = (server.failures, load, server.errors, server.ewma, server.spec.name)
            if best_rank is None or rank < best_rank:
                best, best_rank = server, rank
        return best

    def for_network(self, network: str) -> Server | None:
        """The server for a pass-through request: the same one for the same network while it lasts.

        Rendezvous hashing (highest random weight, Thaler and Ravishankar 1996): a server that comes or goes moves only
        its own share of the networks.
        """
        usable = [s for s in self._servers.values() if s.usable]
        return max(usable, key=lambda s: _weight(network, s.spec.name), default=None)

    @property
    def slots(self) -> int:
        """Slots of the usable servers."""
        return sum(s.spec.slots for s in self._servers.values() if s.usable)


def _weight(network: str, server: str) -> bytes:
    return hashlib.blake2b(f"{network}\0{server}".encode(), digest_size=8).digest()
