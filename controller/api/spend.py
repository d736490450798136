"""What a pool costs: `status.spend`, `status.spendHistory`, and how it compares with the bill: `status.billing`."""

from typing import Annotated, Final, Literal

from msgspec import Meta, field

from controller.api.model import Model

#: Periods that have ended and are kept: two days of hours, a month of days, a year of months, and one to compare with.
HOURS_KEPT: Final = 49
DAYS_KEPT: Final = 35
MONTHS_KEPT: Final = 13
#: Lines of destroyed servers that wait for the bill. A pool that destroys more in three days is compared in sum only.
SETTLING_KEPT: Final = 500
#: Instances named in a comparison.
STRANGERS_NAMED: Final = 10


def _text(description: str) -> Meta:
    return Meta(description=description)


class Spend(Model, frozen=True, kw_only=True):
    """Cost in CNY, derived from the instances' times and prices. Hours, days and months are Beijing time."""

    per_hour: float = 0.0
    this_hour: float = 0.0
    today: float = 0.0
    this_month: float = 0.0
    yesterday: float = 0.0
    last_month: float = 0.0
    traffic_this_month: Annotated[float, _text("Estimate for traffic beyond the free quota; not in `thisMonth`.")] = 0.0
    traffic_last_month: Annotated[float, _text("`trafficThisMonth` as it ended.")] = 0.0
    forecast_this_month: Annotated[float, _text("`thisMonth` as it is expected to end.")] = 0.0
    forecast_basis: Annotated[
        Literal["", "Last7Days", "Last24Hours", "Now"],
        _text("What the rest of the month is expected to cost like; Now: `perHour`."),
    ] = ""
    hour: str = ""
    day: str = ""
    month: str = ""
    ended_this_hour: Annotated[float, _text("Part of `thisHour` that destroyed instances cost.")] = 0.0
    ended_today: Annotated[float, _text("Part of `today` that destroyed instances cost.")] = 0.0
    ended_this_month: Annotated[float, _text("Part of `thisMonth` that destroyed instances cost.")] = 0.0
    ended_traffic_this_month: Annotated[float, _text("Part of `trafficThisMonth` that destroyed instances caused.")] = (
        0.0
    )
    booked: Annotated[tuple[str, ...], _text("UIDs of destroyed instances booked but not yet released.")] = ()


class PeriodSpend(Model, frozen=True, kw_only=True):
    """What the servers cost in an hour (`2026-01-15T12`), a day or a month that has ended, Beijing time."""

    period: str
    cny: float


class SpendHistory(Model, frozen=True, kw_only=True):
    """The periods that have ended, oldest first, each entered once."""

    hours: tuple[PeriodSpend, ...] = ()
    days: tuple[PeriodSpend, ...] = ()
    months: tuple[PeriodSpend, ...] = ()


class InstanceDay(Model, frozen=True, kw_only=True):
    """What a destroyed instance cost on one day, kept until the bill of that day has been compared."""

    instance: Annotated[str, _text("HAI InstanceId; empty: all those for which there was no room.")] = ""
    day: str
    cny: float


class Billing(Model, frozen=True, kw_only=True):
    """The last day that was compared with Tencent's bill, server by server."""

    day: str = ""
    state: Annotated[
        Literal["", "Agrees", "Differs", "Waiting", "Unavailable"],
        _text("Waiting: the bill is not complete yet. Unavailable: it cannot be read; the message says why."),
    ] = ""
    ours: Annotated[float, _text("What the servers cost that day by their times, CNY.")] = 0.0
    billed: Annotated[float, _text("What the bill says of the same servers, CNY.")] = 0.0
    difference: Annotated[float, _text("billed - ours.")] = 0.0
    unbilled: Annotated[int, _text("Servers that cost something by their times and are not on the bill.")] = 0
    strangers: Annotated[
        tuple[str, ...], _text("Instances on the bill that bear this pool's mark and were never its servers: a leak.")
    ] = ()
    strangers_cny: Annotated[float, _text("What those cost.")] = field(default=0.0, name="strangersCNY")
    checked_at: str | None = None
    message: str = ""
