"""A replay: what can be worked out by hand, what must hold whatever happens, and that leaving out changes nothing."""

from collections.abc import Callable
from math import isnan, nan

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.replay.engine import Replay
from controller.replay.outcome import direction_changes, outcome, percentile
from controller.scaling.snapshot import Offer
from tests.replay.conftest import CHEAP, run_replay

Run = Callable[..., Replay]


def starts(replay: Replay) -> list[float]:
    return [round(t, 6) for t in replay.desk.starts]


def names(replay: Replay, order: list[int]) -> str:
    return " ".join(replay.trace.names[replay.trace.users[i]] for i in order)


def by_start(replay: Replay) -> list[int]:
    return sorted(range(len(replay.trace)), key=replay.desk.starts.__getitem__)


QUIET = {"scaling": {"up": {"queueLength": 1000, "meanResponseSeconds": 80000, "maxWaitSeconds": 80000,
                            "cpuPercent": 100}}}  # fmt: skip


#: Only the longest wait buys.
LONGEST_WAIT = {"scaling": {"up": {"cpuPercent": 100, "meanResponseSeconds": 80000}}}


def test_one_server_does_one_task_after_the_other(replayed: Run) -> None:
    replay = replayed([(0.0, "a", 30.0), (1.0, "a", 20.0), (100.0, "a", 5.0)], QUIET)
    assert starts(replay) == [0.0, 30.0, 100.0]
    assert list(replay.desk.ends) == [30.0, 50.0, 105.0]
    figures = outcome(replay)
    assert figures.wait_seconds.mean == pytest.approx(29.0 / 3)
    assert figures.wait_seconds.max == 29.0
    assert figures.mean_response_seconds == pytest.approx((30.0 + 49.0 + 5.0) / 3)


def test_users_take_turns_by_the_production_queue(replayed: Run) -> None:
    tasks = [(0.0, "X", 1.0), *[(0.5, "A", 1.0)] * 4, *[(0.6, "B", 1.0)] * 2, (0.7, "C", 1.0)]
    replay = replayed(tasks, QUIET)
    assert names(replay, by_start(replay)) == "X A B C A B A A"


def test_slots_and_speed_are_the_pools(replayed: Run) -> None:
    spec = QUIET | {"gpuTypes": [{"bundle": "XL", "concurrency": 2, "speed": 2.0}]}
    replay = replayed([(0.0, "a", 30.0)] * 3, spec, offers=(CHEAP,))
    assert starts(replay) == [0.0, 0.0, 15.0]
    assert list(replay.desk.ends) == [15.0, 15.0, 30.0]


def test_the_cheapest_server_is_bought_and_serves_once_it_is_deployed(replayed: Run) -> None:
    """At 10 s the longest wait is not above 10 s yet; the decision at 20 s buys, and at 200 s the server is there."""
    spec = LONGEST_WAIT
    replay = replayed([(0.0, "a", 1000.0), (0.0, "b", 100.0)], spec)
    assert starts(replay) == [0.0, 200.0]
    figures = outcome(replay)
    assert figures.launches_by_bundle == {"XL": 1}
    assert figures.peak_servers == 2
    assert (replay.turns[0].at, replay.turns[0].action) == (20.0, "ScaleUp")


def test_a_server_lives_for_more_than_an_hour_from_ready_and_is_paid_for_by_the_second(replayed: Run) -> None:
    """Bought at 20 s, Ready at 200 s, so it may go after 3 800 s: drained at 3 810, idle, gone 12 s later."""
    spec = LONGEST_WAIT
    replay = replayed([(0.0, "a", 1000.0), (0.0, "b", 100.0)], spec, stock={"XL": 1})
    [bought] = replay.machines[1:]
    assert (bought.bought_at, bought.ready_at, bought.drain_since, bought.gone_at) == (20.0, 200.0, 3810.0, 3822.0)
    figures = outcome(replay)
    assert figures.cost_cny == pytest.approx((6.6 * 3802.0 + 0.9 * 1000.0) / 3600.0)
    assert figures.server_hours == pytest.approx((3802.0 + 1000.0) / 3600.0)
    assert (figures.launches, figures.destroys, figures.direction_changes) == (1, 1, 1)


def test_one_step_is_in_flight_and_the_next_follows_at_once(replayed: Run) -> None:
    replay = replayed([(0.0, f"u{i}", 5000.0) for i in range(30)], deploy=100.0)
    bought = [m.bought_at for m in replay.machines[1:]]
    assert bought[:4] == [0.0, 100.0, 200.0, 300.0]


def test_sold_out_means_the_next_offer_at_once(replayed: Run) -> None:
    replay = replayed([(0.0, f"u{i}", 2000.0) for i in range(30)], stock={"XL": 2})
    first = [(m.bought_at, m.offer.bundle) for m in replay.machines[:4]]
    assert first == [(-7380.0, "XL"), (0.0, "XL"), (180.0, "4XL"), (360.0, "4XL")]
    assert outcome(replay).sold_out >= 1


def test_the_dearest_go_first(replayed: Run) -> None:
    replay = replayed([(0.0, f"u{i}", 900.0) for i in range(30)], stock={"XL": 3})
    gone = sorted((m for m in replay.machines if m.gone_at is not None), key=lambda m: m.gone_at or 0.0)
    kinds = [m.offer.bundle for m in gone]
    assert kinds == sorted(kinds, reverse=False) or kinds.index("XL") >= kinds.count("4XL")
    assert [m.offer.bundle for m in replay.machines if m.gone_at is None] == ["XL"]


def test_who_waits_too_long_is_told_so_and_who_sends_too_much_too(replayed: Run) -> None:
    spec = {**QUIET, "queue": {"maxWaitSeconds": 60, "maxTasksPerUser": 2}}
    replay = replayed([(0.0, "a", 100.0)] * 5 + [(0.0, "b", 1.0)], spec)
    figures = outcome(replay)
    assert (figures.served, figures.refused, figures.expired) == (1, 2, 3)


def test_a_drain_that_takes_too_long_gives_the_task_to_another_server(replayed: Run) -> None:
    """The dearest goes although it works on something: 60 s later that starts anew on the other one."""
    down = {"cpuPercent": 60, "minLifetimeSeconds": 0, "drainTimeoutSeconds": 60, "stabilizationSeconds": 0}
    up = {**QUIET["scaling"]["up"], "queueLength": 20}
    types = [{"bundle": "XL", "concurrency": 4}, {"bundle": "4XL", "concurrency": 4}]
    tasks = [(0.0, f"u{i}", 100.0) for i in range(25)] + [(345.0, user, 3000.0) for user in "abcd"]
    replay = replayed(tasks, {"gpuTypes": types, "scaling": {"up": up, "down": down}}, stock={"XL": 1}, deploy=30.0)
    [dear] = [m for m in replay.machines if m.offer.bundle == "4XL"]
    assert dear.drain_since is not None
    assert dear.gone_at == dear.drain_since + 60.0 + 10.0
    took = sorted(replay.desk.ends[i] - replay.desk.starts[i] for i in range(25, 29))
    assert took[:2] == [3000.0, 3000.0]
    assert took[2:] == [3060.0 + dear.drain_since - 345.0] * 2
    assert outcome(replay).served == 29


def test_without_any_server_the_minimum_of_none_grows_when_tasks_come(replayed: Run) -> None:
    replay = replayed([(1000.0, "a", 30.0)], {**LONGEST_WAIT, "replicas": {"min": 0}})
    figures = outcome(replay)
    assert figures.served == 1
    assert figures.launches == 1
    assert figures.destroys == 1
    assert replay.end < 1000 + 2 * 3600


def test_nothing_on_offer_is_an_error(replayed: Run) -> None:
    with pytest.raises(ValueError, match="nothing is on offer"):
        replayed([(0.0, "a", 1.0)], offers=())


def test_a_pool_that_may_never_shrink_is_not_watched_for_ever(replayed: Run) -> None:
    replay = replayed([(0.0, "a", 300.0), (0.0, "b", 300.0)], {"paused": "ScaleDown"})
    assert outcome(replay).destroys == 0
    assert replay.end < 9 * 86400


def test_progress_is_told_as_tasks_come() -> None:
    replay = run_replay([])
    told: list[tuple[int, float]] = []
    tasks = run_replay([(float(i), "a", 0.1) for i in range(25)]).trace
    Replay(replay.spec, tasks, replay.market).run(lambda task, at: told.append((task, at)), every=10)
    assert told == [(0, 0.0), (10, 10.0), (20, 20.0)]


@pytest.mark.parametrize(
    ("actions", "changes"),
    [
        ([], 0),
        (["ScaleUp", "ScaleUp"], 0),
        (["ScaleUp", "ScaleDown", "Undrain", "ScaleUp", "ScaleDown"], 3),
    ],
)
def test_a_drain_taken_back_is_a_step_up(actions: list[str], changes: int) -> None:
    assert direction_changes(actions) == changes


def test_percentiles_are_values_that_occurred() -> None:
    values = [float(i) for i in range(1, 101)]
    assert [percentile(values, share) for share in (0.5, 0.95, 0.99)] == [50.0, 95.0, 99.0]
    assert percentile([7.0], 0.5) == 7.0
    assert percentile([], 0.5) is not percentile([1.0], 0.5)
    assert str(percentile([], 0.5)) == str(nan)


# --- whatever happens ------------------------------------------------------------------------------------------------

tasks = st.lists(st.tuples(st.floats(0, 20000), st.sampled_from("abcd"), st.floats(0.5, 900)), min_size=1, max_size=60)
specs = st.fixed_dictionaries(
    {
        "replicas": st.fixed_dictionaries({"min": st.integers(0, 2)}),
        "gpuTypes": st.sampled_from([[], [{"bundle": "XL", "concurrency": 3, "speed": 1.5}, {"bundle": "4XL"}]]),
        "queue": st.fixed_dictionaries(
            {
                "fairness": st.sampled_from(["Tasks", "Seconds"]),
                "shareBy": st.sampled_from(["Network", "User"]),
                "maxWaitSeconds": st.sampled_from([300, 3600]),
            }
        ),
        "scaling": st.fixed_dictionaries(
            {
                "responseTime": st.sampled_from(["Wait", "Total"]),
                "up": st.fixed_dictionaries({"step": st.integers(1, 3)}),
                "down": st.fixed_dictionaries(
                    {"minLifetimeSeconds": st.sampled_from([0, 3600]), "drainTimeoutSeconds": st.sampled_from([0, 600])}
                ),
            }
        ),
    }
)
stocks = st.sampled_from([{}, {"XL": 2}])


@given(tasks=tasks, spec=specs, stock=stocks)
@settings(max_examples=25, deadline=None)
def test_every_task_is_accounted_for_and_every_second_is_paid(
    tasks: list[tuple[float, str, float]], spec: dict[str, object], stock: dict[str, int]
) -> None:
    replay = run_replay(tasks, spec, stock=stock)
    figures = outcome(replay)
    assert figures.served + figures.refused + figures.expired == len(tasks)
    assert replay.desk.running == replay.desk.waiting == 0
    least = [replay.trace.services[i] for i in range(len(tasks))]
    for i, end in enumerate(replay.desk.ends):
        if not isnan(end):
            assert replay.trace.arrivals[i] <= replay.desk.starts[i] < end
            assert end - replay.desk.starts[i] >= least[i] / 1.5 - 1e-6
    owned = sum(
        max(0.0, (replay.last_task if m.gone_at is None else m.gone_at) - max(m.bought_at, 0.0))
        * m.offer.price_per_hour
        for m in replay.machines
    )
    assert figures.cost_cny == pytest.approx(owned / 3600)
    assert figures.launches == figures.destroys
    assert 0 < figures.utilization <= 1 + 1e-9


@given(tasks=tasks, spec=specs, stock=stocks)
@settings(max_examples=25, deadline=None)
def test_decisions_that_are_left_out_would_have_changed_nothing(
    tasks: list[tuple[float, str, float]], spec: dict[str, object], stock: dict[str, int]
) -> None:
    dozing, awake = (run_replay(tasks, spec, stock=stock, doze=doze) for doze in (True, False))
    assert dozing.decisions <= awake.decisions
    assert dozing.turns == awake.turns
    assert [(m.bought_at, m.ready_at, m.gone_at) for m in dozing.machines] == [
        (m.bought_at, m.ready_at, m.gone_at) for m in awake.machines
    ]
    one, other = (msgspec.structs.replace(outcome(r), decisions=0) for r in (dozing, awake))
    assert one == other


def test_an_idle_pool_is_hardly_looked_at() -> None:
    idle = [(0.0, "a", 1.0), (30 * 86400.0, "a", 1.0)]
    assert run_replay(idle).decisions < 200


def test_offers_are_bought_in_the_order_of_their_price_whatever_theirs() -> None:
    offers = tuple(Offer("ap-beijing", b, p, 0, "r", "a") for b, p in (("4XL", 6.6), ("24GB_A", 1.7), ("XL", 0.9)))
    replay = run_replay([(0.0, f"u{i}", 1000.0) for i in range(20)], offers=offers)
    assert {m.offer.bundle for m in replay.machines} == {"XL"}


#: Thirty minutes of work that three servers would do at once.
BURST = [(0.0, f"user-{n}", 600.0) for n in range(9)]


def test_a_budget_brakes_a_replay_as_it_brakes_a_pool(replayed: Run) -> None:
    free = outcome(replayed(BURST, LONGEST_WAIT, offers=(CHEAP,)))
    capped = replayed(BURST, LONGEST_WAIT | {"budget": {"hourly": {"hard": 1.8}}}, offers=(CHEAP,))
    assert free.peak_servers > 2
    assert outcome(capped).peak_servers == 2
    # The minimum from 8:00 to midnight, and one more server for an hour: that is all the day is to cost.
    daily = replayed(BURST, LONGEST_WAIT | {"budget": {"daily": {"hard": 16 * 0.9 + 1.0}}}, offers=(CHEAP,))
    assert outcome(daily).peak_servers == 2


def test_what_a_replay_has_spent_is_what_its_servers_cost(replayed: Run) -> None:
    replay = replayed(BURST, LONGEST_WAIT | {"budget": {"daily": {"hard": 1000.0}}}, offers=(CHEAP,))
    spent = replay._spent(replay.end)
    assert (
        spent.today
        == spent.this_month
        == pytest.approx(
            sum(m.cost(until=replay.end) for m in replay.machines[1:])
            + replay.machines[0].billed(until=replay.end) * 0.9 / 3600.0,
            abs=1e-5,
        )
    )


def test_a_budget_does_not_change_what_may_be_left_out(replayed: Run) -> None:
    spec = LONGEST_WAIT | {"budget": {"daily": {"soft": 15.0, "hard": 17.0}}}
    awake, dozing = (replayed(BURST, spec, offers=(CHEAP,), doze=doze) for doze in (False, True))
    assert awake.turns == dozing.turns
    assert starts(awake) == starts(dozing)
