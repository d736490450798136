"""How many server-seconds a task will probably take, from those that were measured."""

from collections.abc import Hashable
from math import inf
from typing import Final

#: Server-seconds that a task counts for at least: giving it a server takes time too, and a user whose tasks all fail at
#: once would otherwise have every turn.
LEAST_SECONDS: Final = 0.001
#: Weight of the newest measurement: the last ten or so count.
NEWEST: Final = 0.2
#: Kinds of tasks that are told apart; beyond them the one that was measured first is forgotten.
KINDS: Final = 1024


class Estimator:
    """Moving averages of measured seconds, by kind of task: its route and the class of its server, say.

    A kind that was never measured is taken to need the mean of all, per unit of cost; before any measurement a unit of
    cost is taken for one second, so that shares are right from the start where costs are.
    """

    def __init__(self) -> None:
        self._seconds: dict[Hashable, float] = {}
        self._per_cost: float | None = None

    def estimate(self, kind: Hashable, cost: float = 1.0) -> float:
        """Seconds that a task of this kind will probably take, never below `LEAST_SECONDS`.

        Args:
            kind: what tasks are told apart by.
            cost: the task's cost, which matters until one of its kind was measured.
        """
        seconds = self._seconds.get(kind)
        if seconds is None:
            seconds = cost * (1.0 if self._per_cost is None else self._per_cost)
        return max(seconds, LEAST_SECONDS)

    def observe(self, kind: Hashable, seconds: float, cost: float = 1.0) -> None:
        """A task of this kind took so long, and ended well: what fails at once says nothing about the others.

        Raises:
            ValueError: the seconds are negative or not finite, or the cost is not above 0.
        """
        if not 0 <= seconds < inf or not cost > 0:
            raise ValueError(f"seconds must be 0 or more and finite, cost above 0, not {seconds} and {cost}")
        self._seconds[kind] = _blend(self._seconds.get(kind), seconds)
        self._per_cost = _blend(self._per_cost, seconds / cost)
        if len(self._seconds) > KINDS:
            del self._seconds[next(iter(self._seconds))]


def _blend(mean: float | None, newest: float) -> float:
    return newest if mean is None else mean + NEWEST * (newest - mean)
