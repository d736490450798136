"""How each server is, for the log `server_status`: every `records.serverStatusSeconds`, and once more at its end."""

from typing import Final

from controller.api.gpuinstance import GpuInstance
from controller.api.gpupool import GpuPool
from controller.api.times import unix
from controller.operator.context import Context
from controller.records.lines import stamp
from controller.records.server import Health, ServerSample
from controller.scaling.replicas import tasks

_HEALTH: Final[dict[str, Health]] = {
    "Launching": "starting",
    "Deploying": "starting",
    "Ready": "healthy",
    "Unhealthy": "unhealthy",
    "Draining": "draining",
    "Terminating": "leaving",
}


def sample_servers(ctx: Context, pool: GpuPool, *, now: float) -> None:
    """Append a record for each server if it is time, and for each that has ended since the last decision."""
    if not ctx.recording.active:
        return
    memory = ctx.pool_memory(pool.metadata.uid)
    due = now - memory.sampled_at >= pool.spec.records.server_status_seconds
    if due:
        memory.sampled_at = now
    booked = set(pool.status.spend.booked)
    instances = [i for i in ctx.store.instances_of(pool) if i.metadata.uid not in booked]
    if due:
        ctx.usage.ask(ctx.store.instances)
    for instance in instances:
        if due or instance.status.ended_at is not None:
            ctx.recording.append("server_status", now, sample(ctx, instance, now=now))


def sample(ctx: Context, instance: GpuInstance, *, now: float) -> ServerSample:
    """One server as it is now."""
    spec, status, meta = instance.spec, instance.status, instance.metadata
    usage = ctx.usage.of(status.instance_id, now=now)
    return ServerSample(
        namespace=meta.namespace,
        pool=spec.pool,
        server_id=meta.name,
        instance_id=status.instance_id or None,
        region=spec.region,
        gpu_type=spec.bundle,
        price_per_hour=spec.price_per_hour,
        phase=status.phase,
        registered_time=_time(status.launched_at),
        ready_time=_time(status.ready_at),
        destroyed_time=_time(status.ended_at),
        health=health(instance),
        failure_count=status.failures,
        tasks=tasks(ctx.scrape_of(instance), meta.name) if status.ready_at and not status.ended_at else None,
        cpu_percent=_percent(ctx.cpu.newest(status.instance_id, now=now)),
        memory_percent=_percent(usage.get("memory")),
        gpu_percent=_percent(usage.get("gpu")),
        gpu_memory_percent=_percent(usage.get("gpu_memory")),
        network_in_mbps=status.network_in_mbps,
        network_out_mbps=status.network_out_mbps,
        traffic_gb=status.traffic.used_gb,
    )


def health(instance: GpuInstance) -> Health:
    """What haipool makes of a server."""
    if instance.status.ended_at is not None:
        return "gone"
    return "leaving" if instance.metadata.deleting else _HEALTH[instance.status.phase]


def _time(text: str | None) -> str | None:
    at = unix(text)
    return None if at is None else stamp(at)


def _percent(value: float | None) -> float | None:
    """Cloud Monitor's averages may come out a little above 100."""
    return None if value is None else min(100.0, max(0.0, round(value, 2)))
