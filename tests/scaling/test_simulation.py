"""Many decisions in a row over a simulated pool: what holds at every step, and where it ends.

The pool is a fluid model: `demand` servers' worth of work arrives, what is not served queues up. Launches take time,
sell out, fail; servers die; signals go missing. Time is virtual and one step is one interval of 10 s.
"""

from dataclasses import dataclass, field, replace
from itertools import pairwise
from random import Random
from typing import Any

import msgspec
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from controller.api.gpupool import GpuPoolSpec
from controller.scaling.actions import Action, Destroy, Drain, Launch, Undrain
from controller.scaling.offers import sold_out_until
from controller.scaling.plan import Plan, plan
from controller.scaling.snapshot import Memory, Offer, ServerState, ServerView, Signal, Signals, Snapshot

INTERVAL = 10.0
LIFETIME = 600.0
STABILIZATION = 60.0
WINDOW = 30.0
#: Seconds one server needs for one task.
TASK = 20.0
#: No shrinking: it takes minutes of simulations; a failure is repeated by its seed.
QUICK = settings(deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
PRICES = {"XL": 1.2, "XL_2X": 2.4, "3XL": 3.5, "4XL": 3.5}


def spec(minimum: int = 1, maximum: int | None = None, up_step: int = 1, down_step: int = 1) -> GpuPoolSpec:
    replicas = {"min": minimum} if maximum is None else {"min": minimum, "max": maximum}
    down = {"stabilizationSeconds": STABILIZATION, "minLifetimeSeconds": LIFETIME, "step": down_step}
    scaling = {"windowSeconds": WINDOW, "up": {"step": up_step}, "down": down}
    return msgspec.convert({"replicas": replicas, "scaling": scaling}, GpuPoolSpec, strict=False)


@dataclass
class World:
    """What may go wrong, as probabilities for each step and thing."""

    sold_out: float = 0.0
    deploy_fails: float = 0.0
    dies: float = 0.0
    unknown: float = 0.0
    dispatcher_restarts: float = 0.0
    deploy_seconds: float = 180.0
    drain_seconds: float = 30.0


@dataclass
class Pool:
    """The pool, its world, and what was seen of both; `step` makes one decision and carries it out."""

    spec: GpuPoolSpec
    rng: Random
    world: World = field(default_factory=World)
    now: float = 1_000_000.0
    servers: dict[str, ServerView] = field(default_factory=dict)
    memory: Memory = field(default_factory=Memory)
    queue: float = 0.0
    dispatcher: float = 1.0
    #: When the state of each server was entered.
    since: dict[str, float] = field(default_factory=dict)
    sold_out_counts: dict[str, int] = field(default_factory=dict)
    failures: list[tuple[float, str]] = field(default_factory=list)
    #: When the load was last seen not to be low, or could not be seen, or a dispatcher restarted.
    not_low_at: float = 1_000_000.0
    steps: list[tuple[float, Plan]] = field(default_factory=list)
    offers: tuple[Offer, ...] = tuple(
        Offer(f"ap-{n}", bundle, price, n, f"p{n}", "app-1") for n, (bundle, price) in enumerate(PRICES.items())
    )

    def serving(self) -> list[ServerView]:
        return [s for s in self.servers.values() if s.state is ServerState.READY and not s.draining]

    def staying(self) -> list[ServerView]:
        return [s for s in self.servers.values() if not s.leaving]

    def deploying(self) -> list[ServerView]:
        return [s for s in self.servers.values() if s.in_deployment]

    def run(self, steps: int, demand: float) -> None:
        for _ in range(steps):
            self.step(demand)

    def step(self, demand: float) -> None:
        self.now += INTERVAL
        for name in list(self.servers):
            self._live(name)
        signals = self._signals(demand)
        snapshot = Snapshot(
            spec=self.spec,
            signals=signals,
            servers=tuple(self.servers.values()),
            offers=self.offers,
            launch_failures=tuple(self.failures),
        )
        decided = plan(snapshot, self.memory, now=self.now)
        check(self, snapshot, decided)
        self.memory = decided.memory
        self.steps.append((self.now, decided))
        for action in decided.actions:
            self._apply(action)

    def _chance(self, probability: float) -> bool:
        return self.rng.random() < probability

    def _set(self, name: str, **changes: Any) -> None:
        self.servers[name] = replace(self.servers[name], **changes)
        self.since[name] = self.now

    def _live(self, name: str) -> None:
        """One interval in the life of a server."""
        server, lasted = self.servers[name], self.now - self.since[name]
        match server.state:
            case ServerState.LAUNCHING:
                self._launched(name)
            case ServerState.DEPLOYING if self._chance(self.world.deploy_fails):
                self.failures.append((self.now, "no answer"))
                self._set(name, state=ServerState.TERMINATING)
            case ServerState.DEPLOYING if lasted >= self.world.deploy_seconds:
                self.failures.clear()
                self._set(name, state=ServerState.READY, ready_at=self.now)
            case ServerState.READY if self._chance(self.world.dies):
                self._set(name, state=ServerState.UNHEALTHY, agreed_dead=True)
            case ServerState.READY if server.draining and lasted >= self.world.drain_seconds:
                self.servers[name] = replace(server, drained=True)
            case ServerState.TERMINATING if lasted >= 20.0:
                del self.servers[name]

    def _launched(self, name: str) -> None:
        server = self.servers[name]
        if not self._chance(self.world.sold_out):
            self.sold_out_counts.pop(server.bundle, None)
            self._set(name, state=ServerState.DEPLOYING)
            return
        count = self.sold_out_counts[server.bundle] = self.sold_out_counts.get(server.bundle, 0) + 1
        until = sold_out_until(count, now=self.now, jitter=self.rng.random())
        self.offers = tuple(replace(o, sold_out_until=until) if o.bundle == server.bundle else o for o in self.offers)
        del self.servers[name]

    def _signals(self, demand: float) -> Signals:
        capacity = len(self.serving())
        self.queue = max(0.0, self.queue + (demand - capacity) * INTERVAL / TASK)
        busy = float(capacity) if self.queue else min(demand, float(capacity))
        for server in self.serving():
            self.servers[server.name] = replace(server, in_flight=busy / capacity)
        wait = self.queue * TASK / max(capacity, 0.5)
        cpu = 100.0 * busy / capacity if capacity else None
        if self._chance(self.world.dispatcher_restarts):
            self.dispatcher = self.not_low_at = self.now
        values = {"mean_response": wait, "queue_length": self.queue, "cpu": cpu, "longest_wait": wait}
        seen = {n: None if v is None or self._chance(self.world.unknown) else v for n, v in values.items()}
        if not is_low(seen):
            self.not_low_at = self.now
        figures: dict[str, Any] = {n: None if v is None else Signal(v, 0.0, "test") for n, v in seen.items()}
        return Signals(**figures, dispatchers=frozenset({self.dispatcher}))

    def _apply(self, action: Action) -> None:
        match action:
            case Launch(offer):
                name = f"s{len(self.since) + 1}"
                self.servers[name] = ServerView(
                    name, offer.region, offer.bundle, offer.price_per_hour, ServerState.LAUNCHING, self.now
                )
                self.since[name] = self.now
            case Drain(name):
                self._set(name, draining=True, drained_by_pool=True)
            case Undrain(name):
                self._set(name, draining=False, drained_by_pool=False, drained=False)
            case Destroy(name):
                self._set(name, state=ServerState.TERMINATING)

    def directions(self) -> list[str]:
        """ScaleUp and ScaleDown in the order in which the pool turned to them."""
        turns: list[str] = []
        for _, decided in self.steps:
            action = decided.verdict.action
            if action in ("ScaleUp", "ScaleDown") and action not in turns[-1:]:
                turns.append(action)
        return turns


def is_low(seen: dict[str, float | None]) -> bool:
    limits = {"mean_response": 1.0, "queue_length": 3.0, "cpu": 30.0, "longest_wait": 10.0001}
    return all(value is not None and value < limits[name] for name, value in seen.items())


def check(pool: Pool, snapshot: Snapshot, decided: Plan) -> None:
    """What must hold at every single step."""
    bought = [a.offer for a in decided.actions if isinstance(a, Launch)]
    drained = [pool.servers[a.server] for a in decided.actions if isinstance(a, Drain)]
    gone = [pool.servers[a.server] for a in decided.actions if isinstance(a, Destroy) and a.reason == "Drained"]
    replicas, up = snapshot.spec.replicas, snapshot.spec.scaling.up
    open_ = [o for o in pool.offers if o.sold_out_until <= pool.now]
    by_trigger = bool(bought) and decided.verdict.reason != "BelowMinimum"

    assert all(o.price_per_hour == min(p.price_per_hour for p in open_) for o in bought), "cheapest in stock first"
    assert replicas.max is None or len(pool.staying()) + len(bought) <= replicas.max, "the maximum"
    assert not (by_trigger and pool.deploying()), "one step in flight"
    assert not by_trigger or isinstance(up.step, str) or len(bought) <= up.step, "one step"
    assert not drained or len(pool.serving()) - len(drained) >= replicas.min, "the minimum"
    for server in drained + gone:
        assert server.ready_at is not None
        assert pool.now - server.ready_at > LIFETIME, "the 1-hour rule"
    if drained:
        assert pool.now - pool.not_low_at > STABILIZATION, "known to be low for long enough"
        assert not pool.deploying(), "nothing being deployed"
        assert all(v.price_per_hour >= max(s.price_per_hour for s in pool.serving()) for v in drained[:1]), "dearest"


worlds = st.builds(
    World,
    sold_out=st.sampled_from([0.0, 0.3, 0.9]),
    deploy_fails=st.sampled_from([0.0, 0.02]),
    dies=st.sampled_from([0.0, 0.002]),
    unknown=st.sampled_from([0.0, 0.02, 0.3]),
    dispatcher_restarts=st.sampled_from([0.0, 0.01]),
    deploy_seconds=st.sampled_from([0.0, 60.0, 300.0]),
    drain_seconds=st.sampled_from([0.0, 30.0, 200.0]),
)


@st.composite
def specs(draw: st.DrawFn) -> GpuPoolSpec:
    minimum = draw(st.integers(0, 3))
    maximum = draw(st.none() | st.integers(minimum, minimum + 6))
    return spec(minimum, maximum, draw(st.integers(1, 3)), draw(st.integers(1, 3)))


loads = st.lists(
    st.tuples(st.integers(5, 120), st.sampled_from([0.0, 0.0, 0.2, 1.5, 4.0, 9.0])), min_size=1, max_size=6
)


@given(spec=specs(), world=worlds, load=loads, seed=st.integers(0, 2**32))
@settings(QUICK, max_examples=60)
def test_the_rules_hold_at_every_step_in_a_world_where_things_go_wrong(
    spec: GpuPoolSpec, world: World, load: list[tuple[int, float]], seed: int
) -> None:
    pool = Pool(spec, Random(seed), world)
    for steps, demand in load:
        pool.run(steps, demand)


@given(spec=specs(), world=worlds, load=loads, seed=st.integers(0, 2**32))
@settings(QUICK, max_examples=25)
def test_when_the_load_ends_and_the_world_is_well_the_pool_returns_to_its_minimum_and_keeps_the_cheapest(
    spec: GpuPoolSpec, world: World, load: list[tuple[int, float]], seed: int
) -> None:
    pool = Pool(spec, Random(seed), world)
    for steps, demand in load:
        pool.run(steps, demand)
    pool.world = World(deploy_seconds=60.0, drain_seconds=10.0)
    for server in pool.servers.values():
        if server.state is ServerState.UNHEALTHY:
            pool.servers[server.name] = replace(server, state=ServerState.READY, agreed_dead=False)
    pool.offers, pool.failures = tuple(replace(o, sold_out_until=0.0) for o in pool.offers), []
    pool.queue = 0.0
    pool.run(30, demand=0.0)
    before = sorted(s.price_per_hour for s in pool.staying())
    pool.run(1000, demand=0.0)
    after = sorted(s.price_per_hour for s in pool.servers.values())
    assert len(after) == spec.replicas.min
    assert after == before[: len(after)]


@given(demand=st.floats(0.0, 12.0), start=st.integers(0, 12), up=st.integers(1, 3), down=st.integers(1, 3))
@settings(QUICK, max_examples=20)
def test_under_steady_load_a_pool_that_has_begun_to_shrink_never_grows_again(
    demand: float, start: int, up: int, down: int
) -> None:
    pool = Pool(spec(0, None, up, down), Random(0), World())
    for n in range(start):
        server = ServerView(f"old{n}", "ap-0", "XL", 1.2, ServerState.READY, 0.0, ready_at=0.0)
        pool.servers[server.name], pool.since[server.name] = server, 0.0
    pool.run(600, demand)
    assert pool.directions() in ([], ["ScaleUp"], ["ScaleDown"], ["ScaleUp", "ScaleDown"])
    assert pool.queue <= 15.0


@given(sold_out=st.sampled_from([0.0, 0.3, 0.6]), seed=st.integers(0, 2**32))
@settings(QUICK, max_examples=30)
def test_sold_out_means_the_next_offer_never_a_stall(sold_out: float, seed: int) -> None:
    """Under load, whenever something can be bought and nothing is in flight, something is bought at that very step."""
    pool = Pool(spec(), Random(seed), World(sold_out=sold_out, deploy_seconds=30.0))
    for _ in range(200):
        could = any(o.sold_out_until <= pool.now + INTERVAL for o in pool.offers)
        pool.step(demand=50.0)
        hot = pool.queue > 15
        _, decided = pool.steps[-1]
        waiting = decided.verdict.reason == "StepInFlight"
        if hot and could and not waiting:
            assert decided.verdict.action == "ScaleUp" or not any(o.sold_out_until <= pool.now for o in pool.offers)


def test_one_after_the_other_the_dearest_go_first() -> None:
    """A pool that had to buy every bundle gives them back from the dearest on, each after a fresh window."""
    pool = Pool(spec(), Random(0), World(drain_seconds=20.0))
    for n, (bundle, price) in enumerate(PRICES.items()):
        server = ServerView(f"s-{bundle}", f"ap-{n}", bundle, price, ServerState.READY, 0.0, ready_at=float(n))
        pool.servers[server.name], pool.since[server.name] = server, 0.0
    pool.run(200, demand=0.0)
    drains = [(at, a.server) for at, decided in pool.steps for a in decided.actions if isinstance(a, Drain)]
    assert [name for _, name in drains] == ["s-3XL", "s-4XL", "s-XL_2X"]
    assert [s.bundle for s in pool.servers.values()] == ["XL"]
    gaps = [b - a for (a, _), (b, _) in pairwise(drains)]
    assert all(gap >= 20.0 + WINDOW for gap in gaps)


def test_growing_takes_one_deployment_after_the_other() -> None:
    pool = Pool(spec(), Random(0), World(deploy_seconds=60.0))
    pool.run(100, demand=5.0)
    bought = [at for at, decided in pool.steps for a in decided.actions if isinstance(a, Launch)]
    assert len(bought) >= 6
    assert all(b - a >= 60.0 for a, b in pairwise(bought))


def test_a_pool_that_cannot_be_measured_stays_as_it_is() -> None:
    pool = Pool(spec(minimum=1), Random(0))
    pool.run(100, demand=5.0)
    size = len(pool.serving())
    assert size > 1
    pool.world = World(unknown=1.0)
    pool.run(40, demand=0.0)
    seen = len(pool.staying())
    pool.run(1000, demand=0.0)
    assert len(pool.staying()) == seen >= size
