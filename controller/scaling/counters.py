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
    """The readings of one process, oldest first; never empty after the first `add`."""

    readings: deque[Reading[T]] = field(default_factory=deque)

    def add(self, at: float, counted: T, *, keep: float, grain: float = 0.0) -> None:
        """Take a reading in, and let go of what is older than `keep` seconds, but for one.

        Args:
            at: when it was read. The same again is left out; a clock that was set back makes all before worthless.
            counted: what it says.
            keep: seconds for which readings are needed.
            grain: seconds between readings that need not be exceeded; nearer ones make room for the newest.
        """
        readings = self.readings
        if readings and at == readings[-1].at:
            return
        if readings and at < readings[-1].at:
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

    def rise(self, value: Callable[[T], float | None], window: float) -> tuple[float, float] | None:
        """By how much one counter rose in the window that ends with the last reading.

        Args:
            value: takes the counter out of a reading; None where it was not there yet.
            window: seconds.

        Returns:
            (rise, seconds over which it was counted), less than the window where the counter is younger; None with
            fewer than two readings of it. One that fell was set to zero in between, and is as young as that.
        """
        start, rise, later = self.newest.at - window, 0.0, None
        for reading in reversed(self.readings):
            now = value(reading.counted)
            if now is None or (later is not None and later[1] < now):
                break
            if later is not None:
                step = later[1] - now
                if reading.at <= start:
                    share = (later[0] - start) / (later[0] - reading.at)
                    return rise + step * share, window
                rise += step
            later = reading.at, now
        if later is None or later[0] == self.newest.at:
            return None
        return rise, self.newest.at - later[0]


def filled(seconds: float, window: float) -> bool:
    """Whether so much of a window was counted that it may be judged."""
    return seconds >= FILLED_SHARE * window


class Tracks(Generic[T]):
    """The tracks of all processes."""

    def __init__(self) -> None:
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
            self._tracks.setdefault(key, Track()).add(at, counted, keep=keep, grain=grain)
            times.append(at)
        newest = max(times, default=None)
        if newest is not None:
            self._tracks = {k: track for k, track in self._tracks.items() if abs(newest - track.newest.at) <= keep}

    def __getitem__(self, key: Hashable) -> Track[T]:
        return self._tracks[key]

    def __len__(self) -> int:
        return len(self._tracks)
