"""Apply: carry out a plan's actions. Each write is intent first; none of them calls the cloud.

A purchase begins here with two records: the launch counter, raised by compare and swap, and the GpuInstance under the
name that follows from it. Only then does the instance's own worker ask the cloud.
"""

import logging
from typing import Any, Final

from controller.api.gpuinstance import GpuInstance
from controller.api.gpupool import GpuPool
from controller.api.model import MESSAGE_LIMIT, write
from controller.api.names import (
    API_VERSION,
    DRAINED_BY_ANNOTATION,
    DRAINED_BY_SCALE_DOWN,
    INSTANCE_FINALIZER,
    LEDGER_FINALIZER,
    POOL_LABEL,
)
from controller.kube.client import AlreadyExistsError, KubeError
from controller.operator import fence
from controller.operator.context import Context
from controller.operator.objects import owner_reference
from controller.operator.purchases import admit
from controller.records.server import ScalingAction
from controller.scaling.actions import Action, Adopt, Destroy, Drain, Launch, Undrain
from controller.scaling.snapshot import Offer

logger = logging.getLogger(__name__)

_RECORDED: Final[dict[type[Action], ScalingAction]] = {Drain: "Drain", Undrain: "Undrain", Destroy: "Destroy"}


async def apply(ctx: Context, pool_key: str, actions: tuple[Action, ...]) -> bool:
    """Do what was decided, in order; False when another operator was faster, and the rest of it is stale."""
    announced = False
    for action in actions:
        pool = ctx.store.pools.get(pool_key)
        if pool is None:
            return True
        if isinstance(action, Drain) and not announced:
            if not await fence.claim_drain(ctx, pool):
                return False
            announced = True
        if isinstance(action, Launch | Adopt):
            if not await _launch(ctx, pool, action):
                return False
        else:
            await _on_server(ctx, pool, action)
    return True


async def _launch(ctx: Context, pool: GpuPool, action: Launch | Adopt) -> bool:
    """Record the intent to buy or to take over; False when another writer was faster, and the plan is stale."""
    if isinstance(action, Adopt):
        leak = ctx.leaks.found.get(action.stray.instance_id)
        if leak is None or leak.fate:
            return False
        # From here on the audit leaves it alone; once the object stands, the object is what owns it.
        leak.fate = "adopt"
    try:
        number = await fence.claim_launch(ctx, pool, again=isinstance(action, Launch))
        if number is None:
            _unclaim(ctx, action)
            return False
        body = instance_body(pool, action, number)
        if isinstance(action, Launch) and not await _admitted(ctx, pool, action.offer, body["metadata"]["name"]):
            return False
        created = await ctx.objects.create_instance(pool.metadata.namespace, body)
        fence.wrote(ctx, pool, number)
    except AlreadyExistsError as error:
        logger.info("pool %s: launch %d was not ours to make: %s", pool.metadata.key, number, error)
        # A claim for this name stays: it may be the other writer's, and lapses.
        _unclaim(ctx, action)
        fence.lost(ctx, pool)
        return False
    except KubeError:
        # The object may stand all the same; then its name stops a second one, and the next pass sees its owner.
        _unclaim(ctx, action)
        raise
    if created is not None:
        await ctx.events.normal(pool, action.reason, f"{created.metadata.name}: {action.message}")
        ctx.recording.launched(created, "requested", action.message)
        ctx.wake_instance(created.metadata.key)
    return True


async def _admitted(ctx: Context, pool: GpuPool, offer: Offer, name: str) -> bool:
    """Whether this purchase may be made now; if not, the pool decides anew, and uses the number for another offer."""
    admitted = await admit(ctx, pool.metadata.namespace, offer, by=name)
    if not admitted:
        logger.info("pool %s: another purchase is finding out about %s", pool.metadata.key, offer)
    return admitted


def _unclaim(ctx: Context, action: Launch | Adopt) -> None:
    if isinstance(action, Adopt) and (leak := ctx.leaks.found.get(action.stray.instance_id)):
        leak.fate = ""


def instance_body(pool: GpuPool, action: Launch | Adopt, number: int) -> dict[str, Any]:
    """The GpuInstance that stands for one purchase, or for one instance that is taken over.

    The latter is named after the instance: two writers that both want to take it over get in each other's way here.
    """
    meta = pool.metadata
    offer = action.offer if isinstance(action, Launch) else action.stray
    name = f"{meta.name}-{number}" if isinstance(action, Launch) else f"{meta.name}-{action.stray.instance_id}"
    spec: dict[str, Any] = {
        "pool": meta.name,
        "poolUID": meta.uid,
        "region": offer.region,
        "bundle": offer.bundle,
        "applicationId": offer.application_id,
        "pricePerHour": offer.price_per_hour,
        "launchNumber": number,
        "reason": f"{action.reason}: {action.message}"[:MESSAGE_LIMIT],
        "drain": False,
    }
    if pool.spec.server.system_disk is not None:
        spec["systemDisk"] = write(pool.spec.server.system_disk)
    if isinstance(action, Adopt):
        spec["adopts"] = action.stray.instance_id
    return {
        "apiVersion": API_VERSION,
        "kind": "GpuInstance",
        "metadata": {
            "name": name,
            "namespace": meta.namespace,
            "labels": {POOL_LABEL: meta.name},
            "finalizers": [INSTANCE_FINALIZER, LEDGER_FINALIZER],
            "ownerReferences": [owner_reference(pool)],
        },
        "spec": spec,
    }


async def _on_server(ctx: Context, pool: GpuPool, action: Drain | Undrain | Destroy) -> None:
    instance = ctx.store.instances.get(f"{pool.metadata.namespace}/{action.server}")
    if instance is None:
        return
    annotation = (DRAINED_BY_ANNOTATION, DRAINED_BY_SCALE_DOWN)
    match action:
        case Drain():
            await ctx.objects.set_drain(instance, True, annotation=annotation)
        case Undrain():
            await ctx.objects.set_drain(instance, False, annotation=annotation)
        case Destroy():
            await ctx.objects.delete_instance(instance)
    if isinstance(action, Destroy):
        ctx.memory_of(instance).destroyed_for = action.reason
    ctx.recording.scaled(instance, _RECORDED[type(action)], "requested", action.message, trigger=action.reason)
    await _tell(ctx, pool, instance, action)
    ctx.wake_instance(instance.metadata.key)


async def _tell(ctx: Context, pool: GpuPool, instance: GpuInstance, action: Drain | Undrain | Destroy) -> None:
    """The decision's own words, at the pool and at the server it is about."""
    name = {Drain: "ScaleDown", Undrain: "DrainTakenBack", Destroy: "Destroying"}[type(action)]
    say = ctx.events.warning if action.reason == "Dead" else ctx.events.normal
    await say(instance, name, f"{action.reason}: {action.message}")
    if not isinstance(action, Destroy) or action.reason != "Drained":
        await say(pool, action.reason if isinstance(action, Drain) else name, f"{action.server}: {action.message}")
