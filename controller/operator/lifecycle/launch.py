"""Buy, exactly once.

Order: the object exists with its finalizers (apply wrote it); the attempt is recorded in its status; `RunInstances`
with a token that follows from the object's uid; the answer is recorded. A crash anywhere leads back here, where an
attempt that may have reached the cloud is first looked for by name, and only ever repeated with the same token.
"""

import hashlib
import logging
from typing import Final

from controller.api.gpuinstance import GpuInstance
from controller.api.names import Condition, instance_name
from controller.api.times import rfc3339
from controller.cloud.contract import LaunchSpec
from controller.cloud.errors import (
    CloudError,
    InvalidRequestError,
    NotFoundError,
    SoldOutError,
    ThrottledError,
    UnavailableError,
    UnclearError,
)
from controller.operator import purchases
from controller.operator.lifecycle.services import Services
from controller.scaling.conditions import condition

logger = logging.getLogger(__name__)

#: First pause before the same request is repeated; doubles up to the maximum.
REPEAT_SECONDS: Final = 2.0
REPEAT_MAX_SECONDS: Final = 60.0
#: A new instance may be missing from listings for this long; only then does absence mean anything.
LISTING_LAG_SECONDS: Final = 120.0


def launch_spec(instance: GpuInstance, cluster_uid: str) -> LaunchSpec:
    """What to buy. It follows from immutable fields only, so the token always stands for the same purchase."""
    spec, disk = instance.spec, instance.spec.system_disk
    return LaunchSpec(
        application_id=spec.application_id,
        bundle=spec.bundle,
        name=instance_name(
            cluster_uid=cluster_uid,
            pool_uid=spec.pool_uid,
            instance_uid=instance.metadata.uid,
            bundle=spec.bundle,
        ),
        token=client_token(instance.metadata.uid),
        disk_type=disk.type if disk else None,
        disk_gib=disk.size_gib if disk else None,
    )


def client_token(uid: str) -> str:
    """Idempotency token: a hash of the object's uid, so a second writer of the same object uses the same one."""
    return f"haipool-{hashlib.sha256(uid.encode()).hexdigest()[:48]}"


async def launch(services: Services, instance: GpuInstance) -> float:
    """One attempt to buy, or to find out what became of the last one."""
    ctx, spec = services.ctx, launch_spec(instance, services.ctx.cluster_uid)
    if refused(instance) and not instance.metadata.deleting:
        # Refused for good, but the deletion did not get through: one object is one attempt.
        await ctx.objects.delete_instance(instance)
        return REPEAT_SECONDS
    if instance.status.attempted_at is None:
        whose = instance.metadata.key
        if not ctx.blocks.claim(instance.spec.region, by=whose, now=ctx.clock()):
            return await _stand_down(services, instance)
        ctx.memory_of(instance).sole = True
        instance = await services.write(
            instance,
            condition(Condition.LAUNCHED, "Unknown", "Requested", "RunInstances is being called"),
            attemptedAt=rfc3339(ctx.clock()),
            instanceName=spec.name,
            phase="Launching",
        )
    else:
        found = await find_by_name(services, instance)
        if found is not None:
            pause = await record(services, instance, found)
            await purchases.bought(ctx, instance)
            return pause
    return await _request(services, instance, spec)


async def _request(services: Services, instance: GpuInstance, spec: LaunchSpec) -> float:
    ctx = services.ctx
    labels = (instance.spec.region, instance.spec.bundle)
    try:
        instance_id = await ctx.cloud.run_instance(instance.spec.region, spec)
    except (ThrottledError, UnavailableError) as error:
        ctx.metrics.launches.labels(*labels, "throttled").inc()
        return await _again(services, instance, error)
    except UnclearError as error:
        ctx.metrics.launches.labels(*labels, "unclear").inc()
        ctx.memory_of(instance).tried_at = ctx.steady()
        return await _unclear(services, instance, error)
    except CloudError as error:
        return await _refused(services, instance, error)
    ctx.metrics.launches.labels(*labels, "bought").inc()
    pause = await record(services, instance, instance_id)
    await purchases.bought(ctx, instance)
    return pause


async def record(services: Services, instance: GpuInstance, instance_id: str, *, event: str = "Bought") -> float:
    """Write down what was bought (or taken over); billing has started."""
    memory = services.ctx.memory_of(instance)
    memory.unclear = memory.throttled = 0
    memory.bought_at = services.ctx.steady()
    message = f"{instance.spec.bundle} in {instance.spec.region} is {instance_id}"
    # The purchase may be older than this look at it; billed since the attempt is the honest upper bound.
    launched = instance.status.launched_at or instance.status.attempted_at or rfc3339(services.ctx.clock())
    instance = await services.write(
        instance,
        condition(Condition.LAUNCHED, "True", event, message),
        condition(Condition.OUTCOME_UNKNOWN, "False", "Known", message),
        instanceId=instance_id,
        launchedAt=launched,
        phase="Deploying",
        message="waiting for the instance to run",
    )
    services.ctx.recording.launched(instance, "bought", message)
    await services.ctx.events.normal(instance, event, f"{message}, {instance.spec.price_per_hour:g} CNY/h")
    return 0.0


def refused(instance: GpuInstance) -> bool:
    """The cloud has said for certain that nothing was bought for this object."""
    return any(c.type == Condition.LAUNCHED and c.status == "False" for c in instance.status.conditions)


async def find_by_name(services: Services, instance: GpuInstance) -> str | None:
    """The id of the instance that carries this object's name, from a listing asked for now.

    Raises:
        CloudError: the region could not be listed; nothing is known then.
    """
    ctx = services.ctx
    seen = await ctx.view.region(instance.spec.region, newer_than=ctx.view.now() - 1.0)
    name = launch_spec(instance, ctx.cluster_uid).name
    found = [i for i in seen.named(name) if i.state != "TERMINATED"]
    if len(found) > 1:
        ids = ", ".join(i.instance_id for i in found)
        await ctx.events.warning(instance, "BoughtTwice", f"{ids} carry the same name; destroy all but the first")
    return min(i.instance_id for i in found) if found else None


async def _again(services: Services, instance: GpuInstance, error: CloudError) -> float:
    memory = services.ctx.memory_of(instance)
    memory.throttled += 1
    await services.write(instance, message=f"not accepted yet: {error}")
    return min(REPEAT_SECONDS * 2.0 ** min(memory.throttled - 1, 8), REPEAT_MAX_SECONDS)


async def _unclear(services: Services, instance: GpuInstance, error: UnclearError) -> float:
    """Unknown is not failed: say so, and repeat with the same token."""
    memory = services.ctx.memory_of(instance)
    memory.unclear += 1
    message = f"it is not known whether the purchase happened: {error}; repeating with the same token"
    first = memory.unclear == 1
    instance = await services.write(
        instance, condition(Condition.OUTCOME_UNKNOWN, "True", "Unclear", message), message=message
    )
    if first:
        await services.ctx.events.warning(instance, "OutcomeUnknown", message)
    return min(REPEAT_SECONDS * 2.0 ** min(memory.unclear - 1, 8), REPEAT_MAX_SECONDS)


async def _refused(services: Services, instance: GpuInstance, error: CloudError) -> float:
    """The cloud says no. After an unclear attempt that alone does not prove that nothing was bought."""
    if not await _proven_absent(services, instance):
        return await _unclear(
            services, instance, UnclearError(f"now refused ({error}), but an earlier attempt is open")
        )
    ctx, sold_out = services.ctx, isinstance(error, SoldOutError)
    outcome = "sold_out" if sold_out else "refused"
    ctx.metrics.launches.labels(instance.spec.region, instance.spec.bundle, outcome).inc()
    tell = await _learn(services, instance, error)
    ctx.recording.launched(instance, "sold_out" if sold_out else "refused", str(error))
    reason = "SoldOut" if sold_out else type(error).__name__.removesuffix("Error")
    message = f"{instance.spec.bundle} in {instance.spec.region}: {error}"
    if tell:
        await _tell(services, instance, reason, message, hint=_hint(error))
    return await _give_up(services, instance, reason, message)


async def _learn(services: Services, instance: GpuInstance, error: CloudError) -> bool:
    """Keep what the refusal teaches all pools; returns whether its pool has to be told.

    Of what stops the account or a region, every pool tells in its condition AccountHealthy.
    """
    ctx = services.ctx
    if isinstance(error, SoldOutError):
        await purchases.sold_out(ctx, instance)
        return True
    added = await purchases.refused(ctx, instance, error)
    if added is not None:
        if added.news:
            await ctx.events.warning(instance, added.block.reason, added.block.message)
        return False
    services.note_launch(instance, failed=f"{instance.metadata.name}: {error}")
    if isinstance(error, InvalidRequestError | NotFoundError):
        services.presets.doubt(instance)
    return True


async def _stand_down(services: Services, instance: GpuInstance) -> float:
    """Not asked: meanwhile another purchase was refused for a reason that holds for this one too."""
    spec, meta = instance.spec, instance.metadata
    await purchases.release(services.ctx, meta.namespace, spec.region, spec.bundle, by=meta.name)
    message = f"{spec.bundle} in {spec.region}: not asked for, since the cloud refuses purchases there"
    services.ctx.recording.launched(instance, "refused", message)
    return await _give_up(services, instance, "Blocked", message)


async def _give_up(services: Services, instance: GpuInstance, reason: str, message: str) -> float:
    """One object is one attempt: write down why it came to nothing, and let it go."""
    ctx = services.ctx
    await services.write(instance, condition(Condition.LAUNCHED, "False", reason, message), message=message)
    current = ctx.store.instances.get(instance.metadata.key) or instance
    await ctx.objects.delete_instance(current)
    return 0.0


async def _tell(services: Services, instance: GpuInstance, reason: str, message: str, *, hint: str) -> None:
    await services.ctx.events.warning(instance, reason, f"{message}{hint}")
    pool = services.pool_of(instance)
    if pool is not None:
        await services.ctx.events.warning(pool, reason, f"{instance.metadata.name}: {message}{hint}")


def _hint(error: CloudError) -> str:
    if isinstance(error, SoldOutError):
        return "; the next offer is tried"
    if isinstance(error, InvalidRequestError | NotFoundError):
        return "; check the preset's application and the pool's server.systemDisk"
    return ""


async def _proven_absent(services: Services, instance: GpuInstance) -> bool:
    """Nothing bears this object's name: every earlier attempt was answered, or a late and complete listing says so."""
    ctx, memory = services.ctx, services.ctx.memory_of(instance)
    # A process that died in the middle of its attempt left no word of how that ended.
    if memory.sole and memory.tried_at is None:
        return True
    # From the last attempt on, for it may be the one that bought; one of an earlier process came before this one.
    if ctx.steady() - (memory.tried_at or memory.born) < LISTING_LAG_SECONDS:
        return False
    seen = await ctx.view.region(instance.spec.region, newer_than=ctx.view.now() - 1.0)
    return seen.listing.complete and not seen.named(launch_spec(instance, ctx.cluster_uid).name)
