"""What a pool costs, derived from its instances' times and prices. Nothing is ever added up per interval.

Days and months are Beijing time. Instances that ended are booked once, by UID, so that a crash between booking and
releasing an object counts nothing twice.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from msgspec.structs import replace

from controller.api.spend import Spend
from controller.scaling.readings import (
    beijing_day,
    beijing_month,
    cost,
    start_of_beijing_day,
    start_of_beijing_month,
)


@dataclass(frozen=True, slots=True)
class Bill:
    """The billed life of one instance."""

    uid: str
    price_per_hour: float
    #: Unix seconds; billing starts with the purchase.
    start: float
    #: Unix seconds; None while it is billed.
    end: float | None
    traffic_gb: float


def rolled(spend: Spend, *, now: float) -> Spend:
    """The ledger with a new day or month begun if one has."""
    day, month = beijing_day(now), beijing_month(now)
    return replace(
        spend,
        day=day,
        month=month,
        ended_today=spend.ended_today if spend.day == day else 0.0,
        ended_this_month=spend.ended_this_month if spend.month == month else 0.0,
    )


def book(spend: Spend, bills: Iterable[Bill], *, now: float) -> Spend:
    """The ledger brought up to now.

    Args:
        spend: the ledger as last written.
        bills: every instance whose object still exists, ended or not.
        now: Unix seconds.
    """
    bills = list(bills)
    day, month = start_of_beijing_day(now), start_of_beijing_month(now)
    spend = rolled(spend, now=now)
    ended = [b for b in bills if b.end is not None]
    live = [b for b in bills if b.end is None]
    new = [b for b in ended if b.uid not in spend.booked]
    ended_today = spend.ended_today + sum(_cost(b, now=now, since=day) for b in new)
    ended_month = spend.ended_this_month + sum(_cost(b, now=now, since=month) for b in new)
    return replace(
        spend,
        per_hour=round(sum(b.price_per_hour for b in live), 6),
        ended_today=round(ended_today, 6),
        ended_this_month=round(ended_month, 6),
        today=round(ended_today + sum(_cost(b, now=now, since=day) for b in live), 6),
        this_month=round(ended_month + sum(_cost(b, now=now, since=month) for b in live), 6),
        booked=tuple(b.uid for b in ended),
    )


def _cost(bill: Bill, *, now: float, since: float) -> float:
    return cost(bill.price_per_hour, start=bill.start, end=now if bill.end is None else bill.end, since=since)
