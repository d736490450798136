"""What the month will have cost at its end, by the plainest assumption that the history allows.

The rest of the month is taken to cost per hour what the last seven days cost on average (so weekends count), as long as
seven days are known; before that, what the last 24 hours did; before that, what the servers cost now.
"""

from typing import Final, Literal, NamedTuple

from controller.api.spend import Spend, SpendHistory
from controller.scaling.periods import MONTH

WEEK_DAYS: Final = 7
DAY_HOURS: Final = 24

Basis = Literal["Last7Days", "Last24Hours", "Now"]


class Forecast(NamedTuple):
    """CNY at the end of the month, and what it goes by."""

    this_month: float
    basis: Basis


def forecast(spend: Spend, history: SpendHistory, *, now: float) -> Forecast:
    """The forecast of this month (servers only, as `spend.this_month`).

    Args:
        spend: the ledger of now.
        history: its periods that have ended.
        now: Unix seconds.
    """
    per_hour, basis = _expected(spend, history)
    hours_left = max(0.0, MONTH.end(MONTH.name(now)) - now) / 3600.0
    return Forecast(round(spend.this_month + per_hour * hours_left, 2), basis)


def _expected(spend: Spend, history: SpendHistory) -> tuple[float, Basis]:
    """CNY per hour for the rest of the month."""
    days, hours = history.days[-WEEK_DAYS:], history.hours[-DAY_HOURS:]
    if len(days) == WEEK_DAYS:
        return sum(d.cny for d in days) / (WEEK_DAYS * DAY_HOURS), "Last7Days"
    if len(hours) == DAY_HOURS:
        return sum(h.cny for h in hours) / DAY_HOURS, "Last24Hours"
    return spend.per_hour, "Now"
