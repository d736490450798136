"""What holds for every decision, whatever the snapshot."""

from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any, NamedTuple

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.api.gpupool import GpuPoolSpec
from controller.scaling.actions import Destroy, Drain, Launch, Undrain
from controller.scaling.conditions import pool_conditions
from controller.scaling.plan import Plan, plan
from controller.scaling.snapshot import Block, Memory, Offer, ServerState, ServerView, Signal, Signals, Snapshot

NOW = 1_768_449_600.0
REGIONS = ("ap-beijing", "ap-nanjing", "ap-guangzhou")
DISPATCHERS = frozenset({1.0})


class Case(NamedTuple):
    snapshot: Snapshot
    memory: Memory

    def decide(self) -> Plan:
        return plan(self.snapshot, self.memory, now=NOW)


def unusual(rng: Random) -> bool:
    return rng.random() < 0.15


def random_spec(rng: Random) -> GpuPoolSpec:
    minimum = rng.randint(0, 3)
    replicas: dict[str, Any] = {"min": minimum}
    if rng.random() < 0.5:
        replicas["max"] = minimum + rng.randint(0, 4)
    up = {"step": rng.randint(1, 4), "maxLaunchesPerMinute": rng.randint(1, 5)}
    down = {
        "step": rng.choice([1, 2, 3, 4, "Auto"]),
        "stabilizationSeconds": rng.choice([0, 300]),
        "minLifetimeSeconds": rng.choice([0, 3600]),
        "safetyCheck": rng.random() < 0.5,
    }
    paused = rng.choice(["None", "None", "None", "All", "ScaleUp", "ScaleDown"])
    fields = {"replicas": replicas, "paused": paused, "scaling": {"up": up, "down": down}}
    return msgspec.convert(fields, GpuPoolSpec)


def random_server(rng: Random, name: str, *, tame: bool) -> ServerView:
    """A tame server is Ready and does not leave; else scale-down would hardly ever be reached."""
    state = ServerState.READY if tame else rng.choice([ServerState.READY] * 3 + list(ServerState))
    age = rng.choice([1.0, 59.0, 3599.0, 3600.0, 3601.0, 90_000.0])
    deploying = state in (ServerState.LAUNCHING, ServerState.DEPLOYING)
    draining = not tame and unusual(rng)
    return ServerView(
        name=name,
        region=rng.choice(REGIONS),
        bundle="XL",
        price_per_hour=rng.choice([1.0, 2.0, 3.0]),
        state=state,
        created_at=NOW - age,
        ready_at=None if deploying else NOW - age,
        traffic_gb=rng.choice([0.0, 10.0]),
        in_flight=rng.choice([0.0, 0.0, 1.0]),
        protected=unusual(rng),
        draining=draining,
        drained_by_pool=draining and rng.random() < 0.5,
        drained=draining and rng.random() < 0.5,
        agreed_dead=state is ServerState.UNHEALTHY and rng.random() < 0.5,
    )


#: Each signal below its lower threshold, and on and beyond both of its thresholds.
LOW: dict[str, float] = {"mean_response": 0.5, "queue_length": 1.0, "cpu": 10.0, "longest_wait": 2.0}
OTHER: dict[str, tuple[float | None, ...]] = {
    "mean_response": (None, 1, 2, 3, 4),
    "queue_length": (None, 3, 9, 15, 16),
    "cpu": (None, 30, 60, 85, 86),
    "longest_wait": (None, 10, 11),
}


def random_signals(rng: Random) -> Signals:
    """Low half of the time, else with one or two figures that may not be."""
    values: dict[str, float | None] = {**LOW}
    for name in rng.sample(sorted(LOW), rng.choice([0, 0, 1, 2])):
        values[name] = rng.choice(OTHER[name])
    figures: dict[str, Any] = {n: None if v is None else Signal(v, 1.0, "test") for n, v in values.items()}
    return Signals(**figures, dispatchers=frozenset({2.0}) if unusual(rng) else DISPATCHERS)


def random_offer(rng: Random, bundle: str) -> Offer:
    region = rng.choice(REGIONS)
    return Offer(
        region=region,
        bundle=bundle,
        price_per_hour=rng.choice([1.0, 2.0, 3.0]),
        priority=REGIONS.index(region),
        preset=region,
        application_id="app-1",
        sold_out_until=rng.choice([0.0, 0.0, NOW, NOW + 1.0]),
    )


def random_case(seed: int, server_count: int, offer_count: int, tame: bool) -> Case:
    rng = Random(seed)
    block = Block("Some", "a message", NOW + rng.choice([0.0, 9.0]), rng.choice((*REGIONS, None)))
    failure = (NOW - rng.choice([19.0, 20.0]), "no answer")
    snapshot = Snapshot(
        spec=random_spec(rng),
        signals=random_signals(rng),
        servers=tuple(random_server(rng, f"s{n}", tame=tame) for n in range(server_count)),
        offers=tuple(random_offer(rng, f"B{n}") for n in range(offer_count)),
        blocks=(block,) if unusual(rng) else (),
        deleting=rng.random() < 0.03,
        launch_failures=(failure,) if unusual(rng) else (),
    )
    ended = rng.choice([None, None, NOW - 59.0, NOW - 60.0])
    low_since = rng.choice([None, NOW - 300.0, NOW - 301.0, NOW - 9000.0])
    return Case(snapshot, Memory(low_since, ended, frozenset(), DISPATCHERS))


#: Details come from a seed, which is ten times faster than drawing each; sizes are drawn, so that a failure is
#: reported with as few servers and offers as show it.
cases = st.builds(
    random_case,
    seed=st.integers(0, 2**32),
    server_count=st.integers(0, 7),
    offer_count=st.integers(0, 5),
    tame=st.booleans(),
)
everything = settings(max_examples=400, deadline=None)


def of(decided: Plan, kind: type[Any]) -> list[Any]:
    return [action for action in decided.actions if isinstance(action, kind)]


def staying(snapshot: Snapshot) -> list[ServerView]:
    return [s for s in snapshot.servers if not s.draining and s.state is not ServerState.TERMINATING]


def by_name(snapshot: Snapshot) -> dict[str, ServerView]:
    return {s.name: s for s in snapshot.servers}


@pytest.mark.parametrize("kind", [Launch, Drain, Undrain, Destroy])
def test_the_cases_reach_every_action(kind: type[Any]) -> None:
    """Else the properties below would hold for want of decisions."""
    found = [random_case(seed, seed % 7, seed % 5, tame=bool(seed % 2)) for seed in range(400)]
    reached = [case for case in found if not case.snapshot.deleting and of(case.decide(), kind)]
    assert len(reached) >= 10


@given(cases)
@everything
def test_a_decision_is_a_function_of_what_it_is_given(case: Case) -> None:
    assert case.decide() == case.decide()


@given(cases, st.integers(0, 1000))
@everything
def test_the_order_in_which_servers_and_offers_are_listed_decides_nothing(case: Case, seed: int) -> None:
    def shuffled(items: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(Random(seed).sample(items, len(items)))

    snapshot = case.snapshot
    other = replace(snapshot, servers=shuffled(snapshot.servers), offers=shuffled(snapshot.offers))
    one, two = case.decide(), plan(other, case.memory, now=NOW)

    def essence(decided: Plan) -> tuple[Any, ...]:
        done = sorted((type(a).__name__, str(a.offer if isinstance(a, Launch) else a.server)) for a in decided.actions)
        return done, decided.verdict.action, decided.verdict.reason, decided.memory, decided.desired

    assert essence(one) == essence(two)


@given(cases)
@everything
def test_never_below_the_minimum_by_its_own_drains(case: Case) -> None:
    decided = case.decide()
    drained = {action.server for action in of(decided, Drain)}
    left = [s for s in staying(case.snapshot) if s.state is ServerState.READY and s.name not in drained]
    assert not drained or len(left) >= case.snapshot.spec.replicas.min


@given(cases)
@everything
def test_never_a_dearer_offer_while_a_cheaper_one_can_be_bought(case: Case) -> None:
    snapshot = case.snapshot
    blocked = {b.region for b in snapshot.blocks if b.until > NOW}
    open_ = [o for o in snapshot.offers if o.sold_out_until <= NOW and not blocked & {None, o.region}]
    refused = {b.region for b in snapshot.blocks}

    def rank(offer: Offer) -> tuple[float, int]:
        return offer.price_per_hour, offer.priority

    sure = [rank(o) for o in open_ if not refused & {None, o.region}]
    for n, launch in enumerate(of(case.decide(), Launch)):
        assert launch.offer in open_
        # Of what refused the last purchase, one finds out; the others go to the cheapest that is sure.
        assert rank(launch.offer) <= min(sure, default=rank(launch.offer))
        assert n or rank(launch.offer) == min(map(rank, open_))


@given(cases)
@everything
def test_scale_down_takes_only_the_dearest_old_enough_unprotected_ready_servers(case: Case) -> None:
    snapshot, decided = case.snapshot, case.decide()
    known = by_name(snapshot)
    victims = [known[action.server] for action in of(decided, Drain)]
    lifetime = snapshot.spec.scaling.down.min_lifetime_seconds
    kept = [s for s in staying(snapshot) if s.state is ServerState.READY and not s.protected and s not in victims]
    step = snapshot.spec.scaling.down.step
    assert step == "Auto" or len(victims) <= step
    for victim in victims:
        assert victim.state is ServerState.READY
        assert not victim.protected
        assert not victim.draining
        assert victim.ready_at is not None
        assert NOW - victim.ready_at > lifetime
        assert all(victim.price_per_hour >= other.price_per_hour for other in kept)


@given(cases)
@everything
def test_never_shrinks_unless_every_signal_is_known_and_low_and_has_been(case: Case) -> None:
    found, down = case.snapshot.signals, case.snapshot.spec.scaling.down
    figures = (found.mean_response, found.queue_length, found.cpu, found.longest_wait)
    limits = (down.mean_response_seconds, down.queue_length, down.cpu_percent, None)
    low = all(f is not None and (limit is None or f.value < limit) for f, limit in zip(figures, limits, strict=True))
    since = case.memory.low_load_since
    lasted = since is not None and NOW - since > down.stabilization_seconds
    if of(case.decide(), Drain):
        assert low
        assert lasted
        assert found.dispatchers == DISPATCHERS
        assert not any(s.ready_at is None for s in case.snapshot.servers)
        assert not any(s.draining or s.state is ServerState.TERMINATING for s in case.snapshot.servers)


@given(cases)
@everything
def test_a_trigger_buys_one_step_and_only_when_none_is_in_flight(case: Case) -> None:
    snapshot = case.snapshot
    bought = of(case.decide(), Launch)
    if bought and bought[0].reason != "BelowMinimum":
        step = snapshot.spec.scaling.up.step
        assert isinstance(step, int)
        assert len(bought) <= step
        assert not any(s.in_deployment for s in staying(snapshot))


@given(cases)
@everything
def test_never_above_the_maximum_nor_the_rate(case: Case) -> None:
    snapshot, decided = case.snapshot, case.decide()
    maximum, rate = snapshot.spec.replicas.max, snapshot.spec.scaling.up.max_launches_per_minute
    bought, back = of(decided, Launch), of(decided, Undrain)
    revoked = decided.verdict.reason in ("ScaleDownPaused", "Protected")
    if maximum is not None and (bought or back) and not revoked:
        assert len(staying(snapshot)) + len(bought) + len(back) <= maximum
    if bought:
        assert len(bought) + sum(NOW - s.created_at < 60.0 for s in snapshot.servers) <= rate


@given(cases)
@everything
def test_nothing_is_bought_while_a_drain_of_the_pool_can_be_taken_back(case: Case) -> None:
    decided = case.decide()
    ours = {s.name for s in case.snapshot.servers if s.draining and s.drained_by_pool and s.state is ServerState.READY}
    assert {action.server for action in of(decided, Undrain)} <= ours
    assert not (ours and of(decided, Launch))


@given(cases)
@everything
def test_a_decision_has_one_direction_and_one_action_for_each_server(case: Case) -> None:
    decided = case.decide()
    names = [action.server for action in decided.actions if not isinstance(action, Launch)]
    assert len(names) == len(set(names))
    assert not (of(decided, Drain) and (of(decided, Launch) or of(decided, Undrain)))


@given(cases)
@everything
def test_nothing_is_destroyed_but_the_drained_the_dead_and_what_belongs_to_a_deleted_pool(case: Case) -> None:
    known = by_name(case.snapshot)
    for action in of(case.decide(), Destroy):
        server = known[action.server]
        assert server.state is not ServerState.TERMINATING
        assert {
            "Drained": server.draining and server.drained,
            "Dead": server.agreed_dead and server.state is ServerState.UNHEALTHY,
            "PoolDeleted": case.snapshot.deleting,
        }[action.reason]


@given(cases)
@everything
def test_a_pause_stops_its_direction(case: Case) -> None:
    paused, decided = case.snapshot.spec.paused, case.decide()
    if paused in ("All", "ScaleUp"):
        assert not of(decided, Launch)
    if paused in ("All", "ScaleDown"):
        assert not of(decided, Drain)
        assert not [action for action in of(decided, Destroy) if action.reason == "Drained"]


@given(cases)
@everything
def test_no_offer_is_said_only_when_there_is_none(case: Case) -> None:
    snapshot, decided = case.snapshot, case.decide()
    if decided.verdict.reason == "NoOffer":
        blocked = {b.region for b in snapshot.blocks if b.until > NOW}
        assert not [o for o in snapshot.offers if o.sold_out_until <= NOW and not blocked & {None, o.region}]


@given(cases)
@everything
def test_the_verdict_agrees_with_the_actions_and_can_be_told(case: Case) -> None:
    decided = case.decide()
    expected: dict[str, Callable[[], bool]] = {
        "ScaleUp": lambda: bool(of(decided, Launch)),
        "ScaleDown": lambda: bool(of(decided, Drain)),
        "Undrain": lambda: bool(of(decided, Undrain)),
        "Replace": lambda: bool(of(decided, Destroy)),
        "Hold": lambda: all(isinstance(a, Destroy) and a.reason == "Drained" for a in decided.actions),
        "Terminate": lambda: len(of(decided, Destroy)) == len(decided.actions),
    }
    assert expected[decided.verdict.action]()
    assert decided.verdict.message
    assert all(c.message and c.reason for c in pool_conditions(case.snapshot, decided, now=NOW))
