"""What a pool costs, derived from its instances' times and prices. Nothing is ever added up per interval.

Hours, days and months are Beijing time. Instances that ended are booked once, by UID, so that a crash between booking
and releasing an object counts nothing twice. Sums are integers of a billionth of a CNY, taken as differences of what
had accrued at two times, so the hours of a day, and the days of a month, add up to it to the last digit.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from msgspec.structs import replace

from controller.api.spend import DAYS_KEPT, HOURS_KEPT, MONTHS_KEPT, PeriodSpend, Spend, SpendHistory
from controller.api.traffic import Traffic
from controller.scaling.periods import DAY, HOUR, MONTH, Period

#: Parts of a CNY that sums are counted in; a float holds ten million CNY of them exactly.
NANO: Final = 10**9
_MS_PER_HOUR: Final = 3_600_000


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
    #: HAI InstanceId; empty while the purchase is not confirmed.
    instance_id: str = ""


def nano(cny: float) -> int:
    """CNY as billionths."""
    return round(cny * NANO)


def cny(amount: int) -> float:
    """Billionths as CNY."""
    return amount / NANO


def accrued(bill: Bill, at: float) -> int:
    """What an instance has cost from its purchase up to a time (Unix seconds), in billionths of a CNY."""
    end = at if bill.end is None else min(at, bill.end)
    if end <= bill.start:
        return 0
    ran = round(end * 1000) - round(bill.start * 1000)
    return nano(bill.price_per_hour) * ran // _MS_PER_HOUR


def spent(bills: Iterable[Bill], *, since: float, until: float) -> int:
    """What instances cost between two times, to the millisecond, in billionths of a CNY.

    Whatever an interval is cut into, the parts add up to it exactly.

    Args:
        bills: every instance that may have been billed then, ended or not.
        since: Unix seconds.
        until: Unix seconds; not before `since`.
    """
    return sum(accrued(b, until) - accrued(b, since) for b in bills)


def book(spend: Spend, bills: Iterable[Bill], *, now: float) -> Spend:
    """The ledger brought up to now.

    Args:
        spend: the ledger as last written.
        bills: every instance whose object still exists, ended or not.
        now: Unix seconds.
    """
    bills = list(bills)
    ended = [b for b in bills if b.end is not None]
    live = [b for b in bills if b.end is None]
    new = unbooked(spend, ended)
    hour = _current(HOUR, spend.hour, spend.ended_this_hour, new, live, now=now)
    day = _current(DAY, spend.day, spend.ended_today, new, live, now=now)
    month = _current(MONTH, spend.month, spend.ended_this_month, new, live, now=now)
    return replace(
        spend,
        hour=hour.name,
        day=day.name,
        month=month.name,
        per_hour=cny(sum(nano(b.price_per_hour) for b in live)),
        ended_this_hour=cny(hour.ended),
        ended_today=cny(day.ended),
        ended_this_month=cny(month.ended),
        this_hour=shown(hour.ended + hour.live),
        today=shown(day.ended + day.live),
        this_month=shown(month.ended + month.live),
        booked=tuple(b.uid for b in ended),
    )


def shown(amount: int) -> float:
    """Billionths as CNY, cut to what people and metrics are shown: a millionth."""
    return round(cny(amount), 6)


def unbooked(spend: Spend, bills: Iterable[Bill]) -> list[Bill]:
    """The bills that are not part of the ledger's sums of what has ended."""
    known = set(spend.booked)
    return [b for b in bills if b.uid not in known]


@dataclass(frozen=True, slots=True)
class _Sum:
    """What a period has cost so far, in billionths of a CNY."""

    name: str
    ended: int
    live: int


def _current(
    period: Period, written: str, ended: float, new: Sequence[Bill], live: Sequence[Bill], *, now: float
) -> _Sum:
    # A clock that was set back does not begin an old period anew.
    name = max(period.name(now), written)
    since = period.start(name)
    until = max(now, since)
    kept = nano(ended) if name == written else 0
    return _Sum(name, kept + spent(new, since=since, until=until), spent(live, since=since, until=until))


def close(history: SpendHistory, spend: Spend, bills: Iterable[Bill], *, now: float) -> SpendHistory:
    """The history with the periods that have ended since the ledger was written, each of them once.

    It takes the ledger from before `book`, and goes into the same write as its result: then a crash closes nothing
    twice, and however long the operator was away, what ended meanwhile is computed from times, to the millisecond.
    """
    bills = unbooked(spend, bills)
    return SpendHistory(
        hours=_closed(history.hours, HOUR, spend.hour, spend.ended_this_hour, bills, keep=HOURS_KEPT, now=now),
        days=_closed(history.days, DAY, spend.day, spend.ended_today, bills, keep=DAYS_KEPT, now=now),
        months=_closed(history.months, MONTH, spend.month, spend.ended_this_month, bills, keep=MONTHS_KEPT, now=now),
    )


def _closed(
    known: tuple[PeriodSpend, ...],
    period: Period,
    written: str,
    ended: float,
    bills: Sequence[Bill],
    *,
    keep: int,
    now: float,
) -> tuple[PeriodSpend, ...]:
    current = period.name(now)
    if not written or current <= written:
        return known
    over = list(period.between(written, current))[-keep:]
    sums = {name: spent(bills, since=period.start(name), until=period.end(name)) for name in over}
    if written in sums:
        sums[written] += nano(ended)
    return (*known, *(PeriodSpend(period=name, cny=cny(amount)) for name, amount in sums.items()))[-keep:]


def last(closed: tuple[PeriodSpend, ...], period: Period, *, now: float) -> float:
    """What the period before the current one cost; 0 if it is not known."""
    before = period.name(period.start(period.name(now)) - 1.0)
    return next((shown(nano(one.cny)) for one in reversed(closed) if one.period == before), 0.0)


def with_traffic(spend: Spend, before: Spend, bills: Iterable[Bill], prices: Traffic) -> Spend:
    """The ledger with an estimate of what traffic beyond each server's free quota costs.

    Args:
        spend: the ledger of now.
        before: the ledger as last written, which tells what has ended since.
        bills: every instance whose object still exists.
        prices: the free quota and the price beyond it.
    """
    kept = before.ended_traffic_this_month if before.month == spend.month else 0.0
    new = unbooked(before, bills)
    ended = kept + sum(_excess(b, prices) for b in new if b.end is not None)
    live = sum(_excess(b, prices) for b in new if b.end is None)
    return replace(
        spend,
        ended_traffic_this_month=round(ended, 6),
        traffic_this_month=round(ended + live, 6),
        traffic_last_month=_traffic_last_month(spend, before),
    )


def _traffic_last_month(spend: Spend, before: Spend) -> float:
    """What the month before the ledger's was estimated at when it ended; 0 if that is not known."""
    if before.month == spend.month:
        return before.traffic_last_month
    return before.traffic_this_month if before.month and MONTH.after(before.month) == spend.month else 0.0


def _excess(bill: Bill, prices: Traffic) -> float:
    return max(0.0, bill.traffic_gb - prices.free_gb) * prices.price_per_gb
