"""One task per object: reconcile, sleep until due or woken, back off on errors.

This is the level-triggered half of the operator: kopf's watch only says that something changed, and a worker looks at
all of it. Runs for one object never overlap.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

logger = logging.getLogger(__name__)

#: Pause after the first failed run in a row; doubles up to the maximum.
ERROR_BACKOFF_SECONDS: Final = 1.0
ERROR_BACKOFF_MAX_SECONDS: Final = 60.0

#: Reconciles the object of this key; returns seconds until the next run, or None when the object is gone.
Reconcile = Callable[[str], Awaitable[float | None]]


class Workers:
    """The workers of one kind."""

    def __init__(self, kind: str, reconcile: Reconcile, on_error: Callable[[str, Exception], None]) -> None:
        self._kind = kind
        self._reconcile = reconcile
        self._on_error = on_error
        self._wake: dict[str, asyncio.Event] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        #: Loop time of the last run that ended without an error, by key; the liveness probe reads it.
        self.beats: dict[str, float] = {}

    def wake(self, key: str) -> None:
        """Have the object looked at now; starts its worker if it has none."""
        if key in self._tasks:
            self._wake[key].set()
            return
        self._wake[key] = asyncio.Event()
        self._tasks[key] = asyncio.create_task(self._run(key), name=f"{self._kind}:{key}")

    def keys(self) -> list[str]:
        """The objects that have a worker."""
        return list(self._tasks)

    async def _run(self, key: str) -> None:
        wake, failures = self._wake[key], 0
        self.beats[key] = asyncio.get_running_loop().time()
        while True:
            wake.clear()
            try:
                delay = await self._reconcile(key)
                failures = 0
                self.beats[key] = asyncio.get_running_loop().time()
            except Exception as error:
                self._on_error(key, error)
                logger.exception("%s %s: reconcile failed", self._kind, key)
                delay = min(ERROR_BACKOFF_SECONDS * 2.0**failures, ERROR_BACKOFF_MAX_SECONDS)
                failures = min(failures + 1, 10)
            if delay is None and not wake.is_set():
                self._forget(key)
                return
            await self._sleep(wake, delay or 0.0)

    @staticmethod
    async def _sleep(wake: asyncio.Event, delay: float) -> None:
        try:
            async with asyncio.timeout(delay):
                await wake.wait()
        except TimeoutError:
            return

    def _forget(self, key: str) -> None:
        for table in (self._wake, self._tasks, self.beats):
            table.pop(key, None)

    async def stop(self) -> None:
        """Cancel all workers and wait for them."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for key in list(self._tasks):
            self._forget(key)
