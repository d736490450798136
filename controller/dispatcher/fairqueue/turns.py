"""Whose turn it is: rounds, in each of which every key that has something to do is served once.

Keys of one round are served in the order in which they first came. V is the round under way.

* A newcomer joins the round under way, behind all others, and waits for at most one task of each of them. A round takes
  in only so many, since an endless stream of newcomers, each under an address of its own, must not keep those who have
  had their turn from the next one for ever. Whoever comes after that joins the next round.
* A key that was served in this round, or already waited for the next one, and that went away and comes back, waits for
  the next one in its old place: leaving gains nothing, and loses nothing.
* A key that was away for longer is a newcomer: it has neither credit nor debt.

This is start-time fair queueing (Goyal, Vin, Cheng: SIGCOMM 1996) with a cost of one per task: a key's tag is then
either V or V + 1, so two rounds say all there is to say. V follows what was *served*: a floor taken over what is stored
lets a key that cannot be served hold everybody back, and starting over at the first key whenever the queue has run
empty favours that key.
"""

from collections import OrderedDict
from collections.abc import Hashable
from heapq import heapify, heappop, heappush
from typing import Final, Generic, TypeVar

K = TypeVar("K", bound=Hashable)

#: A heap is rebuilt when more than half of it, and more entries than this, are outdated.
SLACK: Final = 64
#: Newcomers a round takes in while it is under way: so many, or as many as there were keys when it began.
ROOM: Final = 256


class Round(Generic[K]):
    """Keys in the order of their first coming.

    Almost all of them come in that very order and stand in a line, where every operation is O(1); only those that come
    back in between need a heap.
    """

    __slots__ = ("_back", "_heap", "_last", "_line")

    def __init__(self) -> None:
        self._line: OrderedDict[K, int] = OrderedDict()
        #: The order of the last key of the line.
        self._last = 0
        #: Keys whose place in the line is taken by later ones already.
        self._back: dict[K, int] = {}
        #: (order, key) of these, with outdated entries that are dropped when they come up.
        self._heap: list[tuple[int, K]] = []

    def __len__(self) -> int:
        return len(self._line) + len(self._back)

    def __bool__(self) -> bool:
        return bool(self._line or self._back)

    def __contains__(self, key: object) -> bool:
        return key in self._line or key in self._back

    def add(self, key: K, order: int) -> None:
        """A key that is not in it yet."""
        if order > self._last or not self._line:
            self._line[key] = self._last = order
            return
        self._back[key] = order
        heappush(self._heap, (order, key))
        if len(self._heap) > 2 * len(self._back) + SLACK:
            self._heap = [(order, key) for key, order in self._back.items()]
            heapify(self._heap)

    def first(self) -> K | None:
        """The key that came first; None when there is none."""
        if not self._back:
            return next(iter(self._line), None)
        in_line = next(iter(self._line), None)
        heap = self._heap
        while self._back.get(heap[0][1]) != heap[0][0]:
            heappop(heap)
        order, key = heap[0]
        return key if in_line is None or order < self._line[in_line] else in_line

    def remove(self, key: K) -> int:
        """Take a key out; returns its order.

        Raises:
            KeyError: it is not in it.
        """
        order = self._line.pop(key, None)
        return self._back.pop(key) if order is None else order


class Turns(Generic[K]):
    """Turns among keys that have something to do."""

    __slots__ = ("_came", "_gone", "_joined", "_next", "_now", "_room")

    def __init__(self) -> None:
        #: Keys that ever came as newcomers.
        self._came = 0
        self._now: Round[K] = Round()
        self._next: Round[K] = Round()
        #: Order of the last newcomer of the round under way; later ones have not had a turn that could be had twice.
        self._joined = 0
        #: Newcomers that may still join the round under way.
        self._room = ROOM
        #: key -> order of the keys that went away and may come back in the next round only.
        self._gone: dict[K, int] = {}

    def __len__(self) -> int:
        return len(self._now) + len(self._next)

    def __contains__(self, key: object) -> bool:
        return key in self._now or key in self._next

    def join(self, key: K) -> None:
        """The key has something to do now; does nothing if it already had."""
        if key in self._now or key in self._next:
            return
        order = self._gone.pop(key, None)
        if order is not None:
            self._next.add(key, order)
            return
        self._came += 1
        if self._room:
            self._room -= 1
            self._joined = self._came
            self._now.add(key, self._came)
        else:
            self._next.add(key, self._came)

    def peek(self) -> K | None:
        """The key whose turn it is; None when no key has anything to do."""
        return (self._now or self._next).first()

    def served(self, key: K, *, more: bool) -> None:
        """The key had its turn.

        Args:
            key: the key `peek` named.
            more: whether it has more to do.

        Raises:
            KeyError: it was not its turn.
        """
        if not self._now:
            self._now, self._next = self._next, Round()
            self._room, self._joined = max(ROOM, len(self._now)), self._came
            self._gone.clear()
        order = self._now.remove(key)
        if more:
            self._next.add(key, order)
        else:
            self._gone[key] = order

    def leave(self, key: K) -> None:
        """The key has nothing to do any more, without having been served (its tasks were cancelled)."""
        if key in self._now:
            self._now.remove(key)
            return
        order = self._next.remove(key)
        if order <= self._joined:
            self._gone[key] = order
