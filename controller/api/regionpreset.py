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

    region: Annotated[Region, Meta(description="Domestic HAI region.")]
    priority: Annotated[
        int, Meta(ge=0, le=1000, description="Order of preference at equal price; lower is preferred.")
    ] = 100
    application: Application
    disk_gib: Annotated[int, Meta(ge=1, le=10000, description="Size of the stored image in GiB.")] = field(
        default=50, name="diskGiB"
    )
    storage_price_per_gib_day: Annotated[float, Meta(ge=0, le=1000, description="CNY per GiB and day.")] = field(
        default=0.0048, name="storagePricePerGiBDay"
    )
    enabled: Annotated[bool, Meta(description="false: nothing new is bought in this region.")] = True


class OfferStatus(Model, frozen=True, kw_only=True):
    """One bundle in this region, as last seen."""

    bundle: Bundle
    price_per_hour: Annotated[float, Meta(description="CNY per hour as last inquired.")] | None = None
    state: Annotated[
        Literal["Available", "SoldOut", "Unknown"],
        Meta(description="SoldOut until `soldOutUntil`, after which one purchase tries again."),
    ] = "Unknown"
    sold_out_until: str | None = None
    sold_out_count: Annotated[int, Meta(description="Sold-out answers in a row; sets the back-off.")] = 0
    checked_at: str | None = None


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
    verified_at: str | None = None
    offers: tuple[OfferStatus, ...] = ()
    conditions: tuple[ConditionModel, ...] = ()


class RegionPreset(Model, frozen=True, kw_only=True):
    """The application image made ready in one region."""

    metadata: Metadata
    spec: RegionPresetSpec
    status: RegionPresetStatus = field(default_factory=RegionPresetStatus)
