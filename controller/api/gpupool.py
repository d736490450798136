"""GpuPool (`gp`): a set of interchangeable GPU servers that run one application."""

from typing import Annotated, ClassVar, Literal

from msgspec import Meta, field

from controller.api.catalog import Bundle
from controller.api.decision import Decision, JournalEntry
from controller.api.model import ConditionModel, Metadata, Model, Rule
from controller.api.queue import Queue
from controller.api.records import Records


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


class WarmUp(Model, frozen=True, kw_only=True):
    """A request every new server has to answer with 2xx before it is Ready (loads the model, say)."""

    method: Annotated[Literal["GET", "POST", "PUT"], _text("HTTP method.")] = "GET"
    path: Annotated[str, Meta(pattern="^/", max_length=1024, description="Path and query.")]
    body: Annotated[str, Meta(max_length=65536, description="Request body.")] = ""
    content_type: Annotated[str, Meta(max_length=128, description="Content-Type of the body.")] = "application/json"
    timeout_seconds: Annotated[int, Meta(ge=1, le=3600, description="How long the answer may take.")] = 120


class SystemDisk(Model, frozen=True, kw_only=True):
    """System disk of every server; must be at least the application's minimum."""

    type: Annotated[Literal["CLOUD_PREMIUM", "CLOUD_HSSD"], _text("Disk type.")] | None = None
    size_gib: Annotated[int, Meta(ge=80, le=1000, description="GiB.")] = field(default=80, name="sizeGiB")


class Ejection(Model, frozen=True, kw_only=True):
    """When the dispatcher leaves a server alone because of how it answers requests."""

    consecutive_failures: Annotated[
        int,
        Meta(ge=1, le=1000, description="Requests in a row that fail or are answered with 5xx until it is ejected."),
    ] = 5
    base_seconds: Annotated[
        int, Meta(ge=1, le=3600, description="Length of the first ejection; the n-th in a row takes n times as long.")
    ] = 30
    max_seconds: Annotated[int, Meta(ge=1, le=86400, description="Longest ejection.")] = 300
    max_ejected_percent: Annotated[
        int, Meta(ge=0, le=100, description="Share of the Ready servers that may be ejected at a time.")
    ] = 50


class Server(Model, frozen=True, kw_only=True):
    """How the application on a server is reached and probed."""

    port: Annotated[int, Meta(ge=1, le=65535, description="Port of the application.")] = 7860
    scheme: Annotated[Literal["http", "https"], _text("Scheme of the application.")] = "http"
    health_path: Annotated[str, Meta(pattern="^/", max_length=1024, description="Answers 2xx when healthy.")] = "/"
    probe_interval_seconds: Annotated[
        int, Meta(ge=1, le=3600, description="Time between two health probes of a Ready server.")
    ] = 10
    failure_threshold: Annotated[
        int, Meta(ge=1, le=100, description="Failed probes in a row that make a server Unhealthy.")
    ] = 3
    ejection: Ejection = field(default_factory=Ejection)
    slow_start_seconds: Annotated[
        int, Meta(ge=0, le=3600, description="Time in which a new server's share of the tasks grows to the full one.")
    ] = 30
    startup_timeout_seconds: Annotated[
        int, Meta(ge=1, le=86400, description="A server not Ready by then counts as failed and is destroyed.")
    ] = 900
    warm_up: WarmUp | None = None
    address: Annotated[Literal["Public", "Private"], _text("Which address of the instance to use.")] = "Public"
    system_disk: SystemDisk | None = None


class SecretKey(Model, frozen=True, kw_only=True):
    """A value in a Secret of the pool's namespace."""

    name: Annotated[
        str, Meta(pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", max_length=253, description="Name of the Secret.")
    ]
    key: Annotated[str, Meta(pattern=r"^[-._a-zA-Z0-9]+$", max_length=253, description="Key in the Secret.")] = "token"


class Metrics(Model, frozen=True, kw_only=True):
    """Where the operator finds the dispatcher's metrics; by default the Service `{pool}-dispatcher-headless`."""

    cel: ClassVar[tuple[Rule, ...]] = (
        Rule("!(has(self.service) && has(self.urls))", "set metrics.service or metrics.urls, not both"),
    )
    service: (
        Annotated[
            str,
            Meta(
                pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?(:[0-9]{1,5})?$",
                max_length=260,
                description="Headless Service, NAME or NAME.NAMESPACE, optionally with the admin port (9090).",
            ),
        ]
        | None
    ) = None
    urls: (
        Annotated[
            tuple[Annotated[str, Meta(pattern="^https?://", max_length=1024)], ...],
            Meta(min_length=1, max_length=64, description="Metrics URLs, one for each dispatcher replica."),
        ]
        | None
    ) = None
    token_secret: SecretKey | None = None


class Cpu(Model, frozen=True, kw_only=True):
    """Where the CPU signal comes from."""

    source: Annotated[
        Literal["Auto", "Monitor", "Slots"],
        _text("Monitor: Cloud Monitor. Slots: share of busy task slots. Auto: Monitor where HAI has a metric."),
    ] = "Auto"


class Up(Model, frozen=True, kw_only=True):
    """Scale up when ANY of the four thresholds is exceeded."""

    mean_response_seconds: Annotated[float, Meta(gt=0, le=86400, description="Mean response above this.")] = 3.0
    queue_length: Annotated[int, Meta(ge=0, le=10000000, description="Waiting tasks above this.")] = 15
    cpu_percent: Annotated[float, Meta(gt=0, le=100, description="Mean CPU above this.")] = 85.0
    max_wait_seconds: Annotated[float, Meta(gt=0, le=86400, description="Longest wait above this.")] = 10.0
    step: Annotated[
        Annotated[int, Meta(ge=1, le=100)] | Literal["Auto"],
        _text(
            "Servers bought at a time; one step is in flight. Auto: as many as will find enough to do by the time they "
            "serve, one at least, counting those being deployed."
        ),
    ] = 1
    max_launches_per_minute: Annotated[
        int, Meta(ge=1, le=1000, description="Purchases per minute at most, whatever the load.")
    ] = 20


class Down(Model, frozen=True, kw_only=True):
    """Scale down when ALL thresholds are undercut for long enough."""

    mean_response_seconds: Annotated[float, Meta(gt=0, le=86400, description="Mean response below this.")] = 1.0
    queue_length: Annotated[int, Meta(ge=0, le=10000000, description="Waiting tasks below this.")] = 3
    cpu_percent: Annotated[float, Meta(gt=0, le=100, description="Mean CPU below this.")] = 30.0
    stabilization_seconds: Annotated[
        int, Meta(ge=0, le=86400, description="Low load must have lasted longer than this.")
    ] = 300
    min_lifetime_seconds: Annotated[
        int,
        Meta(ge=0, le=2592000, description="A server is destroyed only after it has run longer than this."),
    ] = 3600
    drain_timeout_seconds: Annotated[
        int, Meta(ge=0, le=86400, description="A draining server is destroyed after this even if it is busy.")
    ] = 600
    step: Annotated[int, Meta(ge=1, le=100, description="Servers drained at a time.")] = 1
    safety_check: Annotated[
        bool, _text("Destroy only if the load spread over the remaining servers would not trip a trigger.")
    ] = True


class Scaling(Model, frozen=True, kw_only=True):
    """The scaling rules."""

    cel: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self.down.meanResponseSeconds < self.up.meanResponseSeconds",
            "scaling.down.meanResponseSeconds must be below scaling.up.meanResponseSeconds",
        ),
        Rule(
            "self.down.queueLength < self.up.queueLength",
            "scaling.down.queueLength must be below scaling.up.queueLength",
        ),
        Rule(
            "self.down.cpuPercent < self.up.cpuPercent",
            "scaling.down.cpuPercent must be below scaling.up.cpuPercent",
        ),
    )
    interval_seconds: Annotated[int, Meta(ge=1, le=3600, description="Time between two decisions.")] = 10
    window_seconds: Annotated[int, Meta(ge=1, le=86400, description="Window over which means are taken.")] = 60
    response_time: Annotated[
        Literal["Wait", "Total"],
        _text("Wait: submission until a server starts on the task. Total: submission until completion."),
    ] = "Wait"
    cpu: Cpu = field(default_factory=Cpu)
    up: Up = field(default_factory=Up)
    down: Down = field(default_factory=Down)


class Thresholds(Model, frozen=True, kw_only=True):
    """Month-to-date traffic in GB at which each level begins."""

    cel: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self.optimize < self.warning && self.warning < self.critical && self.critical < self.emergency",
            "traffic.thresholdsGB must be ordered: optimize < warning < critical < emergency",
        ),
    )
    optimize: Annotated[float, Meta(gt=0, le=1000000)] = 300.0
    warning: Annotated[float, Meta(gt=0, le=1000000)] = 400.0
    critical: Annotated[float, Meta(gt=0, le=1000000)] = 450.0
    emergency: Annotated[float, Meta(gt=0, le=1000000)] = 480.0


class Traffic(Model, frozen=True, kw_only=True):
    """Watching the free traffic quota."""

    interval_seconds: Annotated[int, Meta(ge=1, le=86400, description="Time between two checks.")] = 600
    thresholds_gb: Thresholds = field(default_factory=Thresholds, name="thresholdsGB")


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


class Spend(Model, frozen=True, kw_only=True):
    """Cost in CNY, derived from the instances' times and prices. Days and months are Beijing time."""

    per_hour: float = 0.0
    today: float = 0.0
    this_month: float = 0.0
    day: str = ""
    month: str = ""
    ended_today: Annotated[float, _text("Part of `today` that destroyed instances cost.")] = 0.0
    ended_this_month: Annotated[float, _text("Part of `thisMonth` that destroyed instances cost.")] = 0.0
    booked: Annotated[tuple[str, ...], _text("UIDs of destroyed instances booked but not yet released.")] = ()


class TrafficStatus(Model, frozen=True, kw_only=True):
    """Month-to-date traffic of the pool, destroyed instances included."""

    month: str = ""
    used_gb: float = field(default=0.0, name="usedGB")
    ended_gb: float = field(default=0.0, name="endedGB")
    level: Literal["Normal", "Optimize", "Warning", "Critical", "Emergency"] = "Normal"
    checked_at: str | None = None


class GpuPoolStatus(Model, frozen=True, kw_only=True):
    """What the pool is. Written by the operator only."""

    observed_generation: int = 0
    replicas: Annotated[int, _text("Servers that exist or are being deployed.")] = 0
    ready_replicas: int = 0
    deploying_replicas: int = 0
    draining_replicas: int = 0
    desired_replicas: int = 0
    launch_counter: Annotated[int, _text("Number of the last launch; raised before each purchase.")] = 0
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
    spend: Spend = field(default_factory=Spend)
    traffic: TrafficStatus = field(default_factory=TrafficStatus)
    conditions: tuple[ConditionModel, ...] = ()


class GpuPool(Model, frozen=True, kw_only=True):
    """A set of interchangeable GPU servers that run one application."""

    metadata: Metadata
    spec: GpuPoolSpec = field(default_factory=GpuPoolSpec)
    status: GpuPoolStatus = field(default_factory=GpuPoolStatus)
