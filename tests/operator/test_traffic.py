"""Traffic from the cloud's counters to the servers' settings: the real processes, driven through every level."""

from collections.abc import Callable
from typing import Any

import aiohttp
import pytest

from controller.sandbox.loopback import free_port

pytestmark = [pytest.mark.processes, pytest.mark.timeout(180)]

Make = Callable[..., dict[str, Any]]
SAVING = {"intervalSeconds": 1, "optimization": {"hooks": {"hookSet": "StableDiffusionWebUI"}}}
USUAL = {"samples_format": "png", "jpeg_quality": 80}


async def levels(rig: Any, server: dict[str, Any], wanted: str) -> dict[str, Any]:
    """Wait until the pool has the level and its server is where it should be; returns the pool's status."""
    stage = {"Normal": "Normal", "Optimize": "Optimize", "Warning": "Optimize"}.get(wanted, "Critical")

    async def reached() -> dict[str, Any]:
        status: dict[str, Any] = (await rig.get("gpupool", "pool"))["status"]
        done = (await rig.get("gpuinstance", server["metadata"]["name"]))["status"].get("optimization", {})
        there = done.get("level", "Normal") == stage and (stage == "Normal" or "appliedAt" in done)
        return status if status["traffic"]["level"] == wanted and there else {}

    found: dict[str, Any] = await rig.until(reached, f"level {wanted} in the pool and at its server")
    return found


async def test_each_threshold_is_told_and_changes_the_servers_and_new_ones_are_born_that_way(
    rig: Any, make_pool: Make, make_preset: Make
) -> None:
    port = free_port()
    await rig.start_operator(metrics_port=port)
    await rig.apply(make_preset("ap-beijing"), make_pool(traffic=SAVING))
    (server,) = await rig.ready(1)
    one = server["status"]["instanceId"]
    assert rig.fleet.options(one) == USUAL
    for level, gb, options in (
        ("Optimize", 301.0, {"samples_format": "webp", "jpeg_quality": 80}),
        ("Warning", 100.0, {"samples_format": "webp", "jpeg_quality": 80}),
        ("Critical", 50.0, {"samples_format": "webp", "jpeg_quality": 60}),
        ("Emergency", 30.0, {"samples_format": "webp", "jpeg_quality": 60}),
    ):
        rig.cloud.add_traffic(one, gb)
        await levels(rig, server, level)
        assert rig.fleet.options(one) == options, level
    await rig.kubectl("wait", "--for=condition=TrafficWithinQuota=False", "gp/pool", "--timeout=20s")
    await rig.kubectl("patch", "gpupool", "pool", "--type", "merge", "-p", '{"spec": {"replicas": {"min": 2}}}')
    _, second = await rig.ready(2)
    assert rig.fleet.options(second["status"]["instanceId"]) == {"samples_format": "webp", "jpeg_quality": 60}

    async def scraped() -> str:
        async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}/metrics") as answer:
            text = await answer.text()
        pool = f'namespace="{rig.namespace}",pool="pool"'
        return text if f"haipool_pool_optimized_servers{{{pool}}} 2.0" in text else ""

    text = await rig.until(scraped, "both servers in the metrics")
    pool = f'namespace="{rig.namespace}",pool="pool"'
    assert f"haipool_pool_traffic_level{{{pool}}} 4.0" in text
    assert f'haipool_hook_requests_total{{{pool},outcome="failed"}}' not in text

    # Someone raises the thresholds: clearly below them, everything is undone by itself.
    high = (
        '{"spec": {"traffic": {"thresholdsGB": {"optimize": 800, "warning": 900, "critical": 950, "emergency": 980}}}}'
    )
    await rig.kubectl("patch", "gpupool", "pool", "--type", "merge", "-p", high)
    for one_of_them in (server, second):
        await levels(rig, one_of_them, "Normal")
        assert rig.fleet.options(one_of_them["status"]["instanceId"]) == USUAL
    await rig.kubectl("wait", "--for=condition=TrafficWithinQuota", "gp/pool", "--timeout=20s")


async def test_a_destroyed_servers_traffic_stays_in_the_pools_sum_to_its_last_moment(
    rig: Any, make_pool: Make, make_preset: Make
) -> None:
    # So rarely read that only the reading before the end can have seen what flowed after the first.
    await rig.start_operator()
    await rig.start_dispatcher()
    await rig.apply(make_preset("ap-beijing"), make_pool(traffic={"intervalSeconds": 86400}))
    (server,) = await rig.ready(1)

    async def read() -> bool:
        found = await rig.get("gpuinstance", server["metadata"]["name"])
        return "month" in found["status"].get("traffic", {})

    await rig.until(read, "a first reading")
    rig.cloud.add_traffic(server["status"]["instanceId"], 123.0)
    await rig.kubectl("delete", "gpuinstance", server["metadata"]["name"], "--timeout=60s")

    async def booked() -> bool:
        traffic = (await rig.get("gpupool", "pool"))["status"]["traffic"]
        return bool(traffic["endedGB"] == pytest.approx(123.0, abs=1e-3) and traffic["usedGB"] >= traffic["endedGB"])

    await rig.until(booked, "the destroyed server's traffic in the pool's sum")
    await rig.children["operator"].stop()
    await rig.start_operator()
    await rig.until(booked, "the same after a restart")
