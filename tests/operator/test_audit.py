"""The leak audit at work: an instance without an object is reported, taken over or destroyed, and nothing else is."""

import asyncio
import json
import os
import signal
from collections.abc import Callable
from typing import Any

import aiohttp
import pytest

from controller.sandbox.loopback import free_port

pytestmark = [pytest.mark.processes, pytest.mark.timeout(180)]

Make = Callable[..., dict[str, Any]]


async def kill(operator: Any) -> None:
    os.kill(operator.pid, signal.SIGKILL)
    await operator.wait()


async def forget(rig: Any, name: str) -> None:
    """Remove a GpuInstance as nobody should: its finalizers by hand, so that nothing is destroyed."""
    lost = (await rig.get("gpuinstance", name))["status"]["instanceId"]
    rig.oracle.intends(lost, "its object is removed by hand")
    await rig.kubectl(
        "patch", "gpuinstance", name, "--type", "merge", "-p", json.dumps({"metadata": {"finalizers": []}})
    )
    await rig.kubectl("delete", "gpuinstance", name, "--ignore-not-found", "--timeout=20s")


async def no_leaks(rig: Any, status: str) -> dict[str, Any]:
    async def look() -> dict[str, Any] | None:
        found = await rig.condition("gpupool", "pool", "NoLeaks")
        return found if found.get("status") == status else None

    return dict(await rig.until(look, f"NoLeaks={status}"))


async def figures(port: int, name: str) -> dict[str, float]:
    """A metric of the operator, by its labels as text."""
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}/metrics") as answer:
        lines = (await answer.text()).splitlines()
    return {key: float(value) for key, _, value in (x.rpartition(" ") for x in lines) if key.startswith(f"{name}{{")}


async def test_a_server_whose_object_is_gone_is_taken_over_before_anything_is_bought(
    rig: Any, make_pool: Make, make_preset: Make
) -> None:
    operator = await rig.start_operator()
    await rig.start_dispatcher()
    await rig.apply(make_preset("ap-beijing"), make_pool())
    (server,) = await rig.ready(1)
    lost = server["status"]["instanceId"]
    await kill(operator)
    await forget(rig, "pool-1")
    await rig.start_operator()
    (server,) = await rig.ready(1)
    assert (server["metadata"]["name"], server["spec"]["adopts"]) == (f"pool-{lost}", lost)
    assert server["status"]["instanceId"] == lost
    assert [p.outcome for p in rig.cloud.purchases()] == ["bought"]
    assert "TakenOver" in {reason for reason, _ in await rig.events(f"pool-{lost}")}
    await no_leaks(rig, "True")
    assert (await rig.task())[0] == 200
    await rig.kubectl("delete", "gpupool", "pool", "--timeout=60s")
    assert rig.alive() == []


async def test_a_server_nobody_wants_is_reported_and_in_delete_mode_destroyed_and_nothing_else_is(
    rig: Any, make_pool: Make, make_preset: Make
) -> None:
    port = free_port()
    operator = await rig.start_operator(metrics_port=port)
    await rig.apply(make_preset("ap-beijing"), make_pool())
    (server,) = await rig.ready(1)
    lost = server["status"]["instanceId"]
    foreign = [*rig.cloud.add_instances("ap-beijing", "XL", 1, name="web-1")]
    foreign += rig.cloud.add_instances("ap-beijing", "XL", 1, name="hp1-my-own-test-machine")
    await rig.kubectl("patch", "gpupool", "pool", "--type", "merge", "-p", '{"spec":{"replicas":{"min":0}}}')
    await forget(rig, "pool-1")
    told = await no_leaks(rig, "False")
    assert lost in told["message"]
    assert "0.88 CNY/h" in told["message"]
    rates = await figures(port, "haipool_leaked_cny_per_hour")
    assert rates['haipool_leaked_cny_per_hour{region="ap-beijing"}'] == 0.88
    assert sum(rates.values()) == 0.88
    assert sorted(rig.alive()) == sorted([lost, *foreign])
    await kill(operator)
    await rig.start_operator("--leak-audit", "delete", metrics_port=port)

    async def destroyed() -> bool:
        return lost not in rig.alive()

    await rig.until(destroyed, "the leak destroyed")
    await no_leaks(rig, "True")
    assert sorted(rig.alive()) == sorted(foreign)
    assert "LeakDestroyed" in {reason for reason, _ in await rig.events("pool")}

    async def cheaper() -> bool:
        return sum((await figures(port, "haipool_leaked_cny_per_hour")).values()) == 0

    await rig.until(cheaper, "the metric without the leak")


async def test_nothing_is_concluded_from_a_list_that_is_not_complete(
    rig: Any, make_pool: Make, make_preset: Make
) -> None:
    operator = await rig.start_operator()
    await rig.apply(make_preset("ap-beijing"), make_pool())
    (server,) = await rig.ready(1)
    lost = server["status"]["instanceId"]
    await kill(operator)
    await rig.kubectl("patch", "gpupool", "pool", "--type", "merge", "-p", '{"spec":{"replicas":{"min":0}}}')
    await forget(rig, "pool-1")
    fault = rig.cloud.set_fault("wrong_total", region="ap-beijing")
    operator = await rig.start_operator("--leak-audit", "delete")
    await no_leaks(rig, "Unknown")
    listings = rig.cloud.count("DescribeInstances")

    async def passes() -> bool:
        return bool(rig.cloud.count("DescribeInstances") > listings + 40)

    await rig.until(passes, "some passes over six regions")
    assert (await rig.condition("gpupool", "pool", "NoLeaks"))["status"] == "Unknown"
    assert rig.alive() == [lost]
    rig.cloud.clear_fault(fault)

    async def destroyed() -> bool:
        return not rig.alive()

    await rig.until(destroyed, "the leak destroyed")


async def test_an_orphan_is_no_leak(rig: Any, make_pool: Make, make_preset: Make) -> None:
    await rig.start_operator("--leak-audit", "delete")
    await rig.apply(make_preset("ap-beijing"), make_pool(1, deletionPolicy="Orphan"))
    (orphan,) = await rig.ready(1)
    rig.oracle.intends(orphan["status"]["instanceId"], "an orphan lives on")
    await rig.kubectl("delete", "gpupool", "pool", "--timeout=60s")
    await rig.apply(make_pool())

    async def second() -> bool:
        phases = [i.get("status", {}).get("phase") for i in await rig.all("gpuinstances")]
        return phases == ["Ready", "Ready"]

    # By then the audit has passed several times: a new pool's purchase waits for it.
    await rig.until(second, "the new pool's own server")
    assert orphan["status"]["instanceId"] in rig.alive()
    assert len(rig.alive()) == 2


async def test_nothing_is_bought_before_the_cloud_has_been_listed(rig: Any, make_pool: Make, make_preset: Make) -> None:
    fault = rig.cloud.set_fault("error", action="DescribeInstances", region="ap-beijing")
    await rig.start_operator()
    await rig.apply(make_preset("ap-beijing"), make_pool())

    async def waiting() -> bool:
        status = (await rig.get("gpupool", "pool")).get("status", {})
        return bool(status.get("lastDecision", {}).get("reason") == "AuditPending")

    await rig.until(waiting, "a pool that waits for the listing")
    # Several decisions later it still waits.
    await asyncio.sleep(3.0)
    assert await waiting()
    assert rig.cloud.purchases() == ()
    rig.cloud.clear_fault(fault)
    await rig.ready(1)
