"""What is known of an offer's stock: a circuit breaker for each, closed (Available), open (SoldOut) or half-open.

A sold-out answer opens it for 3 to 30 minutes. After that it is half-open: exactly one purchase, of all pools together,
claims the right to find out. The claim stands in the preset's status before the purchase is begun, and lapses by
itself, so that one whose outcome stays unclear, or whose operator died, blocks nobody for long.
"""

from typing import Final

from msgspec.structs import replace

from controller.api.regionpreset import OfferState, OfferStatus
from controller.api.times import rfc3339, unix
from controller.scaling.offers import sold_out_until, still_sold_out

#: How long a claim holds at most: longer than a purchase takes to be answered, as short as the shortest back-off.
CLAIM_SECONDS: Final = 180.0


def resting(offer: OfferStatus, *, now: float) -> bool:
    """Whether the last sold-out answer still keeps everybody away."""
    return offer.state == "SoldOut" and still_sold_out(unix(offer.sold_out_until), now=now)


def claimed(offer: OfferStatus, *, now: float) -> bool:
    """Whether some purchase is finding out."""
    # One that seems to hold longer than any is from before the clock was set back.
    return offer.probed_by is not None and now < (unix(offer.probe_until) or 0.0) <= now + CLAIM_SECONDS


def closed_until(offer: OfferStatus, *, now: float) -> float:
    """Unix seconds before which a purchase may not be tried; 0 if it may be now."""
    if resting(offer, now=now):
        return unix(offer.sold_out_until) or 0.0
    return (unix(offer.probe_until) or 0.0) if claimed(offer, now=now) else 0.0


def half_open(offer: OfferStatus, *, now: float) -> bool:
    """Whether it was sold out when last tried, and one purchase may try again."""
    return offer.sold_out_count > 0 and not resting(offer, now=now)


def settled(offer: OfferStatus, *, now: float) -> OfferStatus:
    """The offer with the state that its figures mean now. Time and purchases end a mark; a price proves no stock."""
    if resting(offer, now=now):
        return offer
    if not claimed(offer, now=now):
        offer = replace(offer, probed_by=None, probe_until=None)
    return replace(offer, state=_state(offer), sold_out_until=None)


def _state(offer: OfferStatus) -> OfferState:
    if offer.price_per_hour is None:
        return "Unknown"
    if offer.disputed_price is not None and offer.disputed_price > offer.price_per_hour:
        return "Disputed"
    return "HalfOpen" if offer.sold_out_count else "Available"


def claim(offer: OfferStatus, *, by: str, now: float) -> OfferStatus | None:
    """The offer once `by` may try it, unchanged if anybody may; None if somebody else is trying or it is left alone."""
    if resting(offer, now=now):
        return None
    if claimed(offer, now=now):
        return offer if offer.probed_by == by else None
    if not offer.sold_out_count:
        return offer
    until = rfc3339(now + CLAIM_SECONDS)
    return settled(replace(offer, probed_by=by, probe_until=until), now=now)


def release(offer: OfferStatus, *, by: str) -> OfferStatus:
    """The offer after `by` found out nothing: the next purchase may try."""
    return replace(offer, probed_by=None, probe_until=None) if offer.probed_by == by else offer


def sold_out(offer: OfferStatus, *, by: str, now: float, jitter: float) -> OfferStatus:
    """The offer after `by` (empty: a price inquiry) was told that it is sold out."""
    if not _counts(offer, by, now=now):
        return offer
    count = offer.sold_out_count + 1
    until = rfc3339(sold_out_until(count, now=now, jitter=jitter))
    return replace(offer, state="SoldOut", sold_out_count=count, sold_out_until=until, probed_by=None, probe_until=None)


def bought(offer: OfferStatus, *, by: str, now: float) -> OfferStatus:
    """The offer after `by` was bought: in stock, and forgiven."""
    if not _counts(offer, by, now=now):
        return offer
    open_ = replace(offer, sold_out_count=0, sold_out_until=None, probed_by=None, probe_until=None)
    return settled(open_, now=now)


def _counts(offer: OfferStatus, by: str, *, now: float) -> bool:
    """Whether an answer tells something new.

    Of purchases made side by side, those answered after the first sold-out answer left before it: they neither lengthen
    the pause nor end it. While one purchase is finding out, only its answer counts.
    """
    return not resting(offer, now=now) and (not claimed(offer, now=now) or offer.probed_by == by)
