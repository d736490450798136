"""How busy the task slots were over a window, from what the dispatchers counted.

At one instant a server with one slot is busy or not, so a pool of one reads 0 or 100 % whatever its load: judged by
that, every look that meets a working server buys one more. The rule means a mean, over `scaling.windowSeconds`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from controller.scaling.counters import Track, Tracks, filled
from controller.scaling.replicas import ReplicaReading, Scrape

#: So many readings are enough for a window, and twice as many are kept at most: between them the counters are taken to
#: rise evenly.
READINGS_PER_WINDOW: Final = 60

Busy = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class SlotUse:
    """The slots of some servers over a window."""

    #: Mean tasks at work on them; of servers that joined within the window, since they joined.
    busy: float
    #: The part of it that was counted for a whole window: what is certain.
    sure: float
    slots: float
    #: Seconds counted by the process that is known for the shortest time.
    counted: float

    @property
    def settled(self) -> bool:
        """The whole of it is certain."""
        return self.sure == self.busy


class SlotMeter:
    """Remembers from one decision to the next how long slots were taken. It dies with the operator."""

    def __init__(self) -> None:
        self._tracks = Tracks[Busy](_fell)

    def note(self, scrape: Scrape, *, window: float) -> None:
        """Take in what the replicas said."""
        found = ((replica.process, replica.at, _busy(replica)) for replica in scrape.replicas)
        self._tracks.note(found, keep=window, grain=window / READINGS_PER_WINDOW)

    def use(self, scrape: Scrape, servers: Sequence[str], *, window: float) -> SlotUse:
        """How the slots of these servers were used.

        Args:
            scrape: the scrape that was noted last.
            servers: names of the servers that count.
            window: seconds, `scaling.windowSeconds`.
        """
        busy = sure = 0.0
        counted = window
        for replica in scrape.replicas:
            track = self._tracks[replica.process]
            tasks = _tasks(track, replica, servers, window)
            busy += tasks
            if filled(track.lasted, window) or not track.newest.counted:
                sure += tasks
            else:
                counted = min(counted, track.lasted)
        return SlotUse(busy, sure, _slots(scrape, servers), counted)


def _busy(replica: ReplicaReading) -> Busy:
    return {name: s.busy_seconds for name, s in replica.servers.items() if s.busy_seconds is not None}


def _fell(before: Busy, now: Busy) -> bool:
    return any(now.get(name, seconds) < seconds for name, seconds in before.items())


def _slots(scrape: Scrape, servers: Sequence[str]) -> float:
    """Each server's slots count once, however many replicas share them."""
    return sum(max((r.servers[n].slots for r in scrape.replicas if n in r.servers), default=0.0) for n in servers)


def _tasks(track: Track[Busy], replica: ReplicaReading, servers: Sequence[str], window: float) -> float:
    """Mean tasks at work on the servers that the replica knows."""
    whole, newest, total = track.start(window), track.newest.counted, 0.0
    before, after, share = whole or ({}, {}, 0.0)
    for name in servers:
        if name in before and name in after and name in newest:
            rise = newest[name] - before[name] - (after[name] - before[name]) * share
            total += rise / window
        elif name in replica.servers:
            total += _young(track, replica, name, window)
    return total


def _young(track: Track[Busy], replica: ReplicaReading, name: str, window: float) -> float:
    """Mean tasks at work on a server since it joined; those of the moment while nothing was counted, or nothing is."""
    risen = track.rise(lambda counted: counted.get(name), window)
    return replica.servers[name].tasks if risen is None else risen[0] / risen[1]
