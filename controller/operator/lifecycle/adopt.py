"""Take over an instance that is billed already and has no owner. Nothing is bought, so nothing can be bought twice.

The object is named after the instance, so of two writers only one can make it; from then on it owns the instance as if
it had bought it.
"""

from controller.api.gpuinstance import GpuInstance
from controller.api.names import Condition
from controller.operator.lifecycle.launch import REPEAT_SECONDS, record, refused
from controller.operator.lifecycle.services import Services
from controller.scaling.conditions import condition


async def adopt(services: Services, instance: GpuInstance) -> float:
    """One look for the instance; once seen it is recorded, once certainly gone the object goes too."""
    ctx, wanted = services.ctx, instance.spec.adopts or ""
    if refused(instance):
        await ctx.objects.delete_instance(instance)
        return REPEAT_SECONDS
    seen = await ctx.view.region(instance.spec.region, newer_than=ctx.view.now() - 1.0)
    found = seen.find(wanted)
    if found is not None and found.state not in ("TERMINATING", "TERMINATED"):
        instance = await services.write(instance, instanceName=found.name)
        return await record(services, instance, wanted, event="TakenOver")
    if found is None and not seen.listing.complete:
        return REPEAT_SECONDS
    message = f"{wanted} is gone, there is nothing to take over"
    ctx.recording.launched(instance, "failed", message)
    await ctx.events.warning(instance, "Gone", message)
    gone = condition(Condition.LAUNCHED, "False", "Gone", message)
    instance = await services.write(instance, gone, message=message)
    await ctx.objects.delete_instance(instance)
    return 0.0
