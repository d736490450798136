"""Which offer comes first, and how long a sold-out one is left alone."""

from collections.abc import Iterable
from typing import Final

from controller.scaling.snapshot import Block, Offer

#: First pause after a sold-out answer; doubles with each further one.
SOLD_OUT_BACKOFF_SECONDS: Final = 180.0
#: Longest pause: stock does come back, and a cheaper server is worth asking twice an hour.
SOLD_OUT_BACKOFF_MAX_SECONDS: Final = 1800.0
#: Each pause is lengthened by up to this share, so that pools do not ask in step.
SOLD_OUT_JITTER: Final = 0.1


def rank(offers: Iterable[Offer]) -> list[Offer]:
    """Cheapest first; at equal price the region order; then names, so that the order never depends on chance."""
    return sorted(offers, key=lambda o: (o.price_per_hour, o.priority, o.region, o.bundle, o.preset))


def buyable(offers: Iterable[Offer], blocks: Iterable[Block], *, now: float) -> list[Offer]:
    """The offers a purchase may be tried on now, in order."""
    blocked = {block.region for block in blocks if block.until > now}
    if None in blocked:
        return []
    return [offer for offer in rank(offers) if offer.in_stock(now) and offer.region not in blocked]


def choose(offers: Iterable[Offer], blocks: Iterable[Block], count: int, *, now: float) -> list[Offer]:
    """The offers of the next `count` purchases, cheapest first.

    An offer that is half-open takes one of them, and so does a region or account that refused the last purchase: one
    is enough to find out. The others go to what is known to be open, rather than wait.
    """
    refused = {block.region for block in blocks}
    chosen: list[Offer] = []
    tried: set[object] = set()
    for offer in buyable(offers, blocks, now=now):
        trial = _trial(offer, refused)
        if trial == ():
            return chosen + [offer] * (count - len(chosen))
        if trial not in tried:
            chosen.append(offer)
            tried.add(trial)
        if len(chosen) >= count:
            break
    return chosen[:count]


def _trial(offer: Offer, refused: set[str | None]) -> tuple[str | None, ...]:
    """What a purchase of this offer would find out about: the account, a region, an offer, or () for nothing."""
    if None in refused:
        return (None,)
    if offer.region in refused:
        return (offer.region,)
    return (offer.region, offer.bundle) if offer.half_open else ()


def sold_out_until(count: int, *, now: float, jitter: float) -> float:
    """When an offer is asked for again after its `count`-th sold-out answer in a row.

    Args:
        count: sold-out answers in a row, this one included (>= 1).
        now: Unix seconds.
        jitter: uniform in [0, 1).

    Returns:
        Unix seconds: 3, 6, 12, 24, 30, 30 ... minutes from now, each up to 10 % longer.
    """
    pause = min(SOLD_OUT_BACKOFF_SECONDS * 2.0 ** min(count - 1, 10), SOLD_OUT_BACKOFF_MAX_SECONDS)
    return now + pause * (1.0 + SOLD_OUT_JITTER * jitter)


def still_sold_out(until: float | None, *, now: float) -> bool:
    """Whether a sold-out mark holds; one that seems to last too long is from before the clock was set back."""
    longest = SOLD_OUT_BACKOFF_MAX_SECONDS * (1.0 + SOLD_OUT_JITTER)
    return until is not None and now < until <= now + longest
