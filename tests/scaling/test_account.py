"""The account of a decision: every term, and why the pool does not move, by the very functions that decided."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from controller.api.decision import OFFERS_NAMED, Answer, Decision
from controller.api.model import write
from controller.api.times import unix
from controller.scaling import account as module
from controller.scaling.plan import plan
from controller.scaling.snapshot import Demand, Memory, ServerState, Snapshot

HOT = {"queue_length": 42.0}
TWO: list[dict[str, Any]] = [{"name": "s1"}, {"name": "s2", "price_per_hour": 3.0}]
NEW = {"name": "new", "age": None}
DEAD: dict[str, Any] = {"state": ServerState.UNHEALTHY, "agreed_dead": True}


@pytest.fixture
def tell(make_snapshot: Callable[..., Snapshot], now: float) -> Callable[..., Decision]:
    def of(*, low_for: float | None = 301.0, drain_ended_ago: float | None = None, **given: Any) -> Decision:
        snapshot = make_snapshot(**given)
        memory = Memory(
            low_load_since=None if low_for is None else now - low_for,
            last_drain_ended=None if drain_ended_ago is None else now - drain_ended_ago,
        )
        return module.account(snapshot, plan(snapshot, memory, now=now), now=now)

    return of


def row(name: str, expected: str, **given: Any) -> Any:
    return pytest.param(expected, given, id=name)


GROWING = [
    row("enough", "NotNeeded"),
    row("an unknown signal buys nothing", "NotNeeded", signals={"cpu": None}),
    row("a trigger buys", "+LongQueue", signals=HOT),
    row("below the minimum buys", "+BelowMinimum", servers=[]),
    row("a drain taken back", "+LongQueue", signals=HOT, servers=[{"name": "s1", "draining": True,
        "drained_by_pool": True}, {"name": "s2"}]),
    row("the last step is not Ready", "StepInFlight", signals=HOT, servers=[{"name": "s1"}, NEW]),
    row("at the maximum", "AtMaximum", signals=HOT, spec={"replicas": {"max": 1}}),
    row("paused", "ScaleUpPaused", signals=HOT, spec={"paused": "ScaleUp"}),
    row("nothing to buy", "NoOffer", signals=HOT, offers=[]),
    row("the dead go first", "Dead", signals=HOT, servers=[{"name": "s1"}, {"name": "d", **DEAD}]),
    row("the pool goes", "PoolDeleted", signals=HOT, deleting=True),
]  # fmt: skip

SHRINKING = [
    row("all rules hold", "+LowLoad", servers=TWO),
    row("load", "LoadNotLow", servers=TWO, signals=HOT),
    row("at the minimum", "AtMinimum"),
    row("low load is too short", "LowLoadTooShort", servers=TWO, low_for=10.0),
    row("paused", "ScaleDownPaused", servers=TWO, spec={"paused": "All"}),
    row("a drain", "DrainInProgress", servers=[*TWO, {"name": "s3", "draining": True}]),
    row("the last drain ended just now", "FreshWindow", servers=TWO, drain_ended_ago=1.0),
    row("the dearest is too young", "VictimTooYoung", servers=[{"name": "s1"}, {"name": "s2", "age": 60.0,
        "price_per_hour": 3.0}]),
    row("all are protected", "NoVictim", servers=[{**s, "protected": True} for s in TWO]),
    row("the rest could not do the work", "UnsafeToShrink", servers=[{**s, "in_flight": 1.0} for s in TWO]),
    row("too many are dead", "TooManyDead", servers=[*TWO, {"name": "d1", **DEAD}, {"name": "d2", **DEAD}]),
    row("the pool goes", "PoolDeleted", servers=TWO, deleting=True),
]  # fmt: skip


def said(answer: Answer) -> str:
    return f"{'+' if answer.acts else ''}{answer.reason}"


@pytest.mark.parametrize(("expected", "given"), GROWING)
def test_why_more_servers_are_or_are_not_bought(tell: Callable[..., Decision], expected: str, given: Any) -> None:
    answer = tell(**given).growing
    assert said(answer) == expected
    assert answer.message
    assert answer.acts != bool(answer.needs)


@pytest.mark.parametrize(("expected", "given"), SHRINKING)
def test_why_a_server_goes_or_none_does(tell: Callable[..., Decision], expected: str, given: Any) -> None:
    answer = tell(**given).shrinking
    assert said(answer) == expected
    assert answer.message
    assert answer.acts != bool(answer.needs)


def test_every_reason_to_hold_tells_what_it_needs() -> None:
    folder = Path(module.__file__).parent
    for name, needs in (("grow.py", module.GROWING_NEEDS), ("shrink.py", module.SHRINKING_NEEDS)):
        found = set(re.findall(r'_hold\(\s*"([A-Za-z]+)"', (folder / name).read_text(encoding="utf-8")))
        assert len(found) > 5
        assert found <= set(needs)


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        pytest.param({"low_for": 100.0}, 200.0, id="low load has to last"),
        pytest.param({"low_for": None, "signals": HOT}, 300.0, id="low load has to begin"),
        pytest.param({"drain_ended_ago": 20.0}, 40.0, id="a fresh window"),
        pytest.param({"servers": [{"name": "s1"}, {"name": "s2", "price_per_hour": 3.0, "age": 600.0}]}, 3000.0,
            id="the victim has to grow old"),
        pytest.param({"servers": [{"name": "s1"}, {"name": "s2", "price_per_hour": 3.0, "age": 600.0}], "low_for": None,
            "signals": HOT}, 3000.0, id="the latest of all times counts"),
        pytest.param({"servers": [{"name": "s1"}]}, None, id="time alone does not help at the minimum"),
        pytest.param({"servers": [{"name": "s1"}], "signals": HOT}, None, id="nor under load at the minimum"),
        pytest.param({"spec": {"paused": "All"}, "low_for": 3.0}, None, id="nor while paused"),
    ],
)  # fmt: skip
def test_the_earliest_time_of_a_destruction(
    tell: Callable[..., Decision], now: float, given: Any, seconds: float | None
) -> None:
    told = unix(tell(**{"servers": TWO, **given}).shrinking.earliest_time)
    assert told == (None if seconds is None else now + seconds)


def test_at_the_earliest_time_the_server_does_go(make_snapshot: Callable[..., Snapshot], now: float) -> None:
    snapshot = make_snapshot(servers=[{"name": "s1"}, {"name": "s2", "price_per_hour": 3.0, "age": 600.0}])
    memory = Memory(low_load_since=now - 10.0, last_drain_ended=now - 5.0)
    decided = plan(snapshot, memory, now=now)
    earliest = module.shrink_time(snapshot, decided, now=now)
    for offset, expected in ((-1.0, "Hold"), (1.0, "ScaleDown")):
        assert plan(snapshot, decided.memory, now=earliest + offset).verdict.action == expected


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        ({"offers": [{"sold_out_until": 1_768_449_700.0}, {"bundle": "3XL", "sold_out_until": 1_768_449_640.0}]}, 40.0),
        ({"blocks": [{"reason": "Arrears", "message": "top up", "until": 1_768_449_650.0}]}, 50.0),
        ({"launch_failures": ((1_768_449_595.0, "no"),)}, 15.0),
        ({"servers": [{"name": "s1", "age": None, "created_at": 1_768_449_590.0, "state": ServerState.READY}],
          "spec": {"scaling": {"up": {"maxLaunchesPerMinute": 1}}}}, 50.0),
        ({"spec": {"paused": "All"}}, None),
    ],
)  # fmt: skip
def test_the_earliest_time_of_a_purchase(
    tell: Callable[..., Decision], now: float, given: Any, seconds: float | None
) -> None:
    told = unix(tell(signals=HOT, **given).growing.earliest_time)
    assert told == (None if seconds is None else now + seconds)


def test_the_further_rules_that_fail_are_named_once(tell: Callable[..., Decision]) -> None:
    answer = tell(
        signals={**HOT, "mean_response": 9.0}, servers=[{"name": "s1"}, NEW], spec={"paused": "All"}
    ).shrinking
    assert (answer.reason, answer.also) == ("LoadNotLow", ("Deploying", "AtMinimum", "ScaleDownPaused"))


def test_offers_that_were_passed_over_come_before_the_next_with_the_reason(tell: Callable[..., Decision]) -> None:
    told = tell(
        signals=HOT,
        offers=[
            {"bundle": "XL", "price": 1.0, "sold_out_until": 1_768_449_700.0},
            {"bundle": "XL", "price": 1.1, "region": "ap-nanjing"},
            {"bundle": "3XL", "price": 2.0},
            {"bundle": "4XL", "price": 5.0},
        ],
        blocks=[{"reason": "QuotaExceeded", "message": "more", "until": 9e9, "region": "ap-nanjing"}],
    )
    assert [(o.bundle, o.region, o.state, o.why) for o in told.offers] == [
        ("XL", "ap-beijing", "SoldOut", "the cloud said sold out"),
        ("XL", "ap-nanjing", "Blocked", "QuotaExceeded"),
        ("3XL", "ap-beijing", "First", "cheapest that can be bought"),
    ]
    assert told.offers_left == 1


def test_the_counts_are_the_ones_the_rules_use(tell: Callable[..., Decision]) -> None:
    servers = [
        {"name": "s1"},
        {"name": "s2", "draining": True},
        {"name": "s3", "state": ServerState.TERMINATING},
        {"name": "s4", "state": ServerState.UNHEALTHY},
        NEW,
    ]
    counts = tell(servers=servers, spec={"replicas": {"min": 2, "max": 9}}).counts
    assert (counts.serving, counts.deploying, counts.unhealthy, counts.leaving) == (1, 1, 1, 2)
    assert (counts.minimum, counts.maximum, counts.desired) == (2, 9, 3)


def test_the_victim_is_the_dearest_with_its_age(tell: Callable[..., Decision]) -> None:
    victim = tell(servers=TWO).victim
    assert victim is not None
    assert (victim.name, victim.price_per_hour, victim.ran_seconds) == ("s2", 3.0, 7200.0)


def test_an_account_stays_small_whatever_happens(tell: Callable[..., Decision]) -> None:
    told = tell(
        signals={"problem": "x" * 5000, "mean_response": None},
        servers=[{"name": f"a-pool-with-a-long-name-{n}", "draining": True} for n in range(200)],
        offers=[{"price": 1.0 + n, "sold_out_until": 9e9} for n in range(60)],
        blocks=[{"reason": "Arrears", "message": "y" * 5000, "until": 9e9}],
        spec={"replicas": {"min": 300, "max": 500}},
    )
    assert len(told.offers) < OFFERS_NAMED
    assert len(str(write(told))) < 4096


def test_a_step_of_auto_is_told_with_every_term(tell: Callable[..., Decision]) -> None:
    auto: dict[str, Any] = {"spec": {"scaling": {"up": {"step": "Auto"}}}, "signals": HOT}
    told = {term.name: (term.value, term.unit) for term in tell(**auto, demand=Demand(0.5, 30.0)).terms}
    assert told["time to deploy"] == (240.0, "s")
    assert told["arrivals"] == (0.5, "tasks/s")
    assert told["work per task"] == (30.0, "s")
    assert told["work done by then"] == (240.0, "s")
    assert told["work left then"] == (42 * 30 + 0.5 * 30 * 240 - 240, "s")
    assert told["slots behind"] == (14.0, "slots")
    assert told["work for"] == told["wanted"] == (9, "servers")
    assert "step up" not in told
    assert "work for" not in {term.name for term in tell(**auto).terms}
