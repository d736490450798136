"""The readings of the rules, one by one."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.scaling import readings

HOUR = 3600


@pytest.mark.parametrize(
    ("reading", "submitted", "started", "completed", "seconds"),
    [
        ("Wait", 100.0, 102.5, 132.5, 2.5),
        ("Wait", 100.0, 102.5, None, 2.5),
        ("Wait", 100.0, None, None, None),
        ("Total", 100.0, 102.5, 132.5, 32.5),
        ("Total", 100.0, 102.5, None, None),
        ("Wait", 100.0, 99.9, 130.0, 0.0),
    ],
)
def test_response_time_is_the_wait_by_default_and_the_whole_where_asked(
    reading: Literal["Wait", "Total"],
    submitted: float,
    started: float | None,
    completed: float | None,
    seconds: float | None,
) -> None:
    assert readings.response_time(reading, submitted=submitted, started=started, completed=completed) == seconds


@pytest.mark.parametrize(
    ("what", "measured", "queued", "mean"),
    [
        ("over the tasks that started", [1.0, 2.0, 6.0], [], 3.0),
        ("those that wait do not count beside them", [1.0], [100.0], 1.0),
        ("a measured zero is a measurement", [0.0, 0.0], [50.0], 0.0),
        ("none started: mean age of those queued now", [], [4.0, 8.0], 6.0),
        ("idle is measured as 0", [], [], 0.0),
    ],
)
def test_mean_response(what: str, measured: list[float], queued: list[float], mean: float) -> None:
    assert readings.mean_response(measured, queued) == mean


def test_queue_length_leaves_running_tasks_out() -> None:
    assert readings.queue_length(waiting=7, running=40) == 7


@pytest.mark.parametrize(
    ("submitted", "age"), [([], 0.0), ([90.0], 10.0), ([95.0, 60.0, 99.0], 40.0), ([100.0], 0.0), ([101.0], 0.0)]
)
def test_longest_wait_is_the_age_of_the_oldest_queued_task(submitted: list[float], age: float) -> None:
    assert readings.longest_wait(submitted, now=100.0) == age


@pytest.mark.parametrize(
    ("what", "points", "servers", "reading"),
    [
        ("mean over servers, age of the oldest point", [(990.0, 20.0), (940.0, 40.0)], 2, (30.0, 60.0)),
        ("a point of exactly ten minutes counts", [(400.0, 50.0)], 1, (50.0, 600.0)),
        ("an older one does not", [(399.9, 50.0)], 1, None),
        ("nor beside a fresh one", [(399.9, 99.0), (999.0, 10.0)], 2, (10.0, 1.0)),
        ("no point is unknown", [], 1, None),
        ("idle is known", [(999.0, 0.0)], 1, (0.0, 1.0)),
        ("half of the servers speak for all", [(999.0, 10.0)], 2, (10.0, 1.0)),
        ("fewer do not", [(999.0, 10.0)], 3, None),
        ("the cloud's clock may be ahead", [(1030.0, 10.0)], 1, (10.0, 0.0)),
        ("but not by that much", [(1601.0, 10.0)], 1, None),
        ("agents round up", [(999.0, 101.0)], 1, (100.0, 1.0)),
        ("what is no percentage is no figure", [(999.0, 4000.0)], 1, None),
        ("nor is less than nothing", [(999.0, -1.0)], 1, None),
    ],
)
def test_cpu_from_cloud_monitor(
    what: str, points: list[tuple[float, float]], servers: int, reading: tuple[float, float] | None
) -> None:
    assert readings.cpu_from_monitor(points, servers=servers, now=1000.0) == reading


@pytest.mark.parametrize(
    ("busy", "slots", "percent"),
    [(0.0, 4.0, 0.0), (1.0, 4.0, 25.0), (4.0, 4.0, 100.0), (5.0, 4.0, 100.0), (0.0, 0.0, None), (3.0, 0.0, None)],
)
def test_cpu_from_slots(busy: float, slots: float, percent: float | None) -> None:
    assert readings.cpu_from_slots(busy, slots) == percent


def test_nothing_being_deployed() -> None:
    assert readings.nothing_being_deployed(0)
    assert not readings.nothing_being_deployed(1)


@pytest.mark.parametrize(
    ("ready_at", "outlived"), [(None, False), (1000.0, False), (-2599.9, False), (-2600.0, False), (-2600.1, True)]
)
def test_the_one_hour_rule_counts_from_ready_and_is_strict(ready_at: float | None, outlived: bool) -> None:
    assert readings.has_outlived(ready_at, now=1000.0, min_lifetime_seconds=3600.0) is outlived


def test_the_window_begins_at_the_pools_creation_cut_to_the_hour() -> None:
    created = datetime(2026, 1, 15, 4, 59, 59, 999, tzinfo=UTC)
    assert readings.window_origin(created, None) == datetime(2026, 1, 15, 4, tzinfo=UTC).timestamp()


@pytest.mark.parametrize("text", ["2026-01-01T00:00:00+08:00", "2025-12-31T16:00:00Z", "2025-12-31T16:00:00.000Z"])
def test_the_window_may_begin_at_a_configured_time(text: str) -> None:
    created = datetime(2026, 1, 15, tzinfo=UTC)
    beijing = timezone(timedelta(hours=8))
    assert readings.window_origin(created, text) == datetime(2026, 1, 1, tzinfo=beijing).timestamp()


@pytest.mark.parametrize("text", ["2026-01-01T00:00:00", "2026-01-01", "yesterday", ""])
def test_an_origin_that_is_no_moment_is_refused_by_the_name_of_its_field(text: str) -> None:
    with pytest.raises(ValueError, match=r"queue\.windowOrigin.*write 2026-01-01T00:00:00\+08:00"):
        readings.window_origin(datetime(2026, 1, 15, tzinfo=UTC), text)


@pytest.mark.parametrize(
    ("t", "number"), [(0.0, 1), (3599.999, 1), (3600.0, 2), (7200.0, 3), (86_399.0, 24), (-0.001, 0)]
)
def test_windows_are_numbered_from_1(t: float, number: int) -> None:
    origin = 1_768_449_600.0
    assert readings.window_number(origin + t, origin=origin, window_seconds=HOUR) == number


@given(t=st.integers(0, 10**10), origin=st.integers(0, 10**9), window=st.integers(1, 604_800))
def test_a_window_holds_exactly_its_seconds(t: int, origin: int, window: int) -> None:
    number = readings.window_number(t, origin=origin, window_seconds=window)
    assert origin + (number - 1) * window <= t < origin + number * window


def test_six_presets_cost_1_44_a_day() -> None:
    assert readings.daily_storage_cost(50, 0.0048) == pytest.approx(0.24)
    assert 6 * readings.daily_storage_cost(50, 0.0048) == pytest.approx(1.44)


@pytest.mark.parametrize(
    ("utc", "day", "month"),
    [
        (datetime(2026, 1, 31, 15, 59, 59, tzinfo=UTC), "2026-01-31", "2026-01"),
        (datetime(2026, 1, 31, 16, 0, 0, tzinfo=UTC), "2026-02-01", "2026-02"),
        (datetime(2025, 12, 31, 16, 0, 0, tzinfo=UTC), "2026-01-01", "2026-01"),
    ],
)
def test_days_and_months_turn_at_midnight_in_beijing(utc: datetime, day: str, month: str) -> None:
    t = utc.timestamp()
    assert (readings.beijing_day(t), readings.beijing_month(t)) == (day, month)
    assert readings.beijing_day(readings.start_of_beijing_day(t)) == day
    assert readings.beijing_day(readings.start_of_beijing_day(t) - 1) != day
    assert readings.beijing_month(readings.start_of_beijing_month(t)) == month
    assert readings.beijing_month(readings.start_of_beijing_month(t) - 1) != month


@pytest.mark.parametrize(
    ("what", "start", "end", "since", "cny"),
    [
        ("one hour", 0.0, 3600.0, 0.0, 3.6),
        ("to the second", 0.0, 1.0, 0.0, 0.001),
        ("only the part of the period", 0.0, 3600.0, 1800.0, 1.8),
        ("nothing if it ended before the period", 0.0, 3600.0, 7200.0, 0.0),
        ("all of it if it began within the period", 7200.0, 10_800.0, 3600.0, 3.6),
    ],
)
def test_cost_is_price_times_seconds(what: str, start: float, end: float, since: float, cny: float) -> None:
    assert readings.cost(3.6, start=start, end=end, since=since) == pytest.approx(cny)
