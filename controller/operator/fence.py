"""What stands between two operators that run by mistake: none decides before it has seen what the other did.

`decisionCounter` in the pool's status is raised by compare and swap before anything is bought or drained, and with it
`launchCounter` for a purchase. Who finds it further than it has seen itself reads all of the pool's instances from the
API server before it decides: the watch of the pools may be ahead of the watch of the instances.

A launch number whose GpuInstance was never written (its writer died, or was stopped, just before) is used again instead
of passed over: should that writer wake up, the name is taken.
"""

import logging

from controller.api.gpupool import GpuPool
from controller.kube.client import ConflictError
from controller.operator.context import Context

logger = logging.getLogger(__name__)


def settled(ctx: Context, pool: GpuPool) -> int:
    """The last launch whose GpuInstance is known to have been written."""
    numbers = (i.spec.launch_number for i in ctx.store.instances_of(pool) if not i.spec.adopts)
    return max(pool.status.launch_settled, ctx.pool_memory(pool.metadata.uid).settled, *numbers)


async def catch_up(ctx: Context, pool: GpuPool) -> None:
    """See what others decided since this process last looked, if anyone did.

    Raises:
        KubeError: the instances could not be listed; nothing may be decided then.
    """
    memory, decided = ctx.pool_memory(pool.metadata.uid), pool.status.decision_counter
    if memory.seen == decided:
        return
    for raw in await ctx.objects.all_instances(pool.metadata.namespace):
        ctx.store.instances.put(raw)
    memory.seen = decided


async def claim_launch(ctx: Context, pool: GpuPool, *, again: bool) -> int | None:
    """Take the next launch number.

    Args:
        ctx: shared.
        pool: as the store has it now.
        again: a number that was taken but never used may be given out again.

    Returns:
        The number; None when someone else was faster, and the decision is stale.
    """
    last = pool.status.launch_counter
    number = last if again and settled(ctx, pool) < last else last + 1
    return number if await _claim(ctx, pool, {"launchCounter": number, "launchSettled": last}) else None


async def claim_drain(ctx: Context, pool: GpuPool) -> bool:
    """Announce a scale-down; False when someone else was faster, and the decision is stale."""
    return await _claim(ctx, pool, {})


async def _claim(ctx: Context, pool: GpuPool, changes: dict[str, int]) -> bool:
    memory, number = ctx.pool_memory(pool.metadata.uid), pool.status.decision_counter + 1
    try:
        if memory.seen != pool.status.decision_counter:
            raise ConflictError("another operator has decided in the meantime")
        await ctx.objects.pool_status(pool, {"decisionCounter": number, **changes}, if_unchanged=True)
    except ConflictError as error:
        logger.info("pool %s: decision %d was not ours to make: %s", pool.metadata.key, number, error)
        await ctx.objects.refresh_pool(pool)
        return False
    memory.seen = number
    return True


def wrote(ctx: Context, pool: GpuPool, number: int) -> None:
    """The GpuInstance of this launch stands."""
    memory = ctx.pool_memory(pool.metadata.uid)
    memory.settled = max(memory.settled, number)


def lost(ctx: Context, pool: GpuPool) -> None:
    """A name was taken: what is known of the instances is old, and they are read again before the next decision."""
    ctx.pool_memory(pool.metadata.uid).seen = -1
