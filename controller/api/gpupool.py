"""GpuPool (`gp`): a set of interchangeable GPU servers that run one application."""

from typing import Annotated, ClassVar, Literal

from msgspec import Meta, field

from controller.api.alerts import AlertStatus
from controller.api.budget import Budget
from controller.api.catalog import Bundle
from controller.api.costlog import CostLog
from controller.api.decision import Decision, JournalEntry
from controller.api.model import ConditionModel, Metadata, Model, Rule
from controller.api.notifications import Notification
from controller.api.optimization import CdnStatus
from controller.api.queue import Queue
from controller.api.records import Records
from controller.api.scaleup import LaunchesStatus, ScaleUpStatus
from controller.api.scaling import Scaling
from controller.api.server import Server
from controller.api.sources import Metrics
from controller.api.spend import Billing, InstanceDay, Spend, SpendHistory
from controller.api.traffic import Traffic, TrafficStatus


def _text(description: str) -> Meta:
    return Meta(description=description)


class Replicas(Model, frozen=True, kw_only=True):
    """How many servers the pool may have."""

    cel: ClassVar[tuple[Rule, ...]] = (
        Rule("!has(self.max) || self.min <= self.max", "replicas.min must not exceed replicas.max", ".min"),
    )
    min: Annotated[int, Meta(ge=0, le=10000, description="Servers kept whatever the load.")] = 1
    max: Annotated[int, Meta(ge=0, le=10000)] | None = field(default=None)


class GpuType(Model, frozen=True, kw_only=True):
    """A bundle the pool may buy, and how much one server of it can do."""

    bundle: Annotated[Bundle, _text("HAI bundle type.")]
    concurrency: Annotated[int, Meta(ge=1, le=1000, description="Tasks one server works on at a time.")] = 1
    speed: Annotated[float, Meta(gt=0, le=1000, description="Speed relative to the other types.")] = 1.0
    price_per_hour: (
        Annotated[float, Meta(gt=0, description="CNY per hour to use instead of the inquired price.")] | None
    ) = None


class LabelSelector(Model, frozen=True, kw_only=True):
    """Equality-based label selector."""

    match_labels: Annotated[dict[str, str], _text("Labels a preset must have.")] = field(default_factory=dict)


class GpuPoolSpec(Model, frozen=True, kw_only=True):
    """What the pool should be."""

    paused: Annotated[
        Literal["None", "All", "ScaleUp", "ScaleDown"],
        _text("Stops decisions in a direction. ScaleUp stops every purchase, also below the minimum."),
    ] = "None"
    mode: Annotated[Literal["Act", "Recommend"], _text("Recommend: decide and show, but do not act.")] = "Act"
    preset_selector: LabelSelector = field(default_factory=LabelSelector)
    replicas: Replicas = field(default_factory=Replicas)
    gpu_types: Annotated[
        tuple[GpuType, ...],
        Meta(
            max_length=16,
            description="Bundles the pool may buy; empty: all.",
            extra_json_schema={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["bundle"]},
        ),
    ] = ()
    server: Server = field(default_factory=Server)
    metrics: Metrics = field(default_factory=Metrics)
    scaling: Scaling = field(default_factory=Scaling)
    queue: Queue = field(default_factory=Queue)
    records: Records = field(default_factory=Records)
    traffic: Traffic = field(default_factory=Traffic)
    budget: Budget = field(default_factory=Budget)
    notifications: Annotated[
        tuple[Notification, ...],
        Meta(
            max_length=16,
            description="Who is told of the pool's alerts.",
            extra_json_schema={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
        ),
    ] = ()
    deletion_policy: Annotated[
        Literal["Terminate", "Orphan"], _text("What happens to the instances when the pool is deleted.")
    ] = "Terminate"

    def gpu_type(self, bundle: str) -> GpuType | None:
        """The entry for a bundle; a pool that names no types takes each with its defaults; None: not wanted."""
        if not self.gpu_types:
            return GpuType(bundle=bundle)  # type: ignore[arg-type]
        return next((entry for entry in self.gpu_types if entry.bundle == bundle), None)


class SignalStatus(Model, frozen=True, kw_only=True):
    """One signal as the last decision saw it."""

    name: str
    value: float | None = None
    up_threshold: float | None = None
    down_threshold: float | None = None
    state: Annotated[Literal["High", "Normal", "Low", "Unknown"], _text("Against the thresholds.")] = "Unknown"
    source: str = ""
    age_seconds: float | None = None
    unknown_since: Annotated[str, _text("Since when it has been unknown.")] | None = None
    message: Annotated[str, _text("Why it is unknown.")] = ""


class GpuPoolStatus(Model, frozen=True, kw_only=True):
    """What the pool is. Written by the operator only."""

    observed_generation: int = 0
    replicas: Annotated[int, _text("Servers that exist or are being deployed.")] = 0
    ready_replicas: int = 0
    deploying_replicas: int = 0
    draining_replicas: int = 0
    desired_replicas: int = 0
    launch_counter: Annotated[int, _text("Number of the last launch; raised before each purchase.")] = 0
    launch_settled: Annotated[int, _text("Number of the last launch whose GpuInstance has been written.")] = 0
    decision_counter: Annotated[int, _text("Raised before each purchase and each scale-down, by whoever decided.")] = 0
    low_load_since: str | None = None
    last_drain_ended: str | None = None
    trigger: Annotated[str, _text("Signals that ask for more servers now.")] = ""
    message: str = ""
    selector: str = ""
    signals: tuple[SignalStatus, ...] = ()
    last_decision: Decision | None = None
    journal: Annotated[
        tuple[JournalEntry, ...],
        _text("Decisions that acted or differed from the one before, oldest first; `haipool explain` shows them."),
    ] = ()
    launches: LaunchesStatus = field(default_factory=LaunchesStatus)
    scale_up: ScaleUpStatus = field(default_factory=ScaleUpStatus)
    spend: Spend = field(default_factory=Spend)
    spend_history: SpendHistory = field(default_factory=SpendHistory)
    settling: Annotated[
        tuple[InstanceDay, ...], _text("Destroyed servers whose days have not been compared with the bill yet.")
    ] = ()
    billing: Billing = field(default_factory=Billing)
    traffic: TrafficStatus = field(default_factory=TrafficStatus)
    cdn: CdnStatus = field(default_factory=CdnStatus)
    alerts: Annotated[
        tuple[AlertStatus, ...], _text("Alerts that fire, and those whose end not everybody has heard of.")
    ] = ()
    cost_log: CostLog = field(default_factory=CostLog)
    conditions: tuple[ConditionModel, ...] = ()


class GpuPool(Model, frozen=True, kw_only=True):
    """A set of interchangeable GPU servers that run one application."""

    metadata: Metadata
    spec: GpuPoolSpec = field(default_factory=GpuPoolSpec)
    status: GpuPoolStatus = field(default_factory=GpuPoolStatus)
