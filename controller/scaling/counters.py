"""What dispatchers counted, over successive scrapes: how much a counter rose within a window.

A counter belongs to a process, known by its address and its start. A process that restarted counts from zero and is
another one; one that cannot be read for a while is continued when it answers again.
"""

from collections import deque
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

T = TypeVar("T")

#: A window counts as filled once this share of it was counted: scrapes do not come on the second.
FILLED_SHARE: Final = 0.9


@dataclass(frozen=True, slots=True)
class Reading(Generic[T]):
    """What a process had counted at a time (Unix seconds)."""

    at: float
    counted: T


@dataclass(slots=True)
class Track(Generic[T]):
    """The readings of one process, oldest first; never empty after the first `add`. No counter in it ever falls."""

    readings: deque[Reading[T]] = field(default_factory=deque)

    def add(self, at: float, counted: T, *, keep: float, grain: float = 0.0, fell: bool = False) -> None:
        """Take a reading in, and let go of what is older than `keep` seconds, but for one.

        Args:
            at: when it was read. The same again is left out; a clock that was set back makes all before worthless.
            counted: what it says.
            keep: seconds for which readings are needed.
            grain: seconds between readings that need not be exceeded; nearer ones make room for the newest.
            fell: a counter fell, so it was set to zero in between: all before is worthless too.
        """
        readings = self.readings
        if readings and at == readings[-1].at:
            return
        if fell or (readings and at < readings[-1].at):
            readings.clear()
        if len(readings) > 1 and at - readings[-2].at < grain:
            readings.pop()
        readings.append(Reading(at, counted))
        while len(readings) > 2 and readings[1].at <= at - keep:
            readings.popleft()

    @property
    def newest(self) -> Reading[T]:
        """The last reading."""
        return self.readings[-1]

    @property
    def lasted(self) -> float:
        """Seconds from the first reading to the last."""
        return self.newest.at - self.readings[0].at

    def start(self, window: float) -> tuple[T, T, float] | None:
        """What surrounds the start of the window that ends with the last reading.

        Returns:
            The readings before and after it, and which share of the way from one to the other it is at; None where
            less than the window was read.
        """
        start = self.newest.at - window
        before = self.readings[0]
        if before.at > start:
            return None
        for reading in self.readings:
            if reading.at > start:
                return before.counted, reading.counted, (start - before.at) / (reading.at - before.at)
            before = reading
        return None

    def rise(self, value: Callable[[T], float | None], window: float) -> tuple[float, float] | None:
        """By how much one counter rose in the window that ends with the last reading.

        Args:
            value: takes the counter out of a reading; None where it is not there.
            window: seconds.

        Returns:
            (rise, seconds over which it was counted), less than the window where the counter is younger; None with
            fewer than two readings of it.
        """
        last = value(self.newest.counted)
        if last is None:
            return None
        start = self.newest.at - window
        before: tuple[float, float] | None = None
        for reading in self.readings:
            now = value(reading.counted)
            if reading.at > start and before is not None and now is not None:
                share = max(0.0, start - before[0]) / (reading.at - before[0])
                return last - before[1] - (now - before[1]) * share, min(window, self.newest.at - before[0])
            before = before if now is None else (reading.at, now)
        return None


def filled(seconds: float, window: float) -> bool:
    """Whether so much of a window was counted that it may be judged."""
    return seconds >= FILLED_SHARE * window


class Tracks(Generic[T]):
    """The tracks of all processes."""

    def __init__(self, fell: Callable[[T, T], bool]) -> None:
        """Without any.

        Args:
            fell: whether a counter is lower in the second reading than in the first.
        """
        self._fell = fell
        self._tracks: dict[Hashable, Track[T]] = {}

    def note(self, found: Iterable[tuple[Hashable, float, T]], *, keep: float, grain: float = 0.0) -> None:
        """Take in what each process said; what was not heard of for `keep` seconds is forgotten.

        Args:
            found: (process, Unix seconds, what it counted).
            keep: seconds.
            grain: see `Track.add`.
        """
        times = []
        for key, at, counted in found:
            track = self._tracks.setdefault(key, Track())
            fell = bool(track.readings) and self._fell(track.newest.counted, counted)
            track.add(at, counted, keep=keep, grain=grain, fell=fell)
            times.append(at)
        newest = max(times, default=None)
        if newest is not None:
            self._tracks = {k: track for k, track in self._tracks.items() if abs(newest - track.newest.at) <= keep}

    def __getitem__(self, key: Hashable) -> Track[T]:
        return self._tracks[key]

    def __len__(self) -> int:
        return len(self._tracks)
