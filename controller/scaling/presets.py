"""What a preset has on offer after a round of price inquiries, and what that makes for one pool."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from msgspec.structs import replace

from controller.api.catalog import BUNDLES
from controller.api.regionpreset import DiskStatus, OfferStatus
from controller.api.server import SystemDisk
from controller.api.times import rfc3339
from controller.scaling.prices import named
from controller.scaling.sizing import DEPLOYMENTS
from controller.scaling.stock import settled, sold_out


@dataclass(frozen=True, slots=True)
class Quote:
    """The answer to one price inquiry."""

    #: CNY per hour, disk included; None when the cloud named none.
    price_per_hour: float | None = None
    #: The disk's part of it.
    disk_per_hour: float | None = None
    #: The cloud answered that the bundle is out of stock.
    sold_out: bool = False
    #: The bundle is not sold here at all.
    not_sold_here: bool = False


#: A system disk as a pool asks for it: type (empty: any) and GiB.
Disk = tuple[str, int]


def refresh(
    offers: Sequence[OfferStatus], quotes: Mapping[str, Quote], *, now: float, jitter: float
) -> tuple[OfferStatus, ...]:
    """Offers after a round of price inquiries.

    A bundle without an answer keeps its last known price; one that is not sold here is left out.
    """
    known = {offer.bundle: offer for offer in offers}
    result = []
    for bundle in BUNDLES:
        old, quote = known.get(bundle), quotes.get(bundle)
        if quote is not None and not quote.not_sold_here:
            result.append(_quoted(old or OfferStatus(bundle=bundle), quote, now=now, jitter=jitter))
        elif quote is None and old is not None:
            result.append(settled(old, now=now))
    return tuple(result)


def _quoted(old: OfferStatus, quote: Quote, *, now: float, jitter: float) -> OfferStatus:
    if quote.sold_out:
        return sold_out(old, by="", now=now, jitter=jitter)
    if quote.price_per_hour is None:
        return settled(old, now=now)
    return settled(named(old, quote.price_per_hour, quote.disk_per_hour, now=now), now=now)


def refresh_disks(
    known: Sequence[DiskStatus], quotes: Mapping[Disk, float | None], wanted: Iterable[Disk], *, now: float
) -> tuple[DiskStatus, ...]:
    """Prices of the disks that pools ask for; one that could not be asked keeps its last known price."""
    before = {(disk.type, disk.size_gib): disk for disk in known}
    result = []
    for kind, size in sorted(wanted):
        disk = before.get((kind, size)) or DiskStatus(type=kind, size_gib=size)
        if (kind, size) in quotes:
            disk = replace(disk, price_per_hour=quotes[kind, size], checked_at=rfc3339(now))
        result.append(disk)
    return tuple(result)


def disk_of(disk: SystemDisk) -> Disk:
    """The key under which a pool's disk is priced."""
    return (disk.type or "", disk.size_gib)


def price_with(offer: OfferStatus, disk: SystemDisk | None, disks: Iterable[DiskStatus]) -> float | None:
    """CNY per hour of the offer with a pool's system disk in place of the default one.

    What is not known of the disk is taken from the default one: the difference is small, and shown nowhere twice.
    """
    if disk is None or offer.price_per_hour is None or offer.disk_per_hour is None:
        return offer.price_per_hour
    wanted = disk_of(disk)
    own = next((d.price_per_hour for d in disks if (d.type, d.size_gib) == wanted), None)
    return offer.price_per_hour if own is None else offer.price_per_hour - offer.disk_per_hour + own


def deployed(offer: OfferStatus, seconds: float) -> OfferStatus:
    """The offer after a server of it became Ready so long after its purchase.

    The median of the last few: one deployment that hung until just before its time-out says little about the next.
    """
    samples = (*offer.ready_samples, round(seconds, 1))[-DEPLOYMENTS:]
    median_seconds = round(median(samples), 1)
    return replace(offer, ready_samples=samples, ready_seconds=median_seconds, ready_count=offer.ready_count + 1)


def deploy_times(offers: Sequence[OfferStatus]) -> str:
    """How long servers take to become Ready, as people read it."""
    known = [o for o in offers if o.ready_seconds is not None]
    return ", ".join(f"{o.bundle} {o.ready_seconds:.0f} s" for o in known)


def cheapest(offers: Sequence[OfferStatus]) -> str:
    """The cheapest offer that can be bought, as people read it."""
    open_ = [o for o in offers if o.price_per_hour is not None and o.state in ("Available", "HalfOpen")]
    if not open_:
        return ""
    best = min(open_, key=lambda o: (o.price_per_hour or 0.0, o.bundle))
    return f"{best.bundle} {best.price_per_hour:g}"
