"""The operator's hand on a CDN domain, over the real SDK and a real API: on, serving, off again, and what it tells."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest

from controller.cloud.tencent import Settings as CloudSettings
from controller.cloud.tencent.cdn import TencentCdn
from controller.cloud.tencent.settings import Endpoint
from controller.kube.client import KubeClient, Resource
from controller.kube.connect import Connection
from controller.operator.cdn import CdnKeeper, cdn_condition, turned
from controller.operator.context import Context
from controller.operator.objects import POOLS
from controller.sandbox import shipped
from controller.sandbox.cloudsim import SANDBOX_KEY, CloudConfig, SimulatedCloud
from controller.sandbox.kubeapi.server import LocalKubernetes
from tests.operator.bare import bare_context

KEY = "default/pool"
EVENTS = Resource("", "v1", "events")


@dataclass
class Bench:
    cloud: SimulatedCloud
    kube: KubeClient
    ctx: Context
    keeper: CdnKeeper
    now: float = 1_738_310_400.0

    async def pool(self, level: str = "Optimize", **cdn: Any) -> None:
        """A pool at a traffic level, with a CDN domain unless it is taken away."""
        spec = {"traffic": {"optimization": {"cdn": {"domain": "cdn.example.com", **cdn}}}}
        body = {"apiVersion": "haipool.io/v1alpha1", "kind": "GpuPool", "metadata": {"name": "pool"}, "spec": spec}
        self.ctx.store.pools.put(await self.kube.create(POOLS, body, namespace="default"))
        await self.level(level)

    async def level(self, level: str) -> None:
        await self.ctx.objects.pool_status(self.now_pool, {"traffic": {"level": level}})

    async def spec(self, cdn: dict[str, Any] | None) -> None:
        body = {"spec": {"traffic": {"optimization": {"cdn": cdn}}}}
        self.ctx.store.pools.put(await self.kube.patch(POOLS, "pool", body, namespace="default"))

    @property
    def now_pool(self) -> Any:
        return self.ctx.store.pools.get(KEY)

    @property
    def status(self) -> Any:
        return self.now_pool.status.cdn

    async def steps(self, count: int = 6, seconds: float = 20.0) -> list[str]:
        """So many turns; returns the states they led to."""
        states = []
        for _ in range(count):
            await self.keeper.reconcile(KEY)
            states.append(self.status.state)
            self.now += seconds
        return states

    async def reasons(self) -> list[str]:
        return [e["reason"] for e in (await self.kube.list(EVENTS, namespace="default")).items]


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    async with contextlib.AsyncExitStack() as stack:
        kubernetes = LocalKubernetes()
        kubernetes.install(shipped.definitions())
        kube = KubeClient(Connection(await kubernetes.start("127.0.0.1", 0)))
        stack.push_async_callback(kubernetes.stop)
        stack.push_async_callback(kube.close)
        made: list[Bench] = []
        cloud = SimulatedCloud(CloudConfig(calls_per_second=1000), clock=lambda: made[0].now if made else 0.0)
        await cloud.start("127.0.0.1", 0)
        stack.push_async_callback(cloud.stop)
        endpoint = Endpoint.parse(cloud.url, name="-")
        cdn = TencentCdn(
            CloudSettings(
                secret_id=SANDBOX_KEY.secret_id, secret_key=SANDBOX_KEY.secret_key, endpoint=endpoint, timeout_s=2.0
            )
        )
        stack.push_async_callback(cdn.close)
        ctx = bare_context(kube, clock=lambda: made[0].now)
        made.append(Bench(cloud, kube, ctx, CdnKeeper(ctx, cdn)))
        yield made[0]


async def test_below_the_level_nothing_is_asked(bench: Bench) -> None:
    await bench.pool("Normal")
    assert not turned(bench.now_pool)
    assert await bench.keeper.reconcile(KEY) is None
    assert bench.cloud.count("DescribeDomainsConfig") == 0


async def test_on_the_level_it_is_started_configured_and_used_and_below_it_put_back(bench: Bench) -> None:
    await bench.pool("Optimize")
    assert turned(bench.now_pool)
    assert await bench.steps() == ["Starting", "Starting", "Online", "Online", "Online", "Online"]
    assert bench.status.minting
    assert not turned(bench.now_pool)
    told = cdn_condition(bench.now_pool)
    assert told is not None
    assert (told.status, told.reason) == ("True", "CdnOnline")
    await bench.level("Normal")
    assert turned(bench.now_pool)
    life = bench.now_pool.spec.queue.async_tasks.result_ttl_seconds
    assert await bench.steps(2) == ["Leaving", "Leaving"]
    assert not bench.status.minting
    assert bench.cloud.cdn_status("cdn.example.com") == "online"
    bench.now += life
    assert (await bench.steps(4))[-1] == "Off"
    assert bench.cloud.cdn_status("cdn.example.com") == "offline"
    assert await bench.keeper.reconcile(KEY) is None
    assert {"CdnStart", "CdnConfigure", "CdnStop", "CdnOnline", "CdnOff"} <= set(await bench.reasons())


async def test_what_it_kept_from_the_dispatcher_is_told(bench: Bench) -> None:
    await bench.pool()
    await bench.steps(4)
    bench.cloud.add_cdn_bytes("cdn.example.com", edge=5_000_000_000, origin=1_000_000_000)
    await bench.steps(1)
    told = cdn_condition(bench.now_pool)
    assert told is not None
    assert "4.000 GB" in told.message


async def test_a_domain_the_account_does_not_have_is_named_and_looked_for_again(bench: Bench) -> None:
    await bench.pool(domain="other.example.com")
    assert await bench.steps(1) == ["Blocked"]
    told = cdn_condition(bench.now_pool)
    assert told is not None
    assert (told.status, told.reason) == ("False", "CdnBlocked")
    assert "other.example.com" in told.message
    await bench.spec({"domain": "cdn.example.com"})
    assert (await bench.steps(5))[-1] == "Online"


async def test_a_missing_permission_stops_the_links_and_says_so(bench: Bench) -> None:
    await bench.pool()
    fault = bench.cloud.set_fault("unauthorized", action="UpdateDomainConfig")
    assert (await bench.steps(3))[-1] == "Blocked"
    assert not bench.status.minting
    bench.cloud.clear_fault(fault)
    assert (await bench.steps(3))[-1] == "Online"


@pytest.mark.parametrize("kind", ["commit_then_reset", "commit_then_500", "throttled", "http_500", "reset"])
async def test_lost_answers_and_refusals_for_now_lead_to_the_same_end(bench: Bench, kind: Any) -> None:
    await bench.pool()
    for action in ("StartCdnDomain", "UpdateDomainConfig", "DescribeDomainsConfig"):
        if not (kind.startswith("commit") and action.startswith("Describe")):
            bench.cloud.set_fault(kind, action=action, count=1)
    assert (await bench.steps(8))[-1] == "Online"
    await bench.spec(None)
    bench.now += 1_000_000
    if not kind.startswith("commit"):
        bench.cloud.set_fault(kind, action="StopCdnDomain", count=1)
    await bench.steps(2)
    bench.now += 1_000_000
    assert (await bench.steps(8))[-1] == "Off"
    assert bench.cloud.cdn_status("cdn.example.com") == "offline"


async def test_another_domain_in_the_spec_puts_the_old_one_back_first(bench: Bench) -> None:
    await bench.pool()
    await bench.steps(4)
    await bench.spec({"domain": "second.example.com"})
    assert (await bench.steps(2)) == ["Leaving", "Leaving"]
    assert bench.status.domain == "cdn.example.com"
    bench.now += 1_000_000
    await bench.steps(6)
    assert bench.cloud.cdn_status("cdn.example.com") == "offline"
    assert (bench.status.state, bench.status.domain) == ("Blocked", "second.example.com")
