"""What the demo prints at its end."""

import io
import json
from dataclasses import replace

from rich.console import Console

from controller.sandbox.demo.evidence import Evidence
from controller.sandbox.demo.rules import check
from controller.sandbox.demo.summary import as_json, print_summary


def test_the_json_object_holds_what_was_measured(good: Evidence) -> None:
    summary = json.loads(json.dumps(as_json(good, check(good), duration=99.5)))
    assert summary["served_order"] == ["A1", "B1", "C1", "A2", "C2", "A3", "A4"]
    assert summary["mean_wait_s"] == {"A": 4.5, "B": 2.0, "C": 4.0}
    assert summary["max_wait_s"] == {"A": 7.0, "B": 2.0, "C": 5.0}
    assert (summary["tasks_ok"], summary["tasks_failed"]) == (7, 0)
    assert (summary["peak_servers"], summary["final_servers"]) == (3, 1)
    assert summary["cost_cny"] == round((100 * 0.88 + 71 * 0.88 + 41 * 2.41) / 3600, 6)
    assert summary["cost_if_dearest_cny"] == round(212 * 6.60 / 3600, 6)
    assert summary["duration_s"] == 99.5
    assert summary["ok"] is True
    assert all(rule["ok"] and rule["detail"] for rule in summary["rules"])


def test_launches_and_terminations_are_listed_in_time_order_with_price_and_reason(good: Evidence) -> None:
    summary = as_json(good, check(good), duration=99.5)
    assert [one["server"] for one in summary["launches"]] == ["demo-1", "demo-2", "demo-3"]
    assert summary["terminations"] == [
        {
            "time": "1970-01-01T00:01:00.000Z",
            "server": "demo-3",
            "region": "ap-shanghai",
            "bundle": "3XL",
            "price_per_hour": 2.41,
            "reason": "LowLoad: low for 6 s",
        },
        {
            "time": "1970-01-01T00:01:20.000Z",
            "server": "demo-2",
            "region": "ap-nanjing",
            "bundle": "XL",
            "price_per_hour": 0.88,
            "reason": "LowLoad: low for 6 s",
        },
    ]


def test_a_broken_rule_is_in_the_json_object(good: Evidence) -> None:
    bad = replace(good, min_replicas=2)
    summary = as_json(bad, check(bad), duration=1.0)
    assert summary["ok"] is False
    assert [rule["ok"] for rule in summary["rules"]].count(False) == 1


def test_failed_tasks_are_counted_and_users_without_a_wait_have_none(good: Evidence) -> None:
    tasks = tuple(replace(task, problem="HTTP 503") if task.user == "B" else task for task in good.tasks)
    summary = as_json(replace(good, tasks=tasks), [], duration=1.0)
    assert (summary["tasks_ok"], summary["tasks_failed"]) == (6, 1)
    assert summary["mean_wait_s"]["B"] is None


def _text(evidence: Evidence) -> str:
    out = io.StringIO()
    print_summary(Console(file=out, width=120), evidence, check(evidence), duration=99.0)
    return out.getvalue()


def test_the_text_tells_order_waits_purchases_money_and_rules(good: Evidence) -> None:
    text = _text(good)
    assert "A1 B1 C1 A2 C2 A3 A4" in text
    assert "LongQueue: 16 > 15" in text
    assert "LowLoad: low for 6 s" in text
    assert "ap-shanghai 上海" in text
    assert text.count("✓") == 12
    assert "All 12 rules held: 7 tasks, 3 servers at the peak, 1 at the end, 99 s." in text


def test_the_text_tells_a_broken_rule(good: Evidence) -> None:
    text = _text(replace(good, unowned=("hp1-x",)))
    assert "✗" in text
    assert "no GpuInstance stands for hp1-x" in text
    assert "1 of 12 rules were broken" in text
