"""How busy the slots were over a window: of the servers that count, over all replicas, since they joined."""

import pytest

from controller.scaling.replicas import ReplicaReading, Scrape, ServerReading
from controller.scaling.slots import SlotMeter, SlotUse

Server = tuple[float, float, float | None]


def reading(at: float, servers: dict[str, Server], url: str = "a", started: float = 1.0) -> ReplicaReading:
    """Servers as (tasks now, slots, busy seconds)."""
    found = {
        name: ServerReading(t, t, s, up=True, draining=False, busy_seconds=b) for name, (t, s, b) in servers.items()
    }
    return ReplicaReading(url, at, 0.0, 0.0, 0.0, started, found)


def used(*scrapes: Scrape | ReplicaReading, servers: tuple[str, ...] = ("s1",), window: float = 60.0) -> SlotUse:
    meter = SlotMeter()
    last = Scrape()
    for each in scrapes:
        last = each if isinstance(each, Scrape) else Scrape((each,))
        meter.note(last, window=window)
    return meter.use(last, servers, window=window)


def one(at: float, busy: float | None, tasks: float = 0.0, started: float = 1.0) -> ReplicaReading:
    return reading(at, {"s1": (tasks, 1.0, busy)}, started=started)


def test_mean_tasks_at_work_over_the_window() -> None:
    assert used(one(0.0, 100.0), one(30.0, 100.0), one(60.0, 124.0, tasks=1.0)) == SlotUse(0.4, 0.4, 1.0, 60.0)


def test_only_the_servers_asked_for_count() -> None:
    both = [reading(at, {"s1": (0.0, 1.0, at / 2), "s2": (1.0, 1.0, at)}) for at in (0.0, 60.0)]
    assert used(*both) == SlotUse(0.5, 0.5, 1.0, 60.0)
    assert used(*both, servers=("s1", "s2", "s3")) == SlotUse(1.5, 1.5, 2.0, 60.0)


def test_replicas_add_up_and_slots_count_once() -> None:
    both = [
        Scrape((reading(at, {"s1": (0.0, 4.0, at)}, "a"), reading(at, {"s1": (0.0, 4.0, 2 * at)}, "b")))
        for at in (0.0, 60.0)
    ]
    assert used(*both) == SlotUse(3.0, 3.0, 4.0, 60.0)


def test_a_server_that_joined_counts_since_it_joined() -> None:
    before = reading(0.0, {"s1": (1.0, 1.0, 0.0)})
    joined = reading(40.0, {"s1": (1.0, 1.0, 40.0), "s2": (0.0, 1.0, 0.0)})
    now = reading(60.0, {"s1": (1.0, 1.0, 60.0), "s2": (1.0, 1.0, 10.0)})
    assert used(before, joined, now, servers=("s1", "s2")) == SlotUse(1.5, 1.5, 2.0, 60.0)


def test_a_server_that_joined_just_now_is_what_it_is_now() -> None:
    now = reading(60.0, {"s1": (1.0, 1.0, 60.0), "s2": (1.0, 1.0, 0.0)})
    assert used(one(0.0, 0.0), now, servers=("s1", "s2")).busy == 2.0


@pytest.mark.parametrize(
    ("scrapes", "use"),
    [
        ([one(0.0, 5.0, tasks=1.0)], SlotUse(1.0, 0.0, 1.0, 0.0)),
        ([one(0.0, 5.0), one(20.0, 15.0)], SlotUse(0.5, 0.0, 1.0, 20.0)),
        ([one(0.0, 5.0), one(60.0, 9.0, tasks=1.0, started=50.0)], SlotUse(1.0, 0.0, 1.0, 0.0)),
        ([one(0.0, 500.0), one(60.0, 9.0, tasks=1.0)], SlotUse(1.0, 0.0, 1.0, 0.0)),
        ([one(0.0, None, tasks=1.0)], SlotUse(1.0, 1.0, 1.0, 60.0)),
        ([one(0.0, 0.0), Scrape(), one(60.0, 30.0)], SlotUse(0.5, 0.5, 1.0, 60.0)),
        ([Scrape()], SlotUse(0.0, 0.0, 0.0, 60.0)),
    ],
    ids=[
        "the-first-reading",
        "a-part-of-the-window",
        "the-dispatcher-restarted",
        "only-the-counter-fell",
        "a-dispatcher-that-does-not-count",
        "a-scrape-in-between-failed",
        "no-replica",
    ],
)
def test_what_is_certain_of_it(scrapes: list[Scrape | ReplicaReading], use: SlotUse) -> None:
    assert used(*scrapes) == use
