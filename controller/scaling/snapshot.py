"""What a decision may look at: one frozen picture of a pool, its servers, its offers and its signals."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from controller.api.gpupool import GpuPoolSpec
from controller.scaling.trials import Efficacy

#: Why a preset that was just applied cannot sell: a matter of seconds, nothing to act on.
NOT_VERIFIED: Final = "not verified yet"


@dataclass(frozen=True, slots=True)
class Signal:
    """A measured figure. A figure that could not be read is None in its place, never zero."""

    value: float
    #: Seconds since it was measured.
    age: float
    source: str


@dataclass(frozen=True, slots=True)
class Missing:
    """Why a figure is unknown."""

    #: CamelCase, as conditions have it.
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Signals:
    """The figures that drive scaling; None is *unknown*."""

    mean_response: Signal | None = None
    queue_length: Signal | None = None
    cpu: Signal | None = None
    longest_wait: Signal | None = None
    #: Why those that are unknown are, by the names above.
    missing: Mapping[str, Missing] = field(default_factory=dict)
    #: Which replicas could not be read, and why; empty when all were. A trigger may be known nevertheless.
    problem: str = ""
    #: Start times of the dispatcher replicas; a change restarts the low-load clock.
    dispatchers: frozenset[float] = frozenset()


@dataclass(frozen=True, slots=True)
class Demand:
    """The work that comes in."""

    #: Tasks per second over the last window. Of a flood only the part counts that may drive scaling.
    arrivals: float
    #: Mean seconds for which a task keeps a slot.
    service: float

    @property
    def slots(self) -> float:
        """Slots that it keeps busy."""
        return self.arrivals * self.service


class ServerState(StrEnum):
    """Where a server is in its life."""

    LAUNCHING = "Launching"
    DEPLOYING = "Deploying"
    READY = "Ready"
    UNHEALTHY = "Unhealthy"
    TERMINATING = "Terminating"


@dataclass(frozen=True, slots=True)
class ServerView:
    """One GpuInstance as the planner sees it."""

    name: str
    region: str
    bundle: str
    price_per_hour: float
    state: ServerState
    #: Unix seconds at which the object was written, just before the purchase.
    created_at: float
    #: Unix seconds; None until it was first Ready.
    ready_at: float | None = None
    traffic_gb: float = 0.0
    #: Tasks in flight, summed over dispatcher replicas; pass-through does not count, an open page keeps no server.
    in_flight: float = 0.0
    slots: int = 1
    speed: float = 1.0
    protected: bool = False
    #: Takes no new tasks.
    draining: bool = False
    #: The pool asked for the drain itself, so a scale-up may take it back; a person's drain it never undoes.
    drained_by_pool: bool = False
    #: Every dispatcher replica reports it draining with nothing in flight, or the drain time is over.
    drained: bool = False
    #: The operator's probe and every reporting dispatcher find it dead.
    agreed_dead: bool = False
    #: It was, or is being, bought: neither refused nor taken over.
    purchase: bool = True
    #: Why it was bought: the reason of a trigger, or another one.
    bought_for: str = ""
    #: Seconds that its slots were ever taken, as far as the dispatchers count them; 0 where none does.
    worked_seconds: float = 0.0

    @property
    def in_deployment(self) -> bool:
        """Asked for and not yet Ready."""
        return self.state in (ServerState.LAUNCHING, ServerState.DEPLOYING)

    @property
    def leaving(self) -> bool:
        """Will not serve again unless a drain is taken back."""
        return self.draining or self.state is ServerState.TERMINATING

    @property
    def capacity(self) -> float:
        """Slots weighted by speed."""
        return self.slots * self.speed


@dataclass(frozen=True, slots=True)
class Offer:
    """Something that can be bought: a bundle in a region at a price."""

    region: str
    bundle: str
    price_per_hour: float
    #: Region preference; lower first.
    priority: int
    #: Name of the RegionPreset.
    preset: str
    application_id: str
    #: Unix seconds until which the offer counts as out of stock, or another purchase is finding out; 0 when neither.
    sold_out_until: float = 0.0
    #: It was sold out when last tried, so one purchase at a time may try it.
    half_open: bool = False
    #: Seconds from purchase to Ready, learned from its last deployments; None: none was seen yet.
    ready_seconds: float | None = None

    def in_stock(self, now: float) -> bool:
        """Whether a purchase may be tried; once a back-off ends, the next purchase finds out."""
        return self.sold_out_until <= now

    def __str__(self) -> str:
        return f"{self.bundle} in {self.region} at {self.price_per_hour:g} CNY/h"


@dataclass(frozen=True, slots=True)
class Block:
    """A reason not to buy that a person has to clear. It stands until a purchase (or a reading) proves it wrong."""

    #: Condition reason in CamelCase.
    reason: str
    message: str
    #: Unix seconds before which nothing is tried. After it, one purchase of all pools may.
    until: float
    #: The region it binds; None: the account.
    region: str | None = None


@dataclass(frozen=True, slots=True)
class Stray:
    """An instance that was bought for this pool, is billed, and has no GpuInstance: it can be taken over."""

    instance_id: str
    region: str
    bundle: str
    price_per_hour: float
    application_id: str

    def __str__(self) -> str:
        return f"{self.instance_id} ({self.bundle} in {self.region}, {self.price_per_hour:g} CNY/h)"


@dataclass(frozen=True, slots=True)
class Spent:
    """What the pool has cost so far, CNY."""

    today: float = 0.0
    this_month: float = 0.0


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything one decision may look at."""

    spec: GpuPoolSpec
    signals: Signals
    servers: tuple[ServerView, ...]
    offers: tuple[Offer, ...]
    #: Presets that cannot sell, as (name, why); for the message when nothing is on offer.
    unusable_presets: tuple[tuple[str, str], ...] = ()
    blocks: tuple[Block, ...] = ()
    deleting: bool = False
    #: Failed deployments in a row, newest last: (Unix seconds, what happened).
    launch_failures: tuple[tuple[float, str], ...] = ()
    #: Whether the last launches became Ready, oldest first.
    launch_outcomes: tuple[bool, ...] = ()
    #: Unix seconds of the purchases of the last minute whose servers are gone.
    gone_purchases: tuple[float, ...] = ()
    #: Instances without an owner that the pool takes over before it buys.
    strays: tuple[Stray, ...] = ()
    #: Why nothing may be bought before the cloud has been looked through; empty: it has been.
    unaudited: str = ""
    #: The work that comes in; None while it is unknown.
    demand: Demand | None = None
    spent: Spent = Spent()
    #: Unix seconds since which signals have been unknown, as the last decision saw it, by the trigger's name.
    unknown_since: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Peak:
    """The busiest moment of a time of low load: each figure the highest that was seen."""

    #: Tasks in flight.
    tasks: float = 0.0
    #: CPU in percent x capacity of the servers it is the mean of.
    cpu: float = 0.0


@dataclass(frozen=True, slots=True)
class Memory:
    """What one decision leaves for the next. It dies with the operator on purpose: a restart starts the clocks anew."""

    #: Unix seconds since which all load conditions have held; None while one does not.
    low_load_since: float | None = None
    #: Unix seconds at which the last drain by scale-down ended.
    last_drain_ended: float | None = None
    #: Names of the servers that were leaving at the last decision.
    leaving: frozenset[str] = field(default_factory=frozenset)
    dispatchers: frozenset[float] = field(default_factory=frozenset)
    #: Dead servers that were destroyed a short while ago: (name, Unix seconds).
    replaced: tuple[tuple[str, float], ...] = ()
    #: The busiest moment since `low_load_since`.
    peak: Peak | None = None
    #: Whether purchases helped; this, too, is kept in the pool's status. None: not read from there yet.
    efficacy: Efficacy | None = None
