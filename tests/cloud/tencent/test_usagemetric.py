"""GPU and memory figures are recognised by what they say they are, and nothing else is taken for them."""

from typing import Any

import pytest

from controller.cloud.contract import Figure, UsagePoint
from controller.cloud.tencent import TencentCloud
from controller.cloud.tencent.usagemetric import choose
from controller.cloud.tencent.wire import DescribeBaseMetrics, MetricFields, read
from controller.sandbox.cloudsim import CPU_METRIC, CloudConfig, SimulatedCloud
from controller.sandbox.cloudsim.config import SampleMetric

REGION = "ap-beijing"


def metrics(*fields: dict[str, Any]) -> list[MetricFields]:
    return read({"MetricSet": list(fields)}, DescribeBaseMetrics, action="DescribeBaseMetrics").metric_set or []


def metric(name: str, unit: str = "%", zh: str = "", dimensions: tuple[str, ...] = ("InstanceId",)) -> dict[str, Any]:
    return {
        "MetricName": name, "Unit": unit, "Period": [60], "Meaning": {"En": "", "Zh": zh},
        "Dimensions": [{"Dimensions": list(dimensions)}],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "figure"),
    [
        (metric("GpuUtil"), "gpu"),
        (metric("GPUUsage", "percent"), "gpu"),
        (metric("Gpu", zh="GPU利用率"), "gpu"),
        (metric("GpuMemUsage"), "gpu_memory"),
        (metric("GpuMemory", zh="显存使用率"), "gpu_memory"),
        (metric("MemUsage"), "memory"),
        (metric("GpuTemp"), None),
        (metric("GpuPowerUsage"), None),
        (metric("GpuEncUtil"), None),
        (metric("GpuMemUsed", "MBytes"), None),
        (metric("CpuUsage"), None),
        (metric("GpuUtil", dimensions=("InstanceId", "GpuId")), None),
    ],
)
def test_a_figure_is_recognised(fields: dict[str, Any], figure: Figure | None) -> None:
    assert [*choose(metrics(fields, metric("CPUUsage")))] == ([figure] if figure else [])


def test_of_several_the_plainest_is_taken() -> None:
    chosen = choose(metrics(metric("GpuUtilMax"), metric("GpuUtil"), metric("MemUsage")))
    assert {figure: one.name for figure, one in chosen.items()} == {"gpu": "GpuUtil", "memory": "MemUsage"}


class TestAgainstTheCloud:
    @pytest.fixture
    def config(self) -> CloudConfig:
        names = ("GpuUtil", "GpuMemUsage")
        return CloudConfig(metrics=(CPU_METRIC, *(SampleMetric(n) for n in names)), calls_per_second=1000)

    async def test_the_newest_point_of_each_instance_and_figure(
        self, sim: SimulatedCloud, cloud: TencentCloud, clock: Any, config: CloudConfig
    ) -> None:
        ids = sim.add_instances(REGION, "XL", 55)
        clock.pass_(config.deploy_s)
        sim.set_metric(ids[0], "GpuUtil", 98.5, since=0.0)
        sim.set_metric(ids[0], "GpuMemUsage", 40.0, since=0.0)
        sim.set_metric(ids[54], "GpuUtil", 1.0, since=0.0)
        points = await cloud.usage(REGION, ids)
        assert {(p.instance_id, p.figure): p.percent for p in points} == {
            (ids[0], "gpu"): 98.5, (ids[0], "gpu_memory"): 40.0, (ids[54], "gpu"): 1.0,
        }  # fmt: skip
        assert all(isinstance(p, UsagePoint) and clock.now - p.at.timestamp() <= 180 for p in points)
        assert sim.count("GetMonitorData") == 4, "two figures, two batches of 50"

    async def test_without_instances_nothing_is_asked(self, sim: SimulatedCloud, cloud: TencentCloud) -> None:
        assert await cloud.usage(REGION, []) == ()
        assert sim.counts() == {}


class TestACloudThatPublishesNone:
    async def test_it_is_asked_for_nothing_but_the_list_once_an_hour(
        self, sim: SimulatedCloud, cloud: TencentCloud, clock: Any, config: CloudConfig
    ) -> None:
        ids = sim.add_instances(REGION, "XL", 1)
        clock.pass_(config.deploy_s)
        for _ in range(3):
            assert await cloud.usage(REGION, ids) == ()
            clock.pass_(300.0)
        assert sim.counts().get("GetMonitorData", 0) == 0
        assert sim.count("DescribeBaseMetrics") == 1
