"""Demand from counters: what is known, what is not, and what a restart changes."""

import pytest

from controller.scaling.demand import KEPT_SECONDS, DemandMeter
from controller.scaling.replicas import ReplicaReading, Scrape
from controller.scaling.snapshot import Demand

Figures = tuple[float, float, float]


def reading(at: float, totals: Figures | None, url: str = "a", started: float = 1.0) -> ReplicaReading:
    return ReplicaReading(url, at, 0.0, 0.0, 0.0, started, {}, totals)


def metered(*scrapes: Scrape, window: float = 60.0) -> Demand | None:
    meter = DemandMeter()
    for scrape in scrapes:
        meter.note(scrape)
    return meter.demand(scrapes[-1], window=window)


def one(at: float, submitted: float, ended: float = 20.0, seconds: float = 630.0, started: float = 1.0) -> Scrape:
    return Scrape((reading(at, (submitted, ended, seconds), started=started),))


def test_arrivals_are_counted_over_the_window_and_their_length_over_all_that_ended() -> None:
    found = metered(*(one(at, submitted=5 + at / 10) for at in range(0, 130, 10)))
    assert found is not None
    assert found.arrivals == pytest.approx(0.1)
    assert found.service == pytest.approx(630.0 / 21)
    assert found.slots == pytest.approx(3.0)


def test_only_the_last_window_counts_for_arrivals() -> None:
    scrapes = [one(at, submitted=1000.0 * (at >= 20)) for at in range(0, 100, 10)]
    found = metered(*scrapes)
    assert found is not None
    assert found.arrivals == 0.0


def test_the_length_of_tasks_follows_the_last_minutes_where_enough_ended() -> None:
    first, last = one(0.0, 0.0, ended=1000.0, seconds=1000.0), one(600.0, 60.0, ended=1099.0, seconds=6000.0)
    between = [one(at, at / 10, ended=1050.0, seconds=3000.0) for at in range(10, 600, 10)]
    found = metered(first, *between, last)
    assert found is not None
    assert found.service == pytest.approx(5000.0 / 100)


def test_a_single_long_task_does_not_pass_for_what_tasks_are_like() -> None:
    found = metered(one(0.0, 0.0, ended=0.0, seconds=0.0), one(60.0, 9.0, ended=1.0, seconds=70.0))
    assert found is not None
    assert found.service == 35.0


def test_replicas_add_up() -> None:
    both = [Scrape((reading(at, (at, 9.0, 90.0), "a"), reading(at, (3 * at, 10.0, 110.0), "b"))) for at in (0.0, 60.0)]
    assert metered(*both) == Demand(4.0, 10.0)


@pytest.mark.parametrize(
    ("scrapes", "why"),
    [
        ([one(0.0, 0.0)], "one reading is no rate"),
        ([one(0.0, 0.0), one(40.0, 9.0)], "less than a window was counted"),
        ([one(0.0, 0.0, 0.0, 0.0), one(60.0, 9.0, 0.0, 0.0)], "no task ever ended"),
        ([one(0.0, 50.0), one(60.0, 90.0, started=55.0)], "another process counts from zero"),
        ([one(0.0, 50.0), one(60.0, 40.0)], "a counter that falls is another counter"),
        ([one(0.0, 0.0), Scrape((reading(60.0, None),))], "the replica has no such counters"),
        ([one(0.0, 0.0), Scrape((reading(60.0, (9.0, 9.0, 9.0)),), (("b", "no answer"),))], "one cannot be read"),
        ([one(0.0, 0.0), Scrape((reading(60.0, (9.0, 9.0, 9.0)), reading(60.0, None, "b")))], "one counts nothing"),
        ([one(0.0, 0.0), Scrape()], "there is no replica"),
    ],
    ids=lambda value: value.replace(" ", "-") if isinstance(value, str) else "",
)
def test_demand_is_unknown_where(scrapes: list[Scrape], why: str) -> None:
    assert metered(*scrapes) is None


def test_a_restart_is_a_new_counter_that_becomes_known_again() -> None:
    assert metered(one(0.0, 500.0), one(60.0, 0.0, started=9.0), one(120.0, 6.0, started=9.0)) == Demand(0.1, 30.0)


def test_what_is_remembered_is_bounded() -> None:
    meter = DemandMeter()
    for at in range(0, 100_000, 10):
        meter.note(one(float(at), float(at)))
    [track] = meter._tracks._tracks.values()
    assert len(track.readings) <= KEPT_SECONDS / 10 + 2
