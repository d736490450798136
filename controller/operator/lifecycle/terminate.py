"""Destroy until gone: drain, withdraw the address, record the intent, ask, and believe only the cloud's own list."""

import logging
from typing import Final

from controller.api.gpuinstance import GpuInstance
from controller.api.names import INSTANCE_FINALIZER, LEDGER_FINALIZER, Condition
from controller.api.times import rfc3339, unix
from controller.cloud.errors import (
    CloudError,
    InProgressError,
    NotFoundError,
    ThrottledError,
    UnavailableError,
    UnclearError,
)
from controller.operator.lifecycle.launch import find_by_name, launch, record, refused
from controller.operator.lifecycle.serve import follow_drain, note_drained
from controller.operator.lifecycle.services import Services
from controller.operator.lifecycle.vanish import look, may_be_new, vanished
from controller.operator.money import bill
from controller.scaling.conditions import condition
from controller.scaling.ledger import accrued, shown
from controller.scaling.replicas import withdrawn

logger = logging.getLogger(__name__)

#: Longest pause between two looks while waiting.
LOOK_SECONDS: Final = 2.0
#: A dispatcher that cannot be read does not keep an instance alive for longer than this.
WITHDRAW_SECONDS: Final = 30.0
#: Time after which Terminate is asked for again if the instance is still listed as running.
ASK_AGAIN_SECONDS: Final = 60.0


async def terminate(services: Services, instance: GpuInstance) -> float | None:
    """One step towards the end of an object that is being deleted."""
    if INSTANCE_FINALIZER not in instance.metadata.finalizers:
        return await _await_ledger(services, instance)
    if not instance.status.instance_id:
        return await _never_launched(services, instance)
    if instance.status.phase in ("Ready", "Draining"):
        instance = await follow_drain(services, instance)
        if not await note_drained(services, instance, services.spec_of(instance)):
            return min(1.0, services.ctx.settings.cloud_interval)
    if instance.status.phase != "Terminating":
        instance = await services.write(instance, phase="Terminating", address="", message="address withdrawn")
    if instance.status.terminate_requested_at is None and not _address_free(services, instance):
        return min(0.5, services.ctx.settings.cloud_interval)
    return await _destroy(services, instance)


def _address_free(services: Services, instance: GpuInstance) -> bool:
    """Every dispatcher has let go of the address, or had long enough to do so: clouds reuse addresses."""
    if instance.status.ready_at is None:
        return True
    deleted = unix(instance.metadata.deletion_timestamp) or services.ctx.clock()
    since = max(deleted, unix(instance.status.drain_started_at) or 0.0)
    late = (
        services.ctx.clock() - since > WITHDRAW_SECONDS + services.spec_of(instance).scaling.down.drain_timeout_seconds
    )
    return late or withdrawn(services.ctx.scrape_of(instance), instance.metadata.name)


async def _destroy(services: Services, instance: GpuInstance) -> float | None:
    ctx = services.ctx
    if instance.status.terminate_requested_at is None:
        await ctx.traffic.last_reading(instance)
        at = rfc3339(ctx.clock())
        instance = await services.write(instance, terminateRequestedAt=at, message="asking for destruction")
    asked_at = ctx.memory_of(instance).asked_at
    if asked_at is None:
        await _note_existence(services, instance)
        # A process that died may have recorded the intent and got no further; asking once more does no harm.
        return await _ask(services, instance)
    if await _is_gone(services, instance, asked_at):
        return await _ended(services, instance)
    if ctx.steady() - asked_at > ASK_AGAIN_SECONDS:
        return await _ask(services, instance)
    return min(LOOK_SECONDS, ctx.settings.cloud_interval)


async def _note_existence(services: Services, instance: GpuInstance) -> None:
    """Put on record that the cloud had it, before it has not: otherwise its absence would prove nothing for a while."""
    if not may_be_new(services, instance):
        return
    try:
        await look(services, instance)
    except CloudError as error:
        # Nothing waits for that, least of all the end of the bill.
        logger.info("%s: not seen before its destruction: %s", instance.metadata.key, error)


async def _ask(services: Services, instance: GpuInstance) -> float:
    """Ask for destruction. Returning means asked, nothing more; asking twice does no harm."""
    memory = services.ctx.memory_of(instance)
    try:
        await services.ctx.cloud.terminate_instance(instance.spec.region, instance.status.instance_id)
        memory.asked_at = services.ctx.steady()
    except NotFoundError:
        memory.asked_at = services.ctx.steady()
    except (InProgressError, ThrottledError, UnavailableError, UnclearError) as error:
        await services.write(instance, message=f"destruction not confirmed yet: {error}")
    except CloudError as error:
        await services.ctx.events.warning(instance, "TerminateRefused", f"still billed: {error}")
        await services.write(instance, message=f"destruction refused, still billed: {error}")
        return 30.0
    return min(LOOK_SECONDS, services.ctx.settings.cloud_interval)


async def _is_gone(services: Services, instance: GpuInstance, asked_at: float) -> bool:
    """TERMINATED, or not found after the request: in a complete listing and by id, or twice by id where none is."""
    sight = await look(services, instance, newer_than=asked_at)
    if sight.present:
        return False
    if sight.found is not None:
        return True
    return (sight.complete and not may_be_new(services, instance)) or await vanished(services, instance, sight)


async def _ended(services: Services, instance: GpuInstance) -> float | None:
    ctx = services.ctx
    # Seen gone a second time, after a crash say, it ended when it was seen gone first: it may be booked already.
    at = instance.status.ended_at or rfc3339(ctx.clock())
    ended = unix(at) or ctx.clock()
    known = bill(instance, now=ended)
    cost = shown(accrued(known, ended)) if known else 0.0
    instance = await services.write(
        instance,
        condition(Condition.RUNNING, "False", "Gone", "the cloud no longer lists it"),
        endedAt=at,
        costCNY=cost,
        message="gone",
    )
    seconds = ended - (unix(instance.status.launched_at) or ended)
    ctx.metrics.terminations.labels(instance.spec.region, instance.spec.bundle).inc()
    ran = f"ran {seconds:.0f} s, {cost:.4f} CNY"
    ctx.recording.scaled(instance, "Destroy", "done", ran, trigger=ctx.memory_of(instance).destroyed_for)
    await ctx.events.normal(instance, "Gone", f"{instance.status.instance_id} {ran}")
    await _release(services, instance)
    return LOOK_SECONDS


async def _release(services: Services, instance: GpuInstance) -> None:
    await services.ctx.objects.remove_finalizers(instance, [INSTANCE_FINALIZER])
    services.wake_pool(instance)


async def _await_ledger(services: Services, instance: GpuInstance) -> float | None:
    """The pool books the cost and lets the object go; without a pool nobody books, and it may go now."""
    if services.pool_of(instance) is None:
        await services.ctx.objects.remove_finalizers(instance, [LEDGER_FINALIZER])
        return None
    return 30.0


async def _never_launched(services: Services, instance: GpuInstance) -> float | None:
    """Deleted before an id is known. Nothing may be forgotten while it may have been bought."""
    if instance.status.attempted_at is None or refused(instance):
        await _release(services, instance)
        return LOOK_SECONDS
    found = await find_by_name(services, instance)
    if found is not None:
        return await record(services, instance, found)
    # Not listed yet is no proof. The same token tells: it returns the id if it was bought, and if it was not, buys it
    # for the seconds until it is destroyed, which is cheaper than a server that nobody knows of.
    return await launch(services, instance)
