"""Which conditions become alerts, after how long, and how urgent they are."""

from typing import Any

import pytest

from controller.api.gpupool import GpuPoolSpec, Replicas
from controller.api.model import ConditionModel
from controller.api.names import Condition
from controller.api.times import rfc3339
from controller.scaling.healthalerts import RULES, Health, health_alerts, unknown_rules
from controller.scaling.snapshot import ServerState, ServerView, Signals, Snapshot

NOW = 1_738_324_800.0


def server(name: str = "a", **changes: Any) -> ServerView:
    fields: dict[str, Any] = {
        "region": "ap-beijing", "bundle": "XL", "price_per_hour": 0.88, "state": ServerState.READY, "created_at": 0.0,
    }  # fmt: skip
    return ServerView(name=name, **(fields | changes))


def snapshot(*servers: ServerView, **changes: Any) -> Snapshot:
    fields: dict[str, Any] = {"spec": GpuPoolSpec(), "signals": Signals(), "servers": servers, "offers": ()}
    return Snapshot(**(fields | changes))


def false(kind: str, reason: str, *, since: float = 3600.0, status: Any = "False") -> ConditionModel:
    return ConditionModel(
        type=kind, status=status, reason=reason, message="why", last_transition_time=rfc3339(NOW - since)
    )


def alerts(
    *conditions: ConditionModel, seen: Snapshot | None = None, leaked: float = 0.0, wants_more: bool = False
) -> dict[str, str]:
    """Level by rule."""
    found = health_alerts(Health(seen or snapshot(server()), conditions, leaked, wants_more, NOW))
    assert all(a.message and a.message_zh and a.unit for a in found)
    return {a.rule: a.level for a in found}


@pytest.mark.parametrize(
    ("condition", "wants_more", "wanted"),
    [
        (false(Condition.NO_LEAKS, "Leaked", since=0.0), False, {"Leaks": "Critical"}),
        (false(Condition.ACCOUNT_HEALTHY, "Arrears", since=0.0), False, {"Account": "Emergency"}),
        (false(Condition.ACCOUNT_HEALTHY, "QuotaExceeded"), False, {"Account": "Critical"}),
        (false(Condition.CAPACITY_AVAILABLE, "SoldOut"), False, {"SoldOut": "Warning"}),
        (false(Condition.CAPACITY_AVAILABLE, "SoldOut"), True, {"SoldOut": "Critical"}),
        (false(Condition.CAPACITY_AVAILABLE, "NoOffer", since=30.0), True, {}),
        (false(Condition.METRICS_AVAILABLE, "ScrapeFailed", since=59.0), False, {}),
        (false(Condition.METRICS_AVAILABLE, "ScrapeFailed", since=60.0), False, {"MetricsMissing": "Warning"}),
        (false(Condition.METRICS_AVAILABLE, "ScrapeFailed", since=600.0), False, {"MetricsMissing": "Critical"}),
        (false(Condition.READY, "Unhealthy"), False, {"NotReady": "Warning"}),
        (false(Condition.READY, "Deleting"), False, {}),
        (false(Condition.NOTIFICATIONS_DELIVERED, "Rejected"), False, {"NotificationsFailing": "Warning"}),
        (false(Condition.READY, "Unhealthy", status="True"), False, {}),
        (false(Condition.NO_LEAKS, "NotAudited", status="Unknown"), False, {}),
    ],
)
def test_a_condition_that_lasts_becomes_an_alert(
    condition: ConditionModel, wants_more: bool, wanted: dict[str, str]
) -> None:
    assert alerts(condition, wants_more=wants_more) == wanted


def test_too_few_servers_and_nothing_to_buy_is_urgent() -> None:
    low = snapshot(spec=GpuPoolSpec(replicas=Replicas(min=2)))
    found = alerts(false(Condition.CAPACITY_AVAILABLE, "SoldOut"), false(Condition.READY, "SoldOut"), seen=low)
    assert found == {"SoldOut": "Critical", "NotReady": "Critical"}


def test_what_leaks_says_what_it_costs() -> None:
    health = Health(snapshot(server()), [false(Condition.NO_LEAKS, "Leaked")], 1.76, False, NOW)
    (alert,) = health_alerts(health)
    assert (alert.value, alert.unit) == (1.76, "CNY/h")
    assert "1.76 元" in alert.message_zh


@pytest.mark.parametrize(("count", "wanted"), [(1, {}), (2, "Warning"), (4, "Warning"), (5, "Critical")])
def test_launches_that_fail_one_after_the_other(count: int, wanted: Any) -> None:
    seen = snapshot(server(), launch_failures=tuple((NOW, f"a-{n}: no") for n in range(count)))
    assert alerts(seen=seen) == ({"LaunchesFailing": wanted} if wanted else {})


def test_too_many_dead_at_once() -> None:
    dead = [server(f"d{n}", state=ServerState.UNHEALTHY, agreed_dead=True) for n in range(2)]
    found = health_alerts(Health(snapshot(server(), *dead), [], 0.0, False, NOW))
    assert [(a.rule, a.level, a.value, a.threshold) for a in found] == [("TooManyDead", "Critical", 2.0, 1.0)]


def test_a_pool_that_is_being_deleted_alarms_nobody() -> None:
    assert alerts(false(Condition.READY, "Unhealthy"), seen=snapshot(server(), deleting=True)) == {}


def test_conditions_that_are_unknown_leave_their_alerts_as_they_are() -> None:
    conditions = [false(kind, "x", status="Unknown") for kind in RULES]
    assert unknown_rules(conditions) == frozenset(RULES.values())
    assert unknown_rules([false(Condition.READY, "x"), false(Condition.PAUSED, "x", status="Unknown")]) == frozenset()
