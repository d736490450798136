"""The log of costs follows the ledger's closed periods: each one once it is missing, with its sums."""

from typing import Any

import pytest

from controller.api.costlog import CostLog
from controller.api.spend import PeriodSpend, SpendHistory
from controller.scaling.costlog import Traffic, after, missing, month_to_date, used_since
from controller.scaling.periods import DAY, HOUR


def history(**periods: dict[str, float]) -> SpendHistory:
    made: dict[str, Any] = {
        name: tuple(PeriodSpend(period=p, cny=cny) for p, cny in some.items()) for name, some in periods.items()
    }
    return SpendHistory(**made)


HISTORY = history(
    hours={"2025-01-31T22": 3.6, "2025-01-31T23": 1.8, "2025-02-01T00": 0.5, "2025-02-01T01": 0.25},
    days={"2025-01-30": 40.0, "2025-01-31": 60.0},
)
NOTHING = Traffic(0.0, 0.0)


def test_a_new_log_lacks_everything_that_is_known() -> None:
    found = missing(HISTORY, CostLog(), NOTHING)
    assert [(one.kind, one.cost) for one in found] == [
        ("hour", 3.6), ("hour", 1.8), ("hour", 0.5), ("hour", 0.25), ("day", 40.0), ("day", 60.0),
    ]  # fmt: skip
    assert found[0].start == HOUR.start("2025-01-31T22")
    assert found[0].end == found[1].start
    assert (found[4].start, found[4].end) == (DAY.start("2025-01-30"), DAY.start("2025-01-31"))


def test_what_was_written_is_not_missing() -> None:
    log = after(HISTORY, CostLog(), Traffic(10.0, 1.0))
    assert (log.hour, log.day) == ("2025-02-01T01", "2025-01-31")
    assert missing(HISTORY, log, NOTHING) == ()
    assert after(HISTORY, log, Traffic(99.0, 9.0)) == log


@pytest.mark.parametrize(
    ("end", "wanted"),
    [
        ("2025-01-31T23", 40.0 + 3.6),  # the day is not over: its days before, and its hours so far
        ("2025-02-01T00", 100.0),  # the month's end belongs to the month that it ends
        ("2025-02-01T01", 0.5),
        ("2025-02-01T02", 0.75),
    ],
)
def test_a_month_to_date_is_its_days_and_the_hours_of_today(end: str, wanted: float) -> None:
    assert month_to_date(HISTORY, HOUR.start(end)) == wanted


def test_the_newest_of_several_periods_gets_the_traffic_and_the_others_say_that_nobody_looked() -> None:
    log = CostLog(hour="2025-01-31T22", day="2025-01-30", hour_traffic_gb=100.0, day_traffic_gb=80.0)
    found = missing(HISTORY, log, Traffic(130.0, 12.0))
    assert [(one.kind, one.traffic_gb, one.traffic_cost) for one in found] == [
        ("hour", None, None), ("hour", None, None), ("hour", 30.0, 12.0), ("day", 50.0, 12.0),
    ]  # fmt: skip


def test_traffic_of_a_new_month_begins_at_nothing() -> None:
    assert used_since(480.0, 2.5) == 2.5
    assert used_since(480.0, 482.5) == 2.5
