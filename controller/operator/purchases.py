"""What purchases need leave for, and what they teach: shared by all pools, and kept in the presets' status.

Where an offer, a region or the account refused the last purchase, the next one is a trial, and there is one at a time.
The right to it is written into the preset, by compare and swap, before the purchase is begun; all pools decide in one
process, so blocks of the account and of regions are claimed in memory, and written down to outlive it.
"""

import logging
import random
from collections.abc import Callable

from controller.api.gpuinstance import GpuInstance
from controller.api.model import write
from controller.api.regionpreset import OfferStatus, RegionPreset
from controller.cloud.errors import CloudError
from controller.kube.client import ConflictError
from controller.operator.blocks import Added
from controller.operator.context import Context
from controller.operator.objects import changed
from controller.scaling import presets, stock
from controller.scaling.presets import cheapest, deploy_times
from controller.scaling.snapshot import Offer

logger = logging.getLogger(__name__)

Change = Callable[[OfferStatus], OfferStatus]


async def admit(ctx: Context, namespace: str, offer: Offer, *, by: str) -> bool:
    """Claim what has to be claimed before `by` may be written down as a purchase of this offer.

    Args:
        ctx: shared context.
        namespace: of the pool; its presets share what is known of stock.
        offer: what is to be bought.
        by: name of the GpuInstance that will stand for the purchase.

    Returns:
        False when somebody else is finding out, or the offer was sold out meanwhile: the plan is stale.
    """
    whose = f"{namespace}/{by}"
    if not ctx.blocks.claim(offer.region, by=whose, now=ctx.clock()):
        return False
    for preset in _siblings(ctx, namespace, offer.region):
        if not await _claim(ctx, preset, offer.bundle, by=by):
            await release(ctx, namespace, offer.region, offer.bundle, by=by)
            return False
    return True


async def _claim(ctx: Context, known: RegionPreset, bundle: str, *, by: str) -> bool:
    async with ctx.preset_locks[known.metadata.key]:
        preset = ctx.store.presets.get(known.metadata.key) or known
        offers = []
        for offer in preset.status.offers:
            mine = stock.claim(offer, by=by, now=ctx.clock()) if offer.bundle == bundle else offer
            if mine is None:
                return False
            offers.append(mine)
        if tuple(offers) == preset.status.offers:
            return True
        try:
            fields = {"offers": [write(o) for o in offers]}
            await ctx.objects.preset_status(preset, changed(preset.status, fields), if_unchanged=True)
        except ConflictError as error:
            logger.info("preset %s: %s in it is not ours to try: %s", preset.metadata.key, bundle, error)
            await ctx.objects.refresh_preset(preset)
            return False
    return True


async def release(ctx: Context, namespace: str, region: str, bundle: str, *, by: str) -> None:
    """`by` will find out nothing: the next purchase may try."""
    ctx.blocks.release(f"{namespace}/{by}")
    await _on_offer(ctx, namespace, region, bundle, lambda o: stock.release(o, by=by))


async def bought(ctx: Context, instance: GpuInstance) -> None:
    """A purchase went through: region and account sell, and the offer is in stock."""
    by, spec = instance.metadata.name, instance.spec
    if ctx.blocks.clear(spec.region):
        await _show_blocks(ctx)
    await _on_offer(
        ctx, instance.metadata.namespace, spec.region, spec.bundle, lambda o: stock.bought(o, by=by, now=ctx.clock())
    )


async def sold_out(ctx: Context, instance: GpuInstance) -> None:
    """A purchase was told that the offer is out of stock; of the account that proves nothing, so the next may try."""
    by, spec = instance.metadata.name, instance.spec
    ctx.blocks.release(f"{instance.metadata.namespace}/{by}")
    chance = random.random()  # noqa: S311 - jitter
    await _on_offer(
        ctx,
        instance.metadata.namespace,
        spec.region,
        spec.bundle,
        lambda o: stock.sold_out(o, by=by, now=ctx.clock(), jitter=chance),
    )


async def deployed(ctx: Context, instance: GpuInstance, seconds: float) -> None:
    """A server became Ready so long after the pool had decided to buy it: that is what a step is sized by."""
    spec = instance.spec
    await _on_offer(ctx, instance.metadata.namespace, spec.region, spec.bundle, lambda o: presets.deployed(o, seconds))


async def refused(ctx: Context, instance: GpuInstance, error: CloudError) -> Added | None:
    """A purchase was refused for another reason; returns the block that follows from it, if one does."""
    spec, meta = instance.spec, instance.metadata
    # Blocked first, and the claim on the offer given up after: nobody slips in between.
    added = ctx.blocks.add(error, spec.region, now=ctx.clock())
    await release(ctx, meta.namespace, spec.region, spec.bundle, by=meta.name)
    if added is not None:
        await _show_blocks(ctx)
    return added


async def _on_offer(ctx: Context, namespace: str, region: str, bundle: str, change: Change) -> None:
    """Change one offer in every preset that has it; one jitter for all, so that they open together."""
    for known in _siblings(ctx, namespace, region):
        async with ctx.preset_locks[known.metadata.key]:
            preset = ctx.store.presets.get(known.metadata.key) or known
            offers = tuple(change(o) if o.bundle == bundle else o for o in preset.status.offers)
            fields = {
                "offers": [write(o) for o in offers],
                "cheapest": cheapest(offers),
                "deployTimes": deploy_times(offers),
            }
            await ctx.objects.preset_status(preset, changed(preset.status, fields))


async def _show_blocks(ctx: Context) -> None:
    """Write the blocks where a restart finds them, and people too."""
    ctx.metrics.blocks(ctx.blocks.active(now=ctx.clock()))
    for known in ctx.store.presets:
        async with ctx.preset_locks[known.metadata.key]:
            preset = ctx.store.presets.get(known.metadata.key) or known
            told = ctx.blocks.status(preset.spec.region)
            if told != preset.status.blocked:
                await ctx.objects.preset_status(preset, {"blocked": None if told is None else write(told)})


def _siblings(ctx: Context, namespace: str, region: str) -> list[RegionPreset]:
    """The presets that share the region's stock, always in the same order, so that two claims never hold half each."""
    here = [p for p in ctx.store.presets if p.metadata.namespace == namespace and p.spec.region == region]
    return sorted(here, key=lambda p: p.metadata.name)
