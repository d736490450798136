"""docs/notifications.md, docs/operator-records.md and their twins keep their word."""

import re
from pathlib import Path
from typing import get_args

import msgspec
import pytest
from prometheus_client import CollectorRegistry

from controller.api.notifications import Notification
from controller.operator.metrics import OperatorMetrics
from controller.operator.notify.courier import Times
from controller.operator.notify.errors import Outcome
from controller.operator.notify.pace import PER_MINUTE
from controller.records.alert import AlertRecord
from controller.records.cost import CostRecord
from controller.records.server import ScalingEvent, ServerSample
from controller.scaling import budget, healthalerts, trafficalerts
from controller.scaling.alertstate import MAX_FIRING, QUIET_SECONDS
from controller.scaling.healthalerts import METRICS_CRITICAL_SECONDS, PATIENCE, RULES

ROOT = Path(__file__).parents[3]


@pytest.fixture(params=["", ".zh-CN"])
def page(request: pytest.FixtureRequest) -> str:
    return (ROOT / f"docs/notifications{request.param}.md").read_text(encoding="utf-8")


@pytest.fixture(params=["", ".zh-CN"])
def records(request: pytest.FixtureRequest) -> str:
    return (ROOT / f"docs/operator-records{request.param}.md").read_text(encoding="utf-8")


def rows(text: str) -> list[list[str]]:
    """The names in back-ticks in the first column of every table row."""
    return [re.findall(r"`(\w+)`", line.split("|")[1]) for line in text.splitlines() if line.startswith("| `")]


def test_every_field_of_a_destination_is_explained_with_its_default(page: str) -> None:
    table = page.partition("urlSecret: {")[2].partition("\n## ")[0]
    names = [name for row in rows(table) for name in row]
    assert names == [field.encode_name for field in msgspec.structs.fields(Notification)]
    defaults = {f.encode_name: f.default for f in msgspec.structs.fields(Notification)}
    for name in ("minLevel", "language"):
        assert f"| `{name}` | `{defaults[name]}` |" in table
    assert "| `resolved` | `true` |" in table


def test_every_rule_is_explained(page: str) -> None:
    explained = {name for row in rows(page) for name in row}
    source = Path(healthalerts.__file__).read_text(encoding="utf-8")
    assert set(RULES.values()) | set(re.findall(r'Alert\("(\w+)"', source)) <= explained
    assert trafficalerts.RULE in explained
    assert {f"{name}Budget" for name in get_args(budget.Name)} <= explained
    assert f"{QUIET_SECONDS:g} " in page
    assert f"{METRICS_CRITICAL_SECONDS:g} " in page
    assert f" {MAX_FIRING} " in page
    assert max(PATIENCE.values()) == 60.0


def test_the_limits_are_those_of_the_code(page: str) -> None:
    assert (PER_MINUTE["WeCom"], PER_MINUTE["DingTalk"], PER_MINUTE["Feishu"], PER_MINUTE["Webhook"]) == (
        18,
        18,
        90,
        60,
    )
    assert all(f" {number} " in page for number in (18, 90, 60))
    times = Times()
    assert (f"{times.rest_first:g} " in page, f" {times.rest_longest:g} " in page) == (True, True)


def test_the_metrics_and_outcomes_are_there(page: str) -> None:
    families = {f.name: f for f in _registry().collect()}
    assert "haipool_alerts" in families
    assert "haipool_notifications" in families
    (row,) = [line for line in page.splitlines() if line.startswith("| `haipool_notifications_total`")]
    assert set(re.findall(r"`(\w+)`", row.split("|")[3])) == set(get_args(Outcome))


def _registry() -> CollectorRegistry:
    registry = CollectorRegistry()
    OperatorMetrics(registry)
    return registry


def test_every_field_of_the_operators_records_is_explained_in_order(records: str) -> None:
    parts = records.split("\n## ")
    sample, event = next(p for p in parts if p.startswith("server_status")).split("`scaling`")[:2]
    for text, model in (
        (sample, ServerSample),
        (event, ScalingEvent),
        (next(p for p in parts if p.startswith("cost_traffic")), CostRecord),
        (next(p for p in parts if p.startswith("alerts")), AlertRecord),
    ):
        assert [name for row in rows(text) for name in row] == list(model.__struct_fields__), model.__name__
