"""Workers, in virtual time: one run at a time per object, woken when something happens, backing off on errors."""

import asyncio

import pytest

from controller.operator.workers import Workers

pytestmark = pytest.mark.looptime


def ignore(_key: str, _error: Exception) -> None:
    """These runs do not fail."""


async def test_an_object_is_looked_at_again_when_its_time_has_come() -> None:
    seen: list[float] = []

    async def reconcile(key: str) -> float:
        seen.append(asyncio.get_running_loop().time())
        return 10.0

    workers = Workers("Kind", reconcile, ignore)
    workers.wake("a")
    await asyncio.sleep(25)
    await workers.stop()
    assert seen == [0, 10, 20]


async def test_waking_brings_the_next_look_forward() -> None:
    seen: list[float] = []

    async def reconcile(key: str) -> float:
        seen.append(asyncio.get_running_loop().time())
        return 100.0

    workers = Workers("Kind", reconcile, ignore)
    workers.wake("a")
    await asyncio.sleep(3)
    workers.wake("a")
    await asyncio.sleep(1)
    await workers.stop()
    assert seen == [0, 3]


async def test_runs_of_one_object_never_overlap_and_a_wake_during_a_run_is_not_lost() -> None:
    running = 0
    starts: list[float] = []

    async def reconcile(key: str) -> float:
        nonlocal running
        running += 1
        assert running == 1
        starts.append(asyncio.get_running_loop().time())
        await asyncio.sleep(5)
        running -= 1
        return 100.0

    workers = Workers("Kind", reconcile, ignore)
    workers.wake("a")
    await asyncio.sleep(1)
    workers.wake("a")
    await asyncio.sleep(10)
    await workers.stop()
    assert starts == [0, 5]


async def test_errors_are_reported_and_backed_off_from() -> None:
    seen: list[float] = []
    errors: list[str] = []

    async def reconcile(key: str) -> float:
        seen.append(asyncio.get_running_loop().time())
        raise ValueError("no")

    workers = Workers("Kind", reconcile, lambda key, error: errors.append(f"{key}: {error}"))
    workers.wake("a")
    await asyncio.sleep(16)
    await workers.stop()
    assert seen == [0, 1, 3, 7, 15]
    assert errors == ["a: no"] * 5


async def test_the_worker_of_a_gone_object_ends_and_a_new_one_begins_anew() -> None:
    seen: list[str] = []

    async def reconcile(key: str) -> None:
        seen.append(key)

    workers = Workers("Kind", reconcile, ignore)
    workers.wake("a")
    await asyncio.sleep(1)
    assert workers.keys() == []
    workers.wake("a")
    await asyncio.sleep(1)
    await workers.stop()
    assert seen == ["a", "a"]
