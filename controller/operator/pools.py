"""One pool: observe, plan, apply, and write down what was decided."""

import asyncio
from dataclasses import replace
from typing import Final

from controller.api.gpuinstance import GpuInstance
from controller.api.gpupool import GpuPool
from controller.api.names import LEDGER_FINALIZER, ORPHANED_ANNOTATION, POOL_FINALIZER
from controller.api.times import unix
from controller.kube.client import ConflictError
from controller.operator.apply import apply
from controller.operator.cdn import turned
from controller.operator.context import Context
from controller.operator.fence import catch_up
from controller.operator.observe import observe
from controller.operator.poolstatus import write_down
from controller.operator.remembered import efficacy_of
from controller.operator.rounds import until_next
from controller.scaling.plan import Plan, plan
from controller.scaling.snapshot import Memory

#: Under load a new server gets a task as soon as the dispatchers know of it, and the next purchase waits for that.
FIRST_WORK_SECONDS: Final = 2.0


async def reconcile(ctx: Context, key: str) -> float | None:
    """One decision; returns seconds until the next."""
    pool = ctx.store.pools.get(key)
    if pool is None:
        return None
    if not await _held(ctx, pool):
        return 0.0
    memory = ctx.pool_memory(pool.metadata.uid)
    ctx.recording.configure(ctx.store.pools)
    await catch_up(ctx, pool)
    timely = True
    with ctx.metrics.decision_seconds.time():
        snapshot = await observe(ctx, pool)
        now = ctx.clock()
        decided = plan(snapshot, _with_persisted(memory.decision, pool), now=now)
        memory.decision = decided.memory
        if pool.spec.mode == "Act" or snapshot.deleting:
            timely = await apply(ctx, key, decided.actions)
    await write_down(ctx, key, snapshot, decided)
    await _release(ctx, key)
    pool = ctx.store.pools.get(key)
    if pool is None:
        return None
    ctx.traffic.look(pool)
    if turned(pool):
        ctx.wake_cdn(key)
    return _pause(pool, decided, timely=timely)


def _pause(pool: GpuPool, decided: Plan, *, timely: bool) -> float:
    """Until the pool's next round; where somebody waits it is sooner: for a deletion, or for a purchase.

    Rounds keep the interval whatever a decision takes, and spread the pools over it. What was too late is decided anew.
    """
    interval = float(pool.spec.scaling.interval_seconds)
    if pool.metadata.deleting or not timely:
        return min(1.0, interval)
    if decided.verdict.reason == "LastStepIdle":
        return min(FIRST_WORK_SECONDS, interval)
    return until_next(interval, asyncio.get_running_loop().time(), pool.metadata.uid)


async def _held(ctx: Context, pool: GpuPool) -> bool:
    """Whether our finalizer stands; without it nothing may be bought, since deletion would not wait for it."""
    if POOL_FINALIZER in pool.metadata.finalizers:
        return True
    if pool.metadata.deleting:
        ctx.store.pools.drop(pool.metadata.key, pool.metadata.uid)
    else:
        await ctx.objects.add_pool_finalizer(pool, POOL_FINALIZER)
    return False


def _with_persisted(memory: Memory, pool: GpuPool) -> Memory:
    """After a restart status still knows the last destruction and what did not help: neither is repeated at once."""
    if memory.last_drain_ended is None:
        memory = replace(memory, last_drain_ended=unix(pool.status.last_drain_ended))
    return memory if memory.efficacy is not None else replace(memory, efficacy=efficacy_of(pool.status.scale_up))


async def _release(ctx: Context, key: str) -> None:
    """Let go of what is booked; let go of the pool when nothing of it is left."""
    pool = ctx.store.pools.get(key)
    if pool is None:
        return
    instances = ctx.store.instances_of(pool)
    for instance in instances:
        booked = instance.metadata.uid in pool.status.spend.booked
        if instance.metadata.deleting and (booked or _nothing_bought(instance)):
            await _let_go(ctx, key, instance)
    if not pool.metadata.deleting:
        return
    if pool.spec.deletion_policy == "Orphan":
        for instance in instances:
            await ctx.objects.orphan(instance, ORPHANED_ANNOTATION)
    if not ctx.store.instances_of(pool):
        await ctx.objects.remove_finalizers(pool, [POOL_FINALIZER])
        ctx.pools.pop(pool.metadata.uid, None)
        ctx.alerting.forget(pool)
        ctx.metrics.forget_pool(pool.metadata.namespace, pool.metadata.name)


async def _let_go(ctx: Context, key: str, instance: GpuInstance) -> None:
    try:
        await ctx.objects.remove_finalizers(instance, [LEDGER_FINALIZER])
    except ConflictError:
        # The instance's own worker has written it in this moment; what it wrote is looked at next.
        ctx.wake_pool(key)


def _nothing_bought(instance: GpuInstance) -> bool:
    """The instance's own worker has finished with it, and no purchase was ever confirmed."""
    return instance.status.launched_at is None and len(instance.metadata.finalizers) == 1
