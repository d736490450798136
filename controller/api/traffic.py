"""The traffic of a pool and of its servers: `spec.traffic` and `status.traffic`."""

from typing import Annotated, ClassVar, Literal

from msgspec import Meta, field

from controller.api.model import Model, Rule
from controller.api.optimization import Optimization

TrafficLevel = Literal["Normal", "Optimize", "Warning", "Critical", "Emergency"]
TrafficScope = Literal["Pool", "Instance"]


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
    scope: Annotated[
        TrafficScope,
        Meta(
            description="Pool: the thresholds hold for the sum of the pool's servers, destroyed ones included. "
            "Instance: for each server's own free quota; the pool's level is that of the server that has used most."
        ),
    ] = "Pool"
    optimization: Optimization = field(default_factory=Optimization)
    free_gb: Annotated[float, Meta(ge=0, le=1000000, description="Free traffic of one server in a month, GB.")] = field(
        default=500.0, name="freeGB"
    )
    price_per_gb: Annotated[
        float,
        Meta(ge=0, le=1000, description="CNY per GB beyond it. Tencent names none for HAI; this is what CVM pays."),
    ] = field(default=0.8, name="pricePerGB")


class TrafficStatus(Model, frozen=True, kw_only=True):
    """Month-to-date traffic of the pool, destroyed instances included."""

    month: Annotated[str, Meta(description="Calendar month in Beijing, YYYY-MM.")] = ""
    used_gb: float = field(default=0.0, name="usedGB")
    ended_gb: Annotated[float, Meta(description="The part of it that destroyed instances used.")] = field(
        default=0.0, name="endedGB"
    )
    level: TrafficLevel = "Normal"
    scope: Annotated[TrafficScope, Meta(description="The scope for which the level holds.")] = "Pool"
    max_instance: Annotated[str, Meta(description="The living server that has used most.")] = ""
    max_instance_gb: float = field(default=0.0, name="maxInstanceGB")
    optimized_servers: Annotated[int, Meta(description="Servers at which hooks are in effect.")] = 0
    checked_at: str | None = None
    last_month: Annotated[str, Meta(description="The month before, YYYY-MM; empty while it is not known.")] = ""
    last_month_gb: Annotated[float, Meta(description="GB used in it.")] = field(default=0.0, name="lastMonthGB")


class InstanceTraffic(Model, frozen=True, kw_only=True):
    """Traffic of one instance, and what the next reading of the cloud's counter has to be compared with."""

    month: Annotated[str, Meta(description="Calendar month in Beijing, YYYY-MM.")] = ""
    used_gb: Annotated[float, Meta(description="GB used in that month.")] = field(default=0.0, name="usedGB")
    counter_gb: Annotated[float, Meta(description="GB up to which the cloud's counter is counted.")] = field(
        default=0.0, name="counterGB"
    )
    total_gb: Annotated[float, Meta(description="The free quota as the cloud tells it.")] = field(
        default=0.0, name="totalGB"
    )
    lower_gb: Annotated[float, Meta(description="The least the counter has shown since it fell.")] | None = field(
        default=None, name="lowerGB"
    )
    lower_since: Annotated[str, Meta(description="When the counter fell below what was counted.")] | None = None
