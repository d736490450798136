"""The traffic of a pool: `spec.traffic` and `status.traffic`."""

from typing import Annotated, ClassVar, Literal

from msgspec import Meta, field

from controller.api.model import Model, Rule


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
    free_gb: Annotated[float, Meta(ge=0, le=1000000, description="Free traffic of one server in a month, GB.")] = field(
        default=500.0, name="freeGB"
    )
    price_per_gb: Annotated[
        float,
        Meta(ge=0, le=1000, description="CNY per GB beyond it. Tencent names none for HAI; this is what CVM pays."),
    ] = field(default=0.8, name="pricePerGB")


class TrafficStatus(Model, frozen=True, kw_only=True):
    """Month-to-date traffic of the pool, destroyed instances included."""

    month: str = ""
    used_gb: float = field(default=0.0, name="usedGB")
    ended_gb: float = field(default=0.0, name="endedGB")
    level: Literal["Normal", "Optimize", "Warning", "Critical", "Emergency"] = "Normal"
    checked_at: str | None = None
