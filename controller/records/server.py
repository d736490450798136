"""The records of servers: how each one is, time and again, and what scaling did with it."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from controller.records.task import Percent, Time

Health = Literal["healthy", "unhealthy", "starting", "draining", "leaving", "gone"]
ScalingAction = Literal["Launch", "Adopt", "Drain", "Undrain", "Destroy"]
Outcome = Literal["requested", "bought", "ready", "sold_out", "refused", "failed", "done", "vanished"]

Amount = Annotated[float, Meta(ge=0)]


class ServerSample(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False, tag_field="kind", tag="sample"
):
    """A `server_status` line of kind `sample`. Null is what did not happen yet, or what the cloud does not tell."""

    namespace: Annotated[str, Meta(description="Of the pool.")]
    pool: Annotated[str, Meta(description="Name of the GpuPool.")]
    server_id: Annotated[str, Meta(description="Name of the GpuInstance; as in task_processing.")]
    instance_id: Annotated[str | None, Meta(description="HAI's id; null until it was bought.")]
    region: Annotated[str, Meta(description="HAI region.")]
    gpu_type: Annotated[str, Meta(description="GPU type (bundle).")]
    price_per_hour: Annotated[Amount, Meta(description="CNY.")]
    phase: Annotated[str, Meta(description="status.phase of the GpuInstance.")]
    registered_time: Annotated[Time | None, Meta(description="It was bought; billing began.")]
    ready_time: Annotated[Time | None, Meta(description="It first served.")]
    destroyed_time: Annotated[Time | None, Meta(description="The cloud no longer had it; billing ended.")]
    health: Annotated[Health, Meta(description="What haipool makes of it.")]
    failure_count: Annotated[int, Meta(ge=0, description="Failed health probes in a row.")]
    tasks: Annotated[Amount | None, Meta(description="Tasks at it, as the dispatchers last told.")]
    cpu_percent: Annotated[Percent | None, Meta(description="Cloud Monitor's newest figure, 10 minutes old at most.")]
    memory_percent: Annotated[Percent | None, Meta(description="The same, of its memory.")]
    gpu_percent: Annotated[Percent | None, Meta(description="The same, of its GPU.")]
    gpu_memory_percent: Annotated[Percent | None, Meta(description="The same, of its GPU's memory.")]
    network_in_mbps: Annotated[Amount | None, Meta(description="The same, Mbit/s into it.")]
    network_out_mbps: Annotated[Amount | None, Meta(description="The same, Mbit/s out of it.")]
    traffic_gb: Annotated[Amount, Meta(description="Sent this month, of the free quota.")]


class ScalingEvent(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False, tag_field="kind", tag="scaling"
):
    """A `server_status` line of kind `scaling`: one step of a purchase or a destruction."""

    time: Annotated[Time, Meta(description="When it happened.")]
    namespace: Annotated[str, Meta(description="Of the pool.")]
    pool: Annotated[str, Meta(description="Name of the GpuPool.")]
    server_id: Annotated[str, Meta(description="Name of the GpuInstance.")]
    instance_id: Annotated[str | None, Meta(description="HAI's id; null until it was bought.")]
    region: Annotated[str, Meta(description="HAI region.")]
    gpu_type: Annotated[str, Meta(description="GPU type (bundle).")]
    price_per_hour: Annotated[Amount, Meta(description="CNY.")]
    action: Annotated[ScalingAction, Meta(description="What was decided.")]
    trigger: Annotated[
        str | None, Meta(description="The decision's reason; null where a person did it, or it is not known any more.")
    ]
    outcome: Annotated[
        Outcome,
        Meta(description="requested: decided and begun; the others: what became of it. done: destroyed."),
    ]
    message: Annotated[str, Meta(description="A sentence, with the arithmetic where it was a decision.")]


ServerRecord = ServerSample | ScalingEvent
