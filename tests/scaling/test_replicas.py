"""What several dispatcher replicas say of the servers: a replica that cannot be read may never look like idleness."""

from typing import Any

import pytest

from controller.scaling import replicas
from controller.scaling.replicas import ReplicaReading, Scrape, ServerReading

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
    [
        (0.0, True),
        (1e9, True),
        (1e12, True),
        (-0.1, False),
        (float("nan"), False),
        (float("inf"), False),
        (float("-inf"), False),
    ],
)
def test_which_figures_can_be_measurements(figure: float, plausible: bool) -> None:
    assert replicas.plausible(figure) is plausible


@pytest.mark.parametrize(("figure", "plausible"), [(1e7, True), (1e7 + 1, False), (1e12, False)])
def test_a_figure_beyond_its_limit_cannot_be_one(figure: float, plausible: bool) -> None:
    assert replicas.plausible(figure, 1e7) is plausible


def read_at(at: float) -> ReplicaReading:
    return replica(at=at, servers=IDLE)


@pytest.mark.parametrize(
    ("what", "found", "kept", "why"),
    [
        ("just read", [read_at(NOW)], 1, ""),
        ("read 30 s ago", [read_at(NOW - 30.0)], 1, ""),
        ("older", [read_at(NOW - 31.0)], 0, "was read 31 s ago"),
        ("one of two is older", [read_at(NOW - 31.0), read_at(NOW)], 1, "was read 31 s ago"),
        ("the clock was set back", [read_at(NOW + 3600.0)], 0, "was read -3600 s ago"),
    ],
)
def test_a_stale_reading_is_a_failed_one(what: str, found: list[ReplicaReading], kept: int, why: str) -> None:
    left = replicas.fresh(scrape(*found), max_age=30.0, now=NOW)
    assert len(left.replicas) == kept
    assert [reason for _, reason in left.failed] == ([why] if why else [])
    assert left.complete is not bool(why)


def test_nothing_is_drained_or_withdrawn_by_a_stale_reading() -> None:
    old = replicas.fresh(scrape(read_at(NOW - 31.0)), max_age=30.0, now=NOW)
    assert not replicas.drained(old, "s1", since=NOW - 40.0, timeout_seconds=600.0, now=NOW)
    assert not replicas.withdrawn(old, "another")
    assert not replicas.agreed_dead(old, "s1")


@pytest.mark.parametrize(("interval", "age"), [(1, 30.0), (10, 30.0), (60, 180.0)])
def test_a_reading_is_stale_after_three_intervals_and_half_a_minute(interval: int, age: float) -> None:
    assert replicas.max_age(interval) == age
