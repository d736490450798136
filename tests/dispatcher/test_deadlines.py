"""Work at a server ends when its time is over or the server is withdrawn, and only then, in virtual time."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from controller.dispatcher.deadlines import GRAIN_SECONDS, Deadlines
from controller.dispatcher.servers import Server, ServerSpec

pytestmark = pytest.mark.looptime


@pytest.fixture
async def deadlines() -> AsyncIterator[Deadlines]:
    deadlines = Deadlines()
    yield deadlines
    deadlines.close()


@pytest.fixture
def server() -> Server:
    return Server(ServerSpec("s", "1", "http://127.0.0.1:1"))


async def work(deadlines: Deadlines, server: Server, seconds: float, takes: float) -> tuple[str, float]:
    """What became of work that takes so long, and when."""
    loop = asyncio.get_running_loop()
    running = deadlines.begin(server, seconds)
    try:
        await asyncio.sleep(takes)
        return "done", loop.time()
    except asyncio.CancelledError:
        if not running.is_ours():
            raise
        return ("withdrawn" if running.withdrawn else "late"), loop.time()
    finally:
        deadlines.end(running)


async def test_work_within_its_time_is_left_alone(deadlines: Deadlines, server: Server) -> None:
    assert (await work(deadlines, server, 10, 9.9))[0] == "done"


@pytest.mark.parametrize("seconds", [1, 2.6, 600])
async def test_work_that_takes_longer_is_ended(deadlines: Deadlines, server: Server, seconds: float) -> None:
    how, at = await work(deadlines, server, seconds, 10_000)
    assert how == "late"
    assert seconds <= at <= seconds + 2 * GRAIN_SECONDS


async def test_everything_at_a_withdrawn_server_is_ended_and_nothing_elsewhere(
    deadlines: Deadlines, server: Server
) -> None:
    other = Server(server.spec)
    tasks = [asyncio.create_task(work(deadlines, s, 100, 50)) for s in (server, server, other)]
    await asyncio.sleep(5)
    deadlines.withdraw(server)
    assert [how for how, _ in await asyncio.gather(*tasks)] == ["withdrawn", "withdrawn", "done"]


async def test_a_client_that_goes_away_stays_gone(deadlines: Deadlines, server: Server) -> None:
    """Its cancellation is not ours to swallow, also when the deadline strikes in the same instant."""
    for withdraw in (False, True):
        task = asyncio.create_task(work(deadlines, server, 100, 50))
        await asyncio.sleep(1)
        task.cancel()
        if withdraw:
            deadlines.withdraw(server)
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_a_task_that_was_ended_goes_on_and_may_work_again(deadlines: Deadlines, server: Server) -> None:
    async def twice() -> list[Any]:
        return [(await work(deadlines, server, 1, 50))[0], (await work(deadlines, server, 10, 1))[0]]

    task = asyncio.create_task(twice())
    assert await task == ["late", "done"]
    assert task.cancelling() == 0


async def test_no_timer_is_left_when_nothing_runs(deadlines: Deadlines, server: Server) -> None:
    await work(deadlines, server, 10, 1)
    await asyncio.sleep(2 * GRAIN_SECONDS)
    assert deadlines._timer is None
    await work(deadlines, server, 1, 10)
    assert deadlines._running == {}
