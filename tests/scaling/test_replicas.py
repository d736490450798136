"""What several dispatcher replicas say, put together: a replica that cannot be read may never look like idleness."""

from typing import Any, Literal

import msgspec
import pytest

from controller.api.scaling import Scaling
from controller.scaling import replicas
from controller.scaling.replicas import ReplicaReading, Scrape, ServerReading
from controller.scaling.snapshot import Signal, Signals

NOW = 1000.0


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
    monitor: Signal | None = None,
) -> Signals:
    scaling = msgspec.convert({"cpu": {"source": source}}, Scaling)
    return replicas.signals(scrape(*found, failed=failed), scaling, ready=ready, monitor=monitor, now=NOW)


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
        ("Auto", None, "slots"),
        ("Slots", Signal(40.0, 30.0, "monitor"), "slots"),
        ("Monitor", Signal(40.0, 30.0, "monitor"), "monitor"),
        ("Monitor", None, None),
    ],
)
def test_where_cpu_comes_from(
    source: Literal["Auto", "Monitor", "Slots"], monitor: Signal | None, used: str | None
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


def test_tasks_are_summed_over_replicas_and_an_open_websocket_is_none() -> None:
    both = scrape(
        replica(servers={"s1": server(tasks=2, in_flight=9)}), replica(servers={"s1": server(tasks=3)}), replica()
    )
    assert replicas.tasks(both, "s1") == 5
    assert replicas.tasks(both, "other") == 0


IDLE = {"s1": server(draining=True)}
AT_WORK = {"s1": server(draining=True, in_flight=1)}
NOT_TOLD = {"s1": server(draining=False)}


@pytest.mark.parametrize(
    ("what", "found", "failed", "since", "drained"),
    [
        ("all report it draining and idle", [replica(servers=IDLE), replica(servers=IDLE)], 0, 990.0, True),
        ("one has work there", [replica(servers=IDLE), replica(servers=AT_WORK)], 0, 990.0, False),
        ("one has not been told yet", [replica(servers=IDLE), replica(servers=NOT_TOLD)], 0, 990.0, False),
        ("one does not know the server", [replica(servers=IDLE), replica()], 0, 990.0, True),
        ("one could not be read", [replica(servers=IDLE)], 1, 990.0, False),
        ("none could be read", [], 0, 990.0, False),
        ("one was read before the drain began", [replica(servers=IDLE, at=989.0)], 0, 990.0, False),
        ("one was read just as it began", [replica(servers=IDLE, at=990.0)], 0, 990.0, False),
        ("the drain has not begun", [replica(servers=IDLE)], 0, None, False),
        ("the time is not over", [replica(servers=AT_WORK)], 0, 940.1, False),
        ("the time is over", [replica(servers=AT_WORK)], 0, 940.0, True),
        ("the time is over and nobody answers", [], 2, 940.0, True),
    ],
)  # fmt: skip
def test_when_a_server_is_drained(
    what: str, found: list[ReplicaReading], failed: int, since: float | None, drained: bool
) -> None:
    seen = scrape(*found, failed=failed)
    assert replicas.drained(seen, "s1", since=since, timeout_seconds=60.0, now=NOW) is drained


@pytest.mark.parametrize(
    ("found", "failed", "withdrawn"),
    [([replica()], 0, True), ([replica(), replica(servers=IDLE)], 0, False), ([replica()], 1, False), ([], 0, False)],
)
def test_an_address_is_withdrawn_when_every_replica_has_forgotten_it(
    found: list[ReplicaReading], failed: int, withdrawn: bool
) -> None:
    assert replicas.withdrawn(scrape(*found, failed=failed), "s1") is withdrawn


DOWN, UP = {"s1": server(up=False)}, {"s1": server(up=True)}


@pytest.mark.parametrize(
    ("what", "found", "failed", "dead"),
    [
        ("all find it dead", [replica(servers=DOWN), replica(servers=DOWN)], 0, True),
        ("one finds it alive", [replica(servers=DOWN), replica(servers=UP)], 0, False),
        ("one does not report", [replica(servers=DOWN)], 1, True),
        ("none reports: the fault may be the operator's own network", [], 2, False),
    ],
)
def test_dead_is_what_every_reporting_dispatcher_finds(
    what: str, found: list[ReplicaReading], failed: int, dead: bool
) -> None:
    assert replicas.agreed_dead(scrape(*found, failed=failed), "s1") is dead


@pytest.mark.parametrize(
    ("figure", "plausible"),
    [(0.0, True), (1e9, True), (-0.1, False), (float("nan"), False), (float("inf"), False), (float("-inf"), False)],
)
def test_which_figures_can_be_measurements(figure: float, plausible: bool) -> None:
    assert replicas.plausible(figure) is plausible
