"""Observe: put everything a decision may look at into one frozen snapshot. The only step that reads."""

import asyncio
from collections import defaultdict
from typing import Final

from controller.api.gpuinstance import GpuInstance
from controller.api.gpupool import GpuPool
from controller.api.names import DRAINED_BY_ANNOTATION, DRAINED_BY_SCALE_DOWN, Condition
from controller.api.regionpreset import OfferStatus, RegionPreset
from controller.api.times import unix
from controller.operator.context import Context, PoolMemory
from controller.operator.leaks import strays, unaudited
from controller.operator.money import spent_so_far
from controller.operator.remembered import gone_purchases, is_purchase, launches
from controller.operator.store import Store
from controller.scaling.presets import disk_of, price_with
from controller.scaling.replicas import agreed_dead, drained, tasks, worked
from controller.scaling.signals import Sources, signals
from controller.scaling.snapshot import NOT_VERIFIED, Missing, Offer, ServerState, ServerView, Signal, Snapshot
from controller.scaling.stock import closed_until, half_open
from controller.scaling.usage import used_this_month

#: How long purchases wait for a new preset to be verified.
VERIFY_SECONDS: Final = 60.0

_STATES = {
    "Launching": ServerState.LAUNCHING,
    "Deploying": ServerState.DEPLOYING,
    "Ready": ServerState.READY,
    "Unhealthy": ServerState.UNHEALTHY,
    "Draining": ServerState.READY,
    "Terminating": ServerState.TERMINATING,
}


async def observe(ctx: Context, pool: GpuPool) -> Snapshot:
    """The pool as it is now. A figure that cannot be read is unknown in the snapshot, never zero."""
    memory = ctx.pool_memory(pool.metadata.uid)
    memory.scrape, asked = await asyncio.gather(ctx.scraper.scrape(pool), ctx.scraper.prometheus.ask(pool))
    window = float(pool.spec.scaling.window_seconds)
    memory.demand.note(memory.scrape)
    memory.slots.note(memory.scrape, window=window)
    instances = ctx.store.instances_of(pool)
    now = ctx.clock()
    history = launches(memory, pool)
    servers = tuple(server_view(pool, i, memory, now=now) for i in instances)
    ready = [s.name for s in servers if s.state is ServerState.READY and not s.leaving]
    sources = Sources(
        scrape=memory.scrape,
        use=memory.slots.use(memory.scrape, ready, window=window),
        monitor=_monitor(ctx, pool, instances),
        asked=asked,
    )
    presets = ctx.store.presets_of(pool)
    return Snapshot(
        spec=pool.spec,
        signals=signals(sources, pool.spec.scaling, ready=ready, now=ctx.clock()),
        servers=servers,
        offers=tuple(offer for preset in presets for offer in offers_of(pool, preset, now=now)),
        unusable_presets=tuple((p.metadata.name, why) for p in presets if (why := cannot_sell(pool, p, now=now))),
        blocks=ctx.blocks.active(now=now),
        deleting=pool.metadata.deleting,
        launch_failures=history.failures,
        launch_outcomes=history.outcomes,
        gone_purchases=gone_purchases(pool, instances),
        strays=strays(ctx.leaks, ctx.store, pool),
        unaudited=unaudited(ctx.leaks, ctx.store, pool, now=ctx.view.now()),
        demand=memory.demand.demand(memory.scrape, window=window),
        spent=spent_so_far(ctx, pool, now=now),
        unknown_since={s.name: at for s in pool.status.signals if (at := unix(s.unknown_since)) is not None},
    )


def server_view(pool: GpuPool, instance: GpuInstance, memory: PoolMemory, *, now: float) -> ServerView:
    """One instance as the planner sees it."""
    status, name = instance.status, instance.metadata.name
    state = ServerState.TERMINATING if instance.metadata.deleting else _STATES[status.phase]
    kind = pool.spec.gpu_type(instance.spec.bundle)
    return ServerView(
        name=name,
        region=instance.spec.region,
        bundle=instance.spec.bundle,
        price_per_hour=instance.spec.price_per_hour,
        state=state,
        created_at=unix(instance.metadata.creation_timestamp) or now,
        ready_at=unix(status.ready_at),
        traffic_gb=used_this_month(status.traffic, now=now),
        in_flight=tasks(memory.scrape, name),
        slots=kind.concurrency if kind else 1,
        speed=kind.speed if kind else 1.0,
        protected=instance.protected,
        draining=instance.spec.drain,
        drained_by_pool=instance.metadata.annotations.get(DRAINED_BY_ANNOTATION) == DRAINED_BY_SCALE_DOWN,
        drained=drained(
            memory.scrape,
            name,
            since=unix(status.drain_started_at),
            timeout_seconds=pool.spec.scaling.down.drain_timeout_seconds,
            now=now,
        ),
        agreed_dead=status.phase == "Unhealthy" and agreed_dead(memory.scrape, name),
        purchase=is_purchase(instance),
        bought_for=instance.spec.reason.partition(":")[0],
        worked_seconds=worked(memory.scrape, name),
    )


def unusable(preset: RegionPreset, *, now: float) -> str:
    """Why nothing can be bought from this preset; empty when something can."""
    if not preset.spec.enabled:
        return "spec.enabled is false"
    ready = next((c for c in preset.status.conditions if c.type == Condition.READY), None)
    if ready is None:
        # Others wait for a preset that is being verified, since it may have the cheapest offer; but not for ever.
        age = now - (unix(preset.metadata.creation_timestamp) or now)
        return NOT_VERIFIED if age < VERIFY_SECONDS else f"the cloud has not answered for {age:.0f} s"
    # A cloud that cannot be reached just now takes nothing away from what was verified before.
    unreachable = ready.reason == "CloudUnavailable" and preset.status.application_state == "ONLINE"
    return "" if ready.status == "True" or unreachable else f"{ready.reason}: {ready.message}"


def cannot_sell(pool: GpuPool, preset: RegionPreset, *, now: float) -> str:
    """Why nothing can be bought for this pool from this preset; a new pool waits until its disk has a price."""
    why, disk = unusable(preset, now=now), pool.spec.server.system_disk
    if why or disk is None or disk_of(disk) in {(d.type, d.size_gib) for d in preset.status.disks}:
        return why
    age = now - (unix(pool.metadata.creation_timestamp) or now)
    return NOT_VERIFIED if age < VERIFY_SECONDS else ""


def offers_of(pool: GpuPool, preset: RegionPreset, *, now: float) -> list[Offer]:
    """What this preset sells to this pool. An offer without any price is none."""
    if cannot_sell(pool, preset, now=now):
        return []
    found = (_offer(pool, preset, status, now=now) for status in preset.status.offers)
    return [offer for offer in found if offer is not None]


def _offer(pool: GpuPool, preset: RegionPreset, status: OfferStatus, *, now: float) -> Offer | None:
    """An offer at the pool's own price, or at the cloud's with the pool's disk; none while that is in dispute."""
    kind = pool.spec.gpu_type(status.bundle)
    if kind is None:
        return None
    believed = status.price_per_hour is not None and status.state != "Disputed"
    named = price_with(status, pool.spec.server.system_disk, preset.status.disks) if believed else None
    price = kind.price_per_hour if kind.price_per_hour is not None else named
    if price is None:
        return None
    return Offer(
        region=preset.spec.region,
        bundle=status.bundle,
        price_per_hour=price,
        priority=preset.spec.priority,
        preset=preset.metadata.name,
        application_id=preset.status.application_id,
        sold_out_until=closed_until(status, now=now),
        half_open=half_open(status, now=now),
        ready_seconds=status.ready_seconds,
    )


def monitored(instance: GpuInstance) -> bool:
    """Whether its CPU counts: it serves."""
    return instance.status.phase == "Ready" and not instance.draining and bool(instance.status.instance_id)


def everyone_monitored(store: Store, region: str) -> list[str]:
    """Ids of all instances of a region whose CPU counts in some pool."""
    return [
        instance.status.instance_id
        for pool in store.pools
        if pool.spec.scaling.cpu.source != "Slots"
        for instance in store.instances_of(pool)
        if instance.spec.region == region and monitored(instance)
    ]


def _monitor(ctx: Context, pool: GpuPool, instances: list[GpuInstance]) -> Signal | Missing:
    if pool.spec.scaling.cpu.source == "Slots":
        return Missing("CpuUnknown", "scaling.cpu.source is Slots")
    ids: defaultdict[str, list[str]] = defaultdict(list)
    for instance in instances:
        if monitored(instance):
            ids[instance.spec.region].append(instance.status.instance_id)
    return ctx.cpu.reading(ids)
