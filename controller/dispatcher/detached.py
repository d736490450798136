"""Tasks that go on when their client has its answer, or has gone: those with `completion: Poll`."""

import asyncio
import logging
from collections.abc import Callable

from msgspec.structs import replace

from controller.dispatcher.execute import Executor, Job, Outcome

logger = logging.getLogger(__name__)


class Detached:
    """Runs polled tasks apart from their clients' connections. One per process."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self._running: set[asyncio.Task[Outcome]] = set()

    async def run(self, job: Job, done: Callable[[], None]) -> Outcome | None:
        """Run a polled task, and return as soon as its answer has been brought home; the task then goes on alone.

        Args:
            job: the task.
            done: called, perhaps twice, when the request is needed no more.

        Returns:
            The outcome if the task is over; None if it goes on.

        Raises:
            asyncio.CancelledError: the client went away. A task that a server may have got goes on.
        """
        answered = asyncio.Event()

        def tell() -> None:
            answered.set()
            done()

        running = asyncio.create_task(self._executor.run(replace(job, answered=tell)))
        self._running.add(running)
        running.add_done_callback(self._left)
        running.add_done_callback(lambda _: tell())
        try:
            await answered.wait()
        except asyncio.CancelledError:
            if job.task.started is None:
                running.cancel()
            raise
        return running.result() if running.done() else None

    def _left(self, running: "asyncio.Task[Outcome]") -> None:
        self._running.discard(running)
        error = None if running.cancelled() else running.exception()
        if error is not None and not isinstance(error, ConnectionError):
            logger.error("a task broke", exc_info=error)

    async def close(self) -> None:
        """Give up what still goes on."""
        for running in self._running:
            running.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
