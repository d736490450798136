"""The pool's conditions: Unknown while unsettled, False only when someone should act."""

from collections.abc import Callable
from typing import Any

import pytest

from controller.api.model import ConditionModel
from controller.scaling.conditions import condition, pool_conditions
from controller.scaling.launches import Launches
from controller.scaling.plan import plan
from controller.scaling.snapshot import NOT_VERIFIED, Memory, Missing, ServerState, Snapshot

#: As in conftest.py.
NOW = 1_768_449_600.0

MakeSnapshot = Callable[..., Snapshot]

NEW = {"name": "new", "age": None}
SICK = {"name": "s1", "state": ServerState.UNHEALTHY}
DEAD = {"state": ServerState.UNHEALTHY, "agreed_dead": True}
NEW_PRESET = (("nanjing", NOT_VERIFIED),)
NO_CPU = {"cpu": None, "missing": {"cpu": Missing("CpuUnknown", "Cloud Monitor lags")}}
SOLD_OUT = [{"sold_out_until": 9e9}]


@pytest.fixture
def conditions(make_snapshot: MakeSnapshot, now: float) -> Callable[..., dict[str, ConditionModel]]:
    def of(**given: Any) -> dict[str, ConditionModel]:
        snapshot = make_snapshot(**given)
        decided = plan(snapshot, Memory(), now=now)
        return {c.type: c for c in pool_conditions(snapshot, decided, now=now)}

    return of


def row(name: str, kind: str, expected: str, **given: Any) -> Any:
    return pytest.param(kind, expected, given, id=f"{kind}: {name}")


def launched(how: str) -> dict[str, Any]:
    """A row of launches that became Ready or failed, oldest first."""
    known = Launches()
    for outcome in how:
        known = known.succeeded() if outcome == "R" else known.failed(0.0, "no answer")
    return {"launch_failures": known.failures, "launch_outcomes": known.outcomes}


ROWS = [
    row("the minimum is Ready", "Ready", "True/MinimumReady"),
    row("a minimum of 0 is always Ready", "Ready", "True/MinimumReady", servers=[], spec={"replicas": {"min": 0}}),
    row("a new pool is just buying", "Ready", "Unknown/BelowMinimum", servers=[]),
    row("being deployed is unsettled", "Ready", "Unknown/Deploying", servers=[NEW]),
    row("nothing to buy", "Ready", "False/NoOffer", servers=[], offers=SOLD_OUT),
    row("presets are being verified", "Ready", "Unknown/VerifyingPresets", servers=[], unusable_presets=NEW_PRESET),
    row("nobody may buy", "Ready", "False/ScaleUpPaused", servers=[], spec={"paused": "ScaleUp"}),
    row("only recommended", "Ready", "False/BelowMinimum", servers=[], spec={"mode": "Recommend"}),
    row("launches fail", "Ready", "False/LaunchesFailing", servers=[], launch_failures=((1_768_449_599.0, "no"),)),
    row("an unhealthy server that nobody replaces", "Ready", "False/Unhealthy", servers=[SICK]),
    row("a dead server is being replaced", "Ready", "Unknown/Dead", servers=[{"name": "d", **DEAD}]),
    row("the brake", "Ready", "False/TooManyDead", servers=[{"name": f"d{n}", **DEAD} for n in range(2)]),
    row(
        "the brake, though enough are left and a trigger speaks louder",
        "Ready",
        "False/TooManyDead",
        servers=[{"name": "s1"}, *({"name": f"d{n}", **DEAD} for n in range(2))],
        signals={"queue_length": 99},
    ),
    row("a draining server does not count", "Ready", "Unknown/BelowMinimum", servers=[{"name": "s", "draining": True}]),
    row("a pool that is being deleted", "Ready", "False/Deleting", deleting=True),
    row("all is read", "MetricsAvailable", "True/Scraped"),
    row("a scrape failed", "MetricsAvailable", "False/ScrapeFailed", signals={"problem": "http://a: timed out"}),
    row("no CPU figure", "MetricsAvailable", "Unknown/CpuUnknown", signals=NO_CPU),
    row(
        "none for long", "MetricsAvailable", "False/CpuUnknown", signals=NO_CPU, unknown_since={"CPU": 1_768_448_999.0}
    ),
    row(
        "no CPU figure without a server",
        "MetricsAvailable",
        "True/Scraped",
        servers=[],
        signals={"cpu": None, "missing": {"cpu": Missing("NoServer", "no server is Ready")}},
    ),
    row("something is in stock", "CapacityAvailable", "True/OffersInStock", offers=[*SOLD_OUT, {"bundle": "3XL"}]),
    row("all is sold out", "CapacityAvailable", "False/SoldOut", offers=SOLD_OUT),
    row("unsettled", "CapacityAvailable", "Unknown/VerifyingPresets", offers=[], unusable_presets=NEW_PRESET),
    row("one preset is new", "CapacityAvailable", "True/OffersInStock", unusable_presets=NEW_PRESET),
    row("nothing is on offer", "CapacityAvailable", "False/NoOffer", offers=[]),
    row("the last launch went well", "LaunchHealthy", "True/LaunchesSucceed"),
    *(
        row(f"launches went {how}", "LaunchHealthy", expected, **launched(how))
        for how, expected in (
            ("R", "True/LaunchesSucceed"),
            ("F", "Unknown/LaunchFailed"),
            ("FF", "False/LaunchesFailing"),
            ("FFR", "Unknown/Recovering"),
            ("FFRR", "Unknown/Recovering"),
            ("FFRRR", "True/LaunchesSucceed"),
            ("FRF", "False/LaunchesFailing"),
            ("FRFR", "Unknown/Recovering"),
            ("RRRF", "Unknown/LaunchFailed"),
            ("FRRRF", "Unknown/LaunchFailed"),
            ("FFFFFFFF", "False/LaunchesFailing"),
        )
    ),
    row("the cloud does not object", "AccountHealthy", "True/NoObjection"),
    row(
        "arrears",
        "AccountHealthy",
        "False/Arrears",
        blocks=[{"reason": "Arrears", "message": "top up", "until": 9e9}],
    ),
    row(
        "an objection that the next purchase may try",
        "AccountHealthy",
        "False/Arrears",
        blocks=[{"reason": "Arrears", "message": "top up", "until": NOW - 1.0}],
    ),
    row(
        "an objection that no purchase has tried for long",
        "AccountHealthy",
        "Unknown/Arrears",
        blocks=[{"reason": "Arrears", "message": "top up", "until": NOW - 601.0}],
    ),
    row("not paused", "Paused", "False/Active"),
    *(row("paused", "Paused", f"True/{how}", spec={"paused": how}) for how in ("All", "ScaleUp", "ScaleDown")),
    row("only recommending", "Paused", "True/Recommend", spec={"mode": "Recommend"}),
]


@pytest.mark.parametrize(("kind", "expected", "given"), ROWS)
def test_conditions(
    conditions: Callable[..., dict[str, ConditionModel]], kind: str, expected: str, given: dict[str, Any]
) -> None:
    found = conditions(**given)[kind]
    assert f"{found.status}/{found.reason}" == expected
    assert found.message


def test_a_blocked_region_is_named(conditions: Callable[..., dict[str, ConditionModel]]) -> None:
    block = {"reason": "QuotaExceeded", "message": "raise the quota", "until": 9e9, "region": "ap-nanjing"}
    assert conditions(blocks=[block])["AccountHealthy"].message == "ap-nanjing: raise the quota"


def test_failing_launches_say_what_when_and_that_nobody_has_to_act(
    conditions: Callable[..., dict[str, ConditionModel]], now: float
) -> None:
    known = Launches().failed(now - 90.0, "p-1: no answer").failed(now - 10.0, "p-2: no answer")
    found = conditions(launch_failures=known.failures, launch_outcomes=known.outcomes)["LaunchHealthy"]
    assert found.message == (
        "2 of the last 2 launches failed, 2 in a row: p-2: no answer; "
        "tried again in 30 s by itself; the first server that becomes Ready ends the pause"
    )


def test_a_pause_below_the_minimum_says_so(conditions: Callable[..., dict[str, ConditionModel]]) -> None:
    message = conditions(servers=[], spec={"paused": "ScaleUp"})["Paused"].message
    assert message == "spec.paused is ScaleUp; 0 servers, minimum 1"


@pytest.mark.parametrize(("length", "kept"), [(300, 300), (301, 300), (5000, 300)])
def test_messages_are_cut_to_what_people_read(length: int, kept: int) -> None:
    message = condition("Ready", "True", "Some", "x" * length).message
    assert len(message) == kept
    assert message.endswith("…") == (length > 300)
