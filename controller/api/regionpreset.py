"""RegionPreset (`rp`): the application image made ready in one region (预配置)."""

from typing import Annotated, ClassVar, Literal

from msgspec import Meta, field

from controller.api.catalog import Bundle, Region
from controller.api.model import ConditionModel, Metadata, Model, Rule


class Application(Model, frozen=True, kw_only=True):
    """The application, by id, or by name and type where the id is to be looked up in the region."""

    cel: ClassVar[tuple[Rule, ...]] = (
        Rule("has(self.id) != has(self.name)", "set application.id or application.name, and only one of them"),
    )
    id: Annotated[str, Meta(pattern="^app-[a-z0-9]{1,32}$", description="ApplicationId in this region.")] | None = None
    name: Annotated[str, Meta(min_length=1, max_length=128, description="Exact ApplicationName.")] | None = None
    type: Annotated[
        Literal["PUBLIC_APPLICATION", "PRIVATE_APPLICATION", "COMMUNITY_APPLICATION"],
        Meta(description="ApplicationType for a look-up by name."),
    ] = "PRIVATE_APPLICATION"


class RegionPresetSpec(Model, frozen=True, kw_only=True):
    """Where the application stands ready."""

    cel: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.sourceInstanceId)"
            " || (has(self.application.name) && self.application.type == 'PRIVATE_APPLICATION')",
            "sourceInstanceId goes with application.name, the name of the PRIVATE_APPLICATION to be made from it",
        ),
    )
    region: Annotated[Region, Meta(description="Domestic HAI region.")]
    priority: Annotated[
        int, Meta(ge=0, le=1000, description="Order of preference at equal price; lower is preferred.")
    ] = 100
    application: Application
    source_instance_id: (
        Annotated[
            str,
            Meta(
                pattern="^hai-[a-z0-9]{1,32}$",
                description="InstanceId, in this region, from which the application is made if application.name is not "
                "there. The instance itself is left alone, and no application is ever deleted.",
            ),
        ]
        | None
    ) = None
    disk_gib: Annotated[int, Meta(ge=1, le=10000, description="Size of the stored image in GiB.")] = field(
        default=50, name="diskGiB"
    )
    storage_price_per_gib_day: Annotated[float, Meta(ge=0, le=1000, description="CNY per GiB and day.")] = field(
        default=0.0048, name="storagePricePerGiBDay"
    )
    enabled: Annotated[bool, Meta(description="false: nothing new is bought in this region.")] = True


OfferState = Literal["Available", "SoldOut", "HalfOpen", "Disputed", "Unknown"]


class OfferStatus(Model, frozen=True, kw_only=True):
    """One bundle in this region, as last seen."""

    bundle: Bundle
    price_per_hour: Annotated[float, Meta(description="CNY per hour with the default system disk.")] | None = None
    disk_per_hour: Annotated[float, Meta(description="The part of it that is the disk's.")] | None = None
    checked_at: Annotated[str, Meta(description="When the cloud named this price.")] | None = None
    state: Annotated[
        OfferState,
        Meta(
            description="SoldOut: left alone until `soldOutUntil`. HalfOpen: then one purchase of all pools tries. "
            "Disputed: the cloud names a price that is not believed, and nothing is bought at it."
        ),
    ] = "Unknown"
    sold_out_until: str | None = None
    sold_out_count: Annotated[int, Meta(description="Sold-out answers in a row; sets the back-off.")] = 0
    probed_by: Annotated[str, Meta(description="The GpuInstance whose purchase tries a HalfOpen offer.")] | None = None
    probe_until: Annotated[str, Meta(description="When another may try, if that one's answer never comes.")] | None = (
        None
    )
    disputed_price: Annotated[float, Meta(description="What the cloud names instead, CNY per hour.")] | None = None
    disputed_since: str | None = None
    ready_seconds: Annotated[float, Meta(description="Seconds from purchase to Ready, median of five.")] | None = None
    ready_samples: Annotated[tuple[float, ...], Meta(description="The last five, oldest first.")] = ()
    ready_count: Annotated[int, Meta(description="Servers of this offer that ever became Ready.")] = 0


class DiskStatus(Model, frozen=True, kw_only=True):
    """What a system disk costs that some pool asks for in `server.systemDisk`."""

    type: Annotated[str, Meta(description="Empty: whichever type is in stock.")] = ""
    size_gib: int = field(name="sizeGiB")
    price_per_hour: Annotated[float, Meta(description="CNY per hour; absent where the cloud names none.")] | None = None
    checked_at: str | None = None


class CreationStatus(Model, frozen=True, kw_only=True):
    """The application being made from `sourceInstanceId`. Written before the cloud is asked."""

    source_instance_id: str
    name: str
    requested_at: Annotated[str, Meta(description="Time of the latest CreateApplication call.")]
    outcome: Annotated[
        Literal["Requested", "Accepted", "Refused"],
        Meta(description="Requested: asked, and no answer is recorded; it may or may not have happened."),
    ] = "Requested"
    application_id: Annotated[str, Meta(description="As answered.")] = ""


class BlockStatus(Model, frozen=True, kw_only=True):
    """Why the cloud sells this account nothing here."""

    reason: Annotated[str, Meta(description="Arrears, Unauthorized or QuotaExceeded.")]
    message: str
    scope: Annotated[Literal["Account", "Region"], Meta(description="What it stops: every region, or this one.")]
    retry_at: Annotated[str, Meta(description="From then on one purchase of all pools tries again.")]


class RegionPresetStatus(Model, frozen=True, kw_only=True):
    """What stands ready. Written by the operator only."""

    observed_generation: int = 0
    application_id: str = ""
    application_state: str = ""
    min_disk_gib: int = field(default=0, name="minDiskGiB")
    daily_storage_cost: Annotated[float, Meta(description="diskGiB x storagePricePerGiBDay, CNY per day.")] = 0.0
    storage_this_month: Annotated[
        float, Meta(description="What that came to this month (Beijing time) since the preset exists, CNY.")
    ] = 0.0
    cheapest: Annotated[str, Meta(description="The cheapest offer now.")] = ""
    deploy_times: Annotated[str, Meta(description="Seconds from purchase to Ready, by bundle.")] = ""
    verified_at: str | None = None
    offers: tuple[OfferStatus, ...] = ()
    disks: tuple[DiskStatus, ...] = ()
    creation: CreationStatus | None = None
    blocked: BlockStatus | None = None
    conditions: tuple[ConditionModel, ...] = ()


class RegionPreset(Model, frozen=True, kw_only=True):
    """The application image made ready in one region."""

    metadata: Metadata
    spec: RegionPresetSpec
    status: RegionPresetStatus = field(default_factory=RegionPresetStatus)
