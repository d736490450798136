"""The traffic of one instance: what is counted from a counter that starts anew, falls, jumps or tells nonsense."""

import itertools
import math
from datetime import UTC, datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from controller.api.model import read, write_over
from controller.api.traffic import InstanceTraffic
from controller.scaling.readings import beijing_month
from controller.scaling.usage import (
    SET_BACK_SECONDS,
    TURN_SECONDS,
    Reading,
    count,
    counter,
    near_turn,
    used_this_month,
)

#: 2026-01-15 12:00 in Beijing, far from any turn; and the turn to February there, which is January in UTC.
NOON = datetime(2026, 1, 15, 4, tzinfo=UTC).timestamp()
TURN = datetime(2026, 1, 31, 16, tzinfo=UTC).timestamp()
STEP = 600.0
HOUR = 3600.0
DAY = 24 * HOUR


def reading(used: float, at: float, total: float = 500.0) -> Reading:
    return Reading(total, total - used, at)


def counted(*readings: Reading, of: InstanceTraffic | None = None) -> InstanceTraffic:
    """Readings one after the other; each state goes through the form in which it is written down."""
    traffic = of or InstanceTraffic()
    for one in readings:
        traffic = count(traffic, one)
        traffic = read(InstanceTraffic, {k: v for k, v in write_over(traffic).items() if v is not None})
    return traffic


class TestACounterThatBehaves:
    def test_the_first_reading_is_what_was_used_so_far(self) -> None:
        traffic = counted(reading(12.5, NOON))
        assert (traffic.month, traffic.used_gb, traffic.counter_gb) == ("2026-01", 12.5, 12.5)

    def test_growth_is_added(self) -> None:
        assert counted(reading(12.5, NOON), reading(20.0, NOON + STEP)).used_gb == 20.0

    def test_what_is_beyond_the_quota_counts_too(self) -> None:
        assert counted(reading(510.0, NOON)).used_gb == 510.0

    def test_a_restart_in_between_changes_nothing(self) -> None:
        """The state is only what stands in status, so there is nothing else to lose."""
        readings = [reading(used, NOON + k * STEP) for k, used in enumerate((1.0, 3.0, 3.0, 7.5))]
        for cut in range(len(readings) + 1):
            assert counted(*readings[cut:], of=counted(*readings[:cut])) == counted(*readings)

    def test_a_figure_of_a_month_that_is_over_is_none_of_this_month(self) -> None:
        traffic = counted(reading(100.0, NOON))
        assert used_this_month(traffic, now=TURN - 1) == 100.0
        assert used_this_month(traffic, now=TURN) == 0.0
        assert used_this_month(InstanceTraffic(), now=NOON) == 0.0


class TestTheTurnOfTheMonth:
    def test_a_counter_that_starts_anew_on_time(self) -> None:
        before = counted(reading(400.0, TURN - 300))
        after = counted(reading(0.2, TURN + 300), of=before)
        assert (after.month, after.used_gb) == ("2026-02", 0.0)  # not believed yet
        after = counted(reading(0.6, TURN + 900), of=after)
        assert (after.used_gb, after.counter_gb, after.lower_gb) == (0.6, 0.6, None)

    def test_a_counter_that_starts_anew_some_minutes_late(self) -> None:
        traffic = counted(
            reading(400.0, TURN - 300),
            reading(400.5, TURN + 300),  # still the old one: this much is of the new month
            reading(400.9, TURN + 900),
            reading(0.1, TURN + 1500),
            reading(0.4, TURN + 2100),
        )
        assert traffic.month == "2026-02"
        assert traffic.used_gb == pytest.approx(0.9 + 0.4)

    def test_a_counter_that_starts_anew_some_minutes_early(self) -> None:
        traffic = counted(reading(400.0, TURN - 1800), reading(0.1, TURN - 1200), reading(0.3, TURN - 600))
        assert traffic.month == "2026-01"
        assert traffic.used_gb == pytest.approx(400.3)
        traffic = counted(reading(0.7, TURN + 60), of=traffic)
        assert traffic.month == "2026-02"
        assert traffic.used_gb == pytest.approx(0.4)

    def test_an_operator_that_was_away_over_the_turn_takes_the_counter_as_it_is(self) -> None:
        for used in (3.0, 250.0):
            traffic = counted(reading(100.0, NOON), reading(used, TURN + 10 * DAY))
            assert (traffic.month, traffic.used_gb) == ("2026-02", used)

    def test_a_flutter_near_the_turn_is_no_start_anew(self) -> None:
        traffic = counted(
            reading(400.0, TURN - 1800), reading(399.99, TURN - 1200), reading(399.99, TURN - 600),
            reading(400.01, TURN - 10),
        )  # fmt: skip
        assert traffic.used_gb == 400.01

    def test_a_single_nought_near_the_turn_doubles_nothing(self) -> None:
        traffic = counted(reading(400.0, TURN - 1800), reading(0.0, TURN - 1200), reading(400.1, TURN - 600))
        assert (traffic.used_gb, traffic.lower_gb) == (400.1, None)

    @pytest.mark.parametrize(
        ("at", "near"),
        [(NOON, False), (TURN - TURN_SECONDS - 1, False), (TURN - TURN_SECONDS, True), (TURN - 1, True), (TURN, True),
         (TURN + TURN_SECONDS, True), (TURN + TURN_SECONDS + 1, False)],
    )  # fmt: skip
    def test_near_is_six_hours(self, at: float, near: bool) -> None:
        assert near_turn(at) is near


class TestACounterThatFalls:
    def test_the_sum_stays_and_growth_from_the_old_height_counts(self) -> None:
        traffic = counted(reading(100.0, NOON), reading(90.0, NOON + STEP))
        assert (traffic.used_gb, traffic.lower_gb) == (100.0, 90.0)
        assert counted(reading(101.0, NOON + 2 * STEP), of=traffic).used_gb == 101.0

    def test_once_it_has_stayed_lower_for_an_hour_its_growth_counts_from_there(self) -> None:
        falls = [reading(10.0 + k, NOON + STEP + k * STEP) for k in range(7)]
        traffic = counted(reading(100.0, NOON), *falls[:-1])
        assert traffic.used_gb == 100.0
        traffic = counted(falls[-1], of=traffic)
        assert (traffic.used_gb, traffic.counter_gb) == (106.0, 16.0)
        assert falls[-1].at - falls[0].at == SET_BACK_SECONDS

    def test_a_total_that_changes_is_believed_at_the_next_reading(self) -> None:
        """The remainder follows a little later; in between the difference says nothing."""
        traffic = counted(reading(100.0, NOON), Reading(1000.0, 400.0, NOON + STEP))
        assert (traffic.used_gb, traffic.total_gb) == (100.0, 1000.0)
        assert counted(Reading(1000.0, 899.0, NOON + 2 * STEP), of=traffic).used_gb == 101.0

    @pytest.mark.parametrize(
        ("total", "left"),
        [(math.nan, 1.0), (500.0, math.nan), (math.inf, 1.0), (500.0, -math.inf), (0.0, 0.0), (-500.0, 0.0),
         (1e9, 0.0), (500.0, -1e9), (500.0, 1e9)],
    )  # fmt: skip
    def test_figures_that_cannot_be_meant_change_nothing(self, total: float, left: float) -> None:
        before = counted(reading(100.0, NOON))
        assert counter(Reading(total, left, NOON)) is None
        assert counted(Reading(total, left, NOON + STEP), of=before) == before

    def test_more_left_than_there_was_is_nothing_used(self) -> None:
        assert counter(Reading(500.0, 500.2, NOON)) == 0.0


ANYTHING = st.builds(
    Reading,
    total_gb=st.sampled_from((500.0, 500.0, 500.0, 1000.0, 0.0, math.nan)),
    remaining_gb=st.one_of(st.floats(-50.0, 1100.0), st.just(math.inf)),
    at=st.just(0.0),
)
PAUSES = st.lists(st.one_of(st.floats(1.0, 1800.0), st.floats(1.0, 20 * DAY)), min_size=1, max_size=40)


@given(start=st.floats(NOON, NOON + 40 * DAY), pauses=PAUSES, said=st.lists(ANYTHING, min_size=40, max_size=40))
def test_whatever_the_cloud_says_a_sum_never_falls_within_its_month_nor_is_it_absurd(
    start: float, pauses: list[float], said: list[Reading]
) -> None:
    traffic, at, before = InstanceTraffic(), start, 0.0
    month = beijing_month(start)
    for pause, one in zip(pauses, said, strict=False):
        at += pause
        if beijing_month(at) != month:
            month, before = beijing_month(at), 0.0
        traffic = counted(Reading(one.total_gb, one.remaining_gb, at), of=traffic)
        used = used_this_month(traffic, now=at)
        assert used >= before
        assert math.isfinite(used)
        before = used


#: GB that flow between two readings ten minutes apart; a line of 10 Mbit/s carries 0.75.
FLOWS = st.lists(st.floats(0.0, 0.75), min_size=60, max_size=120)


@given(flows=FLOWS, first=st.floats(0.0, 480.0), late=st.floats(-2 * HOUR, 2 * HOUR))
@example(flows=[0.75] * 60, first=480.0, late=0.0)
@example(flows=[0.75] * 60, first=0.0, late=-HOUR)
@example(flows=[0.0] * 60, first=100.0, late=HOUR)
def test_when_counters_behave_the_sums_are_the_true_bytes(flows: list[float], first: float, late: float) -> None:
    """Over a turn whose counter starts anew early or late, but for what no reading saw, and never more than flowed."""
    begin, anew = TURN - 30 * STEP, TURN + late
    times = [begin + k * STEP for k in range(len(flows) + 1)]
    value, started, seen = first, False, 0.0
    traffic = counted(reading(first, begin))
    months = {"2026-01": first}
    for (last, at), flow in zip(itertools.pairwise(times), flows, strict=True):
        if not started and last < anew <= at:
            value, started = 0.0, True
        value += flow
        seen += flow
        traffic = counted(reading(value, at), of=traffic)
        months[beijing_month(at)] = used_this_month(traffic, now=at)
    whole = sum(months.values())
    assert whole <= first + seen + 1e-4
    # The interval in which it starts anew counts in full here, since what flows in it flows after the start. Unseen is
    # only a start anew from so little that growth hid it.
    assert whole >= first + seen - 2 * 0.75 - 1e-4


@given(flows=st.lists(st.floats(0.0, 5.0), min_size=1, max_size=50))
def test_within_a_month_the_sum_is_the_counter(flows: list[float]) -> None:
    values = list(itertools.accumulate(flows))
    traffic = counted(*(reading(value, NOON + k * STEP) for k, value in enumerate(values)))
    assert traffic.used_gb == pytest.approx(values[-1], abs=1e-4)
