"""The low-load clock: what restarts it, what does not, and what the next destruction waits for."""

from collections.abc import Callable
from typing import Any

import pytest

from controller.scaling.clock import low_load_lasted
from controller.scaling.plan import Plan, plan
from controller.scaling.snapshot import Memory, ServerState, Snapshot

Decide = Callable[..., Plan]
Words = Callable[[Plan], tuple[str, list[str]]]

TWO = ({"name": "cheap", "price_per_hour": 1.0}, {"name": "dear", "price_per_hour": 2.0})
LEAVING = {"name": "gone", "draining": True, "drained_by_pool": True}


@pytest.mark.parametrize(
    ("low_for", "stabilization", "verdict"),
    [
        (300.0, 300, "Hold/LowLoadTooShort"),
        (300.1, 300, "ScaleDown/LowLoad"),
        (0.0, 0, "Hold/LowLoadTooShort"),
        (0.1, 0, "ScaleDown/LowLoad"),
        (None, 300, "Hold/LowLoadTooShort"),
    ],
)
def test_low_load_must_have_lasted_longer_than_the_stabilization(
    decide: Decide, words: Words, low_for: float | None, stabilization: int, verdict: str
) -> None:
    spec = {"scaling": {"down": {"stabilizationSeconds": stabilization}}}
    assert words(decide(low_for=low_for, spec=spec, servers=TWO))[0] == verdict


@pytest.mark.parametrize(
    ("what", "given", "restarts"),
    [
        ("load stays low", {}, False),
        ("mean response is no longer below its threshold", {"signals": {"mean_response": 1.0}}, True),
        ("queue is no longer below its threshold", {"signals": {"queue_length": 3}}, True),
        ("CPU is no longer below its threshold", {"signals": {"cpu": 30.0}}, True),
        ("the longest wait fires", {"signals": {"longest_wait": 10.1}}, True),
        ("mean response is unknown", {"signals": {"mean_response": None}}, True),
        ("queue length is unknown", {"signals": {"queue_length": None}}, True),
        ("CPU is unknown", {"signals": {"cpu": None}}, True),
        ("longest wait is unknown", {"signals": {"longest_wait": None}}, True),
        ("the dispatcher restarted", {"signals": {"dispatchers": {5.0}}}, True),
        (
            "a dispatcher replica joined",
            {"dispatchers": frozenset({4.0}), "signals": {"dispatchers": {4.0, 5.0}}},
            True,
        ),
        ("a dispatcher replica left", {"dispatchers": frozenset({4.0, 5.0}), "signals": {"dispatchers": {4.0}}}, True),
        ("the only server is being destroyed", {"servers": [LEAVING]}, False),
        ("a server has just gone", {"leaving": ["gone"]}, False),
        ("the number of servers changed", {"servers": TWO}, False),
        ("a server is being deployed", {"servers": [*TWO, {"name": "new", "age": None}]}, False),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_restarts_the_low_load_clock(
    decide: Decide, now: float, what: str, given: dict[str, Any], restarts: bool
) -> None:
    memory = decide(low_for=1000.0, **given).memory
    assert low_load_lasted(memory, now=now) == (0.0 if restarts else 1000.0)


def test_an_operator_restart_starts_the_clock_at_the_first_low_look(
    make_snapshot: Callable[..., Snapshot], now: float
) -> None:
    assert plan(make_snapshot(), Memory(), now=now).memory.low_load_since == now


def test_after_a_failed_condition_the_clock_starts_when_the_load_is_low_again(
    make_snapshot: Callable[..., Snapshot], now: float
) -> None:
    memory = Memory(low_load_since=now - 1000.0)
    memory = plan(make_snapshot(signals={"cpu": 50}), memory, now=now).memory
    assert memory.low_load_since is None
    assert plan(make_snapshot(), memory, now=now + 10).memory.low_load_since == now + 10


def test_the_same_dispatchers_after_a_gap_in_the_metrics_are_no_restart_of_their_own(
    make_snapshot: Callable[..., Snapshot], now: float
) -> None:
    """The gap itself restarts the clock once; finding the same replicas again does not do it a second time."""
    unknown = {"mean_response": None, "queue_length": None, "cpu": None, "longest_wait": None, "dispatchers": ()}
    memory = plan(make_snapshot(), Memory(), now=now).memory
    memory = plan(make_snapshot(signals=unknown), memory, now=now + 10).memory
    for tick in (20, 30, 40):
        memory = plan(make_snapshot(), memory, now=now + tick).memory
    assert memory.low_load_since == now + 20


def test_a_restart_behind_a_look_that_saw_no_dispatcher_is_noticed(
    make_snapshot: Callable[..., Snapshot], now: float
) -> None:
    memory = plan(make_snapshot(signals={"dispatchers": {4.0}}), Memory(), now=now).memory
    memory = plan(make_snapshot(signals={"dispatchers": ()}), memory, now=now + 10).memory
    memory = plan(make_snapshot(signals={"dispatchers": {5.0}}), memory, now=now + 20).memory
    assert memory.low_load_since == now + 20


@pytest.mark.parametrize(
    ("what", "given", "verdict"),
    [
        ("no drain is known", {}, "ScaleDown/LowLoad"),
        ("a server is still draining", {"servers": [*TWO, LEAVING]}, "Hold/DrainInProgress"),
        (
            "a server is still being destroyed",
            {"servers": [*TWO, {"name": "gone", "state": ServerState.TERMINATING}]},
            "Hold/DrainInProgress",
        ),
        ("it has ended just now", {"leaving": ["gone"]}, "Hold/FreshWindow"),
        ("a fresh window is not over", {"drain_ended_ago": 59.9}, "Hold/FreshWindow"),
        ("a fresh window is over", {"drain_ended_ago": 60.0}, "ScaleDown/LowLoad"),
        (
            "a longer window is configured",
            {"drain_ended_ago": 60.0, "spec": {"scaling": {"windowSeconds": 120}}},
            "Hold/FreshWindow",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_next_destruction_waits_for_the_drain_and_a_fresh_window(
    decide: Decide, words: Words, what: str, given: dict[str, Any], verdict: str
) -> None:
    assert words(decide(**{"servers": TWO, **given}))[0] == verdict


def test_the_end_of_a_drain_is_noted_once(make_snapshot: Callable[..., Snapshot], now: float) -> None:
    memory = plan(make_snapshot(servers=[*TWO, LEAVING]), Memory(), now=now).memory
    assert memory.last_drain_ended is None
    for tick in (10, 20, 30):
        memory = plan(make_snapshot(servers=TWO), memory, now=now + tick).memory
    assert memory.last_drain_ended == now + 10


def test_a_clock_that_is_set_back_restarts_it_instead_of_holding_it_up(
    make_snapshot: Callable[..., Snapshot], now: float
) -> None:
    memory = Memory(low_load_since=now + 3000.0, last_drain_ended=now + 3000.0)
    memory = plan(make_snapshot(), memory, now=now).memory
    assert (memory.low_load_since, memory.last_drain_ended) == (now, now)
