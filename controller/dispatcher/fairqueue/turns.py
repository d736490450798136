"""Whose turn is it: round-robin in rounds, as start-time fair queueing with a cost of one per task.

Every key has a tag, the number of the round in which it may be served next. The key with the lowest tag is next; keys
of one round go in the order in which they first came. V, the current round, is the tag of the key served last. A key
that comes anew gets `max(V, own tag)`:

* a newcomer joins the round that is under way, and waits for at most one task of every other key;
* a key that went away and came back within its round waits for the next one, so leaving gains nothing;
* a key that was away for longer has neither credit nor debt.

Goyal, Vin, Cheng: Start-Time Fair Queuing (SIGCOMM 1996). V follows what was *served*: a floor taken over what is
stored lets a key that cannot be served hold everybody back.
"""

from heapq import heapify, heappop, heappush
from typing import Final, Generic, TypeVar

K = TypeVar("K")

#: A heap is rebuilt when more than half of it, and more entries than this, are outdated.
SLACK: Final = 64


class Turns(Generic[K]):
    """Turns among keys that have something to do. Every operation is O(log n) in the keys, amortised."""

    __slots__ = ("_active", "_away", "_away_heap", "_heap", "_joined", "_round")

    def __init__(self) -> None:
        self._round = 0
        self._joined = 0
        #: key -> (tag, order of first coming) of the keys that wait for a turn.
        self._active: dict[K, tuple[int, int]] = {}
        #: The same of keys that left before their round came; forgotten once it has.
        self._away: dict[K, tuple[int, int]] = {}
        #: (tag, order, key), with outdated entries that are dropped when they come up.
        self._heap: list[tuple[int, int, K]] = []
        self._away_heap: list[tuple[int, int, K]] = []

    def __len__(self) -> int:
        return len(self._active)

    def __contains__(self, key: object) -> bool:
        return key in self._active

    def join(self, key: K) -> None:
        """The key has something to do now; does nothing if it already had."""
        if key in self._active:
            return
        tag, order = self._away.pop(key, (self._round, -1))
        if order < 0:
            self._joined += 1
            order = self._joined
        self._activate(key, max(self._round, tag), order)

    def peek(self) -> K | None:
        """The key whose turn it is; None when no key has anything to do."""
        heap = self._heap
        while heap:
            tag, order, key = heap[0]
            if self._active.get(key) == (tag, order):
                return key
            heappop(heap)
        return None

    def served(self, key: K, *, more: bool) -> None:
        """The key had its turn.

        Args:
            key: the key `peek` named.
            more: whether it has more to do.
        """
        tag, order = self._active.pop(key)
        self._round = max(self._round, tag)
        if more:
            self._activate(key, tag + 1, order)
        else:
            self._remember(key, tag + 1, order)
        self._forget()

    def leave(self, key: K) -> None:
        """The key has nothing to do any more, without having been served (its tasks were cancelled)."""
        tag, order = self._active.pop(key)
        self._remember(key, tag, order)
        self._forget()

    def _activate(self, key: K, tag: int, order: int) -> None:
        self._active[key] = (tag, order)
        heappush(self._heap, (tag, order, key))
        _compact(self._heap, self._active)

    def _remember(self, key: K, tag: int, order: int) -> None:
        if tag > self._round:
            self._away[key] = (tag, order)
            heappush(self._away_heap, (tag, order, key))
            _compact(self._away_heap, self._away)

    def _forget(self) -> None:
        """Drop what `max(V, tag)` makes meaningless, so that memory follows the keys that matter."""
        heap = self._away_heap
        while heap and (heap[0][0] <= self._round or self._away.get(heap[0][2]) != heap[0][:2]):
            tag, order, key = heappop(heap)
            if self._away.get(key) == (tag, order):
                del self._away[key]


def _compact(heap: list[tuple[int, int, K]], valid: dict[K, tuple[int, int]]) -> None:
    """Rebuild a heap that is mostly outdated: a client that submits and cancels for ever must not make it grow."""
    if len(heap) > 2 * len(valid) + SLACK:
        heap[:] = [(tag, order, key) for key, (tag, order) in valid.items()]
        heapify(heap)
