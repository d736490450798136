"""Ends work that runs too long, or on a server that the pool has withdrawn.

What asyncio.timeout does for each block with a timer of its own, this does for all of them with one: a task costs an
entry in a dict, and the clock is looked at a few times a second.
"""

import asyncio
from dataclasses import dataclass
from typing import Final

from controller.dispatcher.servers import Server

#: Work ends at most so much later than it should.
GRAIN_SECONDS: Final = 0.25


@dataclass(slots=True, eq=False)
class Running:
    """Work under way at a server."""

    server: Server
    #: Loop time at which it has to be over.
    until: float
    task: "asyncio.Task[object]"
    #: Cancellations of the task that were none of ours, when the work began.
    cancelling: int
    #: Why it was ended; None while it was not.
    withdrawn: bool | None = None

    def end(self, *, withdrawn: bool) -> None:
        """End it, once."""
        if self.withdrawn is None:
            self.withdrawn = withdrawn
            self.task.cancel()

    def is_ours(self) -> bool:
        """Whether a CancelledError that came out of the work is ours alone; call it once, where it was caught."""
        return self.withdrawn is not None and self.task.uncancel() <= self.cancelling


class Deadlines:
    """All work under way."""

    def __init__(self) -> None:
        self._running: dict[Running, None] = {}
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, server: Server, seconds: float) -> Running:
        """The current task works at this server from now on, for so many seconds at most; `end` it in any case."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - called from coroutines only
        loop = task.get_loop()
        running = Running(server, loop.time() + seconds, task, task.cancelling())
        self._running[running] = None
        if self._timer is None:
            self._timer = loop.call_later(GRAIN_SECONDS, self._look, loop)
        return running

    def end(self, running: Running) -> None:
        """The work is over."""
        del self._running[running]

    def withdraw(self, server: Server) -> None:
        """The pool has this server no more: whatever runs there is ended."""
        for running in tuple(self._running):
            if running.server is server:
                running.end(withdrawn=True)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        for running in tuple(self._running):
            if running.until <= now:
                running.end(withdrawn=False)
        self._timer = loop.call_later(GRAIN_SECONDS, self._look, loop) if self._running else None

    def close(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
