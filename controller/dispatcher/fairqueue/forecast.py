"""When a task will start, from its position."""

from collections.abc import Iterable
from math import ceil


def starts_in(ahead: int, *, slots: int, mean: float, remaining: Iterable[float] = ()) -> float | None:
    """Seconds until a task starts, if nothing comes before it and every task takes as long as the mean.

    Every slot starts a task when it becomes free, and then one per mean; the task gets start number `ahead`, from 0.
    Costs O(slots log(slots + ahead)).

    Args:
        ahead: tasks that start before it, see `FairQueue.position`.
        slots: tasks that may run at the same time.
        mean: seconds that a task takes.
        remaining: seconds that each running task will still take; of an overdue one 0. Where more run than there are
            slots, which happens after slots were taken away, the first to end make no room.

    Returns:
        The seconds; None when there is no slot.
    """
    if slots <= 0:
        return None
    busy = sorted(max(0.0, seconds) for seconds in remaining)
    free = [0.0] * (slots - len(busy)) + busy[max(0, len(busy) - slots) :]
    if mean <= 0:
        return free[0]
    waves = _full_waves(ahead, free, mean)
    left = ahead - _starts_before(waves, free, mean)
    starts = sorted(first + _starts(waves, first, mean) * mean for first in free)
    return starts[left]


def _starts(waves: int, first: float, mean: float) -> int:
    """Tasks that a slot which is free at `first` has started before the time `waves * mean`."""
    return max(0, ceil(waves - first / mean))


def _starts_before(waves: int, free: list[float], mean: float) -> int:
    return sum(_starts(waves, first, mean) for first in free)


def _full_waves(ahead: int, free: list[float], mean: float) -> int:
    """The most waves before whose end no more than `ahead` tasks have started: the rest is less than one wave."""
    low, high = 0, ahead // len(free) + ceil(free[-1] / mean) + 1
    while high - low > 1:
        middle = (low + high) // 2
        if _starts_before(middle, free, mean) <= ahead:
            low = middle
        else:
            high = middle
    return low
