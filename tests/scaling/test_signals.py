"""The signals of a pool: what is unknown says why, and never looks like idleness nor hides a trigger."""

from collections.abc import Callable
from typing import Any, Literal

import msgspec
import pytest

from controller.api.scaling import Scaling
from controller.scaling.actions import Launch
from controller.scaling.plan import Plan
from controller.scaling.replicas import ReplicaReading, Scrape, ServerReading
from controller.scaling.signals import Asked, Figure, Sources, signals
from controller.scaling.slots import SlotMeter
from controller.scaling.snapshot import Demand, Missing, Signal, Signals

NOW = 1000.0
NO_METRIC = Missing("NoCpuMetric", "Cloud Monitor has no CPU metric for HAI")


def server(**changes: Any) -> ServerReading:
    return ServerReading(**{"in_flight": 0.0, "tasks": 0.0, "slots": 1.0, "up": True, "draining": False, **changes})


def replica(**changes: Any) -> ReplicaReading:
    fields: dict[str, Any] = {
        "url": "http://a",
        "at": NOW,
        "queue_length": 0.0,
        "oldest_age": 0.0,
        "mean_response": 0.0,
        "started": 1.0,
    }
    return ReplicaReading(**{**fields, **changes})


def scrape(*found: ReplicaReading, failed: int = 0) -> Scrape:
    return Scrape(found, tuple((f"http://f{n}", "timed out") for n in range(failed)))


def read(
    *found: ReplicaReading,
    failed: int = 0,
    source: Literal["Auto", "Monitor", "Slots"] = "Auto",
    ready: tuple[str, ...] = ("s1",),
    monitor: Signal | Missing = NO_METRIC,
    asked: Asked | None = None,
    before: tuple[Scrape, ...] = (),
) -> Signals:
    """The signals of what was found now, after what was scraped before."""
    scaling, meter = msgspec.convert({"cpu": {"source": source}}, Scaling), SlotMeter()
    now = scrape(*found, failed=failed)
    for each in (*before, now):
        meter.note(each, window=60.0)
    sources = Sources(now, meter.use(now, ready, window=60.0), monitor, asked or {})
    return signals(sources, scaling, ready=ready, now=NOW)


def value(signal: Signal | None) -> float | None:
    return None if signal is None else signal.value


def test_queue_wide_figures_are_the_maximum_over_replicas() -> None:
    signals = read(
        replica(queue_length=7, oldest_age=1.5, mean_response=0.5, at=NOW - 3),
        replica(queue_length=6, oldest_age=2.5, mean_response=0.1),
    )
    assert value(signals.queue_length) == 7
    assert value(signals.longest_wait) == 2.5
    assert value(signals.mean_response) == 0.5
    assert signals.queue_length == Signal(7, 3.0, "dispatcher"), "as old as the oldest scrape"


def test_slots_are_summed_over_replicas_and_each_server_counts_its_slots_once() -> None:
    one = {"s1": server(tasks=1, slots=2), "s2": server(tasks=0, slots=2)}
    two = {"s1": server(tasks=1, slots=2), "s2": server(tasks=1, slots=2)}
    signals = read(replica(servers=one), replica(servers=two), ready=("s1", "s2"))
    assert signals.cpu == Signal(75.0, 0.0, "slots")


def test_only_ready_servers_count_for_cpu() -> None:
    servers = {"s1": server(tasks=1), "unready": server(tasks=0)}
    assert value(read(replica(servers=servers)).cpu) == 100.0


def test_pass_through_is_no_task() -> None:
    assert value(read(replica(servers={"s1": server(in_flight=9, tasks=0)})).cpu) == 0.0


def test_without_a_ready_server_cpu_is_unknown() -> None:
    assert read(replica(), ready=()).cpu is None


@pytest.mark.parametrize(
    ("source", "monitor", "used"),
    [
        ("Auto", Signal(40.0, 30.0, "monitor"), "monitor"),
        ("Auto", NO_METRIC, "slots"),
        ("Slots", Signal(40.0, 30.0, "monitor"), "slots"),
        ("Monitor", Signal(40.0, 30.0, "monitor"), "monitor"),
        ("Monitor", NO_METRIC, None),
    ],
)
def test_where_cpu_comes_from(
    source: Literal["Auto", "Monitor", "Slots"], monitor: Signal | Missing, used: str | None
) -> None:
    cpu = read(replica(servers={"s1": server(tasks=1)}), source=source, monitor=monitor).cpu
    assert (cpu.source if cpu else None) == used


def test_no_replica_means_unknown_never_zero() -> None:
    signals = read()
    assert (signals.mean_response, signals.queue_length, signals.cpu, signals.longest_wait) == (None,) * 4
    assert "no address" in signals.problem


@pytest.mark.parametrize(
    ("figure", "signal", "threshold"),
    [
        ("mean_response", "mean_response", 3.0),
        ("queue_length", "queue_length", 15.0),
        ("oldest_age", "longest_wait", 10.0),
    ],
)
def test_a_replica_that_fails_hides_low_figures_but_not_a_trigger(figure: str, signal: str, threshold: float) -> None:
    at = read(replica(**{figure: threshold}), failed=1)
    above = read(replica(**{figure: threshold + 1}), failed=1)
    assert getattr(at, signal) is None
    assert value(getattr(above, signal)) == threshold + 1
    assert at.problem == "http://f0: timed out"


@pytest.mark.parametrize(("tasks", "cpu"), [(17.0, None), (18.0, 90.0)])
def test_the_same_holds_for_cpu(tasks: float, cpu: float | None) -> None:
    servers = {"s1": server(tasks=tasks, slots=20)}
    assert value(read(replica(servers=servers), failed=1).cpu) == cpu


def test_replicas_are_known_by_their_start() -> None:
    assert read(replica(started=5.0), replica(started=6.0)).dispatchers == {5.0, 6.0}


UNREAD = Missing("ScrapeFailed", "http://f0: timed out")


@pytest.mark.parametrize(
    ("what", "found", "failed", "why"),
    [
        ("no replica", [], 0, Missing("ScrapeFailed", "the dispatcher's Service has no address")),
        ("all fail", [], 1, UNREAD),
        ("DNS gives two, one answers", [replica(servers={"s1": server()})], 1, UNREAD),
    ],
)
def test_what_is_unknown_says_why(what: str, found: list[ReplicaReading], failed: int, why: Missing) -> None:
    found_now = read(*found, failed=failed)
    assert dict(found_now.missing) == dict.fromkeys(("mean_response", "queue_length", "cpu", "longest_wait"), why)
    assert found_now.problem == why.message


def test_many_failed_replicas_are_counted_not_listed() -> None:
    assert read(failed=6).problem.endswith("http://f3: timed out; and 2 more")


@pytest.mark.parametrize(
    ("what", "given", "why"),
    [
        ("no server", {"ready": ()}, Missing("NoServer", "no server is Ready")),
        ("Monitor has none", {"source": "Monitor"}, NO_METRIC),
        ("no replica knows the servers", {}, Missing("CpuUnknown", "no dispatcher lists a slot of the Ready servers")),
    ],
)
def test_why_cpu_is_unknown(what: str, given: dict[str, Any], why: Missing) -> None:
    assert read(replica(), **given).missing["cpu"] == why


# --- busy slots over a window ------------------------------------------------------------------------------------


def busy(at: float, seconds: float | None, *, tasks: float = 0.0, started: float = 1.0, **more: Any) -> ReplicaReading:
    return replica(at=at, started=started, servers={"s1": server(tasks=tasks, busy_seconds=seconds)}, **more)


HALF = tuple(scrape(busy(NOW - age, (60.0 - age) / 2)) for age in (60.0, 40.0, 20.0))


def test_cpu_from_slots_is_the_mean_over_the_window_not_what_one_look_meets() -> None:
    signal = read(busy(NOW, 30.0, tasks=1.0), before=HALF).cpu
    assert signal == Signal(50.0, 0.0, "slots")


@pytest.mark.parametrize(
    ("what", "counted", "cpu"),
    [("busy throughout", 60.0, 100.0), ("idle, though a task has just come", 0.0, 0.0), ("busy for 54 s", 54.0, 90.0)],
)
def test_cpu_from_slots_over_a_whole_window(what: str, counted: float, cpu: float) -> None:
    assert value(read(busy(NOW, counted, tasks=1.0), before=(scrape(busy(NOW - 60.0, 0.0)),)).cpu) == cpu


def test_before_a_window_is_counted_a_busy_moment_buys_nothing() -> None:
    found = read(busy(NOW, 20.0, tasks=1.0), before=(scrape(busy(NOW - 20.0, 0.0)),))
    assert found.missing["cpu"] == Missing(
        "CpuUnknown", "busy slots were counted for 20 s of 60 s (scaling.windowSeconds)"
    )


def test_before_a_window_is_counted_an_idle_moment_is_known() -> None:
    assert value(read(busy(NOW, 4.0), before=(scrape(busy(NOW - 20.0, 0.0)),)).cpu) == 20.0


def test_a_dispatcher_that_does_not_count_is_read_at_the_moment() -> None:
    assert value(read(busy(NOW, None, tasks=1.0)).cpu) == 100.0


def test_a_busy_window_of_one_replica_is_not_hidden_by_one_that_has_just_joined() -> None:
    new = replica(url="http://b", servers={"s1": server(busy_seconds=0.0)})
    assert value(read(busy(NOW, 60.0, tasks=1.0), new, before=(scrape(busy(NOW - 60.0, 0.0)),)).cpu) == 100.0


def test_a_restarted_replica_counts_from_zero_and_that_is_not_idleness() -> None:
    before = (scrape(busy(NOW - 60.0, 1000.0)), scrape(busy(NOW - 10.0, 1050.0)))
    found = read(busy(NOW, 1.0, tasks=1.0, started=NOW - 5.0), before=before)
    assert "counted for 0 s" in found.missing["cpu"].message


# --- figures that someone else measured --------------------------------------------------------------------------


def figure(number: float, lacks: str = "") -> Figure:
    return Figure(Signal(number, 2.0, "prometheus"), lacks)


def test_what_was_asked_for_elsewhere_takes_the_place_of_the_dispatchers_figure() -> None:
    found = read(replica(queue_length=99.0), asked={"queue_length": figure(4.0), "cpu": figure(70.0)})
    assert found.queue_length == Signal(4.0, 2.0, "prometheus")
    assert value(found.cpu) == 70.0
    assert value(found.mean_response) == 0.0


def test_it_does_not_need_the_dispatchers() -> None:
    found = read(failed=1, asked={"queue_length": figure(99.0)})
    assert (value(found.queue_length), found.longest_wait) == (99.0, None)


def test_an_answer_that_is_missing_is_not_replaced_by_the_scrape() -> None:
    why = Missing("PrometheusFailed", "no answer")
    found = read(replica(queue_length=99.0), asked={"queue_length": why})
    assert (found.queue_length, found.missing["queue_length"]) == (None, why)


@pytest.mark.parametrize(("number", "known"), [(15.0, False), (16.0, True)])
def test_an_answer_that_lacks_a_replica_hides_low_figures_but_not_a_trigger(number: float, known: bool) -> None:
    found = read(replica(), asked={"queue_length": figure(number, "1 dispatcher is down")})
    assert (found.queue_length is not None) is known
    assert ("queue_length" in found.missing) is not known


# --- forged figures ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("step", "launches"), [(1, 1), (100, 20), ("Auto", 20)])
def test_what_a_forged_queue_can_buy_is_bounded(decide: Callable[..., Plan], step: int | str, launches: int) -> None:
    """The largest queue that is believed, and counters to match: `maxLaunchesPerMinute` at most."""
    forged = Demand(arrivals=1e7, service=86400.0)
    decided = decide(spec={"scaling": {"up": {"step": step}}}, signals={"queue_length": 1e7}, demand=forged)
    assert len(decided.actions) == launches
    assert all(isinstance(action, Launch) for action in decided.actions)
