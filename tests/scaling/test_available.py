"""Which signal is missing, why, and since when: told until it is back, through restarts and other reasons."""

from collections.abc import Callable
from typing import Any

import pytest

from controller.api.scaling import Scaling
from controller.api.times import rfc3339, unix
from controller.scaling.available import UNSETTLED_SECONDS, available, signal_status
from controller.scaling.snapshot import Missing, Signal, Signals, Snapshot
from controller.scaling.triggers import evaluate

MakeSnapshot = Callable[..., Snapshot]

DOWN = Missing("ScrapeFailed", "http://a: no answer")
LAGS = Missing("CpuUnknown", "Cloud Monitor lags")


def unread(**missing: Missing) -> dict[str, Any]:
    return {**dict.fromkeys(missing), "missing": missing}


@pytest.fixture
def told(make_snapshot: MakeSnapshot, now: float) -> Callable[..., tuple[str, str, str]]:
    def tell(**given: Any) -> tuple[str, str, str]:
        snapshot = make_snapshot(**given)
        return available(snapshot, evaluate(snapshot.signals, snapshot.spec.scaling), now=now)

    return tell


def test_each_signal_is_named_with_its_reason_and_since_when(told: Callable[..., Any], now: float) -> None:
    signals = unread(queue_length=DOWN, longest_wait=DOWN, cpu=LAGS)
    since = {"queue length": now - 60.0, "longest wait": now - 60.0}
    first = f"queue length, longest wait unknown since {rfc3339(now - 60.0)}: http://a: no answer"
    second = f"CPU unknown since {rfc3339(now)}: Cloud Monitor lags"
    assert told(signals=signals, unknown_since=since) == ("False", "ScrapeFailed", f"{first}; {second}")


@pytest.mark.parametrize(
    ("missing", "lasted", "expected"),
    [
        (LAGS, 0.0, ("Unknown", "CpuUnknown")),
        (LAGS, UNSETTLED_SECONDS + 1.0, ("False", "CpuUnknown")),
        (DOWN, 0.0, ("False", "ScrapeFailed")),
        (Missing("NoCpuMetric", "none"), 0.0, ("False", "NoCpuMetric")),
        (Missing("PrometheusFailed", "refused"), 0.0, ("False", "PrometheusFailed")),
        (Missing("NoServer", "none"), 9e9, ("True", "Scraped")),
    ],
    ids=[
        "what-is-late-may-come",
        "until-it-has-not-for-long",
        "what-does-not-answer-is-a-case-for-someone",
        "so-is-a-metric-that-does-not-exist",
        "and-a-prometheus",
        "without-a-server-there-is-no-cpu-to-know",
    ],
)
def test_whether_someone_should_act(
    told: Callable[..., Any], now: float, missing: Missing, lasted: float, expected: tuple[str, str]
) -> None:
    found = told(signals=unread(cpu=missing), unknown_since={"CPU": now - lasted})
    assert found[:2] == expected


def test_a_replica_that_fails_is_told_even_while_a_trigger_is_known(told: Callable[..., Any]) -> None:
    found = told(signals={"queue_length": 99.0, "problem": "http://b: no answer"})
    assert found == ("False", "ScrapeFailed", "http://b: no answer")


def test_since_when_survives_status_writes_and_other_reasons(now: float) -> None:
    since: dict[str, float] = {}
    seen = []
    for second, missing in enumerate((DOWN, LAGS, None, DOWN)):
        cpu = Signal(1.0, 0.0, "slots") if missing is None else None
        signals = Signals(cpu=cpu, missing={} if missing is None else {"cpu": missing})
        written = signal_status(evaluate(signals, Scaling())[2], since, now=now + second)
        seen.append((written.unknown_since, written.message))
        since = {written.name: at} if (at := unix(written.unknown_since)) is not None else {}
    assert seen == [
        (rfc3339(now), DOWN.message),
        (rfc3339(now), LAGS.message),
        (None, ""),
        (rfc3339(now + 3), DOWN.message),
    ]
