"""How fairness is measured: what was due while a network waited, what it got, and Jain's index over both."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.dispatcher.fairness import HALF_LIFE_SECONDS, LEAST_DUE, FairnessMeter, jain


@pytest.mark.parametrize(
    ("shares", "expected"),
    [([], 1.0), ([5.0], 1.0), ([1, 1, 1], 1.0), ([1, 0, 0, 0], 0.25), ([2, 1], 0.9), ([0.0, 0.0], 1.0)],
)
def test_jains_index(shares: list[float], expected: float) -> None:
    assert jain(shares) == pytest.approx(expected)


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=50))
def test_jains_index_is_between_one_nth_and_one(shares: list[float]) -> None:
    assert 1 / len(shares) - 1e-9 <= jain(shares) <= 1 + 1e-9


def backlogged(*networks: str, weights: dict[str, float] | None = None) -> FairnessMeter:
    """Networks that have tasks waiting all the time."""
    meter = FairnessMeter()
    for network in networks:
        for _ in range(1000):
            meter.waits(network, (weights or {}).get(network, 1.0))
    return meter


def serve(meter: FairnessMeter, order: str, amount: float = 1.0) -> None:
    for network in order:
        meter.served(network, amount)
        meter.leaves(network)


def test_turns_are_fair() -> None:
    meter = backlogged(*"ABC")
    serve(meter, "ABC" * 20)
    assert meter.index(0) == pytest.approx(1.0)
    assert meter.worst(0) == pytest.approx(1.0)


def test_one_that_gets_everything_while_others_wait_is_unfair() -> None:
    """Negative control."""
    meter = backlogged(*"ABCD")
    serve(meter, "A" * 40)
    assert meter.index(0) == pytest.approx(0.25)
    assert meter.worst(0) == 0


def test_weights_are_no_unfairness_but_what_is_due() -> None:
    meter = backlogged("A", "B", weights={"A": 3.0})
    serve(meter, "AAAB" * 10)
    assert meter.index(0) == pytest.approx(1.0)


def test_what_a_network_got_while_it_was_alone_is_not_held_against_it() -> None:
    meter = backlogged("A")
    serve(meter, "A" * 500)
    for _ in range(50):
        meter.waits("B")
    serve(meter, "AB" * 20)
    assert meter.index(0) == pytest.approx(1.0)


def test_seconds_that_a_task_took_more_than_was_thought_are_booked_when_they_are_known() -> None:
    meter = backlogged(*"AB")
    serve(meter, "AB" * 10)
    for _ in range(10):
        meter.served("A", 19.0)  # each of A's tasks took 20, each of B's 1
    assert meter.index(0) < 0.6


def test_a_network_is_not_judged_by_less_than_some_tasks() -> None:
    meter = backlogged(*"AB")
    serve(meter, "A" * int(2 * LEAST_DUE - 1))
    assert meter.index(0) == 1.0


def test_nothing_is_kept_of_networks_that_do_not_wait() -> None:
    meter = FairnessMeter()
    for number in range(100):
        meter.waits(f"N{number}")
        meter.served(f"N{number}", 1.0)
        meter.leaves(f"N{number}")
    assert meter._accounts == {}
    assert meter._weights == 0
    with pytest.raises(KeyError):
        meter.leaves("N1")


def test_the_past_fades() -> None:
    meter = backlogged(*"AB")
    serve(meter, "A" * 100)
    before = meter.index(0)
    for half_lives in range(1, 8):
        serve(meter, "AB" * 25)
        after = meter.index(half_lives * HALF_LIFE_SECONDS)
    assert before == pytest.approx(0.5)
    assert after > 0.98


@given(st.lists(st.tuples(st.sampled_from("ABCD"), st.booleans()), max_size=200))
def test_whatever_happens_the_index_stays_one(events: list[tuple[str, bool]]) -> None:
    """An index stays an index: between 1/4 and 1 for four networks, in any order of events."""
    meter, waiting = FairnessMeter(), dict.fromkeys("ABCD", 0)
    for network, start in events:
        if start and waiting[network]:
            waiting[network] -= 1
            meter.served(network, 1.0)
            meter.leaves(network)
        elif not start:
            waiting[network] += 1
            meter.waits(network)
    assert 0.25 - 1e-9 <= meter.index(0) <= 1 + 1e-9
    assert meter.worst(0) >= 0
