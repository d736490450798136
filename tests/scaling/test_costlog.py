"""The log of costs follows the ledger's closed periods: each one once it is missing, with its sums."""

from typing import Any

import pytest

from controller.api.costlog import CostLog
from controller.api.spend import PeriodSpend, SpendHistory
from controller.scaling.costlog import Traffic, after, missing, month_to_date
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
NOTHING = {"2025-02": Traffic(0.0, 0.0)}


def test_a_new_log_lacks_everything_that_is_known() -> None:
    found = missing(HISTORY, CostLog(), NOTHING)
    assert [(one.kind, one.cost) for one in found] == [
        ("hour", 3.6), ("hour", 1.8), ("hour", 0.5), ("hour", 0.25), ("day", 40.0), ("day", 60.0),
    ]  # fmt: skip
    assert found[0].start == HOUR.start("2025-01-31T22")
    assert found[0].end == found[1].start
    assert (found[4].start, found[4].end) == (DAY.start("2025-01-30"), DAY.start("2025-01-31"))


def test_what_was_written_is_not_missing() -> None:
    log = after(HISTORY, CostLog(), {"2025-02": Traffic(10.0, 1.0)})
    assert (log.hour, log.day) == ("2025-02-01T01", "2025-01-31")
    assert missing(HISTORY, log, NOTHING) == ()
    assert after(HISTORY, log, {"2025-02": Traffic(99.0, 9.0)}) == log


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


LATE = history(
    hours={"2025-01-31T22": 1.0, "2025-01-31T23": 1.0, "2025-02-01T00": 1.0, "2025-02-01T01": 1.0},
    days={"2025-01-30": 24.0, "2025-01-31": 24.0},
)
LOG = CostLog(hour="2025-01-31T21", day="2025-01-30", hour_traffic_gb=100.0, day_traffic_gb=80.0)
BOTH = {"2025-01": Traffic(130.0, 12.0), "2025-02": Traffic(2.5, 0.0)}


def traffic(log: CostLog, months: dict[str, Traffic]) -> list[tuple[str, float | None, float | None]]:
    def gb(one: Traffic | None) -> float | None:
        return None if one is None else one.used_gb

    return [(one.kind, gb(one.traffic), gb(one.month_traffic)) for one in missing(LATE, log, months)]


def test_the_newest_of_several_periods_gets_the_traffic_and_the_others_say_that_nobody_looked() -> None:
    log = CostLog(hour="2025-02-01T00", day="2025-01-31", hour_traffic_gb=1.0)
    assert traffic(log, BOTH) == [("hour", 1.5, 2.5)]
    assert traffic(CostLog(day="2025-01-31"), BOTH)[2:] == [("hour", None, 2.5), ("hour", 2.5, 2.5)]


def test_the_last_periods_of_a_month_get_what_was_sent_until_it_ended_and_the_next_begins_at_nothing() -> None:
    assert traffic(LOG, BOTH) == [
        ("hour", None, 130.0), ("hour", 30.0, 130.0), ("hour", None, 2.5), ("hour", 2.5, 2.5), ("day", 50.0, 130.0),
    ]  # fmt: skip


def test_more_traffic_than_in_all_of_the_last_month_is_still_that_of_the_new_one() -> None:
    assert traffic(LOG, BOTH | {"2025-02": Traffic(140.0, 0.0)})[3] == ("hour", 140.0, 140.0)


def test_a_month_that_nobody_remembers_is_null_not_nothing() -> None:
    assert traffic(LOG, {"2025-02": Traffic(2.5, 0.0)})[1] == ("hour", None, None)


def test_what_a_new_month_sent_before_the_last_ones_end_was_written_down_belongs_to_its_first_hour() -> None:
    closed = history(hours={"2025-01-31T23": 1.0}, days={"2025-01-31": 24.0})
    log = after(closed, LOG, BOTH)
    assert [one.traffic for one in missing(LATE, log, BOTH)] == [None, Traffic(2.5, 0.0)]


def test_an_estimate_that_falls_with_the_price_is_no_traffic_sent_back() -> None:
    log = CostLog(hour="2025-02-01T00", day="2025-01-31", hour_traffic_gb=1.0, hour_traffic_cost=5.0)
    assert missing(LATE, log, BOTH)[0].traffic == Traffic(1.5, 0.0)
