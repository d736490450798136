"""The budget's brake: what it lets through, what it slows, what it stops, and that it holds."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.api.gpupool import GpuPoolSpec
from controller.api.times import unix
from controller.scaling.account import GROWING_NEEDS, account
from controller.scaling.actions import Adopt, Destroy, Drain, Launch, Undrain
from controller.scaling.budget import SOFT_CAP_PAUSE_SECONDS
from controller.scaling.conditions import pool_conditions
from controller.scaling.ledger import Bill, cny, spent
from controller.scaling.periods import DAY
from controller.scaling.plan import Plan, plan
from controller.scaling.snapshot import (
    Memory,
    Offer,
    ServerState,
    ServerView,
    Signal,
    Signals,
    Snapshot,
    Spent,
    Stray,
)

Decide = Callable[..., Plan]
Words = Callable[[Plan], tuple[str, list[str]]]
Make = Callable[..., Snapshot]

HOT = {"queue_length": 16.0}
#: The default time is 12:00 in Beijing: 12 hours of the day are left, and 16.5 days of January.
DAY_LEFT, MONTH_LEFT = 12.0, 16.5 * 24


def pool(budget: dict[str, Any], step: int = 1, **replicas: int) -> dict[str, Any]:
    return {"budget": budget, "replicas": {"min": 1, **replicas}, "scaling": {"up": {"step": step}}}


BUY = ("ScaleUp/LongQueue", ["Launch XL ap-beijing"])
SERVER = {"name": "s1", "price_per_hour": 1.0}
OFFER = {"price": 1.0}


@pytest.mark.parametrize(
    ("budget", "today", "month", "verdict"),
    [
        # The rate: one server runs at 1 CNY/h, one more would make 2.
        ({"hourly": {"hard": 2.0}}, 0.0, 0.0, "ScaleUp/LongQueue"),
        ({"hourly": {"hard": 1.99}}, 0.0, 0.0, "Hold/HourlyHardCap"),
        # The day: what was spent, the minimum's server until midnight, and one hour of the new one.
        ({"daily": {"hard": 10.0 + DAY_LEFT + 1.0}}, 10.0, 0.0, "ScaleUp/LongQueue"),
        ({"daily": {"hard": 10.0 + DAY_LEFT + 0.99}}, 10.0, 0.0, "Hold/DailyHardCap"),
        # The month: the same, to its end.
        ({"monthly": {"hard": 100.0 + MONTH_LEFT + 1.0}}, 0.0, 100.0, "ScaleUp/LongQueue"),
        ({"monthly": {"hard": 100.0 + MONTH_LEFT + 0.99}}, 0.0, 100.0, "Hold/MonthlyHardCap"),
        # The first cap that refuses is named.
        ({"hourly": {"hard": 1.0}, "daily": {"hard": 1.0}}, 10.0, 0.0, "Hold/HourlyHardCap"),
        ({}, 1e6, 1e6, "ScaleUp/LongQueue"),
    ],
)
def test_a_purchase_has_to_fit_under_the_hard_cap_with_what_is_certain_to_come(
    decide: Decide, words: Words, *, budget: dict[str, Any], today: float, month: float, verdict: str
) -> None:
    decided = decide(
        spec=pool(budget), signals=HOT, servers=[SERVER], offers=[OFFER], spent=Spent(today=today, this_month=month)
    )
    assert words(decided)[0] == verdict
    if decided.verdict.action == "Hold":
        assert "would exceed budget." in decided.verdict.message
        assert decided.verdict.reason in GROWING_NEEDS


def test_a_step_is_cut_to_what_fits(decide: Decide, words: Words) -> None:
    decided = decide(spec=pool({"hourly": {"hard": 3.5}}, step=5), signals=HOT, servers=[SERVER], offers=[OFFER])
    assert words(decided)[1] == ["Launch XL ap-beijing"] * 2


@pytest.mark.parametrize(("hard", "verdict"), [(1.0, "ScaleUp/BelowMinimum"), (0.99, "Hold/DailyHardCap")])
def test_the_minimum_is_bought_within_the_hard_cap_and_never_beyond(
    decide: Decide, words: Words, hard: float, verdict: str
) -> None:
    """A server for the minimum has to fit with its minimum lifetime: a day too dear for all its hours can begin."""
    decided = decide(spec=pool({"daily": {"hard": hard}}), servers=[], offers=[OFFER])
    assert words(decided)[0] == verdict


def test_a_server_in_place_of_one_that_was_destroyed_fits_where_it_did(decide: Decide, words: Words) -> None:
    going = {**SERVER, "state": ServerState.TERMINATING}
    spec = pool({"daily": {"hard": 6.0}})
    decided = decide(spec=spec, servers=[going], offers=[OFFER], spent=Spent(today=5.0))
    assert words(decided)[0] == "ScaleUp/BelowMinimum"
    # The rate counts both for as long as both are billed.
    decided = decide(spec=pool({"hourly": {"hard": 1.0}}), servers=[going], offers=[OFFER])
    assert words(decided)[0] == "Hold/HourlyHardCap"


def test_drains_taken_back_and_instances_taken_over_buy_nothing_and_are_not_stopped(
    decide: Decide, words: Words
) -> None:
    spec = pool({"hourly": {"hard": 0.5}})
    leaving = {"name": "s2", "draining": True, "drained_by_pool": True}
    assert words(decide(spec=spec, signals=HOT, servers=[SERVER, leaving]))[0] == "Undrain/LongQueue"
    stray = Stray("hai-lost0001", "ap-beijing", "XL", 1.0, "app-1")
    assert words(decide(spec=spec, signals=HOT, servers=[SERVER], strays=(stray,)))[0] == "Adopt/LongQueue"


@pytest.mark.parametrize(
    ("youngest", "step", "verdict", "launches"),
    [
        (SOFT_CAP_PAUSE_SECONDS - 1, 5, "Hold/DailySoftCap", 0),
        (SOFT_CAP_PAUSE_SECONDS, 5, "ScaleUp/LongQueue", 1),
    ],
)
def test_beyond_the_soft_cap_one_server_is_bought_every_ten_minutes(
    decide: Decide, words: Words, now: float, *, youngest: float, step: int, verdict: str, launches: int
) -> None:
    server = {**SERVER, "created_at": now - youngest}
    spec = pool({"daily": {"soft": 1.0, "hard": 100.0}}, step=step)
    decided = decide(spec=spec, signals=HOT, servers=[server], offers=[OFFER])
    assert words(decided) == (verdict, ["Launch XL ap-beijing"] * launches)


def test_what_fits_under_the_soft_cap_is_bought_at_once(decide: Decide, words: Words, now: float) -> None:
    server = {**SERVER, "created_at": now - 60.0}
    spec = pool({"daily": {"soft": DAY_LEFT + 2.0}}, step=5)
    assert words(decide(spec=spec, signals=HOT, servers=[server], offers=[OFFER]))[1] == ["Launch XL ap-beijing"] * 2


def test_the_soft_cap_leaves_the_minimum_alone(decide: Decide, words: Words, now: float) -> None:
    spec = pool({"daily": {"soft": 0.1}}, min=3)
    decided = decide(spec=spec, servers=[{**SERVER, "created_at": now - 1.0}], offers=[OFFER])
    assert words(decided) == ("ScaleUp/BelowMinimum", ["Launch XL ap-beijing"] * 2)


def test_servers_that_run_are_never_touched_by_a_budget(decide: Decide) -> None:
    spec = pool({"hourly": {"hard": 0.1}, "daily": {"hard": 0.1}, "monthly": {"hard": 0.1}})
    servers = [{"name": f"s{n}"} for n in range(5)]
    decided = decide(spec=spec, signals=HOT, servers=servers, spent=Spent(today=1e6, this_month=1e6))
    assert decided.actions == ()


CONDITIONS = [
    ({}, HOT, 0.0, ("True", "NoBudget")),
    ({"daily": {"soft": 50.0, "hard": 100.0}}, HOT, 10.0, ("True", "WithinBudget")),
    ({"daily": {"soft": 50.0, "hard": 100.0}}, {}, 50.0, ("True", "DailySoftCap")),
    ({"daily": {"soft": 5.0, "hard": 100.0}}, HOT, 1.0, ("True", "DailySoftCap")),
    ({"daily": {"hard": 12.5}}, {}, 0.0, ("True", "WithinBudget")),  # nothing more fits, and nothing more is wanted
    ({"daily": {"hard": 12.5}}, HOT, 0.0, ("False", "DailyHardCap")),
    ({"daily": {"hard": 12.5}}, {}, 12.5, ("False", "DailyHardCap")),
    ({"hourly": {"hard": 1.0}}, {}, 0.0, ("True", "WithinBudget")),
    ({"hourly": {"hard": 0.9}}, {}, 0.0, ("False", "HourlyHardCap")),
]


@pytest.mark.parametrize(("budget", "signals", "today", "told"), CONDITIONS)
def test_the_condition_is_false_only_when_a_hard_cap_stands_in_the_way(
    make_snapshot: Make,
    now: float,
    *,
    budget: dict[str, Any],
    signals: dict[str, float],
    today: float,
    told: tuple[str, str],
) -> None:
    server = {**SERVER, "created_at": now - 300.0}
    snapshot = make_snapshot(
        spec=pool(budget), signals=signals, servers=[server], offers=[OFFER], spent=Spent(today=today)
    )
    found = pool_conditions(snapshot, plan(snapshot, Memory(), now=now), now=now)
    (budget_available,) = [c for c in found if c.type == "BudgetAvailable"]
    assert (budget_available.status, budget_available.reason) == told


@pytest.mark.parametrize(
    ("budget", "reason", "after"),
    [
        ({"daily": {"hard": 1.0}}, "DailyHardCap", DAY_LEFT * 3600),
        ({"monthly": {"hard": 1.0}}, "MonthlyHardCap", MONTH_LEFT * 3600),
        ({"daily": {"soft": 1.0}}, "DailySoftCap", SOFT_CAP_PAUSE_SECONDS - 60.0),
        ({"hourly": {"hard": 1.0}}, "HourlyHardCap", None),
    ],
)
def test_the_account_says_which_cap_and_until_when(
    make_snapshot: Make, now: float, budget: dict[str, Any], reason: str, after: float | None
) -> None:
    server = {**SERVER, "created_at": now - 60.0}
    snapshot = make_snapshot(spec=pool(budget), signals=HOT, servers=[server], offers=[OFFER])
    told = account(snapshot, plan(snapshot, Memory(), now=now), now=now)
    assert (told.growing.reason, told.growing.needs) == (reason, GROWING_NEEDS[reason])
    earliest = told.growing.earliest_time
    if after is None:
        assert earliest is None
    else:
        assert earliest is not None
        assert unix(earliest) == pytest.approx(now + after)
    assert any(term.name in ("hourly cost", "day certain to cost", "month certain to cost") for term in told.terms)


def test_the_day_after_is_a_new_day(decide: Decide, words: Words, make_snapshot: Make, now: float) -> None:
    """The cap lifts by itself: the ledger of a new day is empty."""
    spec = pool({"daily": {"hard": 30.0}})
    late = make_snapshot(spec=spec, signals=HOT, servers=[SERVER], offers=[OFFER], spent=Spent(today=30.0))
    assert words(plan(late, Memory(), now=now))[0] == "Hold/DailyHardCap"
    early = replace(late, spent=Spent())
    assert words(plan(early, Memory(), now=now + DAY_LEFT * 3600))[0] == "ScaleUp/LongQueue"


# --- it holds under any load -----------------------------------------------------------------------------------------

LIFETIME = 1800.0
STEP = 120.0
OFFERS = tuple(
    Offer(f"ap-{n}", bundle, price, n, f"p{n}", "app-1")
    for n, (bundle, price) in enumerate({"XL": 1.2, "3XL": 3.5}.items())
)


@dataclass
class World:
    """Servers that come and go as decisions say, under signals that jump; its own books on what they cost."""

    spec: GpuPoolSpec
    rng: Random
    now: float = 1_768_449_600.0
    servers: dict[str, ServerView] = field(default_factory=dict)
    bills: dict[str, Bill] = field(default_factory=dict)
    memory: Memory = field(default_factory=Memory)

    def step(self) -> None:
        self.now += STEP
        for server in list(self.servers.values()):
            self._live(server)
        since = DAY.start(DAY.name(self.now))
        today = cny(spent(self.bills.values(), since=since, until=self.now))
        self.check(today)
        hot = self.rng.random() < 0.7
        figure = Signal(99.0 if hot else 0.0, 1.0, "test")
        signals = Signals(mean_response=figure, queue_length=figure, cpu=figure, longest_wait=figure)
        offers = OFFERS if self.rng.random() < 0.8 else OFFERS[1:]
        snapshot = Snapshot(self.spec, signals, tuple(self.servers.values()), offers, spent=Spent(today=today))
        decided = plan(snapshot, self.memory, now=self.now)
        self.memory = decided.memory
        for action in decided.actions:
            self._apply(action)

    def check(self, today: float) -> None:
        """The day is within the cap, but for what was committed before it and for servers kept beyond a lifetime."""
        budget = self.spec.budget.daily
        assert budget is not None
        assert budget.hard is not None
        since = DAY.start(DAY.name(self.now))
        carried = [b for b in self.bills.values() if b.start < since]
        new = [b for b in self.bills.values() if b.start >= since]
        committed = spent(carried, since=since, until=self.now)
        kept = sum(spent([b], since=min(self.now, b.start + LIFETIME), until=self.now) for b in new)
        assert today <= budget.hard + cny(committed + kept) + 1e-6

    def _live(self, server: ServerView) -> None:
        age = self.now - server.created_at
        if server.state is ServerState.DEPLOYING and age >= 180:
            self.servers[server.name] = replace(server, state=ServerState.READY, ready_at=self.now)
        elif server.draining:
            self.servers[server.name] = replace(server, drained=True)
        elif server.state is ServerState.READY and self.rng.random() < 0.01:
            self.servers[server.name] = replace(server, state=ServerState.UNHEALTHY, agreed_dead=True)

    def _apply(self, action: Launch | Drain | Undrain | Destroy | Adopt) -> None:
        match action:
            case Launch(offer):
                name = f"s{len(self.bills)}"
                made = ServerView(
                    name, offer.region, offer.bundle, offer.price_per_hour, ServerState.DEPLOYING, self.now
                )
                self.servers[name] = made
                self.bills[name] = Bill(name, offer.price_per_hour, self.now, None, 0.0)
            case Drain(name):
                self.servers[name] = replace(self.servers[name], draining=True, drained_by_pool=True)
            case Undrain(name):
                self.servers[name] = replace(self.servers[name], draining=False, drained_by_pool=False, drained=False)
            case Destroy(name):
                del self.servers[name]
                self.bills[name] = replace(self.bills[name], end=self.now)


@settings(max_examples=12, deadline=None)
@given(
    seed=st.integers(0, 10**9),
    hard=st.floats(1.0, 120.0),
    soft=st.floats(0.1, 1.0),
    minimum=st.integers(0, 2),
    step=st.integers(1, 4),
)
def test_no_load_makes_a_day_cost_more_than_its_cap_and_what_was_committed(
    seed: int, hard: float, soft: float, minimum: int, step: int
) -> None:
    scaling = {"up": {"step": step}, "down": {"minLifetimeSeconds": LIFETIME, "stabilizationSeconds": 120}}
    budget = {"daily": {"hard": hard, "soft": hard * soft}}
    fields = {"budget": budget, "replicas": {"min": minimum}, "scaling": scaling}
    world = World(msgspec.convert(fields, GpuPoolSpec, strict=False), Random(seed))
    for _ in range(36 * 30):
        world.step()
