"""What a task will probably take."""

import math

import pytest

from controller.dispatcher.fairqueue import Estimator
from controller.dispatcher.fairqueue.estimate import KINDS, LEAST_SECONDS


def test_before_any_measurement_the_cost_is_taken_for_seconds() -> None:
    assert Estimator().estimate("images", 4.0) == 4.0


def test_a_kind_that_was_never_measured_needs_what_others_need_for_their_cost() -> None:
    estimator = Estimator()
    estimator.observe(("images", "XL"), 12.0, cost=4.0)
    assert estimator.estimate(("images", "3XL"), 2.0) == 6.0


def test_a_kind_that_was_measured_needs_what_it_needed_lately_whatever_its_cost() -> None:
    estimator = Estimator()
    estimator.observe("images", 10.0)
    estimator.observe("train", 600.0)
    assert estimator.estimate("images", 50.0) == 10.0
    for _ in range(60):
        estimator.observe("images", 20.0)
    assert estimator.estimate("images") == pytest.approx(20.0, rel=0.01)
    assert estimator.estimate("train") == 600.0


def test_an_estimate_is_never_nothing() -> None:
    estimator = Estimator()
    estimator.observe("health", 0.0)
    assert estimator.estimate("health") == LEAST_SECONDS


@pytest.mark.parametrize(("seconds", "cost"), [(-1.0, 1.0), (math.nan, 1.0), (math.inf, 1.0), (1.0, 0.0)])
def test_what_was_no_measurement_is_refused(seconds: float, cost: float) -> None:
    with pytest.raises(ValueError, match="seconds"):
        Estimator().observe("images", seconds, cost)


def test_kinds_without_end_cost_no_memory() -> None:
    estimator = Estimator()
    for number in range(3 * KINDS):
        estimator.observe(number, 1.0)
    assert len(estimator._seconds) == KINDS
