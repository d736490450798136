"""What the demo shows while it runs: figures of this moment, taken from where they are measured."""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from controller.sandbox.demo.load import User
from controller.sandbox.demo.queueview import QueueView
from controller.sandbox.demo.watch import ClusterWatch, Happening
from controller.sandbox.environment import Sandbox

#: Lines of the story that the live view keeps on screen.
LINES: Final = 14
#: Events about a server that are news to a spectator; its purchase and its destruction are told by the pool.
SERVER_NEWS: Final = frozenset({"Ready", "Gone"})


@dataclass(frozen=True, slots=True)
class UserRow:
    """One user's tasks."""

    name: str
    address: str
    sent: int
    waiting: int
    answered: int
    #: Mean wait of the answered ones, seconds; None before the first.
    mean_wait: float | None


@dataclass(frozen=True, slots=True)
class ServerRow:
    """One server."""

    name: str
    region: str
    bundle: str
    price_per_hour: float
    phase: str
    served: int


class Board:
    """The moment's figures and the last lines of the story."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._began = clock()
        self.lines: deque[tuple[float, str]] = deque(maxlen=LINES)
        self.sandbox: Sandbox | None = None
        self.watch: ClusterWatch | None = None
        self.queue: QueueView | None = None
        self.users: Sequence[User] = ()

    @property
    def elapsed(self) -> float:
        """Seconds since the demo began."""
        return self._clock() - self._began

    @property
    def decision(self) -> str:
        """The pool's last decision, in the operator's words."""
        pool = self.watch.pool if self.watch else None
        return pool.status.message if pool else ""

    @property
    def spent(self) -> float:
        """What the cloud has billed so far, CNY."""
        return sum(bill.cost_cny for bill in self.sandbox.cloud.bills()) if self.sandbox else 0.0

    def user_rows(self) -> list[UserRow]:
        """The users, in the order in which they came."""
        waiting = self.queue.state.by_address if self.queue else {}
        rows = []
        for user in self.users:
            waits = [task.wait_seconds for task in user.progress.results if not task.problem]
            rows.append(
                UserRow(
                    name=user.name,
                    address=user.address,
                    sent=user.progress.sent,
                    waiting=waiting.get(user.address, 0),
                    answered=user.progress.answered,
                    mean_wait=sum(waits) / len(waits) if waits else None,
                )
            )
        return rows

    def server_rows(self) -> list[ServerRow]:
        """The servers, cheapest first."""
        if self.watch is None or self.sandbox is None:
            return []
        counters = self.sandbox.fleet.counters
        rows = []
        for instance in self.watch.instances.values():
            mine = counters.get(instance.status.instance_id)
            rows.append(
                ServerRow(
                    name=instance.metadata.name,
                    region=instance.spec.region,
                    bundle=instance.spec.bundle,
                    price_per_hour=instance.spec.price_per_hour,
                    phase=instance.status.phase,
                    served=mine.served if mine else 0,
                )
            )
        return sorted(rows, key=lambda row: (row.price_per_hour, len(row.name), row.name))


def news(happening: Happening) -> str:
    """The line that tells an event to a spectator; empty for one that another line tells better."""
    if happening.kind == "GpuPool":
        return f"{happening.reason}: {happening.message}"
    if happening.kind == "GpuInstance" and happening.reason in SERVER_NEWS:
        return f"{happening.name} {happening.reason}: {happening.message}"
    return ""
