"""Which prices are believed, which are old, and what people are told of it.

A wrong price costs money in both directions: one that is too low draws purchases, one that is too high lets a budget
stop them. So a price that differs from the last one by more than a factor of ten is not believed at once.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from msgspec.structs import replace

from controller.api.model import ConditionModel
from controller.api.names import Condition
from controller.api.regionpreset import OfferStatus
from controller.api.times import rfc3339, unix
from controller.scaling.conditions import condition

#: A price this many times the last one, or this part of it, is not believed at once. Prices move by per cent.
JUMP: Final = 10.0
#: CNY per hour that no first price may exceed; HAI's dearest bundle costs about a hundredth of it.
MOST: Final = 1000.0
#: A jump is believed once the cloud has named it for this long: six inquiries.
DISPUTE_SECONDS: Final = 3600.0
#: A price whose inquiry has failed for this long is called old.
OLD_SECONDS: Final = 3600.0


def named(offer: OfferStatus, price: float, disk: float | None, *, now: float) -> OfferStatus:
    """The offer after the cloud named a price: believed, or noted beside the one that is."""
    since = offer.disputed_since if _near(price, offer.disputed_price) else None
    patient = now - (unix(since) or now) >= DISPUTE_SECONDS
    if _plausible(price, offer.price_per_hour) or patient:
        return replace(
            offer,
            price_per_hour=price,
            disk_per_hour=disk,
            checked_at=rfc3339(now),
            disputed_price=None,
            disputed_since=None,
        )
    return replace(offer, disputed_price=price, disputed_since=since or rfc3339(now))


def _plausible(price: float, last: float | None) -> bool:
    return 0 < price <= MOST if last is None else _near(price, last)


def _near(price: float, other: float | None) -> bool:
    return other is not None and other / JUMP <= price <= other * JUMP


def price_condition(offers: Sequence[OfferStatus], failed: Mapping[str, str], *, now: float) -> ConditionModel:
    """Whether the prices that are used are those of now.

    Args:
        offers: after the round of inquiries.
        failed: by bundle, why it could not be asked in this round.
        now: Unix seconds.
    """
    disputed = [_dispute(o) for o in offers if o.disputed_price is not None]
    if disputed:
        message = f"{'; '.join(disputed)}; believed once named for an hour; pools may set gpuTypes[].pricePerHour"
        return condition(Condition.PRICES_KNOWN, "False", "PriceDisputed", message)
    known: dict[str, OfferStatus] = {o.bundle: o for o in offers}
    old = [bundle for bundle in failed if _is_old(known.get(bundle), now=now)]
    if old:
        message = "; ".join(_last(bundle, known.get(bundle), failed[bundle]) for bundle in old)
        return condition(Condition.PRICES_KNOWN, "False", "PricesOld", message)
    if failed:
        message = "; ".join(_last(bundle, known.get(bundle), why) for bundle, why in failed.items())
        return condition(Condition.PRICES_KNOWN, "Unknown", "InquiryFailed", message)
    return condition(Condition.PRICES_KNOWN, "True", "PricesKnown", "the cloud named all prices when last asked")


def _is_old(offer: OfferStatus | None, *, now: float) -> bool:
    """Of an offer that never had a price nothing is sold at a wrong one."""
    checked = unix(offer.checked_at) if offer is not None else None
    return checked is not None and now - checked > OLD_SECONDS


def _dispute(offer: OfferStatus) -> str:
    last = "unknown" if offer.price_per_hour is None else f"{offer.price_per_hour:g}"
    first = offer.price_per_hour is None
    up = first or (offer.disputed_price or 0.0) > (offer.price_per_hour or 0.0)
    what = "nothing is bought at it" if up else "the last one is used"
    return f"{offer.bundle}: the cloud names {offer.disputed_price:g} CNY/h, the last price is {last}: {what}"


def _last(bundle: str, offer: OfferStatus | None, why: str) -> str:
    if offer is None or offer.price_per_hour is None:
        return f"{bundle} has no price yet ({why})"
    return f"{bundle}: {offer.price_per_hour:g} CNY/h of {offer.checked_at} is used ({why})"
