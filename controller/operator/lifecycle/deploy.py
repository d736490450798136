"""From bought to Ready: RUNNING is not yet serving, so the health path has to answer, and then the warm-up request."""

import logging
from typing import Final

from controller.api.gpuinstance import GpuInstance
from controller.api.names import Condition
from controller.api.server import Server
from controller.api.times import rfc3339, unix
from controller.cloud.contract import CloudInstance
from controller.operator import purchases
from controller.operator.lifecycle.optimize import before_ready
from controller.operator.lifecycle.probe import healthy, warm_up
from controller.operator.lifecycle.services import Services
from controller.operator.lifecycle.vanish import look, vanished
from controller.scaling.conditions import condition

logger = logging.getLogger(__name__)

#: Longest pause between two looks at an instance that is being deployed.
LOOK_SECONDS: Final = 5.0


async def deploy(services: Services, instance: GpuInstance) -> float:
    """One look at an instance that was bought and does not serve yet."""
    ctx, server = services.ctx, services.spec_of(instance).server
    sight = await look(services, instance)
    found = sight.found
    if found is not None and found.state in ("LAUNCH_FAILED", "TERMINATED", "TERMINATING"):
        return await fail(services, instance, f"the cloud reports {found.state}")
    if await vanished(services, instance, sight):
        return await fail(services, instance, "the cloud no longer has the instance")
    waited = ctx.lasted(ctx.memory_of(instance).bought_at, unix(instance.status.launched_at))
    if waited > server.startup_timeout_seconds:
        limit = f"server.startupTimeoutSeconds is {server.startup_timeout_seconds}"
        return await fail(services, instance, f"not Ready after {waited:.0f} s, {limit}: {instance.status.message}")
    address = None if found is None or found.state != "RUNNING" else address_of(found, server)
    if address is None:
        return _pause(services)
    return await _probe(services, instance, server, address)


def address_of(found: CloudInstance, server: Server) -> str | None:
    """Base URL of the application; None while the instance has no such address."""
    ip = found.public_ip if server.address == "Public" else found.private_ip
    return None if not ip else f"{server.scheme}://{f'[{ip}]' if ':' in ip else ip}:{server.port}"


async def _probe(services: Services, instance: GpuInstance, server: Server, address: str) -> float:
    if instance.status.running_at is None:
        instance = await services.write(
            instance,
            condition(Condition.RUNNING, "True", "Running", f"the cloud reports RUNNING at {address}"),
            runningAt=rfc3339(services.ctx.clock()),
            message="running; waiting for the application",
        )
    problem = await healthy(services.ctx.probes, address, server)
    if not problem and server.warm_up is not None:
        problem = await warm_up(services.ctx.probes, address, server.warm_up)
    if problem:
        await services.write(instance, condition(Condition.SERVING, "False", "NotYet", problem), message=problem)
        return _pause(services)
    instance = await before_ready(services, instance, address)
    return await _ready(services, instance, address)


async def _ready(services: Services, instance: GpuInstance, address: str) -> float:
    ctx, now = services.ctx, services.ctx.clock()
    took = now - (unix(instance.status.launched_at) or now)
    instance = await services.write(
        instance,
        condition(Condition.SERVING, "True", "Healthy", f"{address} answers"),
        phase="Ready",
        address=address,
        readyAt=rfc3339(now),
        failures=0,
        message="",
    )
    services.note_launch(instance, failed="")
    ctx.metrics.ready_seconds.labels(instance.spec.region, instance.spec.bundle).observe(took)
    ctx.recording.launched(instance, "ready", f"{took:.0f} s after the purchase")
    await ctx.events.normal(instance, "Ready", f"serves at {address}, {took:.0f} s after the purchase")
    if instance.spec.adopts is None:
        # Counted from when the pool decided to buy: that is what a step is sized by.
        await purchases.deployed(ctx, instance, now - (unix(instance.metadata.creation_timestamp) or now))
    services.wake_pool(instance)
    return 0.0


async def fail(services: Services, instance: GpuInstance, why: str) -> float:
    """A deployment that came to nothing: destroy what there is, and let the pool buy elsewhere."""
    ctx = services.ctx
    services.note_launch(instance, failed=f"{instance.metadata.name}: {why}")
    ctx.metrics.launches.labels(instance.spec.region, instance.spec.bundle, "failed").inc()
    ctx.recording.launched(instance, "failed", why)
    await ctx.events.warning(instance, "DeployFailed", why)
    pool = services.pool_of(instance)
    if pool is not None:
        await ctx.events.warning(pool, "DeployFailed", f"{instance.metadata.name}: {why}")
    instance = await services.write(instance, condition(Condition.SERVING, "False", "DeployFailed", why), message=why)
    await ctx.objects.delete_instance(instance)
    return 0.0


def _pause(services: Services) -> float:
    return min(LOOK_SECONDS, services.ctx.settings.cloud_interval)
