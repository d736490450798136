"""How much work comes in, from the dispatchers' counters: tasks per second, and seconds of a slot per task.

The dispatchers count; what happens per second is worked out here from successive readings of the same process.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Final

from controller.scaling.counters import Track, Tracks, filled
from controller.scaling.replicas import Scrape
from controller.scaling.snapshot import Demand

#: Readings are kept for so long, for the mean length of tasks: too few end in a window.
KEPT_SECONDS: Final = 600.0
#: Where fewer tasks than this ended in that time, all since the start of the process count.
ENOUGH_TASKS: Final = 10


@dataclass(frozen=True, slots=True)
class Totals:
    """A replica's counters at one time."""

    #: Tasks that came.
    submitted: float
    #: Tasks that left their slot, and the seconds they had kept it.
    ended: float
    seconds: float


_Of = Callable[[Totals], float]
_SUBMITTED: Final[_Of] = attrgetter("submitted")
_ENDED: Final[_Of] = attrgetter("ended")
_SECONDS: Final[_Of] = attrgetter("seconds")


class DemandMeter:
    """Remembers counters from one decision to the next. It dies with the operator: after a start demand is unknown."""

    def __init__(self) -> None:
        self._tracks = Tracks[Totals](_fell)

    def note(self, scrape: Scrape) -> None:
        """Take in what the replicas said."""
        found = [(r.process, r.at, Totals(*r.totals)) for r in scrape.replicas if r.totals is not None]
        self._tracks.note(found, keep=KEPT_SECONDS)

    def demand(self, scrape: Scrape, *, window: float) -> Demand | None:
        """The demand on all replicas of the last scrape together.

        Args:
            scrape: the scrape that was noted last.
            window: seconds over which arrivals are taken, `scaling.windowSeconds`.

        Returns:
            None where it is unknown: a replica could not be read, counts nothing, is too new, or no task ever ended.
        """
        if not scrape.complete or any(r.totals is None for r in scrape.replicas):
            return None
        tracks = [self._tracks[r.process] for r in scrape.replicas]
        rates = [_arrivals(track, window) for track in tracks]
        service = _service(tracks)
        if service is None or any(rate is None for rate in rates):
            return None
        return Demand(sum(rate for rate in rates if rate is not None), service)


def _fell(before: Totals, now: Totals) -> bool:
    return now.submitted < before.submitted or now.ended < before.ended or now.seconds < before.seconds


def _arrivals(track: Track[Totals], window: float) -> float | None:
    """Tasks per second over the window; None before it is filled."""
    rise, seconds = track.rise(_SUBMITTED, window) or (0.0, 0.0)
    return rise / seconds if filled(seconds, window) else None


def _service(tracks: Sequence[Track[Totals]]) -> float | None:
    """Mean seconds of a task, with one more that took none: a single long one must not pass for what tasks are like."""
    ended, seconds = (_risen(tracks, of) for of in (_ENDED, _SECONDS))
    if ended < ENOUGH_TASKS:
        ended, seconds = (sum(of(track.newest.counted) for track in tracks) for of in (_ENDED, _SECONDS))
    return None if ended <= 0 else seconds / (ended + 1)


def _risen(tracks: Sequence[Track[Totals]], of: _Of) -> float:
    rises = (track.rise(of, KEPT_SECONDS) for track in tracks)
    return sum(risen[0] for risen in rises if risen is not None)
