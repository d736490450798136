"""Work in the background of a block, whose failure is the block's failure."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any


@asynccontextmanager
async def beside(job: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run `job` for the length of the block, and end it there.

    If it fails meanwhile, the block is broken off and the failure is raised in its place: who waits for what a dead
    watch should tell would wait in vain. (A TaskGroup would do the same, but wrap the block's own errors.)
    """
    block = asyncio.current_task()
    task = asyncio.create_task(job)

    def break_off(done: asyncio.Task[None]) -> None:
        if block is not None and _failure(done) is not None:
            block.cancel()

    task.add_done_callback(break_off)
    try:
        yield
    except asyncio.CancelledError:
        failure = _failure(task)
        if failure is None or block is None:
            raise
        block.uncancel()
        raise failure from None
    finally:
        task.remove_done_callback(break_off)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def _failure(task: asyncio.Task[None]) -> BaseException | None:
    """Why it failed; None if it runs, was cancelled, or ended well."""
    return task.exception() if task.done() and not task.cancelled() else None
