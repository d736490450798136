"""Instances that carry our mark and belong to no GpuInstance: what is known of them, and what follows. No I/O here.

The rules, in the order of the harm they prevent: nothing without our full mark is ever touched; an object that exists
owns, whatever state it is in, an orphaned one too; absence of an object is believed only after two complete passes;
nothing is destroyed whose pool is not there to answer for it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from controller.api.gpuinstance import GpuInstance
from controller.api.gpupool import GpuPool
from controller.api.model import ConditionModel
from controller.api.names import ORPHANED_ANNOTATION, Condition, Mark, parse_instance_name
from controller.cloud.contract import CloudInstance
from controller.operator.store import Store
from controller.scaling.conditions import condition
from controller.scaling.snapshot import Stray

#: Complete passes in which an instance has to lack an object before it is called leaked.
CONFIRMED_PASSES: Final = 2
#: The pass in which it may be destroyed: one later, so that its pool can take it over first.
DESTROY_PASSES: Final = CONFIRMED_PASSES + 1
#: Longest time for which purchases wait for complete listings after a start.
BARRIER_SECONDS: Final = 60.0
#: Without a complete listing for this long a region counts as not looked at.
STALE_SECONDS: Final = 900.0
#: States in which an instance goes or is gone, and costs nothing more.
_ENDING: Final = ("TERMINATING", "TERMINATED")


@dataclass(frozen=True, slots=True)
class Owners:
    """What the GpuInstances in the API own."""

    #: Recorded InstanceIds, and those being taken over.
    ids: frozenset[str]
    #: UIDs of objects whose purchase may be under way, or that were let go of: all that bears their name is theirs.
    open_uids: frozenset[str]

    def own(self, instance: CloudInstance, mark: Mark) -> bool:
        """Whether an object stands behind this instance. A second purchase under one name has no owner."""
        return instance.instance_id in self.ids or mark.instance_uid in self.open_uids


def owners(raw: Iterable[Mapping[str, Any]]) -> Owners:
    """Read ownership from objects as the API sends them: one that does not fit its kind any more still owns."""
    ids: set[str] = set()
    open_uids: set[str] = set()
    for item in raw:
        meta, spec, status = item.get("metadata") or {}, item.get("spec") or {}, item.get("status") or {}
        ids |= {str(known) for known in (status.get("instanceId"), spec.get("adopts")) if known}
        orphaned = (meta.get("annotations") or {}).get(ORPHANED_ANNOTATION) == "true"
        if orphaned or not status.get("instanceId"):
            open_uids.add(str(meta.get("uid")))
    return Owners(frozenset(ids), frozenset(open_uids))


def owners_known(instances: Iterable[GpuInstance]) -> Owners:
    """The same from the operator's own cache: good enough to see that there is nothing to ask about."""
    found = list(instances)
    ids = {i.status.instance_id for i in found} | {i.spec.adopts for i in found if i.spec.adopts}
    open_uids = {i.metadata.uid for i in found if i.orphaned or not i.status.instance_id}
    return Owners(frozenset(ids - {""}), frozenset(open_uids))


@dataclass(slots=True)
class Leak:
    """One instance that has no object, as far as is known."""

    instance_id: str
    region: str
    mark: Mark
    #: Complete passes that found no object for it.
    passes: int
    #: Clock seconds of the first of them.
    since: float
    #: As last listed.
    state: str
    #: CNY per hour; None: no preset knows a price for it.
    price_per_hour: float | None = None
    #: What this process has begun with it; nothing else is begun then.
    fate: Literal["", "adopt", "destroy"] = ""

    @property
    def confirmed(self) -> bool:
        """Whether it is certain that it has no owner."""
        return self.passes >= CONFIRMED_PASSES

    @property
    def wasted(self) -> bool:
        """Whether it is billed for nothing: certain, and nobody is taking it over."""
        return self.confirmed and self.fate != "adopt"

    def __str__(self) -> str:
        price = "price unknown" if self.price_per_hour is None else f"{self.price_per_hour:g} CNY/h"
        return f"{self.instance_id} ({self.mark.bundle} in {self.region}, {price})"


@dataclass(slots=True)
class Leaks:
    """What the audit has found so far, shared with the pools."""

    started: float
    #: Last complete listing of each region. All times here are the view's own, which no clock that is set disturbs.
    listed: dict[str, float] = field(default_factory=dict)
    found: dict[str, Leak] = field(default_factory=dict)

    def of(self, pool: GpuPool) -> list[Leak]:
        """Those that bear this pool's mark."""
        return [leak for leak in self.found.values() if pool.metadata.uid.startswith(leak.mark.pool)]

    def barrier(self, regions: Iterable[str], *, now: float) -> str:
        """Why nothing may be bought yet: what is billed already has to be known first; empty when it is."""
        missing = sorted(set(regions) - set(self.listed))
        if not missing or now - self.started >= BARRIER_SECONDS:
            return ""
        return f"waiting for the first complete listing of {', '.join(missing)}"


def marked(instances: Iterable[CloudInstance], cluster_uid: str) -> list[tuple[CloudInstance, Mark]]:
    """The billed instances of this cluster."""
    found = [(i, parse_instance_name(i.name)) for i in instances if i.state not in _ENDING]
    return [(i, mark) for i, mark in found if mark is not None and cluster_uid.startswith(mark.cluster)]


def take_pass(
    leaks: Leaks, region: str, unowned: Iterable[tuple[CloudInstance, Mark]], store: Store, *, now: float
) -> list[Leak]:
    """Bring one region up to a complete pass; returns the leaks that it confirmed."""
    here = {i.instance_id: (i, mark) for i, mark in unowned}
    for gone in [leak.instance_id for leak in leaks.found.values() if leak.region == region]:
        if gone not in here:
            del leaks.found[gone]
    confirmed = []
    for instance_id, (instance, mark) in here.items():
        leak = leaks.found.get(instance_id)
        if leak is None:
            leak = leaks.found[instance_id] = Leak(instance_id, region, mark, 0, now, instance.state)
        if leak.fate == "adopt":
            # It came to nothing, or its object is being written just now: all proof begins anew.
            leak.fate, leak.passes = "", 0
        leak.passes += 1
        leak.state, leak.price_per_hour = instance.state, price_of(store, region, mark.bundle)
        if leak.passes == CONFIRMED_PASSES:
            confirmed.append(leak)
    return confirmed


def price_of(store: Store, region: str, bundle: str) -> float | None:
    """What an instance costs by the presets: in its region, else the dearest known elsewhere, else unknown."""
    prices = [
        (preset.spec.region, offer.price_per_hour)
        for preset in store.presets
        for offer in preset.status.offers
        if offer.bundle == bundle and offer.price_per_hour is not None
    ]
    here = [price for where, price in prices if where == region]
    return max(here or [price for _, price in prices], default=None)


def pool_of(store: Store, mark: Mark) -> GpuPool | None:
    """The one pool this mark means; None if it is gone, or if two pools' marks look alike."""
    found = [pool for pool in store.pools if pool.metadata.uid.startswith(mark.pool)]
    return found[0] if len(found) == 1 else None


def strays(leaks: Leaks, store: Store, pool: GpuPool) -> tuple[Stray, ...]:
    """The leaks that this pool can take over."""
    return tuple(
        stray
        for leak in leaks.of(pool)
        if leak.confirmed and not leak.fate and (stray := _stray(leak, store, pool)) is not None
    )


def _stray(leak: Leak, store: Store, pool: GpuPool) -> Stray | None:
    """None where it is of no use: a bundle the pool does not want, a price or an application nobody knows."""
    application = next(
        (
            p.status.application_id
            for p in store.presets_of(pool)
            if p.spec.region == leak.region and p.status.application_id
        ),
        None,
    )
    kind = pool.spec.gpu_type(leak.mark.bundle)
    meant = pool_of(store, leak.mark)
    price = price_of(
        store, leak.region, leak.mark.bundle
    )  # as known now: presets may have been verified since the pass
    usable = leak.state in ("PENDING", "RUNNING") and meant is not None and meant.metadata.uid == pool.metadata.uid
    if kind is None or application is None or price is None or not usable:
        return None
    return Stray(leak.instance_id, leak.region, leak.mark.bundle, price, application)


def unaudited(leaks: Leaks, store: Store, pool: GpuPool, *, now: float) -> str:
    """Why this pool may not buy yet; empty when it may."""
    barrier = leaks.barrier({p.spec.region for p in store.presets_of(pool)}, now=now)
    if barrier:
        return barrier
    open_cases = [
        leak
        for leak in leaks.of(pool)
        if not leak.confirmed and now - leak.since < BARRIER_SECONDS and _stray(leak, store, pool) is not None
    ]
    if not open_cases:
        return ""
    return f"looking whether {', '.join(map(str, open_cases[:3]))} can be taken over"


def may_destroy(leak: Leak, pool: GpuPool | None) -> str:
    """Why the audit must not destroy this leak; empty when it may."""
    if pool is None:
        return "its pool is gone, and may have let go of it on purpose"
    if pool.spec.deletion_policy == "Orphan":
        return "the pool's deletionPolicy is Orphan"
    if pool.spec.paused != "None":
        return f"spec.paused is {pool.spec.paused}"
    if pool.spec.mode == "Recommend":
        return "spec.mode is Recommend"
    if leak.passes < DESTROY_PASSES:
        return "it is looked at once more, and its pool may take it over"
    return ""


def leak_condition(leaks: Leaks, store: Store, pool: GpuPool, *, now: float) -> ConditionModel:
    """The pool's condition NoLeaks. Where the cloud could not be looked at, nothing is claimed."""
    wasted = [leak for leak in leaks.of(pool) if leak.wasted]
    if wasted:
        names = ", ".join(map(str, wasted[:3]))
        more = f" and {len(wasted) - 3} more" if len(wasted) > 3 else ""
        message = (
            f"billed without a GpuInstance: {names}{more}; taken over when the pool wants servers, else destroy it"
        )
        return condition(Condition.NO_LEAKS, "False", "Leaked", message)
    regions = {preset.spec.region for preset in store.presets_of(pool)}
    unseen = sorted(r for r in regions if now - leaks.listed.get(r, float("-inf")) > STALE_SECONDS)
    if unseen:
        message = (
            f"no complete listing of {', '.join(unseen)} for {STALE_SECONDS / 60.0:.0f} minutes or since the start"
        )
        return condition(Condition.NO_LEAKS, "Unknown", "NotAudited", message)
    return condition(Condition.NO_LEAKS, "True", "AllOwned", "every instance with this pool's mark has a GpuInstance")
