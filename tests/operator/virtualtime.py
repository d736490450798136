"""An event loop in which waiting costs nothing: whenever everybody waits, its clock jumps to whoever is woken first.

Sockets and threads are real. Time stands still while there is anything to read, and runs like any clock while a thread
works, so what takes long on a slow machine takes no longer in virtual time, and no time-out ends because of it.
"""

import asyncio
import selectors
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any, TypeVar, TypeVarTuple

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

#: Real seconds for which sockets are looked at before a jump: what was sent over loopback is there by then.
GRACE_SECONDS = 0.001


class _Selector(selectors.DefaultSelector):
    """Waits for sockets; where the loop would only wait for time, time passes at once."""

    def __init__(self) -> None:
        super().__init__()
        self.ahead = 0.0
        self.working = 0
        self._real = time.monotonic
        self._now = self._real()

    def time(self) -> float:
        """Virtual seconds: they pass in here, and nowhere else."""
        return self._now

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or (timeout is not None and timeout <= 0):
            return ready
        if timeout is None or self.working:
            before = self._real()
            ready = super().select(timeout)
            self._now += self._real() - before
            return ready
        ready = super().select(GRACE_SECONDS)
        if not ready:
            self._now += timeout
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """The loop. Its clock begins where the machine's monotonic clock is."""

    def __init__(self) -> None:
        self._pace = _Selector()
        super().__init__(self._pace)

    def time(self) -> float:
        return self._pace.time()

    def begun(self, work: Future[Any]) -> None:
        """Time is real until this work of a thread is done."""
        self._pace.working += 1
        work.add_done_callback(lambda _: self._done())

    def _done(self) -> None:
        if not self.is_closed():
            self.call_soon_threadsafe(self._ended)

    def _ended(self) -> None:
        self._pace.working -= 1

    def run_in_executor(self, executor: Executor | None, func: Callable[[*Ts], T], *args: *Ts) -> "asyncio.Future[T]":
        """As any loop does; name look-ups and `asyncio.to_thread` come this way."""
        self._pace.working += 1
        future = super().run_in_executor(executor, func, *args)
        future.add_done_callback(lambda _: self._ended())
        return future


class Threads(ThreadPoolExecutor):
    """Threads whose work the loop knows of."""

    def __init__(self, loop: VirtualLoop, threads: int) -> None:
        super().__init__(threads)
        self._loop = loop

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> "Future[T]":
        work = super().submit(fn, *args, **kwargs)
        self._loop.begun(work)
        return work


def run(story: Coroutine[Any, Any, T]) -> T:
    """Run a story in virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(story)
