"""When a server that fails its tasks is left alone, for how long, and how many of them at most."""

import pytest

from controller.api.server import Ejection
from controller.dispatcher.ejection import PassiveHealth, may_be_ejected

POLICY = Ejection(consecutive_failures=3, base_seconds=10, max_seconds=35, max_ejected_percent=50)


@pytest.mark.parametrize(
    ("able", "percent", "allowed"),
    [
        (0, 50, 0),
        (1, 100, 0),  # the last one stays
        (2, 50, 1),
        (2, 100, 1),
        (3, 50, 1),  # rounded down
        (4, 50, 2),
        (10, 9, 0),
        (10, 10, 1),
        (10, 100, 9),
        (10, 0, 0),
    ],
)
def test_how_many_may_be_ejected(able: int, percent: int, allowed: int) -> None:
    assert may_be_ejected(able, Ejection(max_ejected_percent=percent)) == allowed


def test_so_many_failures_in_a_row_are_enough_and_a_success_starts_the_count_anew() -> None:
    health = PassiveHealth()
    wanted = []
    for good in (False, False, True, False, False, False):
        if good:
            health.succeeded()
        else:
            wanted.append(health.failed(0.0, POLICY))
    assert wanted == [False, False, False, False, True]


def eject_again(health: PassiveHealth, now: float) -> float:
    """Eject a server once more at this time; returns how long it is left alone."""
    health.eject(now, POLICY)
    assert health.until is not None
    return health.until - now


def test_each_ejection_in_a_row_is_longer_up_to_the_longest() -> None:
    health, now, lengths = PassiveHealth(), 0.0, []
    for _ in range(5):
        lengths.append(eject_again(health, now))
        now += lengths[-1]
        health.readmit(now)
        assert health.failed(now, POLICY), "on probation the first failure is enough"
    assert lengths == [10, 20, 30, 35, 35]
    assert health.total == 5


def test_after_its_first_success_it_may_fail_as_often_as_any_other() -> None:
    health = PassiveHealth()
    eject_again(health, 0.0)
    health.readmit(10.0)
    health.succeeded()
    assert [health.failed(11.0, POLICY) for _ in range(3)] == [False, False, True]


@pytest.mark.parametrize(
    ("quiet", "left"), [(0, 4), (34, 4), (35, 3), (64, 3), (65, 2), (84, 2), (85, 1), (94, 1), (95, 0), (10_000, 0)]
)
def test_a_time_without_failures_as_long_as_an_ejection_takes_one_of_them_away(quiet: float, left: int) -> None:
    """Four in a row lasted 35 (the longest), 30, 20 and 10 s."""
    health = PassiveHealth(ejections=4, clean_since=100.0)
    health.failed(100.0 + quiet, POLICY)
    assert health.ejections == left
    assert eject_again(health, 100.0 + quiet) == min(35, 10 * (left + 1))


def test_what_still_fails_while_it_is_ejected_does_not_count() -> None:
    """Tasks that were in flight when it was ejected end one after the other."""
    health = PassiveHealth()
    eject_again(health, 0.0)
    assert [health.failed(1.0, POLICY) for _ in range(9)] == [False] * 9
    assert (health.failures, health.ejections) == (0, 1)


def test_a_success_of_a_task_that_was_in_flight_does_not_end_an_ejection() -> None:
    health = PassiveHealth()
    eject_again(health, 0.0)
    health.succeeded()
    assert health.ejected
