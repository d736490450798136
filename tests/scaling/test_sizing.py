"""`scaling.up.step: Auto`: the arithmetic, its words, and when it is a step of one."""

from collections.abc import Callable
from typing import Any

import pytest

from controller.scaling.plan import Plan
from controller.scaling.sizing import auto_step, deploy_seconds
from controller.scaling.snapshot import Demand, Offer, ServerState, ServerView, Snapshot

AUTO = {"scaling": {"up": {"step": "Auto"}}}
HOT = {"queue_length": 120.0}
Make = Callable[..., Any]


def deploying(name: str, since: float, now: float) -> dict[str, Any]:
    return {"name": name, "age": None, "created_at": now - since}


def bought(decided: Plan) -> int:
    return sum(type(action).__name__ == "Launch" for action in decided.actions)


@pytest.fixture
def sized(make_snapshot: Make, make_offer: Make, now: float) -> Make:
    def size(*, spec: dict[str, Any] | None = None, **given: Any) -> Any:
        snapshot: Snapshot = make_snapshot(spec=spec or AUTO, **given)
        return auto_step(snapshot, make_offer(), now=now)

    return size


def test_what_remains_is_what_waits_and_comes_less_what_is_done_by_then(sized: Make, now: float) -> None:
    """Two servers serve, one is 60 s into its 240 s: it will have done 60 s when one that is bought now is Ready."""
    servers = [{"name": "a"}, {"name": "b"}, deploying("c", 60.0, now)]
    sizing = sized(signals={"queue_length": 50.0}, servers=servers, demand=Demand(0.5, 20.0))
    assert (sizing.deploy, sizing.done, sizing.slots) == (240.0, 540.0, 3)
    assert sizing.remaining == 50 * 20 + 0.5 * 20 * 240 - 540
    assert sizing.behind == 0.5 * 20 - 3
    assert sizing.count == int((2860 + 7 * 900) / 1800)
    assert str(sizing) == (
        "in 240 s: 50 x 20 s waiting + 0.5/s x 20 s x 240 s coming - 540 s done by 3 slots = 2860 s left, "
        "7 slots behind: work for 5"
    )


def test_what_the_servers_will_have_done_by_then_is_not_bought_for(sized: Make) -> None:
    sizing = sized(signals={"queue_length": 8.0}, servers=[{"name": "a"}], demand=Demand(0.0, 30.0))
    assert (sizing.remaining, sizing.behind, sizing.count) == (0.0, 0.0, 0)


def test_servers_that_leave_or_are_unwell_will_do_nothing(sized: Make) -> None:
    servers = [{"name": "a"}, {"name": "b", "draining": True}, {"name": "c", "state": ServerState.UNHEALTHY}]
    assert sized(servers=servers, demand=Demand(1.0, 1.0)).slots == 1


def test_a_server_of_many_slots_does_the_work_of_many(sized: Make) -> None:
    spec = {**AUTO, "gpuTypes": [{"bundle": "XL", "concurrency": 4}]}
    one, four = (sized(spec=s, signals=HOT, demand=Demand(0.5, 120.0)) for s in (AUTO, spec))
    assert one.count == four.count * 4 + one.count % 4 > 4


def test_servers_that_need_not_be_kept_are_bought_for_less_work(sized: Make) -> None:
    short = {"scaling": {"up": {"step": "Auto"}, "down": {"minLifetimeSeconds": 600}}}
    counts = [sized(spec=s, signals=HOT, demand=Demand(0.5, 60.0)).count for s in (AUTO, short)]
    assert counts[1] > counts[0] > 1


def test_without_demand_or_queue_there_is_no_size(sized: Make) -> None:
    assert sized(demand=None) is None
    assert sized(demand=Demand(1.0, 1.0), signals={"queue_length": None}) is None


@pytest.mark.parametrize(
    ("took", "expected"),
    [
        ([], 180.0),
        ([("XL", "ap-beijing", 100.0), ("4XL", "ap-beijing", 900.0)], 100.0),
        ([("XL", "ap-nanjing", 300.0), ("4XL", "ap-beijing", 900.0)], 300.0),
        ([("4XL", "ap-nanjing", 900.0)], 900.0),
        ([("XL", "ap-beijing", t) for t in (1.0, 2.0, 3.0, 50.0, 60.0, 70.0, 80.0)], 60.0),
    ],
    ids=["none-yet", "this-offer", "this-bundle", "any", "median-of-the-last-five"],
)
def test_the_time_to_deploy_is_learned_from_the_servers_there_are(
    took: list[tuple[str, str, float]], expected: float, make_server: Make, make_offer: Make, now: float
) -> None:
    servers: tuple[ServerView, ...] = tuple(
        make_server(f"s{i}", bundle=b, region=r, created_at=now - 9000 + i, ready_at=now - 9000 + i + seconds)
        for i, (b, r, seconds) in enumerate(took)
    )
    offer: Offer = make_offer()
    assert deploy_seconds((*servers, make_server("new", age=None)), offer) == expected


def test_auto_buys_what_will_find_work_and_says_why(decide: Make) -> None:
    decided = decide(spec=AUTO, signals=HOT, demand=Demand(0.5, 30.0))
    assert bought(decided) == 10
    assert decided.verdict.message.startswith("queue length 120 > 15; in 240 s: 120 x 30 s waiting + 0.5/s x 30 s")
    assert "work for 10 -> buy 10 x XL" in decided.verdict.message


@pytest.mark.parametrize(
    ("demand", "told"),
    [(None, "demand unknown: 1"), (Demand(0.001, 1.0), "work for 0")],
    ids=["unknown", "little"],
)
def test_auto_is_a_step_of_one_where_demand_is(demand: Demand | None, told: str, decide: Make) -> None:
    decided = decide(spec=AUTO, signals={"cpu": 100.0}, demand=demand)
    assert bought(decided) == 1
    assert told in decided.verdict.message


@pytest.mark.parametrize("demand", [None, Demand(0.001, 1.0)], ids=["unknown", "little"])
def test_where_nothing_more_would_find_work_the_step_in_flight_is_waited_for(
    demand: Demand | None, decide: Make, now: float
) -> None:
    decided = decide(spec=AUTO, signals={"cpu": 100.0}, servers=[{"name": "a"}, deploying("b", 60, now)], demand=demand)
    assert (bought(decided), decided.verdict.reason) == (0, "StepInFlight")


def test_while_servers_are_being_deployed_auto_buys_only_what_they_leave(decide: Make, now: float) -> None:
    """Ten were asked for 70 s ago; with two of them instead, there is work for four more."""
    servers = [{"name": "a"}, *(deploying(f"d{i}", 70.0, now) for i in range(10))]
    counts = [
        bought(decide(spec=AUTO, signals=HOT, servers=given, demand=Demand(0.4, 30.0)))
        for given in (servers, servers[:3])
    ]
    assert counts == [3, 7]


def test_maximum_and_rate_bound_auto_too(decide: Make) -> None:
    flood = {"signals": HOT, "demand": Demand(50.0, 30.0)}
    assert bought(decide(spec={**AUTO, "replicas": {"max": 4}}, **flood)) == 3
    assert bought(decide(spec=AUTO, **flood)) == 20


def test_nothing_on_offer_is_told_as_ever(decide: Make) -> None:
    decided = decide(spec=AUTO, signals=HOT, demand=Demand(1.0, 30.0), offers=())
    assert decided.verdict.reason == "NoOffer"


def test_what_the_preset_has_learned_of_the_offer_goes_before_what_the_servers_say(
    make_server: Callable[..., ServerView], make_offer: Make
) -> None:
    servers = (make_server("a", age=3600.0),)
    assert deploy_seconds(servers, make_offer()) == 240.0
    assert deploy_seconds(servers, make_offer(ready_seconds=95.5)) == 95.5
    assert deploy_seconds((), make_offer(ready_seconds=95.5)) == 95.5
    assert deploy_seconds((), make_offer()) == 180.0
