"""What a preset has on offer, kept over time: prices refreshed, sold-out answers remembered."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from controller.api.catalog import BUNDLES
from controller.api.regionpreset import OfferStatus
from controller.api.times import rfc3339, unix
from controller.scaling.offers import sold_out_until


@dataclass(frozen=True, slots=True)
class Quote:
    """The answer to one price inquiry."""

    #: CNY per hour; None when the cloud named none.
    price_per_hour: float | None = None
    #: The cloud answered that the bundle is out of stock.
    sold_out: bool = False
    #: The bundle is not sold here at all.
    not_sold_here: bool = False


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
            result.append(expire(old, now=now))
    return tuple(result)


def _quoted(old: OfferStatus, quote: Quote, *, now: float, jitter: float) -> OfferStatus:
    checked = replace(old, checked_at=rfc3339(now))
    if quote.sold_out:
        waiting = old.state == "SoldOut" and (unix(old.sold_out_until) or 0.0) > now
        return checked if waiting else sold_out(checked, now=now, jitter=jitter)
    return expire(replace(checked, price_per_hour=quote.price_per_hour), now=now)


def expire(offer: OfferStatus, *, now: float) -> OfferStatus:
    """Take the sold-out mark off once its time is over.

    A price does not prove stock, so only time ends the mark; the count of answers in a row stays until a purchase
    succeeds, so that an offer that is sold out again waits longer.
    """
    until = unix(offer.sold_out_until)
    if offer.state == "SoldOut" and until is not None and until > now:
        return offer
    return replace(offer, state="Unknown" if offer.price_per_hour is None else "Available", sold_out_until=None)


def sold_out(offer: OfferStatus, *, now: float, jitter: float) -> OfferStatus:
    """The offer after one more sold-out answer."""
    count = offer.sold_out_count + 1
    until = rfc3339(sold_out_until(count, now=now, jitter=jitter))
    return replace(offer, state="SoldOut", sold_out_count=count, sold_out_until=until)


def bought(offer: OfferStatus) -> OfferStatus:
    """The offer after a purchase: in stock, and forgiven."""
    return replace(offer, state="Available", sold_out_count=0, sold_out_until=None)


def cheapest(offers: Sequence[OfferStatus]) -> str:
    """The cheapest offer that is available, as people read it."""
    open_ = [o for o in offers if o.state == "Available" and o.price_per_hour is not None]
    if not open_:
        return ""
    best = min(open_, key=lambda o: (o.price_per_hour or 0.0, o.bundle))
    return f"{best.bundle} {best.price_per_hour:g}"
