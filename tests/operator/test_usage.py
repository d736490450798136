"""GPU figures are asked for beside the decisions, seldom, once for all pools, and forgotten when they are old."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, cast

from controller.api.gpuinstance import GpuInstance
from controller.api.model import read
from controller.cloud.contract import Cloud, UsagePoint
from controller.cloud.errors import UnavailableError
from controller.operator.usage import USAGE_INTERVAL_SECONDS, UsageMonitor


class Published:
    """The one call that the monitor makes."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, ...]] = []
        self.now = 1_738_324_800.0
        self.works = True

    async def usage(self, region: str, instance_ids: Sequence[str]) -> tuple[UsagePoint, ...]:
        self.asked.append((region, *instance_ids))
        if not self.works:
            raise UnavailableError("not now")
        at = datetime.fromtimestamp(self.now, UTC)
        return tuple(UsagePoint(one, "gpu", 50.0, at) for one in instance_ids)


def instance(name: str, region: str = "ap-beijing", **status: Any) -> GpuInstance:
    spec = {
        "pool": "p", "poolUID": "u", "region": region, "bundle": "XL", "applicationId": "app-x", "pricePerHour": 1.0,
        "launchNumber": 1,
    }  # fmt: skip
    body = {"instanceId": f"hai-{name}", "runningAt": "2025-01-31T11:00:00Z"} | status
    return read(GpuInstance, {"metadata": {"name": name, "uid": name}, "spec": spec, "status": body})


async def test_a_region_is_asked_once_in_a_while_for_all_its_running_servers() -> None:
    cloud = Published()
    monitor = UsageMonitor(cast("Cloud", cloud), lambda: cloud.now)
    servers = [
        instance("a"), instance("b"), instance("c", "ap-nanjing"), instance("gone", endedAt="2025-01-31T11:30:00Z"),
        instance("new", runningAt=None),
    ]  # fmt: skip
    monitor.ask(servers)
    monitor.ask(servers)
    assert cloud.asked == []
    await asyncio.sleep(0)
    assert sorted(cloud.asked) == [("ap-beijing", "hai-a", "hai-b"), ("ap-nanjing", "hai-c")]
    await asyncio.sleep(0)
    assert monitor.of("hai-a", now=cloud.now) == {"gpu": 50.0}
    assert monitor.of("hai-gone", now=cloud.now) == {}
    cloud.now += USAGE_INTERVAL_SECONDS - 1.0
    monitor.ask(servers)
    await asyncio.sleep(0)
    assert len(cloud.asked) == 2
    assert monitor.of("hai-a", now=cloud.now + 600.0) == {}, "old figures say nothing about now"
    await monitor.close()


async def test_a_cloud_that_does_not_answer_is_asked_again_later() -> None:
    cloud = Published()
    cloud.works = False
    monitor = UsageMonitor(cast("Cloud", cloud), lambda: cloud.now)
    monitor.ask([instance("a")])
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert monitor.of("hai-a", now=cloud.now) == {}
    cloud.works, cloud.now = True, cloud.now + USAGE_INTERVAL_SECONDS
    monitor.ask([instance("a")])
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert monitor.of("hai-a", now=cloud.now) == {"gpu": 50.0}
    await monitor.close()
