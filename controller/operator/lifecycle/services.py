"""What every step needs, and the few writes all steps share."""

from dataclasses import dataclass
from typing import Any

from controller.api.gpuinstance import GpuInstance
from controller.api.gpupool import GpuPool, GpuPoolSpec
from controller.api.model import MESSAGE_LIMIT, ConditionModel
from controller.operator.context import Context
from controller.operator.objects import changed, merge_conditions
from controller.operator.presets import Presets
from controller.operator.remembered import launches

#: A server that left its pool behind still has to be probed and drained somehow.
_DEFAULTS = GpuPoolSpec()


@dataclass(frozen=True, slots=True)
class Services:
    """The shared context and the preset handler, which keeps what purchases teach."""

    ctx: Context
    presets: Presets

    def pool_of(self, instance: GpuInstance) -> GpuPool | None:
        """The pool of an instance, if it still exists."""
        return self.ctx.store.pool_of(instance)

    def spec_of(self, instance: GpuInstance) -> GpuPoolSpec:
        """The pool's spec; the defaults once the pool is gone."""
        pool = self.pool_of(instance)
        return _DEFAULTS if pool is None else pool.spec

    async def write(self, instance: GpuInstance, *conditions: ConditionModel, **fields: Any) -> GpuInstance:
        """Patch the instance's status, and return it as it is now.

        Keyword names are the JSON names of status fields.
        """
        current = self.ctx.store.instances.get(instance.metadata.key) or instance
        if "message" in fields:
            fields["message"] = str(fields["message"])[:MESSAGE_LIMIT]
        if conditions:
            fields["conditions"] = merge_conditions(
                current.status.conditions,
                conditions,
                generation=current.metadata.generation,
                now=self.ctx.clock(),
            )
        fields["observedGeneration"] = current.metadata.generation
        await self.ctx.objects.instance_status(current, changed(current.status, fields))
        return self.ctx.store.instances.get(instance.metadata.key) or current

    def note_launch(self, instance: GpuInstance, *, failed: str) -> None:
        """Note how a launch ended; `failed` says how it failed, empty: it became Ready. The pool writes it down."""
        memory = self.ctx.pool_memory(instance.spec.pool_uid)
        known = launches(memory, self.pool_of(instance))
        memory.launches = known.failed(self.ctx.clock(), failed) if failed else known.succeeded()
        self.wake_pool(instance)

    def wake_pool(self, instance: GpuInstance) -> None:
        """Have the pool decide now: something it waits for has happened."""
        self.ctx.wake_pool(f"{instance.metadata.namespace}/{instance.spec.pool}")
