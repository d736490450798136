"""How long tasks wait while there is no server at all, and one timer for all that only time brings.

A limit that is looked at only when something arrives is none: with no server and no new task, nothing ever arrives.
"""

import asyncio
from collections.abc import Callable


class Patience:
    """Since when tasks wait without any server. Pure: the clock is the caller's."""

    def __init__(self, seconds: float) -> None:
        #: `queue.noServerWaitSeconds`.
        self.seconds = seconds
        self.since: float | None = None

    def until(self, now: float, first: float | None, *, served: bool) -> float | None:
        """When the patience of the task that waits longest ends.

        It begins with the task, or when the last server was lost, whichever is later: a task that comes to an empty
        pool is what makes the pool grow, and has to wait for that.

        Args:
            now: the time.
            first: when the task was submitted that waits longest; None: nothing waits.
            served: whether there is a server that gets tasks.
        """
        if served or first is None:
            self.since = None
            return None
        if self.since is None:
            self.since = now
        return max(first, self.since) + self.seconds


class Alarm:
    """Calls back at a time that may change at any moment."""

    def __init__(self, ring: Callable[[], None]) -> None:
        self._ring = ring
        self._timer: asyncio.TimerHandle | None = None
        self._at = 0.0

    @property
    def armed(self) -> bool:
        """Whether it is going to ring."""
        return self._timer is not None

    def set(self, at: float | None, now: float, loop: asyncio.AbstractEventLoop) -> None:
        """Ring at this time, on a clock that runs like the loop's; None: not at all."""
        if self._timer is not None:
            if at == self._at:
                return
            self._timer.cancel()
            self._timer = None
        if at is not None:
            self._at = at
            self._timer = loop.call_later(max(0.0, at - now), self._rings)

    def _rings(self) -> None:
        self._timer = None
        self._ring()
