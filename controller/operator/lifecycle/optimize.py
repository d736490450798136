"""Bring a server to where the traffic level wants it, by its pool's hooks, and back again.

What is about to be changed, and what was there before, is written down before the first request leaves; so a crash at
any await leaves a server that is either completed or undone by whoever comes next. A server whose hooks fail is told of
and goes on serving.
"""

import asyncio
import json
from typing import Final

from msgspec.structs import replace

from controller.api.gpuinstance import GpuInstance
from controller.api.gpupool import GpuPool
from controller.api.model import MESSAGE_LIMIT, write_over
from controller.api.names import Condition
from controller.api.optimization import HookRequest, OptimizationStatus, SavedFields, Stage
from controller.api.times import rfc3339
from controller.operator.lifecycle.hookcalls import Call, HookError, change, former, send
from controller.operator.lifecycle.services import Services
from controller.scaling.conditions import condition
from controller.scaling.optimization import Step, below, digest, goal, hooks_for, next_step, retry_pause
from controller.scaling.quota import server_stage
from controller.scaling.usage import used_this_month

#: Pauses between the tries at a server that is not Ready yet; after the last it becomes Ready all the same.
BEFORE_READY_PAUSES: Final = (1.0, 2.0)
#: Failed tries in a row after which someone should act.
FAILURES_TOLD: Final = 3


async def before_ready(services: Services, instance: GpuInstance, address: str) -> GpuInstance:
    """A new server gets the hooks of the level that holds before it serves; failing hooks do not keep it from that."""
    for pause in (*BEFORE_READY_PAUSES, None):
        instance = await optimize(services, instance, address, now_or_never=True)
        if not instance.status.optimization.error or pause is None:
            break
        await asyncio.sleep(pause)
    return instance


async def optimize(
    services: Services, instance: GpuInstance, address: str, *, now_or_never: bool = False
) -> GpuInstance:
    """As many steps towards the wanted stage as succeed; a failed one is tried again later.

    Args:
        services: what every step of the lifecycle has.
        instance: the server.
        address: its base URL.
        now_or_never: try although an earlier try failed a moment ago.
    """
    pool = services.pool_of(instance)
    if pool is None or pool.spec.mode != "Act":
        return instance
    memory = services.ctx.memory_of(instance).hooks
    while (step := _step(services, pool, instance)) is not None:
        wanted = f"{step.kind} {step.stage}"
        if memory.goal != wanted:
            memory.goal, memory.failures, memory.retry_at = wanted, 0, 0.0
        if services.ctx.clock() < memory.retry_at and not now_or_never:
            return instance
        try:
            instance = await _take(services, pool, instance, address, step)
        except HookError as error:
            memory.failures += 1
            memory.retry_at = services.ctx.clock() + retry_pause(memory.failures)
            # As it was written down on the way: what was saved must not be lost to an older view.
            instance = services.ctx.store.instances.get(instance.metadata.key) or instance
            return await _failed(services, instance, step, str(error))
    return instance


async def doubt(services: Services, instance: GpuInstance) -> GpuInstance:
    """A server that was down may have come back without its settings: what was done to it is to be done again."""
    status = instance.status.optimization
    if status.level == "Normal":
        return instance
    return await _record(services, instance, replace(status, applied_at=None))


def _step(services: Services, pool: GpuPool, instance: GpuInstance) -> Step | None:
    now, spec, status = services.ctx.clock(), pool.spec.traffic, instance.status
    used = used_this_month(status.traffic, now=now)
    wanted = server_stage(pool.status.traffic, spec, used, now=now)
    return next_step(status.optimization, goal(spec.optimization.hooks, wanted, status.optimization))


async def _take(services: Services, pool: GpuPool, instance: GpuInstance, address: str, step: Step) -> GpuInstance:
    """One step, from its record to its completion.

    Raises:
        HookError: a request failed; the record stands.
    """
    hooks = pool.spec.traffic.optimization.hooks
    status = instance.status.optimization
    begun = replace(status, level=step.stage, applied_at=None)
    if step.kind == "Enter":
        begun = replace(begun, hooks=digest(hooks))
    instance = await _record(services, instance, begun)
    requests = hooks_for(hooks, step.stage)
    if step.kind == "Enter":
        for request in requests.on_enter:
            instance = await _enter(services, pool, instance, _call(request, address), stage=step.stage, hook=request)
        return await _done(services, instance, step, step.stage)
    for request in requests.on_leave:
        await _send(services, pool, _call(request, address), restores=False)
    for saved in reversed([s for s in instance.status.optimization.saved if s.level == step.stage]):
        await _send(services, pool, _restoring(saved, address), restores=True)
    return await _done(services, instance, step, below(step.stage))


async def _enter(
    services: Services, pool: GpuPool, instance: GpuInstance, call: Call, *, stage: Stage, hook: HookRequest
) -> GpuInstance:
    if hook.restore:
        instance = await _save(services, instance, call, stage=stage, hook=hook)
    await _send(services, pool, call, restores=hook.restore)
    return instance


async def _save(
    services: Services, instance: GpuInstance, call: Call, *, stage: Stage, hook: HookRequest
) -> GpuInstance:
    """Write down what is about to be changed. What an earlier try wrote stands: by now the server may show our own."""
    status = instance.status.optimization
    if any((s.level, s.method, s.path) == (stage, hook.method, hook.path) for s in status.saved):
        return instance
    saved = SavedFields(
        level=stage,
        method=hook.method,
        path=hook.path,
        values=json.dumps(await former(services.ctx.probes, call)),
        content_type=hook.content_type,
        timeout_seconds=hook.timeout_seconds,
    )
    return await _record(services, instance, replace(status, saved=(*status.saved, saved)))


async def _send(services: Services, pool: GpuPool, call: Call, *, restores: bool) -> None:
    counter = services.ctx.metrics.traffic.hooks.labels
    labels = (pool.metadata.namespace, pool.metadata.name)
    try:
        await (change(services.ctx.probes, call) if restores else send(services.ctx.probes, call))
    except HookError:
        counter(*labels, "failed").inc()
        raise
    counter(*labels, "ok").inc()


def _call(request: HookRequest, address: str) -> Call:
    return Call(request.method, address + request.path, request.body, request.content_type, request.timeout_seconds)


def _restoring(saved: SavedFields, address: str) -> Call:
    return Call(saved.method, address + saved.path, saved.values, saved.content_type, saved.timeout_seconds)


async def _record(services: Services, instance: GpuInstance, status: OptimizationStatus) -> GpuInstance:
    if status == instance.status.optimization:
        return instance
    return await services.write(instance, optimization=write_over(status))


async def _done(services: Services, instance: GpuInstance, step: Step, stage: Stage) -> GpuInstance:
    now, status = services.ctx.clock(), instance.status.optimization
    saved = status.saved if step.kind == "Enter" else tuple(s for s in status.saved if s.level != step.stage)
    status = replace(
        status,
        level=stage,
        applied_at=rfc3339(now),
        error="",
        saved=saved,
        hooks="" if stage == "Normal" else status.hooks,
    )
    services.ctx.memory_of(instance).hooks.goal = ""
    did = "entered" if step.kind == "Enter" else "left"
    message = f"the hooks of the traffic level {step.stage} were sent: {did}"
    await services.ctx.events.normal(instance, f"Traffic{step.stage}{did.title()}", message)
    well = condition(Condition.TRAFFIC_OPTIMIZED, "True", stage, message)
    return await services.write(instance, well, optimization=write_over(status))


async def _failed(services: Services, instance: GpuInstance, step: Step, error: str) -> GpuInstance:
    """Told at the server; it keeps serving. What may pass by itself is unsettled at first."""
    entering = "entering" if step.kind == "Enter" else "leaving"
    message = f"{entering} the traffic level {step.stage}: {error}"[:MESSAGE_LIMIT]
    failures = services.ctx.memory_of(instance).hooks.failures
    if failures == FAILURES_TOLD:
        await services.ctx.events.warning(instance, "HookFailed", message)
    lasting = failures >= FAILURES_TOLD
    unwell = condition(
        Condition.TRAFFIC_OPTIMIZED, "False" if lasting else "Unknown", "HookFailed" if lasting else "Retrying", message
    )
    status = replace(instance.status.optimization, error=message)
    return await services.write(instance, unwell, optimization=write_over(status))
