"""What people are told about money."""

from typing import Any

import msgspec
import pytest

from controller.api.budget import Budget
from controller.api.spend import Billing, Spend
from controller.scaling.moneyalerts import billing_alerts, budget_alerts

BUDGET = {"hourly": {"soft": 5, "hard": 10}, "daily": {"soft": 50, "hard": 100}, "monthly": {"soft": 500, "hard": 900}}


@pytest.mark.parametrize(
    ("spend", "reason", "expected"),
    [
        ({}, "", []),
        ({"per_hour": 5.0}, "", []),  # a rate may be as high as its cap
        ({"per_hour": 5.01}, "", [("HourlyBudget", "Warning", 5.0)]),
        ({"today": 50.0}, "", [("DailyBudget", "Warning", 50.0)]),
        ({"today": 49.0}, "DailySoftCap", [("DailyBudget", "Warning", 50.0)]),
        ({"today": 100.0}, "", [("DailyBudget", "Critical", 100.0)]),
        ({"today": 60.0}, "DailyHardCap", [("DailyBudget", "Critical", 100.0)]),
        ({"this_month": 450.0, "traffic_this_month": 50.0}, "", [("MonthlyBudget", "Warning", 500.0)]),
        ({"forecast_this_month": 500.0}, "", []),
        ({"forecast_this_month": 499.0, "traffic_this_month": 2.0}, "", [("MonthlyForecast", "Warning", 500.0)]),
        ({"per_hour": 11.0, "today": 1.0}, "LongQueue", [("HourlyBudget", "Critical", 10.0)]),
    ],
)
def test_caps_that_are_reached_or_refuse_are_told_once_each(
    spend: dict[str, Any], reason: str, expected: list[tuple[str, str, float]]
) -> None:
    found = budget_alerts(msgspec.convert(BUDGET, Budget), Spend(**spend), reason=reason)
    assert [(a.rule, a.level, a.threshold) for a in found] == expected
    assert all(a.message and a.message_zh and a.message_zh != a.message for a in found)


def test_without_a_budget_nothing_is_told() -> None:
    assert budget_alerts(Budget(), Spend(per_hour=1e6, today=1e6, this_month=1e6), reason="DailyHardCap") == []


@pytest.mark.parametrize(
    ("billing", "level"),
    [
        (Billing(), None),
        (Billing(day="2026-01-13", state="Agrees", ours=5.0, billed=5.0), None),
        (Billing(day="2026-01-13", state="Waiting"), None),
        (Billing(day="2026-01-13", state="Differs", ours=5.0, billed=9.0, difference=4.0), "Warning"),
        (Billing(day="2026-01-13", state="Differs", ours=9.0, billed=5.0, difference=-4.0, unbilled=1), "Info"),
        (Billing(day="2026-01-13", state="Differs", strangers=("hai-lost",), strangers_cny=3.0), "Warning"),
    ],
)
def test_a_bill_that_differs_is_told_and_louder_if_more_was_billed(billing: Billing, level: str | None) -> None:
    assert [a.level for a in billing_alerts(billing)] == ([level] if level else [])
