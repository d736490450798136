"""A pool's traffic against its thresholds: the sum, the levels and when they are left, the condition."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.api.traffic import Thresholds, Traffic, TrafficLevel, TrafficStatus
from controller.scaling.quota import (
    LEVELS,
    Share,
    level_of,
    month_over,
    month_to_date,
    next_level,
    quota_condition,
    server_stage,
    stage_of,
    threshold,
)

#: 2026-01-15 12:00 in Beijing.
NOON = datetime(2026, 1, 15, 4, tzinfo=UTC).timestamp()
FEBRUARY = NOON + 17 * 24 * 3600.0
POOL, INSTANCE = Traffic(), Traffic(scope="Instance")


def share(name: str, gb: float, *, ended: bool = False) -> Share:
    return Share(name, f"uid-{name}", gb, ended)


class TestTheSum:
    def test_the_destroyed_count_once(self) -> None:
        shares = [share("live", 10.0), share("gone", 5.0, ended=True)]
        first = month_to_date(TrafficStatus(), shares, (), POOL, now=NOON)
        assert (first.used_gb, first.ended_gb, first.month) == (15.0, 5.0, "2026-01")
        again = month_to_date(first, shares, ("uid-gone",), POOL, now=NOON + 10)
        assert again.used_gb == 15.0
        released = month_to_date(again, shares[:1], (), POOL, now=NOON + 20)
        assert released.used_gb == 15.0

    def test_a_new_month_begins_at_nothing_and_at_no_level(self) -> None:
        old = TrafficStatus(month="2026-01", used_gb=480.0, ended_gb=470.0, level="Emergency")
        new = month_to_date(old, [share("live", 1.0)], (), POOL, now=FEBRUARY)
        assert (new.used_gb, new.ended_gb, new.level) == (1.0, 0.0, "Normal")

    def test_what_a_month_came_to_is_kept_through_the_next(self) -> None:
        old = TrafficStatus(month="2026-01", used_gb=479.0, ended_gb=470.0)
        over = month_over(old, [share("live", 10.5), share("gone", 470.0, ended=True)], ("uid-gone",))
        new = month_to_date(over, [share("live", 1.0)], (), POOL, now=FEBRUARY)
        assert (new.last_month, new.last_month_gb, new.used_gb) == ("2026-01", 480.5, 1.0)
        again = month_to_date(new, [share("live", 2.0)], (), POOL, now=FEBRUARY + 10)
        assert (again.last_month, again.last_month_gb) == ("2026-01", 480.5)

    def test_a_server_already_read_in_the_next_month_takes_nothing_from_the_last(self) -> None:
        old = TrafficStatus(month="2026-01", used_gb=480.0, ended_gb=470.0)
        assert month_over(old, [share("live", 0.0)], ()).last_month_gb == 480.0

    def test_it_names_the_living_server_that_used_most(self) -> None:
        shares = [share("a", 7.0), share("b", 9.0), share("c", 9.0), share("gone", 99.0, ended=True)]
        found = month_to_date(TrafficStatus(), shares, (), POOL, now=NOON)
        assert (found.max_instance, found.max_instance_gb) == ("b", 9.0)


class TestLevels:
    @pytest.mark.parametrize(
        ("used", "name"),
        [
            (0.0, "Normal"), (299.99, "Normal"),
            (300.0, "Optimize"), (399.99, "Optimize"),
            (400.0, "Warning"), (449.99, "Warning"),
            (450.0, "Critical"), (479.99, "Critical"),
            (480.0, "Emergency"), (5000.0, "Emergency"),
        ],
    )  # fmt: skip
    def test_they_begin_at_their_thresholds(self, used: float, name: str) -> None:
        assert level_of(used, Thresholds()) == name
        assert next_level("Normal", used, Thresholds()) == name

    @pytest.mark.parametrize(
        ("before", "used", "after"),
        [
            ("Optimize", 299.9, "Optimize"), ("Optimize", 297.0, "Optimize"), ("Optimize", 296.9, "Normal"),
            ("Emergency", 475.3, "Emergency"), ("Emergency", 475.1, "Critical"), ("Emergency", 449.0, "Critical"),
            ("Emergency", 445.0, "Warning"), ("Emergency", 100.0, "Normal"), ("Warning", 480.0, "Emergency"),
        ],
    )  # fmt: skip
    def test_they_are_left_only_clearly_below(self, before: TrafficLevel, used: float, after: str) -> None:
        assert next_level(before, used, Thresholds()) == after

    @given(used=st.lists(st.floats(0, 600), min_size=1, max_size=30))
    def test_a_held_level_is_at_most_what_the_highest_figure_reached_and_at_least_what_the_last_did(
        self, used: list[float]
    ) -> None:
        held: TrafficLevel = "Normal"
        for figure in used:
            held = next_level(held, figure, Thresholds())
        assert LEVELS.index(level_of(used[-1], Thresholds())) <= LEVELS.index(held)
        assert LEVELS.index(held) <= LEVELS.index(level_of(max(used), Thresholds()))
        assert used[-1] >= 0.99 * threshold(held, Thresholds())

    def test_under_the_scope_instance_the_level_is_that_of_the_worst_server(self) -> None:
        shares = [share("a", 200.0), share("b", 310.0), share("gone", 490.0, ended=True)]
        found = month_to_date(TrafficStatus(), shares, (), INSTANCE, now=NOON)
        assert (found.used_gb, found.level, found.scope) == (1000.0, "Optimize", "Instance")

    def test_another_scope_begins_anew(self) -> None:
        pool = month_to_date(TrafficStatus(), [share("a", 260.0), share("b", 298.0)], (), POOL, now=NOON)
        assert pool.level == "Emergency"
        found = month_to_date(pool, [share("a", 260.0), share("b", 298.0)], (), INSTANCE, now=NOON)
        assert found.level == "Normal"

    @pytest.mark.parametrize(
        ("level", "stage"),
        [("Normal", "Normal"), ("Optimize", "Optimize"), ("Warning", "Optimize"), ("Critical", "Critical"),
         ("Emergency", "Critical")],
    )  # fmt: skip
    def test_saving_begins_at_optimize_and_is_stronger_from_critical_on(self, level: TrafficLevel, stage: str) -> None:
        assert stage_of(level) == stage


class TestOneServer:
    def test_it_saves_as_its_pools_level_says_whatever_it_used_itself(self) -> None:
        traffic = TrafficStatus(month="2026-01", level="Critical")
        assert server_stage(traffic, POOL, 0.0, now=NOON) == "Critical"

    def test_a_level_of_a_month_that_is_over_holds_no_more(self) -> None:
        traffic = TrafficStatus(month="2026-01", level="Critical")
        assert server_stage(traffic, POOL, 0.0, now=FEBRUARY) == "Normal"

    def test_under_the_scope_instance_its_own_use_decides(self) -> None:
        traffic = TrafficStatus(month="2026-01", level="Critical")
        assert server_stage(traffic, INSTANCE, 299.0, now=NOON) == "Normal"
        assert server_stage(traffic, INSTANCE, 450.0, now=NOON) == "Critical"


class TestTheCondition:
    @pytest.mark.parametrize(
        ("level", "reads", "checked", "status", "reason"),
        [
            ("Normal", False, None, "True", "Normal"),
            ("Normal", True, None, "Unknown", "NotRead"),
            ("Normal", True, NOON - 600, "True", "Normal"),
            ("Optimize", True, NOON - 1800, "True", "Optimize"),
            ("Optimize", True, NOON - 1801, "Unknown", "Stale"),
            ("Warning", True, NOON - 1801, "False", "Warning"),
            ("Emergency", False, None, "False", "Emergency"),
        ],
    )
    def test_it_is_false_from_warning_on_and_unknown_while_the_figure_may_be_old(
        self, level: TrafficLevel, reads: bool, checked: float | None, status: str, reason: str
    ) -> None:
        traffic = TrafficStatus(month="2026-01", used_gb=1.0, level=level)
        found = quota_condition(traffic, POOL, reads=reads, checked_at=checked, now=NOON)
        assert (found.type, found.status, found.reason) == ("TrafficWithinQuota", status, reason)

    def test_under_the_scope_instance_it_names_the_worst_server(self) -> None:
        traffic = TrafficStatus(month="2026-01", level="Warning", max_instance="pool-3", max_instance_gb=401.0)
        found = quota_condition(traffic, INSTANCE, reads=True, checked_at=NOON, now=NOON)
        assert "pool-3 has used most, 401.0 GB" in found.message
