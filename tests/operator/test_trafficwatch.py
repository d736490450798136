"""The traffic quota as the operator reads it: once per region for all pools, and never lost to an end or a restart."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from controller.api.gpuinstance import GpuInstance
from controller.api.gpupool import GpuPool
from controller.cloud.tencent import Settings, TencentCloud
from controller.cloud.tencent.settings import Endpoint
from controller.kube.client import KubeClient
from controller.kube.connect import Connection
from controller.operator.objects import INSTANCES, POOLS, Objects
from controller.operator.store import Store
from controller.operator.traffic import pool_traffic
from controller.operator.trafficwatch import TrafficWatch
from controller.sandbox import shipped
from controller.sandbox.cloudsim import SANDBOX_KEY, CloudConfig, SampleMetric, SimulatedCloud
from controller.sandbox.kubeapi.server import LocalKubernetes

REGION = "ap-beijing"
#: 2025-06-15 in Beijing, and the begin of July there.
JUNE = 1_749_960_000.0
JULY = 1_751_299_200.0
RUNNING = {"phase": "Ready", "runningAt": "2025-06-15T03:00:00.000Z", "observedGeneration": 1}
WAN = (
    SampleMetric("WanIntraffic", unit="Mbps", meaning_en="Public inbound bandwidth"),
    SampleMetric("WanOuttraffic", unit="Mbps", meaning_en="Public outbound bandwidth"),
)


@dataclass
class Bench:
    """Pools and servers on a real API, the real SDK, a simulated account; time is moved by hand."""

    kube: KubeClient
    sim: SimulatedCloud
    cloud: TencentCloud
    clock: list[float]
    store: Store = field(init=False)
    objects: Objects = field(init=False)
    watch: TrafficWatch = field(init=False)
    #: Status writes of instances.
    writes: int = 0

    async def restart(self) -> None:
        """A process that knows only what is written."""
        self.store = Store()
        self.objects = Objects(self.kube, self.store)
        await self.objects.load(None)
        written = self.objects.instance_status

        async def counted(instance: GpuInstance, changes: Any) -> None:
            self.writes += bool(changes)
            await written(instance, changes)

        self.objects.instance_status = counted  # type: ignore[method-assign]
        self.watch = TrafficWatch(self.cloud, self.store, self.objects, lambda: self.clock[0])

    async def add(self, pool: str, servers: int = 1, region: str = REGION, **traffic: Any) -> list[str]:
        """A pool with servers that run; returns their instance ids."""
        spec = {"traffic": traffic} if traffic else {}
        body = {"apiVersion": "haipool.io/v1alpha1", "kind": "GpuPool", "metadata": {"name": pool}, "spec": spec}
        made = await self.kube.create(POOLS, body, namespace="default")
        self.store.pools.put(made)
        ids = self.sim.add_instances(region, "XL", servers)
        for number, instance_id in enumerate(ids, 1):
            body = {
                "apiVersion": "haipool.io/v1alpha1",
                "kind": "GpuInstance",
                "metadata": {"name": f"{pool}-{number}"},
                "spec": {
                    "pool": pool, "poolUID": made["metadata"]["uid"], "region": region, "bundle": "XL",
                    "applicationId": "app-a1b2c3d4", "pricePerHour": 0.88, "launchNumber": number,
                },
            }  # fmt: skip
            self.store.instances.put(await self.kube.create(INSTANCES, body, namespace="default"))
            await self.write(f"{pool}-{number}", RUNNING | {"instanceId": instance_id})
        return ids

    async def write(self, name: str, status: dict[str, Any]) -> None:
        raw = await self.kube.patch(INSTANCES, name, {"status": status}, namespace="default", subresource="status")
        self.store.instances.put(raw)

    def pool(self, name: str) -> GpuPool:
        found = self.store.pools.get(f"default/{name}")
        assert found is not None
        return found

    def instance(self, name: str) -> GpuInstance:
        found = self.store.instances.get(f"default/{name}")
        assert found is not None
        return found

    def used(self, name: str) -> float:
        return self.instance(name).status.traffic.used_gb

    async def look(self, *pools: str) -> None:
        """What a decision of each pool does, and the end of what it set off."""
        for name in pools:
            self.watch.look(self.pool(name))
        await asyncio.gather(*self.watch._asking.values())

    def pass_(self, seconds: float) -> None:
        self.clock[0] += seconds

    def calls(self) -> int:
        return self.sim.count("DescribeInstanceNetworkStatus")


@pytest.fixture
def config() -> CloudConfig:
    return CloudConfig(deploy_s=0.0, calls_per_second=1000)


@pytest.fixture
async def bench(config: CloudConfig) -> AsyncIterator[Bench]:
    clock = [JUNE]
    async with contextlib.AsyncExitStack() as stack:
        kubernetes = LocalKubernetes()
        kubernetes.install(shipped.definitions())
        stack.push_async_callback(kubernetes.stop)
        kube = KubeClient(Connection(await kubernetes.start("127.0.0.1", 0)))
        stack.push_async_callback(kube.close)
        sim = SimulatedCloud(config, clock=lambda: clock[0])
        stack.push_async_callback(sim.stop)
        url = await sim.start()
        settings = Settings(
            secret_id=SANDBOX_KEY.secret_id,
            secret_key=SANDBOX_KEY.secret_key,
            endpoint=Endpoint.parse(url, name="url"),
        )
        cloud = TencentCloud(settings, backoff_first_s=0.01, clock=lambda: clock[0])
        stack.push_async_callback(cloud.close)
        made = Bench(kube, sim, cloud, clock)
        await made.restart()
        stack.push_async_callback(lambda: made.watch.close())  # noqa: PLW0108 - a restart makes another
        yield made


class TestReading:
    async def test_usage_is_read_at_every_interval_and_not_before(self, bench: Bench) -> None:
        (one,) = await bench.add("pool")
        bench.sim.add_traffic(one, 12.5)
        await bench.look("pool")
        assert bench.used("pool-1") == 12.5
        bench.sim.add_traffic(one, 1.0)
        bench.pass_(599.0)
        await bench.look("pool")
        assert bench.used("pool-1") == 12.5
        bench.pass_(1.0)
        await bench.look("pool")
        assert (bench.used("pool-1"), bench.calls()) == (13.5, 2)

    async def test_however_many_pools_there_are_a_region_is_read_once(self, bench: Bench) -> None:
        for number in range(12):
            await bench.add(f"pool{number}", 5)
        await bench.add("far", 3, region="ap-nanjing")
        pools = [*(f"pool{n}" for n in range(12)), "far"]
        await bench.look(*pools)
        assert bench.calls() == 2
        bench.pass_(600.0)
        await bench.look(*pools)
        assert bench.calls() == 4
        assert all(bench.watch.checked_at(bench.pool(name)) == bench.clock[0] for name in pools)

    async def test_a_hundred_and_one_servers_take_two_calls(self, bench: Bench) -> None:
        await bench.add("pool", 101)
        await bench.look("pool")
        assert bench.calls() == 2

    async def test_pools_with_other_intervals_share_the_readings_and_are_written_at_their_own(
        self, bench: Bench
    ) -> None:
        (fast,), (slow,) = await bench.add("fast", intervalSeconds=60), await bench.add("slow")
        bench.writes = 0
        for step in range(11):
            bench.sim.add_traffic(fast, 1.0)
            bench.sim.add_traffic(slow, 1.0)
            await bench.look("fast", "slow")
            assert bench.used("fast-1") == step + 1.0
            assert bench.used("slow-1") == (1.0 if step < 10 else 11.0)
            bench.pass_(60.0)
        assert (bench.calls(), bench.writes) == (11, 11 + 2)

    async def test_a_server_that_used_nothing_costs_no_write(self, bench: Bench) -> None:
        await bench.add("pool")
        await bench.look("pool")
        bench.writes = 0
        bench.pass_(600.0)
        await bench.look("pool")
        assert bench.writes == 0

    async def test_an_id_that_the_cloud_no_longer_knows_does_not_hide_the_others(self, bench: Bench) -> None:
        one, two = await bench.add("pool", 2)
        bench.sim.add_traffic(one, 3.0)
        bench.sim.add_traffic(two, 4.0)
        await bench.look("pool")
        bench.sim.remove_instance(one)
        bench.pass_(600.0)
        bench.sim.add_traffic(two, 1.0)
        await bench.look("pool")
        assert (bench.used("pool-1"), bench.used("pool-2")) == (3.0, 5.0)

    async def test_what_does_not_run_yet_or_is_being_destroyed_is_not_asked_about(self, bench: Bench) -> None:
        await bench.add("pool", 2)
        await bench.write("pool-1", {"runningAt": None})
        await bench.write("pool-2", {"terminateRequestedAt": "2025-06-15T03:00:00.000Z"})
        await bench.look("pool")
        assert bench.calls() == 0

    async def test_where_no_bandwidth_is_published_it_is_looked_for_once_an_hour(self, bench: Bench) -> None:
        await bench.add("pool")
        for _ in range(6):
            await bench.look("pool")
            bench.pass_(600.0)
        assert bench.sim.count("DescribeBaseMetrics") == 1
        await bench.look("pool")
        assert bench.sim.count("DescribeBaseMetrics") == 2


class TestTrouble:
    async def test_a_reading_that_fails_keeps_the_figure_and_is_tried_again_after_a_minute(self, bench: Bench) -> None:
        (one,) = await bench.add("pool")
        bench.sim.add_traffic(one, 5.0)
        await bench.look("pool")
        checked = bench.watch.checked_at(bench.pool("pool"))
        bench.pass_(600.0)
        bench.sim.set_fault("throttled", action="DescribeInstanceNetworkStatus")
        await bench.look("pool")
        assert (bench.used("pool-1"), bench.watch.checked_at(bench.pool("pool"))) == (5.0, checked)
        failed = bench.calls()
        bench.sim.clear_faults()
        bench.sim.add_traffic(one, 1.0)
        bench.pass_(59.0)
        await bench.look("pool")
        assert bench.calls() == failed
        bench.pass_(1.0)
        await bench.look("pool")
        assert bench.used("pool-1") == 6.0

    async def test_one_status_that_cannot_be_written_does_not_hide_the_others(self, bench: Bench) -> None:
        one, two = await bench.add("pool", 2)
        for instance_id in (one, two):
            bench.sim.add_traffic(instance_id, 5.0)
        await bench.kube.delete(INSTANCES, "pool-1", namespace="default")
        await bench.look("pool")
        assert bench.used("pool-2") == 5.0

    async def test_the_condition_says_so_when_nothing_is_told_for_long(self, bench: Bench) -> None:
        (one,) = await bench.add("pool")

        def told() -> tuple[str, str]:
            pool = bench.pool("pool")
            instances = bench.store.instances_of(pool)
            _, found = pool_traffic(bench.watch, pool, instances, now=bench.clock[0])
            return found.status, found.reason

        assert told() == ("Unknown", "NotRead")
        await bench.look("pool")
        assert told() == ("True", "Normal")
        bench.pass_(1801.0)
        assert told() == ("Unknown", "Stale")
        bench.sim.add_traffic(one, 401.0)
        await bench.look("pool")
        assert told() == ("False", "Warning")


class TestEndsAndRestarts:
    async def test_what_flowed_after_the_last_reading_is_read_before_the_end(self, bench: Bench) -> None:
        (one,) = await bench.add("pool")
        await bench.look("pool")
        bench.sim.add_traffic(one, 2.5)
        await bench.watch.last_reading(bench.instance("pool-1"))
        assert bench.used("pool-1") == 2.5

    async def test_an_end_waits_for_no_cloud_that_does_not_tell(self, bench: Bench) -> None:
        (one,) = await bench.add("pool")
        bench.sim.remove_instance(one)
        bench.pass_(60.0)
        await bench.watch.last_reading(bench.instance("pool-1"))
        bench.sim.set_fault("error", action="DescribeInstanceNetworkStatus", code="AuthFailure.SignatureFailure")
        await bench.watch.last_reading(bench.instance("pool-1"))
        assert bench.used("pool-1") == 0.0

    async def test_restarts_at_any_time_count_the_same(self, bench: Bench) -> None:
        (one,) = await bench.add("pool")
        for step in range(1, 7):
            bench.sim.add_traffic(one, 1.5)
            bench.pass_(600.0)
            if step % 2:
                await bench.restart()
            await bench.look("pool")
        assert bench.used("pool-1") == 9.0

    @pytest.mark.parametrize("late", [-900.0, 0.0, 900.0])
    async def test_a_month_turns_with_the_counter_some_minutes_off(self, bench: Bench, late: float) -> None:
        (one,) = await bench.add("pool")
        bench.sim.add_traffic(one, 480.0)
        bench.clock[0] = JULY - 3600.0
        await bench.look("pool")
        anew = False
        for _ in range(12):
            bench.pass_(600.0)
            if not anew and bench.clock[0] >= JULY + late:
                bench.sim.set_traffic(one, 0.0)
                anew = True
            bench.sim.add_traffic(one, 0.1)
            await bench.look("pool")
            pool = bench.pool("pool")
            instances = bench.store.instances_of(pool)
            traffic, _ = pool_traffic(bench.watch, pool, instances, now=bench.clock[0])
            assert traffic.level == ("Emergency" if bench.clock[0] < JULY else "Normal")
        assert bench.instance("pool-1").status.traffic.month == "2025-07"
        assert bench.used("pool-1") == pytest.approx(0.7, abs=0.25)


class TestBandwidth:
    @pytest.fixture
    def config(self) -> CloudConfig:
        return CloudConfig(deploy_s=0.0, calls_per_second=1000, metrics=WAN, monitor_lag_s=120.0)

    async def test_it_stands_beside_the_usage_while_it_is_fresh(self, bench: Bench) -> None:
        one, two = await bench.add("pool", 2)
        bench.sim.set_metric(one, "WanOuttraffic", 8.5, since=0.0)
        bench.sim.set_metric(one, "WanIntraffic", 0.25, since=0.0)
        await bench.look("pool")
        status = bench.instance("pool-1").status
        assert (status.network_in_mbps, status.network_out_mbps) == (0.25, 8.5)
        assert bench.instance("pool-2").status.network_out_mbps is None
        bench.sim.set_fault("throttled", action="GetMonitorData")
        bench.sim.add_traffic(one, 1.0)
        bench.pass_(600.0)
        await bench.look("pool")
        status = bench.instance("pool-1").status
        assert (status.network_out_mbps, status.traffic.used_gb) == (None, 1.0)
        assert two
