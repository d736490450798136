"""Whether the cloud still has an instance: what its listing shows, and what it knows of the id.

Lists lie in more ways than ids do. They lag behind a purchase, and beyond what HAI pages through they are never
complete. So an instance that a list lacks is asked for by its id before anything is concluded from that.
"""

from dataclasses import dataclass
from typing import Final

from controller.api.gpuinstance import GpuInstance
from controller.api.names import Condition
from controller.cloud.contract import CloudInstance
from controller.operator.lifecycle.launch import LISTING_LAG_SECONDS
from controller.operator.lifecycle.services import Services
from controller.scaling.conditions import condition

#: Looks in a row that must not find it.
MISSING_LOOKS: Final = 2


@dataclass(frozen=True, slots=True)
class Sight:
    """One look at an instance."""

    #: As the cloud has it; None if neither the list nor the id is known.
    found: CloudInstance | None
    #: The list could be read to its end.
    complete: bool
    #: When the list was asked for, by the view's clock.
    asked_at: float

    @property
    def present(self) -> bool:
        """It is there, in whatever state."""
        return self.found is not None and self.found.state != "TERMINATED"


async def look(services: Services, instance: GpuInstance, *, newer_than: float | None = None) -> Sight:
    """Look for an instance whose id is known.

    Raises:
        CloudError: the cloud could not be asked.
    """
    ctx, instance_id = services.ctx, instance.status.instance_id
    seen = await ctx.view.region(instance.spec.region, newer_than=newer_than)
    found = seen.find(instance_id)
    if found is None:
        found = next(iter(await ctx.cloud.describe_instances(instance.spec.region, [instance_id])), None)
    sight = Sight(found, seen.listing.complete, seen.asked_at)
    memory = ctx.memory_of(instance)
    if sight.present:
        memory.missing = 0
        if found is not None and not _seen_before(instance):
            listed = condition(
                Condition.RUNNING, "Unknown", found.state.title(), f"the cloud lists it as {found.state}"
            )
            await services.write(instance, listed)
    elif sight.asked_at != memory.missed_at:
        memory.missing, memory.missed_at = memory.missing + 1, sight.asked_at
    return sight


def _seen_before(instance: GpuInstance) -> bool:
    return any(c.type == Condition.RUNNING for c in instance.status.conditions)


def may_be_new(services: Services, instance: GpuInstance) -> bool:
    """It was never seen, and may have been bought so lately that neither lists nor ids know it yet."""
    known_for = services.ctx.steady() - services.ctx.memory_of(instance).born
    return not _seen_before(instance) and known_for < LISTING_LAG_SECONDS


async def vanished(services: Services, instance: GpuInstance, sight: Sight) -> bool:
    """Whether it is certainly gone although nobody here destroyed it (a hand in the console, say)."""
    if sight.present or may_be_new(services, instance):
        return False
    return services.ctx.memory_of(instance).missing >= MISSING_LOOKS
