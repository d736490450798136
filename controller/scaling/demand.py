"""How much work comes in, from the dispatchers' counters: tasks per second, and seconds of a slot per task.

The dispatchers count; what happens per second is worked out here from two readings of the same process. A process that
restarted counts from zero and is another one.
"""

from collections import deque
from dataclasses import dataclass
from typing import Final

from controller.scaling.replicas import ReplicaReading, Scrape
from controller.scaling.snapshot import Demand

#: Readings are kept for so long, for the mean length of tasks: too few end in a window.
KEPT_SECONDS: Final = 600.0
#: Where fewer tasks than this ended in that time, all since the start of the process count.
ENOUGH_TASKS: Final = 10
#: Arrivals are known once they were counted for this share of the window.
KNOWN_SHARE: Final = 0.9


@dataclass(frozen=True, slots=True)
class Totals:
    """A replica's counters at one time."""

    at: float
    #: Tasks that came.
    submitted: float
    #: Tasks that left their slot, and the seconds they had kept it.
    ended: float
    seconds: float


class DemandMeter:
    """Remembers counters from one decision to the next. It dies with the operator: after a start demand is unknown."""

    def __init__(self) -> None:
        self._history: dict[tuple[str, float], deque[Totals]] = {}

    def note(self, scrape: Scrape) -> None:
        """Take in what the replicas said; what is no longer there is forgotten."""
        present = {}
        for replica in scrape.replicas:
            key = replica.url, replica.started
            if replica.totals is not None:
                present[key] = _continued(self._history.get(key), replica)
        self._history = present

    def demand(self, scrape: Scrape, *, window: float) -> Demand | None:
        """The demand on all replicas of the last scrape together.

        Args:
            scrape: the scrape that was noted last.
            window: seconds over which arrivals are taken, `scaling.windowSeconds`.

        Returns:
            None where it is unknown: a replica could not be read, counts nothing, is too new, or no task ever ended.
        """
        histories = list(self._history.values())
        if not scrape.complete or len(histories) != len(scrape.replicas):
            return None
        rates = [_arrivals(history, window) for history in histories]
        service = _service(histories)
        if service is None or any(rate is None for rate in rates):
            return None
        return Demand(sum(rate for rate in rates if rate is not None), service)


def _continued(history: deque[Totals] | None, replica: ReplicaReading) -> deque[Totals]:
    at, figures = replica.at, replica.totals or (0.0, 0.0, 0.0)
    newest = Totals(at, *figures)
    if history is None or newest.submitted < history[-1].submitted or newest.ended < history[-1].ended:
        return deque([newest])
    if at > history[-1].at:
        history.append(newest)
    while history[0].at < at - KEPT_SECONDS:
        history.popleft()
    return history


def _arrivals(history: deque[Totals], window: float) -> float | None:
    """Tasks per second since the reading that is nearest to a window ago."""
    newest = history[-1]
    oldest = newest
    for totals in reversed(history):
        if newest.at - totals.at > window:
            break
        oldest = totals
    lasted = newest.at - oldest.at
    return None if lasted < KNOWN_SHARE * window else (newest.submitted - oldest.submitted) / lasted


def _service(histories: list[deque[Totals]]) -> float | None:
    """Mean seconds of a task, with one more that took none: a single long one must not pass for what tasks are like."""
    ended = sum(h[-1].ended - h[0].ended for h in histories)
    seconds = sum(h[-1].seconds - h[0].seconds for h in histories)
    if ended < ENOUGH_TASKS:
        ended, seconds = sum(h[-1].ended for h in histories), sum(h[-1].seconds for h in histories)
    return None if ended <= 0 else seconds / (ended + 1)
