"""What the demo measured: frozen records, from which rules are checked and the summary is written. No I/O.

Times are Unix seconds, durations seconds, money CNY.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TaskResult:
    """One task as its client saw it."""

    user: str
    #: The dispatcher's count of this user's tasks, from 1, in the order of admission; 0 when it never said.
    number: int
    #: The dispatcher's count of all tasks in the order in which servers started on them; 0 when it never said.
    start_sequence: int
    #: Submission until a server started on it, by the dispatcher's clock.
    wait_seconds: float
    #: Submission until the whole answer was there, by the client's clock.
    total_seconds: float
    #: Name of the GpuInstance that did it.
    server: str
    #: Empty when a whole PNG of the task's own prompt came back; else what came instead.
    problem: str = ""

    @property
    def label(self) -> str:
        """`A1`: the user and the number of the task."""
        return f"{self.user}{self.number}"


@dataclass(frozen=True, slots=True)
class OfferSeen:
    """Something that was for sale at a moment."""

    region: str
    bundle: str
    price_per_hour: float


@dataclass(frozen=True, slots=True)
class Launch:
    """One purchase, by the simulated cloud's ledger; the reason is the operator's."""

    at: float
    server: str
    region: str
    bundle: str
    price_per_hour: float
    reason: str
    #: What was in stock just before the purchase.
    in_stock: tuple[OfferSeen, ...]


@dataclass(frozen=True, slots=True)
class Server:
    """The life of one server."""

    name: str
    instance_id: str
    region: str
    bundle: str
    price_per_hour: float
    #: RunInstances was accepted; billing starts.
    bought: float
    #: The operator found it serving; None if it never did.
    ready: float | None
    #: TerminateInstances was accepted; None while nobody asked.
    terminate_asked: float | None
    #: Gone from the account; None while it lives.
    gone: float | None
    billed_seconds: float
    cost: float
    #: Why it was destroyed, in the operator's words; empty while it lives.
    end_reason: str
    #: Tasks at the GPU server at one time, at the most, and slots it may be given.
    max_in_flight: int
    slots: int
    #: Tasks it answered in full.
    served: int


@dataclass(frozen=True, slots=True)
class Refusal:
    """A purchase that the cloud refused because the offer was sold out."""

    at: float
    region: str
    bundle: str


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything the rules are checked against."""

    #: Tasks each user sent, in the order in which the users came.
    sent: Mapping[str, int]
    tasks: tuple[TaskResult, ...]
    launches: tuple[Launch, ...]
    refusals: tuple[Refusal, ...]
    servers: tuple[Server, ...]
    #: Region that was run out of stock on the way, and when; None if the demo never came to it.
    drought: tuple[str, float] | None
    min_replicas: int
    min_lifetime_seconds: float
    #: Instance names at the cloud that no GpuInstance stands for.
    unowned: tuple[str, ...]
    #: What the pool's own status says it has spent this month, which is this run.
    pool_spend: float
    #: Prices of everything the cloud sells, for the comparison with the dearest type.
    prices: tuple[float, ...]

    @property
    def cost(self) -> float:
        """What the cloud billed, CNY."""
        return sum(server.cost for server in self.servers)

    @property
    def cost_if_dearest(self) -> float:
        """What the same server-seconds would have cost at the dearest price on sale."""
        return sum(server.billed_seconds for server in self.servers) * max(self.prices, default=0.0) / 3600.0

    @property
    def served_order(self) -> list[str]:
        """Labels of the tasks in the order in which servers started on them."""
        started = (task for task in self.tasks if task.start_sequence > 0)
        return [task.label for task in sorted(started, key=lambda task: task.start_sequence)]

    @property
    def scaled_down(self) -> list[Server]:
        """The servers that were destroyed, in the order in which the cloud was asked."""
        asked = ((server.terminate_asked, server) for server in self.servers if server.terminate_asked is not None)
        return [server for _, server in sorted(asked, key=lambda pair: (pair[0], pair[1].name))]

    @property
    def final_servers(self) -> int:
        """Servers left at the end: those that nobody asked to destroy."""
        return sum(server.terminate_asked is None for server in self.servers)

    @property
    def peak_servers(self) -> int:
        """The most servers that existed at one time."""
        return peak((server.bought, server.gone) for server in self.servers)

    def waits(self, user: str) -> list[float]:
        """How long each of the user's tasks waited, seconds."""
        return [task.wait_seconds for task in self.tasks if task.user == user and not task.problem]


def peak(lives: Iterable[tuple[float, float | None]]) -> int:
    """The most lives [begin, end) that overlap at one time; an end of None is none yet."""
    changes: list[tuple[float, int]] = []
    for begin, end in lives:
        changes.append((begin, 1))
        if end is not None:
            changes.append((end, -1))
    most = now = 0
    for _, change in sorted(changes):
        now += change
        most = max(most, now)
    return most
