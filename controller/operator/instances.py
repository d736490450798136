"""One instance: which step of its life it is in."""

from controller.api.gpuinstance import GpuInstance
from controller.cloud.errors import CloudError
from controller.operator.lifecycle.adopt import adopt
from controller.operator.lifecycle.deploy import deploy
from controller.operator.lifecycle.launch import launch
from controller.operator.lifecycle.serve import serve
from controller.operator.lifecycle.services import Services
from controller.operator.lifecycle.terminate import terminate


async def reconcile(services: Services, key: str) -> float | None:
    """One step; returns seconds until the next, None when the object is gone or no longer ours."""
    instance = services.ctx.store.instances.get(key)
    if instance is None or instance.orphaned:
        return None
    try:
        return await _step(services, instance)
    except CloudError as error:
        # A read failed: what is unknown stays as it is, and is looked at again.
        await services.write(instance, message=f"the cloud could not be asked: {error}")
        return max(1.0, services.ctx.settings.cloud_interval)


async def _step(services: Services, instance: GpuInstance) -> float | None:
    if instance.metadata.deleting:
        return await terminate(services, instance)
    match instance.status.phase:
        case "Launching":
            return await (adopt if instance.spec.adopts else launch)(services, instance)
        case "Deploying":
            return await deploy(services, instance)
        case "Ready" | "Unhealthy" | "Draining":
            return await serve(services, instance)
        case "Terminating":
            # Withdrawn (it vanished, say) but the deletion did not get through: ask again.
            await services.ctx.objects.delete_instance(instance)
            return 1.0
