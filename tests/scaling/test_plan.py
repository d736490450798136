"""The whole decision: replacing the dead and its brake, letting a pool go, what is desired, and purity."""

from collections.abc import Callable
from typing import Any

import pytest

from controller.scaling.plan import Plan, plan
from controller.scaling.snapshot import Memory, ServerState

Decide = Callable[..., Plan]
Words = Callable[[Plan], tuple[str, list[str]]]

BUY = "Launch XL ap-beijing"
DEAD = {"state": ServerState.UNHEALTHY, "agreed_dead": True}
OURS = {"draining": True, "drained_by_pool": True}


def pool(*, alive: int, dead: int) -> list[dict[str, Any]]:
    well = [{"name": f"a{n}"} for n in range(alive)]
    return well + [{"name": f"d{n}", **DEAD} for n in range(dead)]


def row(name: str, verdict: str, actions: list[str], **given: Any) -> Any:
    """A requirement: what it says, what follows, and what differs from an idle pool of one old server."""
    return pytest.param(given, verdict, actions, id=name)


ROWS = [
    row("a dead server is destroyed", "Replace/Dead", ["Destroy d0"], servers=pool(alive=1, dead=1)),
    row(
        "however young it is",
        "Replace/Dead",
        ["Destroy d0"],
        servers=[{"name": "s1"}, {"name": "d0", "age": 1.0, **DEAD}],
    ),
    row("even the only one", "Replace/Dead", ["Destroy d0"], servers=pool(alive=0, dead=1)),
    row(
        "even while scaling down is paused",
        "Replace/Dead",
        ["Destroy d0"],
        servers=pool(alive=1, dead=1),
        spec={"paused": "ScaleDown"},
    ),
    row(
        "the next look buys what the minimum misses",
        "ScaleUp/BelowMinimum",
        [BUY],
        servers=[{"name": "d0", **DEAD, "state": ServerState.TERMINATING}],
    ),
    row(
        "a dead server that nobody misses is not bought again",
        "Hold/AtMinimum",
        [],
        servers=[{"name": "a0"}, {"name": "d0", **DEAD, "state": ServerState.TERMINATING}],
    ),
    row(
        "unhealthy is not dead",
        "Hold/AtMinimum",
        [],
        servers=[{"name": "a0"}, {"name": "d0", "state": ServerState.UNHEALTHY}],
    ),
    row(
        "nor is a server dead that is Ready again", "Hold/AtMinimum", [], servers=[{"name": "a0", "agreed_dead": True}]
    ),
    row(
        "nor one that was never Ready", "Hold/Deploying", [], servers=[{"name": "a0", "age": None, "agreed_dead": True}]
    ),
    row("a fifth may be replaced at once", "Replace/Dead", ["Destroy d0", "Destroy d1"], servers=pool(alive=8, dead=2)),
    row("more than a fifth may not", "Hold/TooManyDead", [], servers=pool(alive=7, dead=3)),
    row("two of two are too many", "Hold/TooManyDead", [], servers=pool(alive=0, dead=2)),
    row("two of nine are too many", "Hold/TooManyDead", [], servers=pool(alive=7, dead=2)),
    row(
        "servers being deployed are no evidence that the rest is well",
        "Hold/TooManyDead",
        [],
        servers=[*pool(alive=3, dead=2), *({"name": f"n{n}", "age": None} for n in range(5))],
    ),
    row(
        "nor are those already being destroyed, so that a pool cannot die by fifths",
        "Hold/TooManyDead",
        [],
        servers=[
            *pool(alive=6, dead=2),
            *({"name": f"t{n}", **DEAD, "state": ServerState.TERMINATING} for n in range(2)),
        ],
    ),
    row(
        "the dead that were destroyed moments ago count, so that a pool cannot die one by one either",
        "Hold/TooManyDead",
        [],
        servers=[*pool(alive=8, dead=1), {"name": "t", **DEAD, "state": ServerState.TERMINATING}],
        replaced=["t", "gone"],
    ),
    row(
        "a fifth of all that were in service just now",
        "Replace/Dead",
        ["Destroy d0"],
        servers=pool(alive=8, dead=1),
        replaced=["gone"],
    ),
    row(
        "once they are replaced the pool is well",
        "Hold/AtMinimum",
        [],
        servers=pool(alive=1, dead=0),
        replaced=["x", "y"],
    ),
    row(
        "the brake keeps the living from being scaled down",
        "Hold/TooManyDead",
        [],
        servers=pool(alive=3, dead=2),
        low_for=9999.0,
    ),
    row(
        "the brake does not keep drains from ending",
        "Hold/TooManyDead",
        ["Destroy z"],
        servers=[*pool(alive=3, dead=2), {"name": "z", **OURS, "drained": True}],
    ),
    row(
        "the brake does not keep a trigger from buying",
        "ScaleUp/LongQueue",
        [BUY],
        servers=pool(alive=3, dead=2),
        signals={"queue_length": 99},
    ),
    row(
        "a pool that is being deleted destroys all, young and protected too",
        "Terminate/PoolDeleted",
        ["Destroy s1", "Destroy s2", "Destroy s3"],
        deleting=True,
        servers=[{"name": "s1", "age": 1.0}, {"name": "s2", "protected": True}, {"name": "s3", "age": None}],
    ),
    row("even when paused", "Terminate/PoolDeleted", ["Destroy s1"], deleting=True, spec={"paused": "All"}),
    row(
        "asking once is enough",
        "Terminate/PoolDeleted",
        [],
        deleting=True,
        servers=[{"name": "s1", "state": ServerState.TERMINATING}],
    ),
    row("and buys nothing", "Terminate/PoolDeleted", [], deleting=True, servers=[], signals={"queue_length": 99}),
    row("Orphan lets them live", "Orphan/PoolDeleted", [], deleting=True, spec={"deletionPolicy": "Orphan"}),
]


@pytest.mark.parametrize(("given", "verdict", "actions"), ROWS)
def test_deciding(decide: Decide, words: Words, given: dict[str, Any], verdict: str, actions: list[str]) -> None:
    assert words(decide(**given)) == (verdict, actions)


@pytest.mark.parametrize(
    ("what", "given", "desired"),
    [
        ("at rest", {}, 1),
        ("servers being deployed are part of it", {"servers": [{"name": "s1"}, {"name": "s2", "age": None}]}, 2),
        ("a purchase adds", {"servers": [], "spec": {"replicas": {"min": 3}}}, 3),
        ("a drain takes away", {"servers": [{"name": "s1"}, {"name": "s2"}]}, 1),
        ("a drain taken back adds", {"servers": [{"name": "s2", **OURS}]}, 1),
        (
            "the end of a drain changes nothing",
            {"servers": [{"name": "s1"}, {"name": "s2", **OURS, "drained": True}]},
            1,
        ),
        ("a dead server is not desired", {"servers": [{"name": "s1"}, {"name": "d", **DEAD}]}, 1),
        ("a pool that is being deleted desires none", {"deleting": True}, 0),
        ("a hold desires what there is", {"signals": {"queue_length": 99}, "spec": {"paused": "All"}}, 1),
    ],
)
def test_desired_servers(decide: Decide, what: str, given: dict[str, Any], desired: int) -> None:
    assert decide(**given).desired == desired


def test_recommending_is_deciding_the_same(decide: Decide) -> None:
    """What is done with a plan is not the planner's business."""
    given = {"servers": [{"name": "s1"}, {"name": "s2"}]}
    assert decide(spec={"mode": "Recommend"}, **given).actions == decide(spec={"mode": "Act"}, **given).actions != ()


def test_every_action_carries_a_reason_and_a_message(decide: Decide) -> None:
    acting = (
        decide(servers=[]),
        decide(servers=[{"name": "s1"}, {"name": "s2"}]),
        decide(servers=[{"name": "s1", **OURS}]),
        decide(servers=pool(alive=1, dead=1)),
        decide(deleting=True),
    )
    for decided in acting:
        assert decided.actions
        for action in decided.actions:
            assert action.reason[0].isupper()
            assert action.reason.isalnum()
            assert action.message


def test_a_pool_whose_servers_are_found_dead_one_by_one_loses_a_fifth_and_then_keeps_the_rest(
    make_snapshot: Callable[..., Any], now: float
) -> None:
    memory, destroyed = Memory(), 0
    for dead in range(1, 11):
        servers = [{"name": f"s{n}", **(DEAD if n < dead else {})} for n in range(destroyed, 10)]
        decided = plan(make_snapshot(servers=servers, spec={"paused": "ScaleUp"}), memory, now=now + 10.0 * dead)
        memory, destroyed = decided.memory, destroyed + len(decided.actions)
    assert destroyed == 2
    assert decided.verdict.reason == "TooManyDead"
