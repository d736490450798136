"""The application of a preset: found, or made once from `spec.sourceInstanceId`.

HAI has no idempotency token for CreateApplication, but refuses a second application of one name. So the name is the
token: it is looked for first; the intent is recorded in the preset's status; then the cloud is asked. A crash or an
unclear answer leads back to looking for the name, and only once listings can no longer lag is the cloud asked again, by
the same name. The source instance and existing applications are never touched.
"""

from dataclasses import dataclass
from typing import Final

from msgspec.structs import replace

from controller.api.model import ConditionStatus, write
from controller.api.names import Condition
from controller.api.regionpreset import CreationStatus, RegionPreset
from controller.api.times import rfc3339, unix
from controller.cloud.contract import Application
from controller.cloud.errors import (
    AmbiguousError,
    CloudError,
    InProgressError,
    InvalidRequestError,
    NameTakenError,
    NotFoundError,
    QuotaError,
    ThrottledError,
    UnauthorizedError,
    UnavailableError,
    UnclearError,
)
from controller.operator.context import Context

#: Pause after a refused CreateApplication; what is refused for good is seen in the condition meanwhile.
REFUSED_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class Making:
    """The application is not there yet: the preset's condition Ready, in words."""

    status: ConditionStatus
    reason: str
    message: str


async def obtain(ctx: Context, preset: RegionPreset) -> Application | Making:
    """The preset's application, or how far its making has got.

    Raises:
        NotFoundError: it does not exist, and the preset does not say from what to make it; or its name is ambiguous.
        CloudError: it could not be looked for; nothing is known then, and nothing was begun.
    """
    wanted = preset.spec.application
    try:
        return await ctx.cloud.find_application(
            preset.spec.region, application_id=wanted.id, name=wanted.name, kind=wanted.type
        )
    except AmbiguousError:
        raise
    except NotFoundError:
        if preset.spec.source_instance_id is None or wanted.name is None:
            raise
    found = await _underway(ctx, preset)
    if found is not None:
        return found
    return _not_a_source(ctx, preset) or await _request(ctx, preset)


def _creation(preset: RegionPreset) -> CreationStatus | None:
    """What is on record for the source and the name that the spec has now."""
    creation, spec = preset.status.creation, preset.spec
    same = creation is not None and (creation.source_instance_id, creation.name) == (
        spec.source_instance_id,
        spec.application.name,
    )
    return creation if same else None


async def _underway(ctx: Context, preset: RegionPreset) -> Application | Making | None:
    """What became of the latest request; None once another one may be made."""
    creation = _creation(preset)
    if creation is None:
        return None
    ago = ctx.clock() - (unix(creation.requested_at) or 0.0)
    if creation.outcome == "Refused":
        return _as_before(preset) if ago < REFUSED_SECONDS else None
    if creation.application_id:
        try:
            return await ctx.cloud.find_application(
                preset.spec.region, application_id=creation.application_id, name=None, kind="PRIVATE_APPLICATION"
            )
        except NotFoundError:
            pass  # not listed yet, or deleted by someone
    if ago >= ctx.settings.listing_lag:
        return None
    if creation.outcome == "Accepted":
        return _creating(preset, creation.application_id)
    return _unclear(preset, "no answer is on record")


def _as_before(preset: RegionPreset) -> Making | None:
    told = next((c for c in preset.status.conditions if c.type == Condition.READY), None)
    return None if told is None else Making(told.status, told.reason, told.message)


def _not_a_source(ctx: Context, preset: RegionPreset) -> Making | None:
    """A pool's own server may be destroyed at any time; unless that is ruled out, no image is made of it."""
    source = preset.spec.source_instance_id
    for instance in ctx.store.instances:
        if instance.status.instance_id == source and not instance.protected and not instance.orphaned:
            message = (
                f"{source} is {instance.metadata.key}, which its pool may destroy: "
                f"kubectl annotate gi {instance.metadata.name} haipool.io/protect=true, or name another instance"
            )
            return Making("False", "SourceInstanceOfPool", message)
    return None


async def _request(ctx: Context, preset: RegionPreset) -> Application | Making:
    spec = preset.spec
    source, name = spec.source_instance_id or "", spec.application.name or ""
    creation = CreationStatus(source_instance_id=source, name=name, requested_at=rfc3339(ctx.clock()))
    await _record(ctx, preset, creation, if_unchanged=True)
    try:
        application_id = await ctx.cloud.create_application(spec.region, instance_id=source, name=name)
    except UnclearError as error:
        return _unclear(preset, str(error))
    except CloudError as error:
        await _record(ctx, preset, replace(creation, outcome="Refused"))
        return await _refused(ctx, preset, error)
    await _record(ctx, preset, replace(creation, outcome="Accepted", application_id=application_id))
    made = _creating(preset, application_id)
    await ctx.events.normal(preset, "ApplicationRequested", made.message)
    return made


async def _record(ctx: Context, preset: RegionPreset, creation: CreationStatus, *, if_unchanged: bool = False) -> None:
    """Write the intent (refused if another operator wrote the preset meanwhile), or what became of it."""
    async with ctx.preset_locks[preset.metadata.key]:
        current = ctx.store.presets.get(preset.metadata.key) or preset
        await ctx.objects.preset_status(current, {"creation": write(creation)}, if_unchanged=if_unchanged)


def _creating(preset: RegionPreset, application_id: str) -> Making:
    spec = preset.spec
    message = f"{spec.application.name} ({application_id}) is being made from {spec.source_instance_id}"
    return Making("Unknown", "ApplicationCreating", message)


def _unclear(preset: RegionPreset, why: str) -> Making:
    name = preset.spec.application.name
    message = f"it is not known whether {name} is being made: {why}; it is looked for by name"
    return Making("Unknown", "OutcomeUnknown", message)


async def _refused(ctx: Context, preset: RegionPreset, error: CloudError) -> Making:
    """What a refusal means, and what to do about it."""
    if isinstance(error, InProgressError):
        return Making("Unknown", "SourceInstanceBusy", f"{error}: asked again in a minute")
    if isinstance(error, ThrottledError | UnavailableError):
        return Making("Unknown", "CloudUnavailable", str(error))
    reason, fix = await _fix(ctx, preset, error)
    return Making("False", reason, f"{error}: {fix}")


async def _fix(ctx: Context, preset: RegionPreset, error: CloudError) -> tuple[str, str]:
    source, region = preset.spec.source_instance_id or "", preset.spec.region
    match error:
        case NotFoundError():
            found = "SourceInstanceMissing", f"spec.sourceInstanceId has to name an instance in {region}"
        case NameTakenError():
            found = (
                "ApplicationNameTaken",
                f"no PRIVATE_APPLICATION of that name is visible in {region}; choose another",
            )
        case QuotaError():
            found = "ApplicationQuota", "delete applications that are not needed, or raise the quota in the console"
        case UnauthorizedError():
            found = "Unauthorized", "the CAM policy needs hai:CreateApplication"
        case InvalidRequestError():
            state = await _state_of_source(ctx, region, source)
            found = "SourceInstanceUnsuitable", f"{source} is {state}; start it in the console, or name another"
        case _:
            found = "ApplicationRefused", "look at the instance in the HAI console"
    return found


async def _state_of_source(ctx: Context, region: str, source: str) -> str:
    """As listed, for the message only."""
    try:
        found = await ctx.cloud.describe_instances(region, [source])
    except CloudError:
        return "in an unknown state"
    return found[0].state if found else "not listed"
