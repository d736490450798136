"""Destroying: every rule that forbids it, which server goes first, and what is waited for."""

from collections.abc import Callable
from typing import Any

import pytest

from controller.scaling.account import account
from controller.scaling.actions import Drain
from controller.scaling.clock import advance
from controller.scaling.plan import Plan
from controller.scaling.snapshot import Memory, Peak, ServerState, ServerView
from controller.scaling.triggers import evaluate
from controller.scaling.victims import rank

Decide = Callable[..., Plan]
MakeServer = Callable[..., ServerView]
Words = Callable[[Plan], tuple[str, list[str]]]

CHEAP, MIDDLE, DEAR = (
    {"name": "cheap", "price_per_hour": 1.0},
    {"name": "middle", "price_per_hour": 2.0},
    {"name": "dear", "price_per_hour": 3.0},
)
TWO = [CHEAP, DEAR]
THREE = [CHEAP, MIDDLE, DEAR]
NEW = {"name": "new", "age": None}
OURS = {"draining": True, "drained_by_pool": True}
THEIRS = {"draining": True}
SICK = {"state": ServerState.UNHEALTHY}


def down(**changes: Any) -> dict[str, Any]:
    return {"scaling": {"down": changes}}


def row(name: str, verdict: str, actions: list[str], **given: Any) -> Any:
    """A requirement: what it says, what follows, and what differs from an idle pool of one old server."""
    return pytest.param(given, verdict, actions, id=name)


ROWS = [
    row("all rules allow it", "ScaleDown/LowLoad", ["Drain dear"], servers=TWO),
    # The minimum
    row("the minimum stays", "Hold/AtMinimum", [], servers=[DEAR]),
    row("a higher minimum stays", "Hold/AtMinimum", [], servers=THREE, spec={"replicas": {"min": 3}}),
    row(
        "a minimum of 0 lets the last one go",
        "ScaleDown/LowLoad",
        ["Drain dear"],
        servers=[DEAR],
        spec={"replicas": {"min": 0}},
    ),
    row(
        "an unhealthy server is no replacement for a Ready one", "Hold/AtMinimum", [], servers=[DEAR, {**CHEAP, **SICK}]
    ),
    row(
        "a step is cut to the minimum",
        "ScaleDown/LowLoad",
        ["Drain dear"],
        servers=THREE,
        spec={**down(step=5), "replicas": {"min": 2}},
    ),
    # Nothing being deployed
    row("a server is asked for", "Hold/Deploying", [], servers=[*TWO, {**NEW, "state": ServerState.LAUNCHING}]),
    row("a server is being deployed", "Hold/Deploying", [], servers=[*TWO, NEW]),
    row("even one that a person gave up", "Hold/Deploying", [], servers=[*TWO, {**NEW, **THEIRS}]),
    # Pauses
    *[
        row(f"paused {paused}", "Hold/ScaleDownPaused", [], servers=TWO, spec={"paused": paused})
        for paused in ("All", "ScaleDown")
    ],
    row(
        "paused ScaleUp does not hold it", "ScaleDown/LowLoad", ["Drain dear"], servers=TWO, spec={"paused": "ScaleUp"}
    ),
    # Steps
    row("one at a time", "ScaleDown/LowLoad", ["Drain dear"], servers=THREE),
    row(
        "or a configured step, the dearest first",
        "ScaleDown/LowLoad",
        ["Drain dear", "Drain middle"],
        servers=THREE,
        spec=down(step=2),
    ),
    # The 1-hour rule
    row(
        "exactly one hour is not more than one hour",
        "Hold/VictimTooYoung",
        [],
        servers=[CHEAP, {**DEAR, "age": 3600.0}],
    ),
    row("a little more is", "ScaleDown/LowLoad", ["Drain dear"], servers=[CHEAP, {**DEAR, "age": 3600.1}]),
    row(
        "the pool waits for the dearest, though a cheaper one is old enough",
        "Hold/VictimTooYoung",
        [],
        servers=[*TWO[:1], MIDDLE, {**DEAR, "age": 60.0}],
    ),
    row(
        "a too young second does not keep the dearer first",
        "ScaleDown/LowLoad",
        ["Drain dear"],
        servers=[CHEAP, {**MIDDLE, "age": 60.0}, DEAR],
        spec=down(step=2),
    ),
    row(
        "the minimum lifetime comes from the spec",
        "ScaleDown/LowLoad",
        ["Drain dear"],
        servers=[CHEAP, {**DEAR, "age": 60.1}],
        spec=down(minLifetimeSeconds=60),
    ),
    row(
        "the time of deployment is not service",
        "Hold/VictimTooYoung",
        [],
        servers=[CHEAP, {**DEAR, "age": 3500.0, "created_at": 0.0}],
    ),
    # Protection
    row(
        "the protected dearest is passed over",
        "ScaleDown/LowLoad",
        ["Drain middle"],
        servers=[CHEAP, MIDDLE, {**DEAR, "protected": True}],
    ),
    row(
        "even when it is young",
        "ScaleDown/LowLoad",
        ["Drain middle"],
        servers=[CHEAP, MIDDLE, {**DEAR, "protected": True, "age": 1.0}],
    ),
    row("all are protected", "Hold/NoVictim", [], servers=[{**s, "protected": True} for s in TWO]),
    row(
        "protected ones count against the minimum",
        "ScaleDown/LowLoad",
        ["Drain cheap"],
        servers=[CHEAP, {**DEAR, "protected": True}],
    ),
    # The safety check
    row(
        "work in flight fits into the rest",
        "ScaleDown/LowLoad",
        ["Drain dear"],
        servers=[{**CHEAP, "in_flight": 1}, DEAR],
    ),
    row(
        "work in flight does not fit",
        "Hold/UnsafeToShrink",
        [],
        servers=[{**CHEAP, "in_flight": 1}, {**DEAR, "in_flight": 1}],
    ),
    row(
        "slots count",
        "ScaleDown/LowLoad",
        ["Drain dear"],
        servers=[{**CHEAP, "in_flight": 1, "slots": 2}, {**DEAR, "in_flight": 1}],
    ),
    row(
        "CPU of the rest would stay at its threshold",
        "ScaleDown/LowLoad",
        ["Drain dear"],
        servers=[CHEAP, {**DEAR, "speed": 3.0}],
        signals={"cpu": 21.25},
    ),
    row(
        "CPU of the rest would exceed it",
        "Hold/UnsafeToShrink",
        [],
        servers=[CHEAP, {**DEAR, "speed": 3.0}],
        signals={"cpu": 21.26},
    ),
    row(
        "a fast rest takes more",
        "ScaleDown/LowLoad",
        ["Drain dear"],
        servers=[{**CHEAP, "speed": 2.0}, DEAR],
        signals={"cpu": 29.0},
    ),
    row(
        "CPU is spread by slots too",
        "Hold/UnsafeToShrink",
        [],
        servers=[CHEAP, {**DEAR, "slots": 3}],
        signals={"cpu": 21.26},
    ),
    row(
        "the last server still works",
        "Hold/UnsafeToShrink",
        [],
        servers=[{**DEAR, "in_flight": 1}],
        spec={"replicas": {"min": 0}},
    ),
    row(
        "a step is cut to what is safe",
        "ScaleDown/LowLoad",
        ["Drain dear"],
        servers=[{**s, "in_flight": 0.6} for s in THREE],
        spec=down(step=2),
    ),
    row(
        "the check can be switched off",
        "ScaleDown/LowLoad",
        ["Drain dear"],
        servers=[{**CHEAP, "in_flight": 1}, {**DEAR, "in_flight": 1}],
        spec=down(safetyCheck=False),
    ),
    # Drains that run and end
    row("a drain in progress is waited for", "Hold/DrainInProgress", [], servers=[*TWO, {**MIDDLE, **OURS}]),
    row(
        "what is drained is destroyed",
        "Hold/AtMinimum",
        ["Destroy dear"],
        servers=[CHEAP, {**DEAR, **OURS, "drained": True}],
    ),
    row(
        "a person's drain too", "Hold/AtMinimum", ["Destroy dear"], servers=[CHEAP, {**DEAR, **THEIRS, "drained": True}]
    ),
    row(
        "even while more are bought",
        "ScaleUp/BusyServers",
        ["Destroy dear", "Launch XL ap-beijing"],
        servers=[CHEAP, {**DEAR, **THEIRS, "drained": True}],
        signals={"cpu": 99},
    ),
    row(
        "at the maximum the pool's own drains go on",
        "Hold/AtMaximum",
        ["Destroy dear"],
        servers=[CHEAP, {**DEAR, **OURS, "drained": True}],
        signals={"cpu": 99},
        spec={"replicas": {"max": 1}},
    ),
    row(
        "once is enough",
        "Hold/AtMinimum",
        [],
        servers=[CHEAP, {**DEAR, **OURS, "drained": True, "state": ServerState.TERMINATING}],
    ),
    row(
        "drained means nothing without drain",
        "Hold/LowLoadTooShort",
        [],
        servers=[CHEAP, {**MIDDLE, "drained": True}],
        low_for=1.0,
    ),
    # Drains that may not go on
    *[
        row(
            f"paused {paused} takes the pool's own drains back",
            "Undrain/ScaleDownPaused",
            ["Undrain dear"],
            servers=[CHEAP, {**DEAR, **OURS, "drained": True}],
            spec={"paused": paused},
        )
        for paused in ("All", "ScaleDown")
    ],
    *[
        row(
            f"paused {paused} takes them back under load as well",
            "Undrain/ScaleDownPaused",
            ["Undrain middle", "Undrain dear"],
            servers=[CHEAP, {**MIDDLE, **OURS}, {**DEAR, **OURS}],
            spec={"paused": paused},
            signals={"cpu": 99},
        )
        for paused in ("All", "ScaleDown")
    ],
    row(
        "a pause leaves a person's drain as it is",
        "Hold/AtMinimum",
        [],
        servers=[CHEAP, {**DEAR, **THEIRS, "drained": True}],
        spec={"paused": "ScaleDown"},
    ),
    row(
        "protecting a server takes the pool's drain back",
        "Undrain/Protected",
        ["Undrain dear"],
        servers=[CHEAP, {**DEAR, **OURS, "protected": True, "drained": True}],
    ),
    row(
        "and leaves the other drains alone",
        "Undrain/Protected",
        ["Undrain dear", "Destroy middle"],
        servers=[CHEAP, {**MIDDLE, **OURS, "drained": True}, {**DEAR, **OURS, "protected": True}],
    ),
    row(
        "a person who drains a protected server means it",
        "Hold/AtMinimum",
        ["Destroy dear"],
        servers=[CHEAP, {**DEAR, **THEIRS, "protected": True, "drained": True}],
    ),
]


@pytest.mark.parametrize(("given", "verdict", "actions"), ROWS)
def test_shrinking(decide: Decide, words: Words, given: dict[str, Any], verdict: str, actions: list[str]) -> None:
    assert words(decide(**given)) == (verdict, actions)


@pytest.mark.parametrize(
    ("rule", "first", "second"),
    [
        ("the dearest", {"price_per_hour": 3.0, "age": 10.0}, {"price_per_hour": 2.9, "traffic_gb": 400.0}),
        ("then most traffic used", {"traffic_gb": 10.1, "in_flight": 1}, {"traffic_gb": 10.0, "in_flight": 0}),
        ("then least busy", {"in_flight": 0, "age": 4000.0}, {"in_flight": 1, "age": 9000.0}),
        ("then the oldest", {"name": "z", "age": 9000.0}, {"name": "a", "age": 8000.0}),
        ("then by name", {"name": "a"}, {"name": "b"}),
    ],
)
def test_order_of_victims(make_server: MakeServer, rule: str, first: dict[str, Any], second: dict[str, Any]) -> None:
    a, b = make_server(**{"name": "x", **first}), make_server(**{"name": "y", **second})
    assert rank([a, b]) == rank([b, a]) == [a, b]


@pytest.mark.parametrize(
    "change", [THEIRS, SICK, {"state": ServerState.TERMINATING}, {"protected": True}, {"age": None}]
)
def test_only_ready_unprotected_servers_that_do_not_leave_are_victims(
    make_server: MakeServer, change: dict[str, Any]
) -> None:
    assert rank([make_server(**{"name": "s", **change})]) == []


def test_the_reasons_name_the_figures(decide: Decide) -> None:
    young = decide(servers=[CHEAP, {**DEAR, "age": 600.0}]).verdict.message
    assert young == "the dearest server dear has run for 600 s, needs more than 3600 s"
    short = decide(servers=TWO, low_for=120.0).verdict.message
    assert short == "low load for 120 s, needs more than 300 s"
    done = decide(servers=TWO).verdict.message
    assert done == "low load for 301 s -> destroy the dearest: dear (XL in ap-beijing, 3 CNY/h)"
    unsafe = decide(servers=[CHEAP, {**DEAR, "speed": 4.0}], signals={"cpu": 20}).verdict.message
    assert unsafe == "CPU would rise from 20 % to 100 % > 85 %"


AUTO = down(step="Auto")
TEN = [{"name": f"s{n}", "price_per_hour": 1.0 + n} for n in range(10)]


@pytest.mark.parametrize(
    ("given", "gone"),
    [
        pytest.param({}, 9, id="nothing was to do: all above the minimum"),
        pytest.param({"spec": {**AUTO, "replicas": {"min": 4}}}, 6, id="never below the minimum"),
        pytest.param({"peak": Peak(tasks=1.0)}, 8, id="one task at a time: two stay, half busy"),
        pytest.param({"peak": Peak(tasks=2.0)}, 6, id="two at a time: four stay"),
        pytest.param({"peak": Peak(cpu=230.0)}, 6, id="CPU that four carry at 57.5 %"),
        pytest.param({"peak": Peak(cpu=230.1)}, 5, id="a little more"),
        pytest.param({"peak": Peak(tasks=5.0)}, 1, id="half of all: one, as with a step of one"),
        pytest.param({"peak": Peak(tasks=2.0), "servers": [{**s, "slots": 2} for s in TEN]}, 8, id="slots count"),
        pytest.param({"servers": [*TEN[:8], {**TEN[8], "age": 60.0}, TEN[9]]}, 1, id="not past one that is too young"),
        pytest.param({"servers": [*TEN[:9], {**TEN[9], "age": 60.0}]}, 0, id="the dearest is too young"),
        pytest.param({"servers": [{**s, "in_flight": 1} for s in TEN]}, 0, id="what works now has to fit"),
        pytest.param(
            {"spec": down(step="Auto", safetyCheck=False), "peak": Peak(tasks=2.0)}, 6, id="also without safetyCheck"
        ),
    ],
)
def test_auto_destroys_as_many_as_the_busiest_moment_leaves_to_spare(
    decide: Decide, given: dict[str, Any], gone: int
) -> None:
    decided = decide(**{"servers": TEN, "spec": AUTO, **given})
    assert [a.server for a in decided.actions if isinstance(a, Drain)] == [f"s{9 - n}" for n in range(gone)]


def test_the_busiest_moment_is_kept_while_load_is_low_and_forgotten_with_it(make_snapshot: Callable[..., Any]) -> None:
    def after(memory: Memory, **given: Any) -> Memory:
        snapshot = make_snapshot(**given)
        return advance(memory, snapshot, evaluate(snapshot.signals, snapshot.spec.scaling), now=1000.0)

    two = [{"name": "a", "in_flight": 2, "slots": 4}, {"name": "b", "in_flight": 1, "slots": 4}]
    first = after(Memory(), servers=two, signals={"cpu": 20.0})
    assert first.peak == Peak(tasks=3.0, cpu=160.0)
    assert after(first).peak == first.peak
    high = after(first, signals={"cpu": 31.0})
    assert high.peak is None
    assert after(high).peak == Peak()


def test_auto_says_what_it_goes_by(make_snapshot: Callable[..., Any], decide: Decide, now: float) -> None:
    decided = decide(servers=TEN, spec=AUTO, peak=Peak(tasks=2.0))
    terms = {t.name: t.value for t in account(make_snapshot(servers=TEN, spec=AUTO), decided, now=now).terms}
    assert (terms["most tasks at once in low load"], terms["spare"]) == (2.0, 6)
