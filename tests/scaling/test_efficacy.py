"""The breaker of scale-up: what counts as not helping, what follows, and what ends it."""

from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.api.gpupool import GpuPoolSpec
from controller.operator.remembered import efficacy_of, efficacy_status
from controller.scaling.account import account
from controller.scaling.actions import Launch, Undrain
from controller.scaling.conditions import pool_conditions
from controller.scaling.efficacy import watch
from controller.scaling.plan import Plan, plan
from controller.scaling.snapshot import Memory, Offer, ServerState, ServerView, Signal, Signals, Snapshot
from controller.scaling.trials import SUSPENSION_SECONDS, Efficacy, Suspension, Trial
from controller.scaling.triggers import evaluate

MakeSnapshot = Callable[..., Snapshot]

#: The window and one interval: what a figure may still remember from before.
ENOUGH = 70.0
SLOW = {"mean_response": 9.0}
BOUGHT: dict[str, Any] = {"name": "new", "age": 100.0, "bought_for": "SlowResponse"}
BUSY_SERVER = {"name": "s1", "in_flight": 1}


def row(name: str, expected: bool, **given: Any) -> Any:
    return pytest.param(given, expected, id=name)


@pytest.mark.parametrize(
    ("given", "suspended"),
    [
        row("idle for a window while the trigger held", True),
        row("not for a whole window yet", False, idle_for=ENOUGH),
        row("other servers work: more servers than work", True, servers=[BUSY_SERVER, BOUGHT]),
        row("it works now", False, servers=[{**BOUGHT, "in_flight": 1}]),
        row("it was given a task between two looks", False, servers=[{**BOUGHT, "worked_seconds": 0.4}]),
        row("it worked once, and that is long ago", True, worked=True),
        row("the trigger holds no more", False, signals={"mean_response": 3.0}),
        row("the trigger is unknown", False, signals={"mean_response": None}),
        row("a replica could not be read: it may have given it work", False, signals={**SLOW, "problem": "timed out"}),
        row("it is not Ready any more", False, servers=[{**BOUGHT, "state": ServerState.UNHEALTHY}]),
        row("it is being drained", False, servers=[{"name": "s1"}, {**BOUGHT, "draining": True}]),
        row("it is gone", False, servers=[{"name": "s1"}]),
        row("a step that is still being deployed", False, servers=[{**BOUGHT, "age": None}]),
        row("the breaker is switched off", False, spec={"scaling": {"up": {"onlyIfEffective": False}}}),
        row("a longer window takes longer", False, spec={"scaling": {"windowSeconds": 300}}),
    ],
)
def test_what_counts_as_not_helping(
    make_snapshot: MakeSnapshot, now: float, given: dict[str, Any], suspended: bool
) -> None:
    since = now - given.pop("idle_for", ENOUGH + 0.1)
    before = Efficacy((Trial("new", "SlowResponse", given.pop("worked", False), since, 0.0),))
    snapshot = make_snapshot(**{"servers": [BOUGHT], "signals": SLOW, **given})
    after = watch(before, snapshot, evaluate(snapshot.signals, snapshot.spec.scaling), now=now)
    assert bool(after.suspensions) is suspended


def test_what_was_seen_is_told(make_snapshot: MakeSnapshot, now: float) -> None:
    snapshot = make_snapshot(servers=[BOUGHT], signals=SLOW)
    before = Efficacy((Trial("new", "SlowResponse", False, now - 71.0),))
    (found,) = watch(before, snapshot, evaluate(snapshot.signals, snapshot.spec.scaling), now=now).suspensions
    assert found.seen == "new, bought for it, had nothing to do for 71 s while mean response 9 s > 3 s"
    assert (found.since, found.until) == (now, now + 600.0)


def test_cpu_from_busy_slots_is_never_suspended_since_every_idle_server_lowers_it(
    make_snapshot: MakeSnapshot, now: float
) -> None:
    snapshot = make_snapshot(servers=[{**BOUGHT, "bought_for": "BusyServers"}])
    for source, suspended in (("slots", 0), ("monitor", 1)):
        seen = replace(snapshot, signals=replace(snapshot.signals, cpu=Signal(95.0, 1.0, source)))
        before = Efficacy((Trial("new", "BusyServers", False, now - 71.0),))
        after = watch(before, seen, evaluate(seen.signals, seen.spec.scaling), now=now)
        assert len(after.suspensions) == suspended


def test_a_server_is_on_trial_for_every_trigger_that_held_while_it_was_deployed(
    make_snapshot: MakeSnapshot, now: float
) -> None:
    snapshot = make_snapshot(
        servers=[{**BOUGHT, "age": None}, {"name": "minimum", "age": None, "bought_for": "BelowMinimum"}],
        signals={**SLOW, "queue_length": 99},
    )
    found = watch(Efficacy(), snapshot, evaluate(snapshot.signals, snapshot.spec.scaling), now=now)
    assert [(t.server, t.trigger) for t in found.trials] == [("new", "SlowResponse"), ("new", "LongQueue")]


def test_a_server_that_worked_is_off_trial_once_the_trigger_is_satisfied(
    make_snapshot: MakeSnapshot, now: float
) -> None:
    snapshot = make_snapshot(servers=[BOUGHT])
    before = Efficacy((Trial("new", "SlowResponse", True), Trial("new", "LongQueue", False)))
    after = watch(before, snapshot, evaluate(snapshot.signals, snapshot.spec.scaling), now=now)
    assert [(t.trigger, t.worked) for t in after.trials] == [("LongQueue", False)]


OPEN = Suspension("SlowResponse", 0.0, "new had nothing to do")


def decide(
    make_snapshot: MakeSnapshot, now: float, *, ago: float, trials: tuple[Trial, ...] = (), **given: Any
) -> Plan:
    """The decision where mean response was suspended so long ago."""
    suspensions = () if ago == NEVER else (replace(OPEN, since=now - ago),)
    worked = given.pop("worked", None)
    known = Efficacy(trials, suspensions, None if worked is None else now - worked)
    return plan(make_snapshot(**{"signals": SLOW, **given}), Memory(efficacy=known), now=now)


def what(name: str, verdict: str, bought: int, ago: float = 10.0, **given: Any) -> Any:
    return pytest.param({"ago": ago, **given}, verdict, bought, id=name)


NEVER = float("inf")


STEP_OF_FIVE = {"scaling": {"up": {"step": 5}}}
OFF = {"scaling": {"up": {"onlyIfEffective": False}}}
DRAINING = {"name": "s2", "draining": True, "drained_by_pool": True}
UNUSED = (Trial("new", "SlowResponse"),)


@pytest.mark.parametrize(
    ("given", "verdict", "bought"),
    [
        what("suspended", "NotEffective", 0, ago=599.0),
        what("half-open: one may be bought", "SlowResponse", 1, ago=600.0),
        what("half-open: one, whatever the step", "SlowResponse", 1, ago=600.0, spec=STEP_OF_FIVE),
        what("the other triggers stay live", "LongQueue", 1, signals={**SLOW, "queue_length": 99}),
        what("no server is free, so its ground is gone", "SlowResponse", 5, servers=[BUSY_SERVER], spec=STEP_OF_FIVE),
        what("one is free", "NotEffective", 0, servers=[BUSY_SERVER, {"name": "s2"}]),
        what("a server with a free slot is free", "NotEffective", 0, servers=[{**BUSY_SERVER, "slots": 2}]),
        what("the minimum is bought in any case", "BelowMinimum", 1, servers=[]),
        what("switched off", "SlowResponse", 1, spec=OFF),
        what("a drain is taken back all the same", "SlowResponse", 0, servers=[{"name": "s1"}, DRAINING]),
        what("the last step has to be used first", "LastStepIdle", 0, ago=NEVER, trials=UNUSED, servers=[BOUGHT]),
        what("not where others work", "SlowResponse", 1, ago=NEVER, trials=UNUSED, servers=[BUSY_SERVER, BOUGHT]),
        what("nor where they just did", "SlowResponse", 1, ago=NEVER, trials=UNUSED, servers=[BOUGHT], worked=60.0),
        what("that was long ago", "LastStepIdle", 0, ago=NEVER, trials=UNUSED, servers=[BOUGHT], worked=60.1),
        what(
            "half-open, not even where others work",
            "LastStepIdle",
            0,
            ago=700.0,
            trials=UNUSED,
            servers=[{**BUSY_SERVER, "slots": 2}, BOUGHT],
        ),
        what("half-open, its one server unused", "LastStepIdle", 0, ago=700.0, trials=UNUSED, servers=[BOUGHT]),
        what("half-open, its one server on its way", "StepInFlight", 0, ago=700.0, servers=[{**BOUGHT, "age": None}]),
    ],
)
def test_what_may_be_bought(
    make_snapshot: MakeSnapshot, now: float, given: dict[str, Any], verdict: str, bought: int
) -> None:
    decided = decide(make_snapshot, now, **given)
    assert decided.verdict.reason == verdict
    assert sum(isinstance(a, Launch) for a in decided.actions) == bought


@pytest.mark.parametrize(
    ("ago", "spec", "expected"),
    [
        (NEVER, {}, "True/NoObjection"),
        (10.0, {}, "False/ServersStayIdle"),
        (600.0, {}, "Unknown/HalfOpen"),
        (10.0, OFF, "True/NotWatched"),
    ],
)
def test_condition(make_snapshot: MakeSnapshot, now: float, ago: float, spec: dict[str, Any], expected: str) -> None:
    snapshot, decided = make_snapshot(spec=spec, signals=SLOW), decide(make_snapshot, now, ago=ago, spec=spec)
    found = next(c for c in pool_conditions(snapshot, decided, now=now) if c.type == "ScaleUpEffective")
    assert f"{found.status}/{found.reason}" == expected
    if ago == 10.0 and not spec:
        assert found.message == ("buys nothing: mean response since 2026-01-15T03:59:50.000Z: new had nothing to do")


def test_explain_tells_when_it_may_buy_again(make_snapshot: MakeSnapshot, now: float) -> None:
    decided = decide(make_snapshot, now, ago=10.0)
    growing = account(make_snapshot(signals=SLOW), decided, now=now).growing
    assert (growing.reason, growing.earliest_time) == ("NotEffective", "2026-01-15T04:09:50.000Z")
    assert growing.message == (
        "mean response 9 s > 3 s, but new had nothing to do; one may be bought in 590 s, or once no server is free"
    )
    assert "onlyIfEffective" in growing.needs


def test_after_an_hour_a_quiet_trigger_is_as_good_as_new(make_snapshot: MakeSnapshot, now: float) -> None:
    unknown = {"mean_response": None}
    for ago, signals, kept in ((3599.0, {}, 1), (3600.0, {}, 0), (3600.0, SLOW, 1), (3600.0, unknown, 1)):
        decided = decide(make_snapshot, now, ago=ago, signals=signals)
        assert decided.memory.efficacy is not None
        assert len(decided.memory.efficacy.suspensions) == kept


def test_what_the_status_keeps_is_what_is_known(now: float) -> None:
    known = Efficacy(
        (Trial("a", "LongWait", True, None, 4.0), Trial("b", "LongWait", False, now), Trial("deploying", "LongWait")),
        (Suspension("SlowResponse", now - 1.5, "idle"),),
    )
    again = efficacy_of(efficacy_status(known))
    assert again.suspensions == known.suspensions
    assert set(again.trials) == {Trial("a", "LongWait", True), Trial("b", "LongWait", False, now)}


class Pool:
    """A pool under a trigger that is what it is, in virtual time."""

    def __init__(self, seed: int, *, step: int, deploy: float, busy: bool, restarts: float, fails: float) -> None:
        self.rng, self.deploy, self.busy, self.restarts, self.fails = Random(seed), deploy, busy, restarts, fails
        self.spec = msgspec.convert({"scaling": {"up": {"step": step}}}, GpuPoolSpec)
        self.servers = {"s0": ServerView("s0", "r", "XL", 1.0, ServerState.READY, -9e3, ready_at=-9e3)}
        self.memory, self.now, self.bought, self.opened = Memory(), 0.0, 0, 0

    def run(self, seconds: float, signals: dict[str, float]) -> None:
        end = self.now + seconds
        while self.now < end:
            self.decide(signals)
            self.now += 10.0

    def decide(self, values: dict[str, float]) -> None:
        self.age()
        if self.rng.random() < self.restarts:
            self.memory = Memory(efficacy=efficacy_of(efficacy_status(self.memory.efficacy or Efficacy())))
        figures: dict[str, Any] = {
            name: Signal(values.get(name, 0.0), 0.0, "test")
            for name in ("mean_response", "queue_length", "cpu", "longest_wait")
        }
        snapshot = Snapshot(
            spec=self.spec,
            signals=Signals(**figures, dispatchers=frozenset({1.0})),
            servers=tuple(self.servers.values()),
            offers=(Offer("r", "XL", 1.0, 0, "p", "app-1"),),
        )
        before = self.memory.efficacy.suspensions if self.memory.efficacy else ()
        decided = plan(snapshot, self.memory, now=self.now)
        self.memory = decided.memory
        assert decided.memory.efficacy is not None
        self.opened += sum(s not in before for s in decided.memory.efficacy.suspensions)
        for action in decided.actions:
            assert not isinstance(action, Undrain)
            if isinstance(action, Launch):
                self.buy(action.reason)

    def buy(self, reason: str) -> None:
        """Some purchases are sold out, some fail: their objects are gone at the next look, or after a while."""
        name = f"s{len(self.servers)}-{self.now:.0f}-{self.rng.random()}"
        self.servers[name] = ServerView(
            name, "r", "XL", 1.0, ServerState.DEPLOYING, self.now, bought_for=reason, in_flight=0.0
        )

    def age(self) -> None:
        for name, server in list(self.servers.items()):
            if server.in_deployment and self.rng.random() < self.fails:
                del self.servers[name]
            elif server.in_deployment and self.now - server.created_at >= self.deploy:
                self.bought += 1
                load = 1.0 if self.busy else 0.0
                self.servers[name] = replace(
                    server, state=ServerState.READY, ready_at=self.now, in_flight=load, worked_seconds=load
                )


hopeless = st.lists(
    st.sampled_from(["mean_response", "queue_length", "cpu", "longest_wait"]), min_size=1, max_size=4, unique=True
).map(lambda names: dict.fromkeys(names, 99.0))


worlds = st.fixed_dictionaries(
    {
        "step": st.integers(1, 4),
        "deploy": st.sampled_from([0.0, 30.0, 180.0, 900.0]),
        "restarts": st.sampled_from([0.0, 0.02, 0.2]),
        "fails": st.sampled_from([0.0, 0.1]),
    }
)
thorough = settings(max_examples=30, deadline=None)


@given(seed=st.integers(0, 2**32), signals=hopeless, world=worlds)
@thorough
def test_what_servers_cannot_fix_buys_one_step_and_then_one_server_in_ten_minutes(
    seed: int, signals: dict[str, float], world: dict[str, Any]
) -> None:
    pool = Pool(seed, busy=False, **world)
    pool.run(3600.0, signals)
    assert pool.bought <= world["step"] + 3600.0 / SUSPENSION_SECONDS
    assert world["fails"] or pool.opened >= 1


@given(seed=st.integers(0, 2**32), signals=hopeless, world=worlds)
@thorough
def test_where_servers_work_nothing_is_ever_suspended(
    seed: int, signals: dict[str, float], world: dict[str, Any]
) -> None:
    pool = Pool(seed, busy=True, **world)
    pool.run(3600.0, signals)
    assert pool.opened == 0
    if not world["fails"]:
        # What maxLaunchesPerMinute allows, if that is less.
        assert pool.bought >= min(world["step"] * (3600.0 // (world["deploy"] + 10.0) - 1), 20 * 58)


def test_without_the_breaker_it_never_ends() -> None:
    pool = Pool(1, step=1, deploy=180.0, busy=False, restarts=0.0, fails=0.0)
    up = msgspec.structs.replace(pool.spec.scaling.up, only_if_effective=False)
    pool.spec = msgspec.structs.replace(pool.spec, scaling=msgspec.structs.replace(pool.spec.scaling, up=up))
    pool.run(7200.0, SLOW)
    assert pool.bought >= 7200.0 // 190.0
