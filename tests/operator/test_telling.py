"""A pool's status is written when it tells something new, and now and then when only figures moved."""

from typing import Any

import pytest

from controller.api.decision import figures_seconds
from controller.api.gpupool import GpuPoolStatus
from controller.api.model import read, write
from controller.operator.telling import worth_telling

_DECISION: dict[str, Any] = {
    "time": "2026-01-15T04:00:00.000Z",
    "action": "Hold",
    "reason": "LoadNotLow",
    "message": "queue length 7",
    "counts": {"serving": 3, "minimum": 1},
    "terms": [{"name": "wanted", "value": 0.0}],
    "shrinking": {"reason": "LoadNotLow", "message": "queue length 7"},
    "victim": {"name": "p-3", "bundle": "XL", "region": "ap-beijing", "pricePerHour": 0.88, "ranSeconds": 100.0},
}
_KNOWN: dict[str, Any] = {
    "observedGeneration": 1,
    "readyReplicas": 3,
    "launchCounter": 3,
    "message": "Hold: queue length 7",
    "signals": [{"name": "Queue", "value": 7.0, "state": "Normal", "source": "dispatcher", "ageSeconds": 0.1}],
    "lastDecision": _DECISION,
    "journal": [{"time": "2026-01-15T03:00:00.000Z", "action": "Hold", "reason": "LoadNotLow"}],
    "spend": {"perHour": 2.64, "today": 10.0, "thisMonth": 100.0, "endedToday": 1.0, "booked": ["u1"]},
    "traffic": {"usedGB": 10.0, "endedGB": 2.0, "level": "Normal", "checkedAt": "2026-01-15T03:55:00.000Z"},
    "alerts": [
        {
            "rule": "Leaks",
            "state": "Firing",
            "level": "Critical",
            "peak": "Critical",
            "since": "2026-01-15T03:00:00.000Z",
            "changedAt": "2026-01-15T03:00:00.000Z",
            "value": 0.88,
            "message": "0.88 CNY/h",
            "told": {"Record": "Critical"},
        }
    ],
    "conditions": [{"type": "Ready", "status": "True", "reason": "Serving", "message": "3 serve"}],
}
STATUS = read(GpuPoolStatus, _KNOWN)
#: As the operator would write it again, defaults and all.
KNOWN = write(STATUS)
DECISION = KNOWN["lastDecision"]


def told(*, after: float | None = 10.0, interval: int = 10, **changes: Any) -> Any:
    """What is written `after` seconds after the last write when these fields have changed."""
    status = read(GpuPoolStatus, KNOWN)
    return worth_telling(
        status, changes, told_at=None if after is None else 1000.0 - after, now=1000.0, interval=interval
    )


def signals(**fields: Any) -> list[dict[str, Any]]:
    return [KNOWN["signals"][0] | fields]


FIGURES = [
    pytest.param({"message": "Hold: queue length 8"}, id="the words of the same decision"),
    pytest.param({"signals": signals(value=9.0, ageSeconds=0.2)}, id="a signal's value and age"),
    pytest.param({"signals": signals(state="Low")}, id="low or not, which has a clock of its own"),
    pytest.param({"lastDecision": DECISION | {"time": "2026-01-15T04:00:10.000Z", "terms": []}}, id="the arithmetic"),
    pytest.param({"lastDecision": DECISION | {"counts": {**DECISION["counts"], "maximum": None}}}, id="absent is None"),
    pytest.param({"spend": KNOWN["spend"] | {"today": 10.1, "thisMonth": 100.1}}, id="cost that follows from times"),
    pytest.param({"spend": KNOWN["spend"] | {"thisHour": 1.1, "forecastThisMonth": 99.0}}, id="a forecast"),
    pytest.param({"traffic": KNOWN["traffic"] | {"usedGB": 11.0}}, id="traffic below the next level"),
    pytest.param({"alerts": [KNOWN["alerts"][0] | {"value": 1.76, "message": "1.76 CNY/h"}]}, id="an alert's figure"),
    pytest.param({"conditions": [KNOWN["conditions"][0] | {"message": "3 serve well"}]}, id="a condition's words"),
]
NEWS = [
    pytest.param({"readyReplicas": 2}, id="a count"),
    pytest.param({"launchCounter": 4}, id="the launch counter"),
    pytest.param({"observedGeneration": 2}, id="another spec"),
    pytest.param({"lowLoadSince": "2026-01-15T04:00:00.000Z"}, id="low load begins"),
    pytest.param({"trigger": "LongQueue"}, id="a trigger"),
    pytest.param({"signals": signals(state="High")}, id="a signal asks for servers"),
    pytest.param({"signals": signals(state="Unknown", value=None)}, id="a signal is lost"),
    pytest.param({"signals": signals(source="slots")}, id="a signal from elsewhere"),
    pytest.param({"lastDecision": DECISION | {"action": "ScaleUp"}}, id="another action"),
    pytest.param({"lastDecision": DECISION | {"shrinking": {"reason": "AtMinimum"}}}, id="another obstacle"),
    pytest.param({"lastDecision": DECISION | {"victim": None}}, id="another victim"),
    pytest.param({"journal": [*KNOWN["journal"], {"time": "t", "action": "ScaleUp"}]}, id="a line of the journal"),
    pytest.param({"spend": KNOWN["spend"] | {"booked": ["u1", "u2"]}}, id="an instance is booked"),
    pytest.param({"spend": KNOWN["spend"] | {"endedToday": 1.5}}, id="what destroyed instances cost"),
    pytest.param({"spend": KNOWN["spend"] | {"day": "2026-01-16"}}, id="a new day"),
    pytest.param({"traffic": KNOWN["traffic"] | {"level": "Warning"}}, id="a traffic level"),
    pytest.param({"traffic": KNOWN["traffic"] | {"endedGB": 3.0}}, id="traffic of destroyed instances"),
    pytest.param({"conditions": [KNOWN["conditions"][0] | {"status": "False"}]}, id="a condition"),
    pytest.param({"conditions": [KNOWN["conditions"][0] | {"reason": "Idle"}]}, id="a condition's reason"),
    pytest.param({"alerts": [KNOWN["alerts"][0] | {"state": "Resolved"}]}, id="an alert is over"),
    pytest.param({"alerts": [KNOWN["alerts"][0] | {"told": {"Record": "Critical", "Event": "Critical"}}]}, id="told"),
    pytest.param({"costLog": {"hour": "2026-01-15T03"}}, id="the log of costs has come further"),
    pytest.param({"anyFieldToCome": 1}, id="whatever is not known to be a mere figure"),
]  # fmt: skip


@pytest.mark.parametrize("changes", FIGURES)
def test_a_moved_figure_waits_for_its_time(changes: dict[str, Any]) -> None:
    assert not told(**changes)
    assert told(after=30.0, **changes) == changes


@pytest.mark.parametrize("changes", NEWS)
def test_news_is_written_at_once_and_takes_the_figures_along(changes: dict[str, Any]) -> None:
    figure: dict[str, Any] = {"message": "Hold: queue length 8"}
    assert told(after=0.1, **changes, **figure) == changes | figure


def test_what_did_not_change_is_never_written() -> None:
    assert not told(after=1000.0, readyReplicas=3, message=KNOWN["message"])


def test_the_first_decision_of_a_process_is_written_whole() -> None:
    assert told(after=None, message="Hold: queue length 8") == {"message": "Hold: queue length 8"}


def test_a_clock_that_went_back_keeps_nothing_from_being_written() -> None:
    assert told(after=-5.0, message="Hold: queue length 8")


@pytest.mark.parametrize(
    ("interval", "seconds"),
    [
        pytest.param(1, 5.0, id="five decisions"),
        (6, 30.0),
        pytest.param(60, 30.0, id="half a minute, so each decision"),
    ],
)
def test_figures_are_no_older_than_half_a_minute_or_five_decisions(interval: int, seconds: float) -> None:
    assert figures_seconds(interval) == seconds
