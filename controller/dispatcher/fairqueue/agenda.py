"""Whose turns start when: entries by time, of which the first is wanted.

Where all turns count the same, entries are added in the very order in which they come up. These stand in a line, where
everything is O(1); only those that come up in between need a heap. With 100 000 flows that saves a fifth of what a task
costs the queue, and where turns count differently it costs nothing that can be measured.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from heapq import heappop, heappush
from typing import Generic, TypeVar

T = TypeVar("T")

#: Time, then number among equal times; the latter is never the same for two things.
Entry = tuple[float, int, T]


class Agenda(Generic[T]):
    """Entries in the order of their times and numbers."""

    __slots__ = ("_heap", "_in_line", "_line")

    def __init__(self, entries: Iterable[Entry[T]] = ()) -> None:
        self._line: deque[Entry[T]] = deque(sorted(entries))
        self._heap: list[Entry[T]] = []
        #: Where `first` found its entry.
        self._in_line = True

    def __len__(self) -> int:
        return len(self._line) + len(self._heap)

    def __iter__(self) -> Iterator[Entry[T]]:
        """Yield the entries in any order."""
        yield from self._line
        yield from self._heap

    def add(self, entry: Entry[T]) -> None:
        """Add an entry."""
        line = self._line
        if not line or entry > line[-1]:
            line.append(entry)
        else:
            heappush(self._heap, entry)

    def first(self) -> Entry[T] | None:
        """The first entry; None without any."""
        line, heap = self._line, self._heap
        if line and not (heap and heap[0] < line[0]):
            self._in_line = True
            return line[0]
        self._in_line = False
        return heap[0] if heap else None

    def drop(self) -> None:
        """Take out the entry that `first` has just named."""
        if self._in_line:
            self._line.popleft()
        else:
            heappop(self._heap)

    def replace(self, entry: Entry[T]) -> None:
        """Put a later entry in the place of the one that `first` has just named."""
        line = self._line
        if self._in_line:
            line.popleft()
        else:
            heappop(self._heap)
        if not line or entry > line[-1]:
            line.append(entry)
        else:
            heappush(self._heap, entry)
