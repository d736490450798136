"""Which hours and days the log `cost_traffic` still lacks, and what it says of them.

The periods themselves are closed by the ledger, to the last digit, and stand in `status.spendHistory`; the log follows
them at its own pace, so that neither a crash nor a full disk leaves one out. Traffic is known only as of the last look
at it: of several periods of a month that are written together the newest gets what was used since the last one, the
others say null. So the lines of a month add up to what it came to.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from msgspec.structs import replace

from controller.api.costlog import CostLog
from controller.api.spend import PeriodSpend, SpendHistory
from controller.scaling.periods import DAY, HOUR, MONTH
from controller.scaling.usage import GB_DECIMALS


@dataclass(frozen=True, slots=True)
class Traffic:
    """A month's traffic so far, and what it is estimated to cost."""

    used_gb: float
    cost: float


_NONE = Traffic(0.0, 0.0)
#: Traffic by month, as `MONTH` names it: of the present one so far, and of the one before.
Months = Mapping[str, Traffic]


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
    #: What was sent in it; None where nobody looked when it ended.
    traffic: Traffic | None
    #: Its month's as of now; all of it where the month is over. None where that is not known any more.
    month_traffic: Traffic | None


def missing(history: SpendHistory, log: CostLog, months: Months) -> tuple[Closed, ...]:
    """The periods that are not in the log yet, oldest first, hours before days.

    Args:
        history: `status.spendHistory`.
        log: `status.costLog`.
        months: as of now.
    """
    hours = [one for one in history.hours if one.period > log.hour]
    days = [one for one in history.days if one.period > log.day]
    by_hour = _Before(log.hour, Traffic(log.hour_traffic_gb, log.hour_traffic_cost))
    by_day = _Before(log.day, Traffic(log.day_traffic_gb, log.day_traffic_cost))
    return (
        *_closed("hour", hours, history, before=by_hour, months=months),
        *_closed("day", days, history, before=by_day, months=months),
    )


def after(history: SpendHistory, log: CostLog, months: Months) -> CostLog:
    """The log's position once everything that is missing now has been written."""
    hour = history.hours[-1].period if history.hours else log.hour
    day = history.days[-1].period if history.days else log.day
    if hour != log.hour:
        told = months.get(_month(hour), _NONE)
        log = replace(log, hour=hour, hour_traffic_gb=told.used_gb, hour_traffic_cost=told.cost)
    if day != log.day:
        told = months.get(_month(day), _NONE)
        log = replace(log, day=day, day_traffic_gb=told.used_gb, day_traffic_cost=told.cost)
    return log


@dataclass(frozen=True, slots=True)
class _Before:
    """The last period in the log, and its month's traffic when it was written."""

    period: str
    traffic: Traffic

    def since(self, month: str, now: Traffic) -> Traffic:
        """What a month came to since then; all of it where the last period belongs to an earlier one."""
        then = self.traffic if _month(self.period) == month else _NONE
        # An estimate falls when prices are changed; nothing was sent back for that.
        return Traffic(
            round(max(0.0, now.used_gb - then.used_gb), GB_DECIMALS), round(max(0.0, now.cost - then.cost), 6)
        )


def _month(period: str) -> str:
    """The month that an hour or a day belongs to; they are named by their begin."""
    return period[:7]


def _closed(
    kind: Literal["hour", "day"],
    closed: Sequence[PeriodSpend],
    history: SpendHistory,
    *,
    before: _Before,
    months: Months,
) -> Iterator[Closed]:
    period = HOUR if kind == "hour" else DAY
    newest = {_month(one.period): one.period for one in closed}
    for one in closed:
        month = _month(one.period)
        told = months.get(month)
        yield Closed(
            kind=kind,
            start=period.start(one.period),
            end=period.end(one.period),
            cost=one.cny,
            month_cost=month_to_date(history, period.end(one.period)),
            traffic=before.since(month, told) if told is not None and newest[month] == one.period else None,
            month_traffic=told,
        )


def month_to_date(history: SpendHistory, end: float) -> float:
    """CNY of the servers from the begin of the month that ends with or holds this moment, up to it."""
    inside = end - 1.0
    month, day = MONTH.name(inside), DAY.name(inside)
    whole = DAY.end(day) == end
    days = sum(d.cny for d in history.days if d.period[:7] == month and (d.period <= day if whole else d.period < day))
    hours = 0.0 if whole else sum(h.cny for h in history.hours if h.period[:10] == day and HOUR.end(h.period) <= end)
    return round(days + hours, 9)
