"""CPU from Cloud Monitor: the real SDK against the simulated cloud. What is not known says why."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Self

import pytest

from controller.cloud.tencent import Settings, TencentCloud
from controller.cloud.tencent.settings import Endpoint
from controller.operator.cpu import CPU_INTERVAL_SECONDS, DISCOVERY_RETRY_SECONDS, CpuMonitor
from controller.sandbox.cloudsim import CPU_METRIC, SANDBOX_KEY, CloudConfig, SimulatedCloud
from controller.scaling.snapshot import Missing, Signal

REGION = "ap-beijing"


class Bench:
    """A simulated cloud, the adapter, and the monitor under test, each with its idea of the time."""

    def __init__(self, config: CloudConfig) -> None:
        self.now = 1_750_000_000.0
        #: By how many seconds the operator's clock is ahead.
        self.ahead = 0.0
        self.sim = SimulatedCloud(config, clock=lambda: self.now)

    async def __aenter__(self) -> Self:
        await self.sim.start()
        endpoint = Endpoint.parse(self.sim.url, name="url")
        settings = Settings(
            secret_id=SANDBOX_KEY.secret_id, secret_key=SANDBOX_KEY.secret_key, endpoint=endpoint, timeout_s=5.0
        )
        self.cloud = TencentCloud(settings, backoff_first_s=0.01, clock=lambda: self.now)
        self.monitor = CpuMonitor(self.cloud, lambda: self.now + self.ahead)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.monitor.close()
        await self.cloud.close()
        await self.sim.stop()

    def servers(self, count: int, percent: float | None = None) -> list[str]:
        """Running instances whose CPU has always been so."""
        ids = self.sim.add_instances(REGION, "XL", count)
        self.now += 600.0
        for each in ids if percent is not None else []:
            self.sim.set_metric(each, CPU_METRIC.name, percent or 0.0, since=0.0)
        return ids

    async def read(self, ids: list[str]) -> Signal | Missing:
        """The reading after what it asks for now was answered."""
        self.monitor.reading({REGION: ids})
        await asyncio.gather(*self.monitor._asking.values())
        return self.monitor.reading({REGION: ids})


@pytest.fixture
def config() -> CloudConfig:
    return CloudConfig(metrics=(CPU_METRIC,), calls_per_second=1000)


@pytest.fixture
async def bench(config: CloudConfig) -> AsyncIterator[Bench]:
    async with Bench(config) as made:
        yield made


async def test_the_metric_is_discovered_and_the_mean_is_over_the_servers(bench: Bench) -> None:
    ids = bench.servers(2, 20.0)
    bench.sim.set_metric(ids[0], CPU_METRIC.name, 60.0, since=0.0)
    assert bench.monitor.reading({REGION: ids}) == Missing("CpuUnknown", "Cloud Monitor has not answered yet")
    found = await bench.read(ids)
    assert isinstance(found, Signal)
    assert (found.value, found.source) == (40.0, f"monitor:{CPU_METRIC.name}")
    assert found.age >= 60.0, "Cloud Monitor lags"


async def test_new_servers_have_no_point_for_minutes_and_half_speak_for_all(bench: Bench) -> None:
    old = bench.servers(1, 30.0)
    new = bench.sim.add_instances(REGION, "XL", 2)
    assert isinstance(await bench.read(old), Signal)
    bench.now += CPU_INTERVAL_SECONDS
    assert isinstance(await bench.read([*old, *new[:1]]), Signal)
    bench.now += CPU_INTERVAL_SECONDS
    found = await bench.read([*old, *new])
    assert found == Missing("CpuUnknown", "Cloud Monitor has fresh points of fewer than half of the 3 servers")


async def test_without_a_point_it_is_unknown(bench: Bench) -> None:
    found = await bench.read(bench.servers(1))
    assert found == Missing("CpuUnknown", f"Cloud Monitor has no point of {CPU_METRIC.name} for these servers yet")


async def test_a_lag_of_more_than_ten_minutes_is_said(bench: Bench) -> None:
    ids = bench.servers(1, 20.0)
    assert isinstance(await bench.read(ids), Signal)
    bench.ahead = 900.0
    found = await bench.read(ids)
    assert isinstance(found, Missing)
    assert found.message.startswith(f"Cloud Monitor lags: the newest point of {CPU_METRIC.name} is 1")
    assert found.message.endswith("min old, more than 10")


async def test_what_the_cloud_refuses_is_said_until_it_answers_again(bench: Bench) -> None:
    ids = bench.servers(1, 20.0)
    number = bench.sim.set_fault("error", code="FailedOperation.ErrOwed", action="GetMonitorData")
    found = await bench.read(ids)
    assert isinstance(found, Missing)
    assert found.message.startswith(f"Cloud Monitor could not be read in {REGION}: ")
    assert "ErrOwed" in found.message
    bench.sim.clear_fault(number)
    bench.now += CPU_INTERVAL_SECONDS
    assert isinstance(await bench.read(ids), Signal)


async def test_an_outage_is_not_the_absence_of_a_metric_and_is_asked_again_soon(bench: Bench) -> None:
    ids = bench.servers(1, 20.0)
    number = bench.sim.set_fault("http_500")
    found = await bench.read(ids)
    assert isinstance(found, Missing)
    assert found.reason == "CpuUnknown"
    bench.sim.clear_fault(number)
    bench.now += DISCOVERY_RETRY_SECONDS
    assert isinstance(await bench.read(ids), Signal)


class TestWithoutMetric:
    @pytest.fixture
    def config(self) -> CloudConfig:
        return CloudConfig()

    async def test_a_cloud_without_a_cpu_metric_is_a_case_for_someone(self, bench: Bench) -> None:
        found = await bench.read(bench.servers(1))
        assert isinstance(found, Missing)
        assert found.reason == "NoCpuMetric"
        assert "set scaling.cpu.source to Slots" in found.message
        assert bench.sim.count("GetMonitorData") == 0


async def test_a_cloud_without_servers_is_not_asked(bench: Bench) -> None:
    found: Any = bench.monitor.reading({})
    assert found == Missing("CpuUnknown", "Cloud Monitor has not answered yet")
    assert bench.sim.counts() == {}
