"""The scaling rules of a pool: `spec.scaling`."""

from typing import Annotated, ClassVar, Literal

from msgspec import Meta, field

from controller.api.model import Model, Rule


def _text(description: str) -> Meta:
    return Meta(description=description)


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
    only_if_effective: Annotated[
        bool,
        _text(
            "A signal stops buying for 10 minutes when what was bought for it has nothing to do and the signal stays "
            "high. false: it goes on."
        ),
    ] = True


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
    step: Annotated[
        Annotated[int, Meta(ge=1, le=100)] | Literal["Auto"],
        _text(
            "Servers drained at a time. Auto: as many as the busiest moment of the low load leaves to spare, one at "
            "least where one may go."
        ),
    ] = 1
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
