"""When an instance is gone from the cloud although nobody here destroyed it (a hand in the console, say)."""

from typing import Final

from controller.api.gpuinstance import GpuInstance
from controller.api.times import unix
from controller.operator.cloudview import Seen
from controller.operator.lifecycle.launch import LISTING_LAG_SECONDS
from controller.operator.lifecycle.services import Services

#: Complete listings in a row that have to lack it.
MISSING_LISTINGS: Final = 2


async def vanished(services: Services, instance: GpuInstance, seen: Seen) -> bool:
    """Whether the cloud certainly has no such instance any more.

    Listings are eventually consistent, so it takes: bought long enough ago, absent from two complete listings asked
    for at different times, and unknown when asked for by id.
    """
    memory, ctx = services.ctx.memory_of(instance), services.ctx
    if seen.find(instance.status.instance_id) is not None:
        memory.missing_since.clear()
        return False
    if not seen.listing.complete:
        return False
    bought = unix(instance.status.launched_at) or ctx.clock()
    if seen.asked_at - bought < LISTING_LAG_SECONDS:
        return False
    if seen.asked_at not in memory.missing_since:
        memory.missing_since.append(seen.asked_at)
    if len(memory.missing_since) < MISSING_LISTINGS:
        return False
    return not await ctx.cloud.describe_instances(instance.spec.region, [instance.status.instance_id])
