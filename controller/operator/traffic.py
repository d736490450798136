"""The free traffic quota of every instance, read every `traffic.intervalSeconds` (600)."""

import logging
from collections import defaultdict

from controller.api.gpuinstance import GpuInstance
from controller.cloud.errors import CloudError
from controller.operator.context import Context

logger = logging.getLogger(__name__)


async def measure_traffic(ctx: Context, key: str) -> None:
    """Read the usage of the pool's instances if it is time; what cannot be read keeps its last figure."""
    pool = ctx.store.pools.get(key)
    if pool is None:
        return
    memory = ctx.pool_memory(pool.metadata.uid)
    now = ctx.clock()
    if now - memory.traffic_checked_at < pool.spec.traffic.interval_seconds:
        return
    by_region: defaultdict[str, dict[str, GpuInstance]] = defaultdict(dict)
    for instance in ctx.store.instances_of(pool):
        if instance.status.running_at and not instance.status.ended_at:
            by_region[instance.spec.region][instance.status.instance_id] = instance
    memory.traffic_checked_at = now
    for region, instances in by_region.items():
        await _measure(ctx, region, instances)


async def _measure(ctx: Context, region: str, instances: dict[str, GpuInstance]) -> None:
    try:
        usages = await ctx.cloud.network_usage(region, sorted(instances))
    except CloudError as error:
        logger.warning("traffic of %d instances in %s could not be read: %s", len(instances), region, error)
        return
    for usage in usages:
        instance = instances.get(usage.instance_id)
        used = round(usage.used_gb, 6)
        if instance is not None and used != instance.status.traffic_used_gb:
            await ctx.objects.instance_status(instance, {"trafficUsedGB": used})
