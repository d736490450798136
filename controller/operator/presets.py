"""One preset: is the region open, is the application there and ONLINE, what does each bundle cost, what is sold out."""

import asyncio
import random
from collections.abc import Sequence
from typing import Any, Final

from controller.api.gpuinstance import GpuInstance
from controller.api.model import ConditionModel, write
from controller.api.names import Condition
from controller.api.regionpreset import OfferStatus, RegionPreset
from controller.api.times import rfc3339, unix
from controller.cloud.contract import Application
from controller.cloud.errors import AmbiguousError, CloudError, NotFoundError, UnauthorizedError
from controller.operator.application import Making, obtain
from controller.operator.context import Context
from controller.operator.inquiries import Answers, disks_wanted, inquire
from controller.operator.objects import changed, merge_conditions
from controller.operator.rounds import begun, share, until_next
from controller.operator.sharing import SERVES_SECONDS
from controller.scaling.conditions import condition
from controller.scaling.presets import cheapest, deploy_times, refresh, refresh_disks
from controller.scaling.prices import price_condition
from controller.scaling.readings import daily_storage_cost, storage_this_month
from controller.scaling.stock import settled

#: Time between two rounds of price inquiries of a preset that is Ready.
REFRESH_SECONDS: Final = 600.0
#: Time until the next round when some price could not be asked, or a pool has a disk without one.
INCOMPLETE_SECONDS: Final = 60.0
#: Time between two looks at a preset that is not Ready.
RETRY_SECONDS: Final = 20.0
#: Time over which the presets of a region are spread, so that they do not all write at once.
SPREAD_SECONDS: Final = SERVES_SECONDS / 2.0
#: Time between two looks at one that a refused purchase throws doubt on; shorter than a pool waits after a failure.
DOUBT_SECONDS: Final = 5.0
#: Fields of status, of offers, disks and conditions, that differ after each look and tell pools nothing.
_UNSEEN: Final = frozenset({"verifiedAt", "checkedAt", "storageThisMonth", "message"})
#: How long one answer about open regions serves all presets.
REGIONS_SECONDS: Final = 300.0


class Presets:
    """The preset handler. Only it, `purchases` and `application` write RegionPreset.status."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._locks = ctx.preset_locks
        self._regions: tuple[float, frozenset[str]] | None = None
        self._regions_lock = asyncio.Lock()
        self._doubted: set[str] = set()

    async def reconcile(self, key: str) -> float | None:
        """Verify one preset; returns seconds until the next look."""
        preset = self._ctx.store.presets.get(key)
        if preset is None or preset.metadata.deleting:
            return None
        due = self._due_in(preset)
        if due > 0:
            await self._settle(preset)
            return min(due, 30.0)
        return await self._verify(preset)

    def doubt(self, instance: GpuInstance) -> None:
        """A purchase was refused as impossible: region and application are looked at again, soon."""
        for preset in self._ctx.store.presets:
            same = preset.spec.region == instance.spec.region
            if same and preset.metadata.namespace == instance.metadata.namespace:
                self._doubted.add(preset.metadata.key)
                self._ctx.wake_preset(preset.metadata.key)
        self._regions = None
        self._ctx.forget_region(instance.spec.region)

    def _due_in(self, preset: RegionPreset) -> float:
        """A status of another generation, or one older than the refresh time, is looked at now."""
        verified = unix(preset.status.verified_at)
        if verified is None or preset.status.observed_generation != preset.metadata.generation:
            return 0.0
        interval, now = self._interval(preset), self._ctx.clock()
        if verified > now:
            return 0.0  # the clock was set back since
        if interval < REFRESH_SECONDS:
            return verified + interval - now
        # All presets of a region look soon after the same moment, so that one question serves them all.
        late = SPREAD_SECONDS * share(preset.metadata.key)
        if begun(REFRESH_SECONDS, now - late, preset.spec.region) > verified - late:
            return 0.0
        return until_next(REFRESH_SECONDS, now - late, preset.spec.region)

    def _interval(self, preset: RegionPreset) -> float:
        status = preset.status
        if preset.metadata.key in self._doubted:
            return DOUBT_SECONDS
        if not _is_ready(status.conditions):
            return RETRY_SECONDS
        if disks_wanted(self._ctx.store, preset) - {(d.type, d.size_gib) for d in status.disks}:
            return RETRY_SECONDS
        known = next((c for c in status.conditions if c.type == Condition.PRICES_KNOWN), None)
        incomplete = known is not None and known.reason in ("InquiryFailed", "PricesOld")
        return INCOMPLETE_SECONDS if incomplete else REFRESH_SECONDS

    async def _verify(self, preset: RegionPreset) -> float:
        answers, told = Answers(), dict[str, Any]()
        self._doubted.discard(preset.metadata.key)
        try:
            opened = await self._region_open(preset.spec.region)
            found = await obtain(self._ctx, preset) if opened else None
            conditions, told = _conditions(preset, found=found), _application(found)
            if isinstance(found, Application) and found.state == "ONLINE":
                answers = await inquire(self._ctx, preset, found.application_id)
            self._ctx.blocks.read(preset.spec.region)
        except CloudError as error:
            self._ctx.blocks.add(error, preset.spec.region, now=self._ctx.clock(), reading=True)
            told = {"applicationState": "MISSING"} if isinstance(error, NotFoundError) else told
            conditions = _failed(error, preset)
        self._ctx.metrics.blocks(self._ctx.blocks.active(now=self._ctx.clock()))
        await self._write(preset, told, conditions, answers)
        current = self._ctx.store.presets.get(preset.metadata.key) or preset
        return max(1.0, self._due_in(current))

    async def _region_open(self, region: str) -> bool:
        """Whether HAI sells in this region now, asked once for all presets."""
        async with self._regions_lock:
            now = self._ctx.steady()
            if self._regions is None or now - self._regions[0] > REGIONS_SECONDS:
                self._regions = (now, await self._ctx.cloud.available_regions())
            return region in self._regions[1]

    async def _write(
        self,
        known: RegionPreset,
        application: dict[str, Any],
        conditions: list[ConditionModel],
        answers: Answers,
    ) -> None:
        ctx, now = self._ctx, self._ctx.clock()
        async with self._locks[known.metadata.key]:
            preset = ctx.store.presets.get(known.metadata.key) or known
            offers = refresh(preset.status.offers, answers.quotes, now=now, jitter=random.random())  # noqa: S311
            conditions = [*conditions, self._prices(conditions, offers, answers, now=now)]
            fields = _status(preset, conditions, now=now) | _offers(offers, ready=_is_ready(conditions))
            wanted = disks_wanted(ctx.store, preset)
            disks = refresh_disks(preset.status.disks, answers.disks, wanted, now=now)
            blocked = ctx.blocks.status(preset.spec.region)
            fields |= {
                "disks": [write(d) for d in disks],
                "blocked": None if blocked is None else write(blocked),
                **application,
            }
            await ctx.objects.preset_status(preset, changed(preset.status, fields))
            after = ctx.store.presets.get(preset.metadata.key) or preset
        await self._announce(preset, conditions)
        self._export(preset, offers)
        if _sells(preset) != _sells(after):
            self._wake_pools(preset)

    @staticmethod
    def _prices(
        conditions: Sequence[ConditionModel], offers: Sequence[OfferStatus], answers: Answers, *, now: float
    ) -> ConditionModel:
        if _is_ready(conditions):
            return price_condition(offers, answers.failed, now=now)
        return condition(Condition.PRICES_KNOWN, "Unknown", "NotAsked", "prices are asked once the preset is Ready")

    def _export(self, preset: RegionPreset, offers: Sequence[OfferStatus]) -> None:
        metrics, cost = self._ctx.metrics, _storage_cost(preset)
        month = storage_this_month(cost, since=_created(preset) or self._ctx.clock(), now=self._ctx.clock())
        metrics.storage.labels(preset.metadata.namespace, preset.metadata.name).set(cost)
        metrics.money.storage.labels(preset.metadata.namespace, preset.metadata.name).set(month)
        for offer in offers:
            if offer.price_per_hour is not None:
                metrics.offer_price.labels(preset.spec.region, offer.bundle).set(offer.price_per_hour)

    async def _announce(self, preset: RegionPreset, conditions: list[ConditionModel]) -> None:
        """An event for every condition that has become False, and for Ready when it has become True."""
        before = {c.type: (c.status, c.reason) for c in preset.status.conditions}
        for new in conditions:
            old = before.get(new.type)
            if old == (new.status, new.reason):
                continue
            if new.status == "False":
                await self._ctx.events.warning(preset, new.reason, new.message)
            elif new.status == "True" and (new.type == Condition.READY or (old and old[0] == "False")):
                await self._ctx.events.normal(preset, new.reason, new.message)

    def _wake_pools(self, preset: RegionPreset) -> None:
        for pool in self._ctx.store.pools.of(preset.metadata.namespace):
            if any(p.metadata.key == preset.metadata.key for p in self._ctx.store.presets_of(pool)):
                self._ctx.wake_pool(pool.metadata.key)

    async def _settle(self, preset: RegionPreset) -> None:
        """Show what time alone has changed: a back-off that is over, a claim that has lapsed."""
        now = self._ctx.clock()
        async with self._locks[preset.metadata.key]:
            preset = self._ctx.store.presets.get(preset.metadata.key) or preset
            offers = tuple(settled(o, now=now) for o in preset.status.offers)
            fields = _offers(offers, ready=_is_ready(preset.status.conditions))
            await self._ctx.objects.preset_status(preset, changed(preset.status, fields))


def _is_ready(conditions: Sequence[ConditionModel]) -> bool:
    return any(c.type == Condition.READY and c.status == "True" for c in conditions)


def _storage_cost(preset: RegionPreset) -> float:
    return daily_storage_cost(preset.spec.disk_gib, preset.spec.storage_price_per_gib_day)


def _created(preset: RegionPreset) -> float | None:
    return unix(preset.metadata.creation_timestamp)


def _sells(preset: RegionPreset) -> object:
    """What pools look at: the status but for when it was looked at, and what it costs to store."""
    told = {name: value for name, value in write(preset.status).items() if name not in _UNSEEN}
    for name in ("offers", "disks", "conditions"):
        told[name] = [{k: v for k, v in item.items() if k not in _UNSEEN} for item in told[name]]
    return told


def _status(preset: RegionPreset, conditions: Sequence[ConditionModel], *, now: float) -> dict[str, Any]:
    generation, cost = preset.metadata.generation, _storage_cost(preset)
    return {
        "observedGeneration": generation,
        "dailyStorageCost": round(cost, 6),
        "storageThisMonth": round(storage_this_month(cost, since=_created(preset) or now, now=now), 6),
        "verifiedAt": rfc3339(now),
        "conditions": merge_conditions(preset.status.conditions, conditions, generation=generation, now=now),
    }


def _offers(offers: tuple[OfferStatus, ...], *, ready: bool) -> dict[str, Any]:
    return {
        "offers": [write(o) for o in offers],
        "cheapest": cheapest(offers) if ready else "",
        "deployTimes": deploy_times(offers),
    }


def _application(found: Application | Making | None) -> dict[str, Any]:
    """Status fields; none where the region is closed, and nobody looked."""
    if found is None:
        return {}
    if isinstance(found, Making):
        return {"applicationState": "MISSING" if found.status == "False" else "CREATING"}
    return {
        "applicationId": found.application_id,
        "applicationState": found.state,
        "minDiskGiB": found.min_disk_gib,
    }


def _conditions(preset: RegionPreset, *, found: Application | Making | None) -> list[ConditionModel]:
    """What the look at region and application gave; `found` is None where the region is closed."""
    region = preset.spec.region
    if found is None:
        why = f"HAI does not sell in {region} now; the other regions serve, and this one again once it does"
        return [
            condition(Condition.REGION_AVAILABLE, "False", "RegionClosed", why),
            condition(Condition.READY, "False", "RegionClosed", why),
        ]
    available = condition(Condition.REGION_AVAILABLE, "True", "RegionOpen", f"HAI sells in {region}")
    if isinstance(found, Making):
        return [available, condition(Condition.READY, found.status, found.reason, found.message)]
    return [available, _state(found, region)]


def _state(application: Application, region: str) -> ConditionModel:
    message = f"{application.name} ({application.application_id}) is {application.state} in {region}"
    match application.state:
        case "ONLINE":
            return condition(Condition.READY, "True", "ApplicationOnline", message)
        case "CREATING":
            return condition(Condition.READY, "Unknown", "ApplicationCreating", f"{message}; it is used once ONLINE")
        case "DELETING":
            fix = "name another in spec.application, or set enabled: false"
        case "ARREARS":
            fix = "its storage is not paid for: top up the account before HAI deletes it"
        case _:
            fix = "look at it in the HAI console"
    reason = f"Application{application.state.title().replace('_', '')}"
    return condition(Condition.READY, "False", reason, f"{message}: {fix}")


def _failed(error: CloudError, preset: RegionPreset) -> list[ConditionModel]:
    wanted = preset.spec.application
    if isinstance(error, AmbiguousError):
        return [condition(Condition.READY, "False", "ApplicationAmbiguous", f"{error}: set spec.application.id")]
    if isinstance(error, NotFoundError):
        message = f"{error}: create the application {wanted.id or wanted.name} in {preset.spec.region}, or correct it"
        return [condition(Condition.READY, "False", "ApplicationMissing", message)]
    if isinstance(error, UnauthorizedError):
        message = f"{error} - check the Secret tencent-credentials and the CAM policy"
        return [condition(Condition.READY, "False", "Unauthorized", message)]
    return [condition(Condition.READY, "Unknown", "CloudUnavailable", str(error))]
