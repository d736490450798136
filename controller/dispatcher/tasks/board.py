"""Who watches a task, so that they can be told that something has become of it."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager


class Board:
    """Watchers by task. Costs nothing for tasks that nobody watches."""

    def __init__(self) -> None:
        self._watchers: dict[str, set[asyncio.Event]] = {}
        #: Watchers in all.
        self.count = 0

    def watchers_of(self, task_id: str) -> int:
        """How many watch this task."""
        return len(self._watchers.get(task_id, ()))

    @contextmanager
    def watch(self, task_id: str) -> Iterator[asyncio.Event]:
        """An event that is set whenever the task may have changed; whoever waits for it clears it, then looks."""
        event = asyncio.Event()
        self._watchers.setdefault(task_id, set()).add(event)
        self.count += 1
        try:
            yield event
        finally:
            self.count -= 1
            watchers = self._watchers[task_id]
            watchers.remove(event)
            if not watchers:
                del self._watchers[task_id]

    def changed(self, task_id: str) -> None:
        """Something has become of this task."""
        for event in self._watchers.get(task_id, ()):
            event.set()

    def all_changed(self) -> None:
        """Something has changed for everybody."""
        for task_id in self._watchers:
            self.changed(task_id)
