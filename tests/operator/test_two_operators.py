"""Two operators by mistake: nothing is bought twice, whichever of them is held up, and wherever.

Between them stand the launch counter (compare and swap), the name that follows from it, and the token that follows from
the object. Nothing here depends on a lock.
"""

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import pytest

from controller.sandbox.loopback import free_port

pytestmark = [pytest.mark.crash, pytest.mark.processes, pytest.mark.timeout(180)]

Make = Callable[..., dict[str, Any]]


@contextlib.asynccontextmanager
async def stopped(operator: Any) -> AsyncIterator[None]:
    """Inside, the process does not run: as under SIGSTOP, a paused container, or a node that swaps."""
    os.kill(operator.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(operator.pid, signal.SIGCONT)


async def called(rig: Any, action: str) -> None:
    """Wait until a call of this sort has arrived at the cloud's door."""

    async def look() -> bool:
        return bool(rig.cloud.count(action))

    await rig.until(look, f"a call of {action}")


async def decisions(port: int) -> float:
    """Decisions that the operator with this metrics port has made."""
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}/metrics") as answer:
        lines = (await answer.text()).splitlines()
    return next(float(x.split()[-1]) for x in lines if x.startswith("haipool_decision_seconds_count"))


def bought(rig: Any) -> list[str]:
    return [p.name for p in rig.cloud.purchases() if p.outcome == "bought"]


async def resize(rig: Any, size: int) -> None:
    patch = json.dumps({"spec": {"replicas": {"min": size}}})
    await rig.kubectl("patch", "gpupool", "pool", "--type", "merge", "-p", patch)


async def test_two_operators_side_by_side_buy_what_one_would(rig: Any, make_pool: Make, make_preset: Make) -> None:
    await asyncio.gather(rig.start_operator(), rig.start_operator())
    await rig.apply(make_preset("ap-beijing"), make_pool(3))
    await rig.start_dispatcher()
    servers = await rig.ready(3)
    await resize(rig, 5)
    servers = await rig.ready(5)
    assert sorted(s["status"]["instanceId"] for s in servers) == sorted(rig.alive())
    assert len(bought(rig)) == len(set(bought(rig))) == 5
    await rig.kubectl("delete", "gpupool", "pool", "--timeout=60s")
    assert rig.alive() == []


async def test_one_whose_purchase_is_on_its_way_while_another_takes_over(
    rig: Any, make_pool: Make, make_preset: Make
) -> None:
    rig.cloud.set_fault("late", action="RunInstances", count=1, seconds=100.0)
    first = await rig.start_operator()
    await rig.apply(make_preset("ap-beijing"), make_pool())
    await called(rig, "RunInstances")
    async with stopped(first):
        assert bought(rig) == []
        await rig.start_operator()
        await rig.ready(1, seconds=60.0)
        assert len(bought(rig)) == 1

        async def arrived() -> bool:
            return len(rig.cloud.purchases()) > 1

        await rig.until(arrived, "the purchase that was on its way")
    (server,) = await rig.ready(1)
    assert [p.outcome for p in rig.cloud.purchases()][:2] == ["bought", "repeated"]
    assert len(bought(rig)) == 1
    assert len({p.token for p in rig.cloud.purchases()}) == 1
    assert rig.alive() == [server["status"]["instanceId"]]
    await resize(rig, 2)
    await rig.ready(2)
    assert len(bought(rig)) == len(rig.alive()) == 2


async def test_one_held_up_before_its_decision_wakes_with_an_old_picture_and_buys_nothing(
    rig: Any, make_pool: Make, make_preset: Make
) -> None:
    # The first operator waits for a price when it is stopped, and wakes to decide from what it knew then.
    rig.cloud.set_fault("late", action="InquirePriceRunInstances", count=1, seconds=100.0)
    port = free_port()
    first = await rig.start_operator(metrics_port=port)
    await rig.apply(make_preset("ap-beijing"), make_pool())
    await called(rig, "InquirePriceRunInstances")
    before = await decisions(port)
    async with stopped(first):
        await rig.start_operator()
        await rig.ready(1, seconds=60.0)

    async def decided() -> bool:
        return await decisions(port) > before + 1

    await rig.until(decided, "decisions of the operator that was woken")
    await resize(rig, 2)
    servers = await rig.ready(2)
    assert sorted(s["status"]["instanceId"] for s in servers) == sorted(rig.alive())
    assert len(bought(rig)) == 2
    assert (await rig.get("gpupool", "pool"))["status"]["launchCounter"] >= 2


async def test_with_a_lease_one_stands_by_and_takes_over_when_the_other_is_killed(
    rig: Any, make_pool: Make, make_preset: Make
) -> None:
    first = await rig.start_operator(lease=True)
    await rig.apply(make_preset("ap-beijing"), make_pool())
    await rig.ready(1)
    port = free_port()
    await rig.start_operator(lease=True, metrics_port=port)

    async def standing_by() -> bool:
        return "this operator stands by" in rig.logs()

    await rig.until(standing_by, "the second operator, standing by")
    await resize(rig, 2)
    await rig.ready(2)
    assert await decisions(port) == 0
    os.kill(first.pid, signal.SIGKILL)
    await first.wait()
    await resize(rig, 3)
    await rig.ready(3, seconds=90.0)
    assert await decisions(port) > 0
    assert len(bought(rig)) == len(rig.alive()) == 3


async def test_with_a_lease_one_that_was_stopped_ends_when_it_wakes_to_another_in_its_place(
    rig: Any, make_pool: Make, make_preset: Make
) -> None:
    first = await rig.start_operator(lease=True)
    await rig.apply(make_preset("ap-beijing"), make_pool())
    await rig.ready(1)
    async with stopped(first):
        await rig.start_operator(lease=True)
        await resize(rig, 2)
        await rig.ready(2, seconds=90.0)
    assert await first.wait() == 1
    assert "the Lease haipool-operator is lost" in rig.logs()
    await resize(rig, 3)
    await rig.ready(3)
    assert len(bought(rig)) == len(rig.alive()) == 3
