"""Which hours and days the log `cost_traffic` still lacks, and what it says of them.

The periods themselves are closed by the ledger, to the last digit, and stand in `status.spendHistory`; the log follows
them at its own pace, so that neither a crash nor a full disk leaves one out. Traffic is known only as of the last look
at it: of several periods that are written together the newest gets what was used since the last one, the others say
null.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from msgspec.structs import replace

from controller.api.costlog import CostLog
from controller.api.spend import PeriodSpend, SpendHistory
from controller.scaling.periods import DAY, HOUR, MONTH, Period


@dataclass(frozen=True, slots=True)
class Traffic:
    """The month's traffic so far, and what it is estimated to cost."""

    used_gb: float
    cost: float


@dataclass(frozen=True, slots=True)
class Closed:
    """One hour or day that is over."""

    kind: Literal["hour", "day"]
    #: Unix seconds.
    start: float
    end: float
    #: CNY of the servers, in it and from the month's begin to its end.
    cost: float
    month_cost: float
    #: GB sent in it and CNY that they are estimated to cost; None where nobody looked when it ended.
    traffic_gb: float | None
    traffic_cost: float | None


def missing(history: SpendHistory, log: CostLog, traffic: Traffic) -> tuple[Closed, ...]:
    """The periods that are not in the log yet, oldest first, hours before days.

    Args:
        history: `status.spendHistory`.
        log: `status.costLog`.
        traffic: as of now.
    """
    hours = [one for one in history.hours if one.period > log.hour]
    days = [one for one in history.days if one.period > log.day]
    by_hour = Traffic(used_since(log.hour_traffic_gb, traffic.used_gb), used_since(log.hour_traffic_cost, traffic.cost))
    by_day = Traffic(used_since(log.day_traffic_gb, traffic.used_gb), used_since(log.day_traffic_cost, traffic.cost))
    return (
        *_closed("hour", HOUR, hours, history, by_hour),
        *_closed("day", DAY, days, history, by_day),
    )


def after(history: SpendHistory, log: CostLog, traffic: Traffic) -> CostLog:
    """The log's position once everything that is missing now has been written."""
    hour = history.hours[-1].period if history.hours else log.hour
    day = history.days[-1].period if history.days else log.day
    if hour != log.hour:
        log = replace(log, hour=hour, hour_traffic_gb=traffic.used_gb, hour_traffic_cost=traffic.cost)
    if day != log.day:
        log = replace(log, day=day, day_traffic_gb=traffic.used_gb, day_traffic_cost=traffic.cost)
    return log


def used_since(before: float, now: float) -> float:
    """The difference between two figures of the month to date; a new month begins at 0."""
    return round(now - before if now >= before else now, 6)


def _closed(
    kind: Literal["hour", "day"],
    period: Period,
    closed: Sequence[PeriodSpend],
    history: SpendHistory,
    traffic: Traffic,
) -> Iterator[Closed]:
    for one in closed:
        newest = one is closed[-1]
        yield Closed(
            kind=kind,
            start=period.start(one.period),
            end=period.end(one.period),
            cost=one.cny,
            month_cost=month_to_date(history, period.end(one.period)),
            traffic_gb=traffic.used_gb if newest else None,
            traffic_cost=traffic.cost if newest else None,
        )


def month_to_date(history: SpendHistory, end: float) -> float:
    """CNY of the servers from the begin of the month that ends with or holds this moment, up to it."""
    inside = end - 1.0
    month, day = MONTH.name(inside), DAY.name(inside)
    whole = DAY.end(day) == end
    days = sum(d.cny for d in history.days if d.period[:7] == month and (d.period <= day if whole else d.period < day))
    hours = 0.0 if whole else sum(h.cny for h in history.hours if h.period[:10] == day and HOUR.end(h.period) <= end)
    return round(days + hours, 6)
