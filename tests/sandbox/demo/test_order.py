"""The order that the rules promise, literal, and how a departure from it is told."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.sandbox.demo.order import first_difference, round_robin


def test_users_take_turns_and_exhausted_ones_are_passed_over() -> None:
    """The example of the rules: A 100, B 10, C 20."""
    order = round_robin({"A": 100, "B": 10, "C": 20})
    assert order[:7] == ["A1", "B1", "C1", "A2", "B2", "C2", "A3"]
    assert order[27:34] == ["A10", "B10", "C10", "A11", "C11", "A12", "C12"]
    assert order[48:53] == ["A20", "C20", "A21", "A22", "A23"]
    assert order[-1] == "A100"
    assert len(order) == 130


@pytest.mark.parametrize(
    ("tasks", "order"),
    [
        ({}, []),
        ({"A": 0}, []),
        ({"A": 2}, ["A1", "A2"]),
        ({"B": 1, "A": 2}, ["B1", "A1", "A2"]),
        ({"A": 1, "B": 3, "C": 0}, ["A1", "B1", "B2", "B3"]),
    ],
)
def test_small_cases(tasks: dict[str, int], order: list[str]) -> None:
    assert round_robin(tasks) == order


@given(st.dictionaries(st.sampled_from("ABCDEF"), st.integers(0, 12)))
def test_every_task_has_one_place_and_no_user_gets_ahead_by_more_than_a_turn(tasks: dict[str, int]) -> None:
    order = round_robin(tasks)
    assert sorted(order) == sorted(f"{user}{n}" for user, count in tasks.items() for n in range(1, count + 1))
    served = dict.fromkeys(tasks, 0)
    for label in order:
        served[label[0]] += 1
        for other, count in tasks.items():
            if served[other] < count:
                assert served[label[0]] <= served[other] + 1


@pytest.mark.parametrize(
    ("measured", "promised", "told"),
    [
        (["A1", "B1"], ["A1", "B1"], ""),
        (["A1", "A2", "B1"], ["A1", "B1", "A2"], "place 2 was A2, not B1"),
        (["A1"], ["A1", "B1"], "1 tasks were started, not 2"),
        (["A1", "B1", "B2"], ["A1", "B1"], "3 tasks were started, not 2"),
        ([], ["A1"], "0 tasks were started, not 1"),
    ],
)
def test_a_departure_is_told_by_place(measured: list[str], promised: list[str], told: str) -> None:
    assert first_difference(measured, promised) == told
