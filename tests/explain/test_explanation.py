"""The facts put together: nothing is made up, and what is missing or old is said."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from controller.api.times import rfc3339
from controller.explain.explanation import Explanation, explanation

Make = Callable[..., Any]


@pytest.fixture
def told(facts: Make, now: float) -> Callable[..., Explanation]:
    def of(*, since: float = 86400.0, **given: Any) -> Explanation:
        return explanation(facts(**given), now=now, since_seconds=since)

    return of


def test_the_money_is_the_ledgers_and_the_presets(told: Make, make_preset: Make) -> None:
    money = told(presets=(make_preset("a"), make_preset("b"))).money
    assert (money.per_hour, money.today, money.this_month, money.storage_per_day) == (3.29, 12.5, 300.25, 0.48)
    assert (money.next_server_per_hour, money.first_to_go_per_hour) == (0.9, 2.41)


def test_what_is_decided_now_is_dated_by_the_journal(told: Make, make_decision: Make, now: float) -> None:
    assert told().decision_since == rfc3339(now - 90)
    assert told(lastDecision=make_decision(reason="LoadNotLow")).decision_since is None


def test_servers_come_in_the_order_of_their_launch_with_what_they_cost(told: Make, make_instance: Make) -> None:
    new = make_instance(10, phase="Deploying", readyAt=None)
    leaving = make_instance(9, meta={"deletionTimestamp": "2026-01-15T03:59:00Z"})
    kept = make_instance(2, price=2.0, meta={"annotations": {"haipool.io/protect": "true"}})
    lines = told(instances=(new, leaving, kept)).servers
    assert [(s.name, s.phase, s.cost_cny) for s in lines] == [
        ("sd-2", "Ready", 2.0),
        ("sd-9", "Terminating", 0.88),
        ("sd-10", "Deploying", 0.88),
    ]
    assert [s.protected for s in lines] == [True, False, False]
    assert [s.phase_since for s in lines][1] == "2026-01-15T03:59:00Z"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        pytest.param({"lastDecision": None}, "has not decided on this pool yet", id="never decided"),
        pytest.param({"generation": 2}, "the spec has changed", id="a new spec"),
        pytest.param({"events": None}, "events cannot be read", id="no right to read events"),
        pytest.param({"lastDecision": {"time": "2026-01-15T03:50:00Z", "action": "Hold", "reason": "AtMinimum",
            "message": ""}}, "the operator does not run", id="decisions stopped"),
    ],
)  # fmt: skip
def test_what_is_not_current_or_complete_is_said(told: Make, given: Any, words: str) -> None:
    (note,) = told(**given).notes
    assert words in note


def test_nothing_is_noted_when_all_is_current(told: Make) -> None:
    assert told().notes == ()


def test_a_status_of_an_older_version_is_explained_as_far_as_it_goes(told: Make) -> None:
    old = {"time": "2026-01-15T03:59:58Z", "action": "Hold", "reason": "AtMinimum", "message": "1 Ready, minimum 1"}
    got = told(lastDecision=old, journal=[])
    assert (got.decision.reason, got.decision.growing.reason, got.history) == ("AtMinimum", "", ())


def test_history_joins_decisions_and_events_in_time_order(told: Make, make_event: Make) -> None:
    events = (
        make_event(95, "sd-3", "Gone", "hai-3 ran 3600 s"),
        make_event(80, "sd-2", "Unhealthy", "3 probes failed", type="Warning", count=4),
    )
    lines = told(events=events).history
    assert [(h.kind, h.about, h.reason, h.count) for h in lines] == [
        ("decision", "sd", "LongQueue", 1),
        ("event", "sd-3", "Gone", 1),
        ("decision", "sd", "VictimTooYoung", 1),
        ("warning", "sd-2", "Unhealthy", 4),
    ]


def test_events_that_only_repeat_a_decision_or_a_server_are_left_out(told: Make, make_event: Make) -> None:
    events = (
        make_event(699, "sd", "LongQueue", "sd-2: queue length 42 > 15 -> buy 1 x 3XL in ap-nanjing"),
        make_event(698, "sd-2", "SoldOut", "3XL in ap-nanjing: sold out"),
        make_event(698, "sd", "SoldOut", "sd-2: 3XL in ap-nanjing: sold out"),
    )
    lines = told(events=events).history
    assert [(h.about, h.reason) for h in lines if h.kind != "decision"] == [("sd-2", "SoldOut")]


def test_history_is_as_long_as_asked_for(told: Make) -> None:
    assert [h.reason for h in told(since=120.0).history] == ["VictimTooYoung"]


def test_a_recommendation_in_the_history_is_no_deed(told: Make, make_entry: Make) -> None:
    journal = [make_entry(60, "ScaleUp", "LongQueue", mode="Recommend"), make_entry(30, "Hold", "AtMinimum")]
    assert [h.action for h in told(journal=journal).history] == ["would ScaleUp", "Hold"]


def test_conditions_that_are_as_they_should_be_are_not_told(told: Make) -> None:
    conditions = [
        {"type": kind, "status": status, "reason": "R"}
        for kind, status in (
            ("Ready", "True"),
            ("CapacityAvailable", "False"),
            ("MetricsAvailable", "Unknown"),
            ("Paused", "False"),
        )
    ]
    assert [c.type for c in told(conditions=conditions).conditions] == ["CapacityAvailable", "MetricsAvailable"]
    paused = [{"type": "Paused", "status": "True", "reason": "All"}]
    assert [c.type for c in told(conditions=paused).conditions] == ["Paused"]


def test_presets_that_sell_nothing_are_named(told: Make, make_preset: Make) -> None:
    presets = (make_preset("a"), make_preset("b", enabled=False), make_preset("c", "False"))
    assert told(presets=presets).unusable_presets == (
        "b: spec.enabled is false",
        "c: ApplicationMissing: create it",
    )
    assert told(presets=()).unusable_presets == ("no RegionPreset matches spec.presetSelector",)


def test_the_json_has_these_fields(told: Make) -> None:
    assert set(msgspec.to_builtins(told(lastDecision=None))) == {
        *("pool", "namespace", "time", "mode", "paused", "deleting", "intervalSeconds", "notes", "signals", "decision"),
        *("decisionAgeSeconds", "decisionSince", "lowLoadSince", "money", "servers", "conditions", "unusablePresets"),
        *("historySeconds", "history"),
    }
