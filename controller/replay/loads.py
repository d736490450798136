"""Loads made up: Poisson, a day's course, bursts, and one user who sends far more than all others.

All have the same parameters, so that they can be compared: the mean rate is what it says, whatever the shape. How long
tasks take is log-normal, which is what image generation looks like: most alike, some several times as long.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import cos, log, pi
from random import Random
from typing import Final

from controller.replay.trace import Trace

DAY_SECONDS: Final = 86400.0
#: Spread of service times: the standard deviation of their logarithm.
SERVICE_SIGMA: Final = 0.5
#: Share of the mean rate by which a day's course swings up and down.
SWING: Final = 0.9
#: A burst lasts so long, and begins so often on average.
BURST_SECONDS: Final = 300.0
BURST_EVERY_SECONDS: Final = 7200.0
#: Share of all tasks that come in bursts.
BURST_SHARE: Final = 0.6
#: The heavy user's share of all tasks, and how many it sends at once.
HEAVY_SHARE: Final = 0.5
HEAVY_BATCH: Final = 100
HEAVY_USER: Final = "heavy"


@dataclass(frozen=True, slots=True)
class Load:
    """How much of a load, for how long."""

    #: Seconds.
    seconds: float
    #: Tasks per second on average.
    rate: float
    #: Mean seconds of a task.
    service: float
    #: Users, besides a heavy one.
    users: int
    seed: int = 1

    def chance(self) -> Random:
        """The source of its chance; the same for the same seed."""
        return Random(self.seed)  # noqa: S311 - a seed that repeats it is the point

    def task(self, at: float, chance: Random, user: str = "") -> tuple[float, str, float]:
        """A task at this time."""
        service = chance.lognormvariate(log(self.service) - SERVICE_SIGMA**2 / 2, SERVICE_SIGMA)
        return at, user or f"user{chance.randrange(self.users) + 1}", service


def poisson(load: Load) -> Trace:
    """Tasks that come independently of each other, at the same rate all the time."""
    chance = load.chance()
    return Trace.of(load.task(at, chance) for at in _arrivals(load.rate, load.seconds, chance))


def diurnal(load: Load) -> Trace:
    """A day's course: least at the start of each day, most twelve hours later."""
    chance, highest = load.chance(), load.rate * (1 + SWING)

    def wanted(at: float) -> float:
        return load.rate * (1 - SWING * cos(2 * pi * at / DAY_SECONDS))

    return Trace.of(
        load.task(at, chance)
        for at in _arrivals(highest, load.seconds, chance)
        if chance.random() * highest < wanted(at)
    )


def bursts(load: Load) -> Trace:
    """Some tasks all the time, and most of them in bursts of five minutes, every two hours or so."""
    chance = load.chance()
    per_burst = load.rate * BURST_SHARE * BURST_EVERY_SECONDS / BURST_SECONDS
    times = list(_arrivals(load.rate * (1 - BURST_SHARE), load.seconds, chance))
    for start in _arrivals(1 / BURST_EVERY_SECONDS, load.seconds, chance):
        times += (start + at for at in _arrivals(per_burst, BURST_SECONDS, chance))
    return Trace.of(load.task(at, chance) for at in times)


def heavy_user(load: Load) -> Trace:
    """Half of the tasks from many users, half from one that sends a hundred at once."""
    chance = load.chance()
    tasks = [load.task(at, chance) for at in _arrivals(load.rate * (1 - HEAVY_SHARE), load.seconds, chance)]
    for at in _arrivals(load.rate * HEAVY_SHARE / HEAVY_BATCH, load.seconds, chance):
        tasks += (load.task(at, chance, HEAVY_USER) for _ in range(HEAVY_BATCH))
    return Trace.of(tasks)


def _arrivals(rate: float, seconds: float, chance: Random) -> Iterator[float]:
    """Yield the times of a Poisson process."""
    at = chance.expovariate(rate)
    while at < seconds:
        yield at
        at += chance.expovariate(rate)


#: By the name under which the command knows them.
SHAPES: Final[Mapping[str, Callable[[Load], Trace]]] = {
    "poisson": poisson,
    "diurnal": diurnal,
    "bursts": bursts,
    "heavy-user": heavy_user,
}
