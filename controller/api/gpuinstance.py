"""GpuInstance (`gi`): one object = one offer, one attempt, written before the cloud is asked."""

from typing import Annotated, ClassVar, Literal

from msgspec import Meta, field

from controller.api.catalog import Bundle, Region
from controller.api.model import ConditionModel, Metadata, Model, Rule
from controller.api.names import ORPHANED_ANNOTATION, PROTECT_ANNOTATION
from controller.api.optimization import OptimizationStatus
from controller.api.server import SystemDisk
from controller.api.traffic import InstanceTraffic

Phase = Literal["Launching", "Deploying", "Ready", "Unhealthy", "Draining", "Terminating"]

_FIXED = ("pool", "poolUID", "region", "bundle", "applicationId", "pricePerHour", "launchNumber", "reason")


class GpuInstanceSpec(Model, frozen=True, kw_only=True):
    """What was asked for. Only `drain` may change."""

    cel: ClassVar[tuple[Rule, ...]] = (
        Rule(
            " && ".join(f"self.{name} == oldSelf.{name}" for name in _FIXED)
            + " && has(self.systemDisk) == has(oldSelf.systemDisk)"
            + " && (!has(self.systemDisk) || self.systemDisk == oldSelf.systemDisk)"
            + " && has(self.adopts) == has(oldSelf.adopts) && (!has(self.adopts) || self.adopts == oldSelf.adopts)",
            "spec is immutable except drain; delete the object to destroy the instance",
        ),
    )
    pool: Annotated[str, Meta(min_length=1, max_length=253, description="Name of the GpuPool.")]
    pool_uid: Annotated[str, Meta(max_length=64, description="UID of the GpuPool.")] = field(name="poolUID")
    region: Region
    bundle: Bundle
    application_id: Annotated[str, Meta(pattern="^app-[a-z0-9]{1,32}$", description="ApplicationId in the region.")]
    price_per_hour: Annotated[float, Meta(ge=0, le=100000, description="CNY per hour when it was bought.")]
    launch_number: Annotated[int, Meta(ge=1, description="The pool's launchCounter for this attempt.")]
    reason: Annotated[str, Meta(max_length=300, description="Why it was bought.")] = ""
    system_disk: SystemDisk | None = None
    adopts: (
        Annotated[
            str,
            Meta(
                pattern="^[a-z0-9]([-a-z0-9]{0,62}[a-z0-9])?$",
                description="InstanceId of an ownerless instance that this object takes over; nothing is bought.",
            ),
        ]
        | None
    ) = None
    drain: Annotated[bool, Meta(description="true: takes no new tasks; the pool destroys it when it is idle.")] = False


class GpuInstanceStatus(Model, frozen=True, kw_only=True):
    """What became of it. Written by the operator only."""

    observed_generation: int = 0
    phase: Phase = "Launching"
    instance_id: Annotated[str, Meta(description="HAI InstanceId.")] = ""
    instance_name: Annotated[str, Meta(description="HAI InstanceName, the ownership mark.")] = ""
    attempted_at: Annotated[str, Meta(description="Time of the first RunInstances call.")] | None = None
    address: Annotated[str, Meta(description="Base URL; empty before Ready and once withdrawn.")] = ""
    launched_at: Annotated[str, Meta(description="Time of purchase; billing starts.")] | None = None
    running_at: str | None = None
    ready_at: str | None = None
    drain_started_at: str | None = None
    terminate_requested_at: str | None = None
    ended_at: Annotated[str, Meta(description="Time at which the cloud no longer had it; billing ended.")] | None = None
    cost_cny: Annotated[float, Meta(description="What it cost in all; written once, when it has ended.")] | None = (
        field(default=None, name="costCNY")
    )
    failures: Annotated[int, Meta(description="Failed health probes in a row.")] = 0
    traffic: InstanceTraffic = field(default_factory=InstanceTraffic)
    network_in_mbps: Annotated[float, Meta(description="Mbit/s into it as Cloud Monitor last told.")] | None = None
    network_out_mbps: Annotated[float, Meta(description="Mbit/s out of it as Cloud Monitor last told.")] | None = None
    optimization: OptimizationStatus = field(default_factory=OptimizationStatus)
    message: str = ""
    conditions: tuple[ConditionModel, ...] = ()


class GpuInstance(Model, frozen=True, kw_only=True):
    """One HAI instance."""

    metadata: Metadata
    spec: GpuInstanceSpec
    status: GpuInstanceStatus = field(default_factory=GpuInstanceStatus)

    @property
    def draining(self) -> bool:
        """Whether it takes no new tasks: asked to drain, or being deleted."""
        return self.spec.drain or self.metadata.deleting

    @property
    def orphaned(self) -> bool:
        """Whether its pool let go of it; then nobody buys, drains or destroys it any more."""
        return self.metadata.annotations.get(ORPHANED_ANNOTATION) == "true"

    @property
    def protected(self) -> bool:
        """Whether scale-down must leave it alone. A malformed value protects: the safe reading."""
        value = self.metadata.annotations.get(PROTECT_ANNOTATION)
        return value is not None and value.strip().lower() != "false"
