"""One preset: is the region open, is the application there and ONLINE, what does each bundle cost, what is sold out."""

import asyncio
import logging
import random
from collections import defaultdict
from typing import Any, Final

from controller.api.catalog import BUNDLES
from controller.api.gpuinstance import GpuInstance
from controller.api.model import ConditionModel, write
from controller.api.names import Condition
from controller.api.regionpreset import OfferStatus, RegionPreset
from controller.api.times import rfc3339, unix
from controller.cloud.contract import Application
from controller.cloud.errors import (
    CloudError,
    InvalidRequestError,
    NotFoundError,
    SoldOutError,
    UnauthorizedError,
)
from controller.operator.context import Context
from controller.operator.objects import changed, merge_conditions
from controller.operator.rounds import begun, share, until_next
from controller.operator.sharing import SERVES_SECONDS
from controller.scaling.conditions import condition
from controller.scaling.presets import Quote, bought, cheapest, expire, refresh, sold_out
from controller.scaling.readings import daily_storage_cost

logger = logging.getLogger(__name__)

#: Time between two rounds of price inquiries of a preset that is Ready.
REFRESH_SECONDS: Final = 600.0
#: Time between two looks at a preset that is not.
RETRY_SECONDS: Final = 20.0
#: Time over which the presets of a region are spread, so that they do not all write at once.
SPREAD_SECONDS: Final = SERVES_SECONDS / 2.0
#: How long one answer about open regions serves all presets.
REGIONS_SECONDS: Final = 300.0


class Presets:
    """The preset handler, the only writer of RegionPreset.status."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._regions: tuple[float, frozenset[str]] | None = None
        self._regions_lock = asyncio.Lock()

    async def reconcile(self, key: str) -> float | None:
        """Verify one preset; returns seconds until the next look."""
        preset = self._ctx.store.presets.get(key)
        if preset is None or preset.metadata.deleting:
            return None
        due = self._due_in(preset)
        if due > 0:
            await self._expire(preset)
            return min(due, 30.0)
        return await self._verify(preset)

    def _due_in(self, preset: RegionPreset) -> float:
        """A status of another generation, or one older than the refresh time, is looked at now."""
        verified = unix(preset.status.verified_at)
        if verified is None or preset.status.observed_generation != preset.metadata.generation:
            return 0.0
        now = self._ctx.clock()
        if not any(c.type == Condition.READY and c.status == "True" for c in preset.status.conditions):
            return verified + RETRY_SECONDS - now
        # All presets of a region look soon after the same moment, so that one question serves them all.
        late = SPREAD_SECONDS * share(preset.metadata.key)
        if begun(REFRESH_SECONDS, now - late, preset.spec.region) > verified - late:
            return 0.0
        return until_next(REFRESH_SECONDS, now - late, preset.spec.region)

    async def _verify(self, preset: RegionPreset) -> float:
        quotes: dict[str, Quote] = {}
        application: Application | None = None
        try:
            opened = await self._region_open(preset.spec.region)
            application = await self._application(preset) if opened else None
            conditions = _conditions(preset, opened=opened, application=application)
            if application is not None and application.state == "ONLINE":
                quotes = await self._quotes(preset.spec.region, application.application_id)
            self._ctx.blocks.clear_region(preset.spec.region)
        except CloudError as error:
            self._ctx.blocks.add(error, preset.spec.region, now=self._ctx.clock())
            conditions = _failed(error, preset)
        await self._write(preset, application, conditions, quotes)
        current = self._ctx.store.presets.get(preset.metadata.key) or preset
        return max(1.0, self._due_in(current))

    async def _region_open(self, region: str) -> bool:
        """Whether HAI sells in this region now, asked once for all presets."""
        async with self._regions_lock:
            now = self._ctx.clock()
            if self._regions is None or now - self._regions[0] > REGIONS_SECONDS:
                self._regions = (now, await self._ctx.cloud.available_regions())
            return region in self._regions[1]

    async def _application(self, preset: RegionPreset) -> Application:
        wanted = preset.spec.application
        return await self._ctx.cloud.find_application(
            preset.spec.region, application_id=wanted.id, name=wanted.name, kind=wanted.type
        )

    async def _quotes(self, region: str, application_id: str) -> dict[str, Quote]:
        """A price for every bundle; one that could not be asked keeps its last known price."""
        quotes: dict[str, Quote] = {}
        for bundle in BUNDLES:
            try:
                price = await self._ctx.cloud.price(region, application_id=application_id, bundle=bundle)
                quotes[bundle] = Quote(price.total_per_hour)
            except SoldOutError:
                quotes[bundle] = Quote(sold_out=True)
            except InvalidRequestError:
                quotes[bundle] = Quote(not_sold_here=True)
            except UnauthorizedError:
                raise
            except CloudError as error:
                logger.warning("price of %s in %s could not be asked: %s", bundle, region, error)
        return quotes

    async def _write(
        self,
        preset: RegionPreset,
        application: Application | None,
        conditions: list[ConditionModel],
        quotes: dict[str, Quote],
    ) -> None:
        ctx, now = self._ctx, self._ctx.clock()
        async with self._locks[preset.metadata.key]:
            preset = ctx.store.presets.get(preset.metadata.key) or preset
            offers = refresh(preset.status.offers, quotes, now=now, jitter=random.random())  # noqa: S311 - jitter
            cost = daily_storage_cost(preset.spec.disk_gib, preset.spec.storage_price_per_gib_day)
            fields: dict[str, Any] = {
                "observedGeneration": preset.metadata.generation,
                "dailyStorageCost": round(cost, 6),
                "verifiedAt": rfc3339(now),
                "conditions": merge_conditions(
                    preset.status.conditions, conditions, generation=preset.metadata.generation, now=now
                ),
                **_offers(offers),
            }
            if application is not None:
                fields |= {
                    "applicationId": application.application_id,
                    "applicationState": application.state,
                    "minDiskGiB": application.min_disk_gib,
                }
            await self._announce(preset, conditions)
            await ctx.objects.preset_status(preset, changed(preset.status, fields))
            after = ctx.store.presets.get(preset.metadata.key) or preset
        ctx.metrics.storage.labels(preset.metadata.namespace, preset.metadata.name).set(cost)
        for offer in offers:
            if offer.price_per_hour is not None:
                ctx.metrics.offer_price.labels(preset.spec.region, offer.bundle).set(offer.price_per_hour)
        if _sells(preset) != _sells(after):
            self._wake_pools(preset)

    async def _announce(self, preset: RegionPreset, conditions: list[ConditionModel]) -> None:
        before = {c.type: (c.status, c.reason) for c in preset.status.conditions}
        for new in conditions:
            old = before.get(new.type)
            if old == (new.status, new.reason):
                continue
            if new.status == "False":
                await self._ctx.events.warning(preset, new.reason, new.message)
            elif new.status == "True" and new.type == Condition.READY:
                await self._ctx.events.normal(preset, new.reason, new.message)

    def _wake_pools(self, preset: RegionPreset) -> None:
        for pool in self._ctx.store.pools.of(preset.metadata.namespace):
            if any(p.metadata.key == preset.metadata.key for p in self._ctx.store.presets_of(pool)):
                self._ctx.wake_pool(pool.metadata.key)

    async def _expire(self, preset: RegionPreset) -> None:
        now = self._ctx.clock()
        async with self._locks[preset.metadata.key]:
            preset = self._ctx.store.presets.get(preset.metadata.key) or preset
            offers = tuple(expire(o, now=now) for o in preset.status.offers)
            await self._ctx.objects.preset_status(preset, changed(preset.status, _offers(offers)))

    async def mark(self, instance: GpuInstance, *, is_sold_out: bool) -> None:
        """Remember in the preset's status what a purchase of this offer taught, so that a restart knows it too."""
        now = self._ctx.clock()
        for known in self._ctx.store.presets:
            same = known.spec.region == instance.spec.region
            if not same or known.metadata.namespace != instance.metadata.namespace:
                continue
            async with self._locks[known.metadata.key]:
                preset = self._ctx.store.presets.get(known.metadata.key) or known
                offers = tuple(
                    _marked(o, is_sold_out, now=now) if o.bundle == instance.spec.bundle else o
                    for o in preset.status.offers
                )
                await self._ctx.objects.preset_status(preset, changed(preset.status, _offers(offers)))


def _marked(offer: OfferStatus, is_sold_out: bool, *, now: float) -> OfferStatus:
    return sold_out(offer, now=now, jitter=random.random()) if is_sold_out else bought(offer)  # noqa: S311 - jitter


def _sells(preset: RegionPreset) -> object:
    """What pools look at: a change of it is worth a decision now."""
    status = preset.status
    ready = [(c.status, c.reason) for c in status.conditions if c.type == Condition.READY]
    offers = [(o.bundle, o.price_per_hour, o.state, o.sold_out_until) for o in status.offers]
    return status.observed_generation, status.application_id, status.application_state, ready, offers


def _offers(offers: tuple[OfferStatus, ...]) -> dict[str, Any]:
    return {"offers": [write(o) for o in offers], "cheapest": cheapest(offers)}


def _conditions(preset: RegionPreset, *, opened: bool, application: Application | None) -> list[ConditionModel]:
    region = preset.spec.region
    if not opened or application is None:
        why = f"HAI does not sell in {region} now; the other regions serve"
        return [
            condition(Condition.REGION_AVAILABLE, "False", "RegionClosed", why),
            condition(Condition.READY, "False", "RegionClosed", why),
        ]
    available = condition(Condition.REGION_AVAILABLE, "True", "RegionOpen", f"HAI sells in {region}")
    if application.state == "ONLINE":
        message = f"{application.name} ({application.application_id}) is ONLINE in {region}"
        return [available, condition(Condition.READY, "True", "ApplicationOnline", message)]
    if application.state == "CREATING":
        message = f"{application.name} ({application.application_id}) is still being created in {region}"
        return [available, condition(Condition.READY, "Unknown", "ApplicationCreating", message)]
    message = f"{application.name} ({application.application_id}) is {application.state} in {region}"
    return [available, condition(Condition.READY, "False", f"Application{application.state.title()}", message)]


def _failed(error: CloudError, preset: RegionPreset) -> list[ConditionModel]:
    wanted = preset.spec.application
    if isinstance(error, NotFoundError):
        message = f"{error}: create the application {wanted.id or wanted.name} in {preset.spec.region}, or correct it"
        return [condition(Condition.READY, "False", "ApplicationMissing", message)]
    if isinstance(error, UnauthorizedError):
        message = f"{error} - check the Secret tencent-credentials and the CAM policy"
        return [condition(Condition.READY, "False", "Unauthorized", message)]
    return [condition(Condition.READY, "Unknown", "CloudUnavailable", str(error))]
