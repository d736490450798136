"""The forecast goes by the longest history there is, and says by which."""

from datetime import UTC, datetime

import pytest

from controller.api.spend import PeriodSpend, Spend, SpendHistory
from controller.scaling.forecast import forecast

#: 2026-01-15 12:00 in Beijing: 16.5 days are left of January.
NOON = datetime(2026, 1, 15, 4, tzinfo=UTC).timestamp()
LEFT = 16.5 * 24


def history(*, days: int = 0, day: float = 24.0, hours: int = 0, hour: float = 1.0) -> SpendHistory:
    return SpendHistory(
        days=tuple(PeriodSpend(period=f"2026-01-{n:02}", cny=day) for n in range(1, days + 1)),
        hours=tuple(PeriodSpend(period=f"2026-01-14T{n:02}", cny=hour) for n in range(hours)),
    )


@pytest.mark.parametrize(
    ("known", "per_hour", "basis"),
    [
        (history(), 5.0, "Now"),
        (history(hours=23), 5.0, "Now"),
        (history(hours=24, hour=2.0), 2.0, "Last24Hours"),
        (history(hours=24, hour=2.0, days=6), 2.0, "Last24Hours"),
        (history(hours=24, hour=2.0, days=7, day=72.0), 3.0, "Last7Days"),
    ],
)
def test_the_rest_of_the_month_costs_like_what_is_known(known: SpendHistory, per_hour: float, basis: str) -> None:
    expected = forecast(Spend(per_hour=5.0, this_month=100.0), known, now=NOON)
    assert expected == (100.0 + per_hour * LEFT, basis)


def test_in_the_last_second_of_the_month_it_is_what_was_spent() -> None:
    end = NOON + LEFT * 3600
    assert forecast(Spend(per_hour=5.0, this_month=100.0), history(), now=end - 1).this_month == 100.0
