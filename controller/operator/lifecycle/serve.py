"""A server that serves: probed, drained when asked, and noticed when it is gone."""

import asyncio
from typing import Final

from controller.api.gpuinstance import GpuInstance
from controller.api.gpupool import GpuPoolSpec
from controller.api.names import Condition
from controller.api.times import rfc3339, unix
from controller.operator.lifecycle.optimize import doubt, optimize
from controller.operator.lifecycle.probe import healthy
from controller.operator.lifecycle.services import Services
from controller.operator.lifecycle.vanish import look, vanished
from controller.operator.rounds import until_next
from controller.scaling.conditions import condition
from controller.scaling.replicas import drained

#: While a server drains, its end is looked for at least this often.
DRAIN_LOOK_SECONDS: Final = 2.0


async def serve(services: Services, instance: GpuInstance) -> float:
    """One look at a server that is (or was) Ready."""
    spec = services.spec_of(instance)
    if await vanished(services, instance, await look(services, instance)):
        return await _gone(services, instance)
    instance = await follow_drain(services, instance)
    was_down = instance.status.phase == "Unhealthy"
    instance = await _probe(services, instance, spec)
    if instance.status.phase == "Ready":
        if was_down:
            instance = await doubt(services, instance)
        instance = await optimize(services, instance, instance.status.address)
    if instance.spec.drain:
        await note_drained(services, instance, spec)
        return min(DRAIN_LOOK_SECONDS, spec.server.probe_interval_seconds)
    # By rounds: a thousand servers are not all probed in the same moment for ever because they were at the start.
    now = asyncio.get_running_loop().time()
    return until_next(float(spec.server.probe_interval_seconds), now, instance.metadata.uid)


async def _gone(services: Services, instance: GpuInstance) -> float:
    message = f"{instance.status.instance_id} is gone although haipool did not destroy it"
    services.ctx.recording.scaled(instance, "Destroy", "vanished", message, trigger=None)
    await services.ctx.events.warning(instance, "Vanished", message)
    await services.write(instance, phase="Terminating", address="", message=message)
    await services.ctx.objects.delete_instance(instance)
    services.wake_pool(instance)
    return 0.0


async def follow_drain(services: Services, instance: GpuInstance) -> GpuInstance:
    """Bring the phase in line with `spec.drain` (or with deletion, which drains too)."""
    phase = instance.status.phase
    memory, now = services.ctx.memory_of(instance), rfc3339(services.ctx.clock())
    if phase == "Draining" and instance.draining and (instance.status.drain_started_at or now) > now:
        # The clock was set back since then. What others compute with that time would wait until it comes again.
        return await services.write(instance, drainStartedAt=now)
    if instance.draining and phase == "Ready":
        memory.draining_at = services.ctx.steady()
        waiting = condition(Condition.DRAINED, "False", "Draining", "takes no new tasks; running ones finish")
        return await services.write(instance, waiting, phase="Draining", drainStartedAt=now)
    if not instance.draining and phase == "Draining":
        memory.draining_at = None
        back = condition(Condition.DRAINED, "False", "TakenBack", "the drain was taken back")
        return await services.write(instance, back, phase="Ready", drainStartedAt=None)
    return instance


async def note_drained(services: Services, instance: GpuInstance, spec: GpuPoolSpec) -> bool:
    """Record that nothing is in flight any more (or that the drain time is over); True when it is so."""
    if instance.status.drain_started_at is None:
        return False
    ctx, timeout = services.ctx, spec.scaling.down.drain_timeout_seconds
    lasted = ctx.lasted(ctx.memory_of(instance).draining_at, unix(instance.status.drain_started_at))
    now, scrape = ctx.clock(), ctx.scrape_of(instance)
    if not drained(scrape, instance.metadata.name, since=now - lasted, timeout_seconds=timeout, now=now):
        return False
    late = lasted >= timeout
    reason = "TimedOut" if late else "Idle"
    message = f"scaling.down.drainTimeoutSeconds is {timeout}" if late else "every dispatcher reports it idle"
    if not any(c.type == Condition.DRAINED and c.status == "True" for c in instance.status.conditions):
        await services.write(instance, condition(Condition.DRAINED, "True", reason, message))
        services.wake_pool(instance)
    return True


async def _probe(services: Services, instance: GpuInstance, spec: GpuPoolSpec) -> GpuInstance:
    memory, ctx = services.ctx.memory_of(instance), services.ctx
    problem = await healthy(ctx.probes, instance.status.address, spec.server)
    memory.probe_failures = memory.probe_failures + 1 if problem else 0
    if problem and memory.probe_failures >= spec.server.failure_threshold:
        if instance.status.phase == "Unhealthy":
            return instance
        message = f"{memory.probe_failures} probes in a row failed, the last: {problem}"
        await ctx.events.warning(instance, "Unhealthy", message)
        unwell = condition(Condition.SERVING, "False", "ProbeFailed", message)
        return await services.write(
            instance, unwell, phase="Unhealthy", failures=memory.probe_failures, message=message
        )
    if not problem and instance.status.phase == "Unhealthy":
        well = condition(Condition.SERVING, "True", "Healthy", f"{instance.status.address} answers again")
        await ctx.events.normal(instance, "HealthyAgain", well.message)
        phase = "Draining" if instance.spec.drain else "Ready"
        return await services.write(instance, well, phase=phase, failures=0, message="")
    return instance
