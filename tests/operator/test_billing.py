"""The comparison with the bill at work: real objects on the local API, the real SDK, the simulated Billing API."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime

import aiohttp
import pytest
from prometheus_client import CollectorRegistry

from controller.api.gpuinstance import GpuInstance
from controller.api.gpupool import GpuPool
from controller.api.names import instance_name
from controller.api.spend import Billing
from controller.api.times import rfc3339
from controller.cloud.tencent import TencentCloud
from controller.cloud.tencent.settings import Endpoint
from controller.cloud.tencent.settings import Settings as CloudSettings
from controller.kube.client import KubeClient
from controller.kube.connect import Connection
from controller.operator.alerting import Alerting, office
from controller.operator.apply import instance_body
from controller.operator.billing import UNAUTHORIZED_SECONDS, Reconciliation
from controller.operator.cloudview import CloudView
from controller.operator.context import Context, Settings
from controller.operator.cpu import CpuMonitor
from controller.operator.events import Recorder
from controller.operator.instrument import InstrumentedCloud
from controller.operator.metrics import OperatorMetrics
from controller.operator.money import bills_of, keep_books
from controller.operator.objects import INSTANCES, POOLS, Objects
from controller.operator.process import cluster_identity
from controller.operator.recording import Recording
from controller.operator.scrape import Scraper
from controller.operator.store import Store
from controller.operator.tokens import Tokens
from controller.operator.trafficwatch import TrafficWatch
from controller.operator.usage import UsageMonitor
from controller.sandbox import shipped
from controller.sandbox.cloudsim import SANDBOX_KEY, CloudConfig, SimulatedCloud
from controller.sandbox.kubeapi.server import LocalKubernetes
from controller.scaling.actions import Launch
from controller.scaling.snapshot import Offer

HOST = "127.0.0.1"
HOUR = 3600.0
PRICE = 0.88
OFFER = Offer("ap-beijing", "XL", PRICE, 1, "beijing", "app-1")


@dataclass
class Clock:
    """Everybody's time: noon of January 12th in Beijing."""

    now: float = datetime(2026, 1, 12, 4, tzinfo=UTC).timestamp()

    def __call__(self) -> float:
        return self.now


@dataclass
class Desk:
    """A pool whose servers are bought in the simulated cloud by hand, with books kept as decisions keep them."""

    cloud: SimulatedCloud
    kube: KubeClient
    ctx: Context
    clock: Clock
    launches: int = 0
    reconciliation: Reconciliation = field(init=False)

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """The process that compares remembers nothing of before."""
        self.reconciliation = Reconciliation(self.ctx)

    @property
    def pool(self) -> GpuPool:
        found = self.ctx.store.pools.get("default/pool")
        assert found is not None
        return found

    async def buy(self) -> str:
        """A server of the pool; returns its InstanceId."""
        self.launches += 1
        body = instance_body(self.pool, Launch(OFFER, "Test", "test"), self.launches)
        body["metadata"]["finalizers"] = []
        made = await self.ctx.objects.create_instance("default", body)
        assert made is not None
        instance_id = self.add(made.metadata.uid)
        await self.ctx.objects.instance_status(
            made, {"instanceId": instance_id, "launchedAt": rfc3339(self.clock()), "phase": "Ready"}
        )
        return instance_id

    def add(self, uid: str) -> str:
        """An instance with the pool's mark in the cloud, without an object."""
        pool_uid = self.pool.metadata.uid
        name = instance_name(cluster_uid=self.ctx.cluster_uid, pool_uid=pool_uid, instance_uid=uid, bundle="XL")
        (made,) = self.cloud.add_instances("ap-beijing", "XL", 1, name=name)
        return made

    def object_of(self, instance_id: str) -> GpuInstance:
        return next(i for i in self.ctx.store.instances if i.status.instance_id == instance_id)

    async def destroy(self, instance_id: str) -> None:
        """Gone from the cloud; booked, and its object released."""
        await self.cloud.settle()
        self.cloud.remove_instance(instance_id)
        self.clock.now += self.cloud.config.terminate_s
        await self.cloud.settle()
        await self.ctx.objects.instance_status(self.object_of(instance_id), {"endedAt": rfc3339(self.clock())})
        await self.book()
        await self.ctx.objects.delete_instance(self.object_of(instance_id))
        for left in (i for i in self.ctx.store.instances if i.status.instance_id == instance_id):
            self.ctx.store.instances.drop(left.metadata.key, left.metadata.uid)

    async def pass_(self, hours: float) -> None:
        """Let time pass; decisions are made every five hours."""
        end = self.clock.now + hours * HOUR
        while self.clock.now < end:
            self.clock.now = min(end, self.clock.now + 5 * HOUR)
            await self.book()

    async def book(self) -> None:
        """What a decision writes down about money."""
        _, fields = keep_books(self.pool, bills_of(self.ctx, self.pool), now=self.clock())
        await self.ctx.objects.pool_status(self.pool, {**fields, "observedGeneration": 1})

    async def compare(self) -> Billing:
        await self.reconciliation.look()
        return self.pool.status.billing

    def figure(self, name: str) -> float | None:
        return self.ctx.metrics.registry.get_sample_value(name, {"namespace": "default", "pool": "pool"})


@pytest.fixture
def config() -> CloudConfig:
    return CloudConfig(calls_per_second=1000)


@pytest.fixture
async def desk(config: CloudConfig) -> AsyncIterator[Desk]:
    clock = Clock()
    async with AsyncExitStack() as stack:
        cloud = SimulatedCloud(config, clock=clock)
        stack.push_async_callback(cloud.stop)
        await cloud.start(HOST, 0)
        kubernetes = LocalKubernetes(clock=lambda: datetime.fromtimestamp(clock(), UTC))
        kubernetes.install(shipped.definitions())
        stack.push_async_callback(kubernetes.stop)
        kube = KubeClient(Connection(await kubernetes.start(HOST, 0)))
        stack.push_async_callback(kube.close)
        ctx = await context(cloud, kube, clock, stack)
        body = {"apiVersion": "haipool.io/v1alpha1", "kind": "GpuPool", "metadata": {"name": "pool"}}
        ctx.store.pools.put(await kube.create(POOLS, body, namespace="default"))
        made = Desk(cloud, kube, ctx, clock)
        await made.book()
        yield made


async def context(cloud: SimulatedCloud, kube: KubeClient, clock: Clock, stack: AsyncExitStack) -> Context:
    settings = CloudSettings(
        secret_id=SANDBOX_KEY.secret_id,
        secret_key=SANDBOX_KEY.secret_key,
        endpoint=Endpoint.parse(cloud.url, name="url"),
    )
    account = TencentCloud(settings, backoff_first_s=0.01)
    stack.push_async_callback(account.close)
    metrics, store = OperatorMetrics(CollectorRegistry()), Store()
    measured = InstrumentedCloud(account, metrics)
    probes = aiohttp.ClientSession()
    stack.push_async_callback(probes.close)
    scraper = Scraper(clock, None, Tokens(kube, clock))
    stack.push_async_callback(scraper.close)
    objects = Objects(kube, store)
    events, recording = Recorder(kube, clock), Recording(None, clock)
    return Context(
        settings=Settings(),
        cluster_uid=await cluster_identity(kube),
        store=store,
        objects=objects,
        events=events,
        cloud=measured,
        view=CloudView(measured, clock, 1.0),
        cpu=CpuMonitor(measured, clock),
        scraper=scraper,
        recording=recording,
        alerting=Alerting(events, recording, office(kube, metrics, ()), metrics),
        usage=UsageMonitor(measured, clock),
        metrics=metrics,
        traffic=TrafficWatch(measured, store, objects, clock),
        probes=probes,
        clock=clock,
    )


async def test_a_day_of_servers_that_live_and_servers_that_are_long_gone_agrees_with_the_bill(desk: Desk) -> None:
    gone, _ = await desk.buy(), await desk.buy()
    await desk.pass_(3.7)
    await desk.destroy(gone)
    await desk.pass_(50)
    told = await desk.compare()
    whole = sum(PRICE * seconds / HOUR for seconds in (3.7 * HOUR + 30, 12 * HOUR))
    assert (told.day, told.state, told.unbilled, told.strangers) == ("2026-01-12", "Agrees", 0, ())
    assert told.ours == pytest.approx(whole, abs=1e-6)
    assert told.billed == pytest.approx(told.ours, abs=1e-6)
    assert desk.figure("haipool_billing_difference_cny") == pytest.approx(0.0, abs=1e-6)
    # The books say of each day what the bill says of it, day after day.
    await desk.pass_(48)
    told = await desk.compare()
    assert (told.day, told.state) == ("2026-01-13", "Agrees")
    told = await desk.compare()
    assert (told.day, told.state) == ("2026-01-14", "Agrees")
    assert {d.period: d.cny for d in desk.pool.status.spend_history.days}["2026-01-14"] == told.billed == 24 * PRICE


async def test_a_day_is_compared_once_and_not_before_it_has_settled(desk: Desk) -> None:
    await desk.buy()
    await desk.pass_(35.9)  # not yet midnight between the 13th and the 14th
    assert await desk.compare() == Billing()
    await desk.pass_(0.2)
    assert (await desk.compare()).day == "2026-01-12"
    asked = desk.cloud.count("DescribeBillDetail")
    for _ in range(3):
        await desk.pass_(1)
        desk.restart()
        await desk.compare()
    assert desk.cloud.count("DescribeBillDetail") == asked > 0


@pytest.mark.parametrize("config", [CloudConfig(calls_per_second=1000, billing_lag_s=40 * HOUR)])
async def test_a_bill_that_lags_is_waited_for_and_then_believed(desk: Desk) -> None:
    await desk.buy()
    await desk.pass_(36.5)
    told = await desk.compare()
    assert (told.day, told.state, told.unbilled) == ("2026-01-12", "Waiting", 1)
    await desk.pass_(15)  # some hours of the day have settled
    told = await desk.compare()
    assert (told.day, told.state, told.unbilled) == ("2026-01-12", "Waiting", 0)
    assert 0 < told.billed < told.ours
    await desk.pass_(2)
    assert (await desk.compare()).state == "Agrees"


@pytest.mark.parametrize("config", [CloudConfig(calls_per_second=1000, billing_lag_s=1000 * HOUR)])
async def test_what_never_appears_on_the_bill_is_told_at_last(desk: Desk) -> None:
    await desk.buy()
    await desk.pass_(36.5)
    assert (await desk.compare()).state == "Waiting"
    await desk.pass_(24)
    told = await desk.compare()
    assert (told.day, told.state, told.unbilled) == ("2026-01-12", "Differs", 1)
    assert told.difference == pytest.approx(-12 * PRICE)


async def test_an_instance_with_the_pools_mark_that_was_never_its_server_is_named(desk: Desk) -> None:
    await desk.buy()
    lost = desk.add("0b5e55ed-0000-4000-8000-000000000000")
    (foreign,) = desk.cloud.add_instances("ap-beijing", "XL", 1, name="web-1")
    await desk.pass_(36.5)
    told = await desk.compare()
    assert (told.state, told.strangers) == ("Differs", (lost,))
    assert told.strangers_cny == pytest.approx(12 * PRICE)
    assert told.difference == pytest.approx(0.0, abs=1e-6)
    assert foreign not in told.message
    assert desk.figure("haipool_billing_strangers_cny") == pytest.approx(12 * PRICE)


@pytest.mark.parametrize("config", [CloudConfig(calls_per_second=1000, bill_decimals=2)])
async def test_hours_rounded_to_a_cent_are_no_difference(desk: Desk) -> None:
    for _ in range(3):
        await desk.buy()
    await desk.pass_(36.5)
    assert (await desk.compare()).state == "Agrees"


@pytest.mark.parametrize("config", [CloudConfig(calls_per_second=1000, billing_from="RUNNING", deploy_s=480.0)])
async def test_a_cloud_that_does_not_bill_the_deployment_bills_less_and_that_is_told(desk: Desk) -> None:
    """The ledger counts from the purchase, so it is the upper bound."""
    for _ in range(3):
        server = await desk.buy()
        await desk.pass_(1.5)
        await desk.destroy(server)
    await desk.pass_(60)
    told = await desk.compare()
    assert (told.day, told.state) == ("2026-01-12", "Differs")
    assert told.difference == pytest.approx(-3 * 480 / HOUR * PRICE, abs=1e-6)


async def test_a_key_that_may_not_read_bills_disturbs_nothing_and_is_asked_for_seldom(desk: Desk) -> None:
    fault = desk.cloud.set_fault("unauthorized", action="DescribeBillSummaryByProduct")
    await desk.buy()
    await desk.pass_(36.5)
    told = await desk.compare()
    assert (told.day, told.state) == ("", "Unavailable")
    assert "docs/cloud.md" in told.message
    assert desk.ctx.blocks.active(now=desk.clock()) == ()
    asked = desk.cloud.count("DescribeBillSummaryByProduct")
    await desk.pass_(UNAUTHORIZED_SECONDS / HOUR - 0.1)
    await desk.compare()
    assert desk.cloud.count("DescribeBillSummaryByProduct") == asked
    desk.cloud.clear_fault(fault)
    await desk.pass_(0.2)
    assert ((await desk.compare()).day, told.ours) == ("2026-01-12", 0.0)


async def test_a_day_that_waits_is_not_lost_when_the_bill_cannot_be_read(desk: Desk) -> None:
    await desk.buy()
    await desk.pass_(36.5)
    fault = desk.cloud.set_fault("error", action="DescribeBillDetail", code="FailedOperation.SummaryDataNotReady")
    assert (await desk.compare()).state == "Unavailable"
    desk.cloud.clear_fault(fault)
    await desk.pass_(30)
    desk.restart()
    assert (await desk.compare()).day == "2026-01-12"
    assert (await desk.compare()).day == "2026-01-13"


async def test_a_ledger_kept_for_part_of_a_day_only_is_not_compared(desk: Desk) -> None:
    """After an update from a version without it, or with a status restored from long ago."""
    await desk.buy()
    await desk.pass_(100)
    days = [{"period": "2026-01-14", "cny": 1.0}, {"period": "2026-01-15", "cny": 1.0}]
    await desk.ctx.objects.pool_status(desk.pool, {"spendHistory": {"days": days}})
    assert await desk.compare() == Billing()


async def test_objects_that_were_deleted_stay_deleted(desk: Desk) -> None:
    server = await desk.buy()
    await desk.pass_(1)
    await desk.destroy(server)
    assert (await desk.kube.list(INSTANCES, namespace="default")).items == ()
    assert desk.pool.status.spend.per_hour == 0.0
