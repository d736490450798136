"""Loads made up: as heavy as they say, and each of its own kind."""

from collections import Counter
from statistics import fmean

import pytest

from controller.replay.loads import HEAVY_BATCH, HEAVY_USER, SHAPES, Load
from controller.replay.main import SHAPES as NAMES
from controller.replay.trace import Trace

DAY = 86400.0
#: Ten days, 17 280 tasks.
LOAD = Load(seconds=10 * DAY, rate=0.02, service=30.0, users=20, seed=7)


def per_bin(trace: Trace, seconds: float) -> list[int]:
    counts = Counter(int(at // seconds) for at in trace.arrivals)
    return [counts[i] for i in range(int(LOAD.seconds / seconds))]


def dispersion(trace: Trace, seconds: float = 300.0) -> float:
    """Variance over mean of the tasks per bin: 1 for Poisson, more where tasks come together."""
    counts = per_bin(trace, seconds)
    mean = fmean(counts)
    return fmean((count - mean) ** 2 for count in counts) / mean


def test_the_command_knows_all_shapes_by_name() -> None:
    assert set(NAMES) == set(SHAPES)


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_is_as_heavy_as_asked_for(shape: str) -> None:
    trace = SHAPES[shape](LOAD)
    assert len(trace) == pytest.approx(LOAD.rate * LOAD.seconds, rel=0.2)
    assert trace.work / len(trace) == pytest.approx(30.0, rel=0.03)
    assert len(set(trace.names) - {HEAVY_USER}) == 20
    assert trace.arrivals[0] >= 0
    assert list(trace.arrivals) == sorted(trace.arrivals)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_seed_decides_everything(shape: str) -> None:
    make = SHAPES[shape]
    short = Load(seconds=DAY, rate=0.02, service=30.0, users=20, seed=7)
    other = Load(seconds=DAY, rate=0.02, service=30.0, users=20, seed=8)
    assert make(short) == make(short)
    assert make(short) != make(other)


def test_poisson_tasks_come_independently() -> None:
    assert dispersion(SHAPES["poisson"](LOAD)) == pytest.approx(1.0, abs=0.1)


def test_a_day_has_a_quiet_and_a_busy_half() -> None:
    halves = per_bin(SHAPES["diurnal"](LOAD), DAY / 4)
    quiet = sum(halves[0::4]) + sum(halves[3::4])
    assert sum(halves) > 4 * quiet


def test_in_bursts_tasks_come_together() -> None:
    assert dispersion(SHAPES["bursts"](LOAD)) > 20


def test_a_heavy_user_sends_half_of_all_tasks_a_hundred_at_a_time() -> None:
    trace = SHAPES["heavy-user"](LOAD)
    heavy = [at for at, user in zip(trace.arrivals, trace.users, strict=True) if trace.names[user] == HEAVY_USER]
    assert 0.35 < len(heavy) / len(trace) < 0.65
    assert set(Counter(heavy).values()) == {HEAVY_BATCH}
