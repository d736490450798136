"""Background work whose failure is the block's failure."""

import asyncio

import pytest

from controller.sandbox.demo.beside import beside


async def test_it_runs_for_the_length_of_the_block() -> None:
    running, ended = asyncio.Event(), asyncio.Event()

    async def job() -> None:
        running.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with beside(job()):
        await running.wait()
        assert not ended.is_set()
    assert ended.is_set()


async def test_its_failure_breaks_the_block_off_and_is_raised() -> None:
    async def job() -> None:
        raise ValueError("the watch died")

    with pytest.raises(ValueError, match="the watch died"):
        async with beside(job()), asyncio.timeout(60):
            await asyncio.Event().wait()
    # Nothing of the cancellation is left over.
    await asyncio.sleep(0)


async def test_ending_well_does_not_disturb_the_block() -> None:
    done = asyncio.Event()

    async def job() -> None:
        done.set()

    async with beside(job()):
        await done.wait()
        await asyncio.sleep(0)


async def test_the_blocks_own_error_stays_as_it_is() -> None:
    with pytest.raises(KeyError, match="mine"):
        async with beside(asyncio.sleep(60)):
            raise KeyError("mine")


async def test_a_cancellation_from_outside_stays_one() -> None:
    started = asyncio.Event()

    async def block() -> None:
        async with beside(asyncio.sleep(60)):
            started.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(block())
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
