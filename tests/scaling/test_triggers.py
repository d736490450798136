"""Scale up when ANY signal is above its threshold, down only when ALL are below theirs: every exact boundary."""

from collections.abc import Callable

import pytest

from controller.api.scaling import Scaling
from controller.scaling.plan import Plan
from controller.scaling.snapshot import Signals
from controller.scaling.triggers import Level, Trigger, blocking_scale_down, evaluate, firing, is_low_load

Decide = Callable[..., Plan]
MakeSignals = Callable[..., Signals]

TWO = ({"name": "cheap", "price_per_hour": 1.0}, {"name": "dear", "price_per_hour": 2.0})


@pytest.mark.parametrize(
    ("signal", "value", "level"),
    [
        ("mean_response", 3.001, Level.HIGH),
        ("mean_response", 3.0, Level.NORMAL),
        ("mean_response", 1.0, Level.NORMAL),
        ("mean_response", 0.999, Level.LOW),
        ("queue_length", 16, Level.HIGH),
        ("queue_length", 15, Level.NORMAL),
        ("queue_length", 3, Level.NORMAL),
        ("queue_length", 2, Level.LOW),
        ("cpu", 85.01, Level.HIGH),
        ("cpu", 85.0, Level.NORMAL),
        ("cpu", 30.0, Level.NORMAL),
        ("cpu", 29.99, Level.LOW),
        ("longest_wait", 10.01, Level.HIGH),
        ("longest_wait", 10.0, Level.LOW),
        ("longest_wait", 0.0, Level.LOW),
    ],
)
def test_thresholds_of_the_rules_are_strict(make_signals: MakeSignals, signal: str, value: float, level: Level) -> None:
    triggers = evaluate(make_signals(**{signal: value}), Scaling())
    by_name = dict(zip(("mean_response", "queue_length", "cpu", "longest_wait"), triggers, strict=True))
    assert by_name[signal].level is level


@pytest.mark.parametrize(
    ("signals", "verdict"),
    [
        ({"mean_response": 3.001}, "ScaleUp/SlowResponse"),
        ({"mean_response": 3.0}, "Hold/LoadNotLow"),
        ({"queue_length": 16}, "ScaleUp/LongQueue"),
        ({"queue_length": 15}, "Hold/LoadNotLow"),
        ({"cpu": 85.01}, "ScaleUp/BusyServers"),
        ({"cpu": 85.0}, "Hold/LoadNotLow"),
        ({"longest_wait": 10.01}, "ScaleUp/LongWait"),
        ({"longest_wait": 10.0}, "ScaleDown/LowLoad"),
        ({"mean_response": 1.0}, "Hold/LoadNotLow"),
        ({"mean_response": 0.999}, "ScaleDown/LowLoad"),
        ({"queue_length": 3}, "Hold/LoadNotLow"),
        ({"queue_length": 2}, "ScaleDown/LowLoad"),
        ({"cpu": 30.0}, "Hold/LoadNotLow"),
        ({"cpu": 29.99}, "ScaleDown/LowLoad"),
        ({"mean_response": 9, "queue_length": 99, "cpu": 99, "longest_wait": 99}, "ScaleUp/SlowResponse"),
    ],
)
def test_what_a_pool_of_two_does_at_each_boundary(
    decide: Decide, words: Callable[[Plan], tuple[str, list[str]]], signals: dict[str, float], verdict: str
) -> None:
    said, done = words(decide(signals=signals, servers=TWO))
    assert said == verdict
    assert done == {"ScaleUp": ["Launch XL ap-beijing"], "ScaleDown": ["Drain dear"], "Hold": []}[said.split("/")[0]]


@pytest.mark.parametrize("unknown", ["mean_response", "queue_length", "cpu", "longest_wait"])
def test_one_unknown_signal_forbids_scaling_down(
    decide: Decide, words: Callable[[Plan], tuple[str, list[str]]], unknown: str
) -> None:
    decided = decide(signals={unknown: None}, servers=TWO)
    assert words(decided) == ("Hold/LoadNotLow", [])
    assert decided.verdict.message.endswith("is unknown")


@pytest.mark.parametrize(
    ("known", "reason"),
    [
        ("mean_response", "SlowResponse"),
        ("queue_length", "LongQueue"),
        ("cpu", "BusyServers"),
        ("longest_wait", "LongWait"),
    ],
)
def test_one_known_high_signal_buys_while_all_others_are_unknown(
    decide: Decide, words: Callable[[Plan], tuple[str, list[str]]], known: str, reason: str
) -> None:
    unknown = {"mean_response": None, "queue_length": None, "cpu": None, "longest_wait": None}
    assert words(decide(signals={**unknown, known: 99.0})) == (f"ScaleUp/{reason}", ["Launch XL ap-beijing"])


def test_nothing_known_changes_nothing(decide: Decide, words: Callable[[Plan], tuple[str, list[str]]]) -> None:
    unknown = {"mean_response": None, "queue_length": None, "cpu": None, "longest_wait": None}
    assert words(decide(signals=unknown, servers=TWO)) == ("Hold/LoadNotLow", [])


def test_idle_is_a_measurement_and_low(make_signals: MakeSignals) -> None:
    assert is_low_load(evaluate(make_signals(), Scaling()))


def test_a_figure_that_is_no_number_neither_grows_nor_shrinks(make_signals: MakeSignals) -> None:
    triggers = evaluate(make_signals(cpu=float("nan")), Scaling())
    assert firing(triggers) == ()
    assert not is_low_load(triggers)


def test_thresholds_come_from_the_spec(decide: Decide, words: Callable[[Plan], tuple[str, list[str]]]) -> None:
    up = {"meanResponseSeconds": 5, "queueLength": 20, "cpuPercent": 90, "maxWaitSeconds": 30}
    below = {"mean_response": 5, "queue_length": 20, "cpu": 90, "longest_wait": 30}
    spec = {"scaling": {"up": up}}
    assert words(decide(spec=spec, signals=below)) == ("Hold/LoadNotLow", [])
    for signal, value in below.items():
        assert words(decide(spec=spec, signals={**below, signal: value + 1}))[0].startswith("ScaleUp/")


def test_the_decision_shows_its_arithmetic_for_every_trigger_that_fires(decide: Decide) -> None:
    message = decide(signals={"queue_length": 42, "longest_wait": 12.5}).verdict.message
    assert "queue length 42 > 15" in message
    assert "longest wait 12.5 s > 10 s" in message


def test_every_blocking_trigger_can_say_why(make_signals: MakeSignals) -> None:
    """The longest wait has no lower threshold; while it is high it is measured against its upper one."""
    high: tuple[Trigger, ...] = evaluate(
        make_signals(mean_response=2, queue_length=None, cpu=40, longest_wait=12), Scaling()
    )
    assert [t.not_below() for t in blocking_scale_down(high)] == [
        "mean response 2 s is not below 1 s",
        "queue length is unknown",
        "CPU 40 % is not below 30 %",
        "longest wait 12 s is not below 10 s",
    ]
