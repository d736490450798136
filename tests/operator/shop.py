"""An operator in the test's own process, whose clock the test moves: back-offs of minutes end when a test says so.

The cluster is the sandbox's, the cloud the simulated one behind the real SDK. Instances have no servers on them: these
tests are about what is bought, from whom, and when.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, cast

import msgspec

from controller.api.regionpreset import OfferStatus
from controller.cloud.contract import Cloud
from controller.cloud.tencent import Settings as CloudSettings
from controller.cloud.tencent import connect
from controller.kube.client import KubeClient, Resource
from controller.kube.connect import Connection
from controller.kube.watch import Kind, Reflector
from controller.operator.context import Settings
from controller.operator.events import EVENTS
from controller.operator.objects import INSTANCES, POOLS, PRESETS
from controller.operator.process import Operator
from controller.sandbox import shipped
from controller.sandbox.cloudsim import SANDBOX_KEY, CloudConfig, SimulatedCloud
from controller.sandbox.cloudsim.ledger import Purchase
from controller.sandbox.kubeapi.server import LocalKubernetes
from tests.operator.idle import Dispatcher
from tests.operator.world import CLOUD_WRITES, KUBE_WRITES, Fuse, Mortal

HOST = "127.0.0.1"
DEFAULT = {"namespace": "default"}


@dataclass
class Clock:
    """Unix seconds, moved on by hand besides."""

    ahead: float = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead

    def steady(self) -> float:
        """Seconds that have passed."""
        return time.monotonic() + self.ahead


@dataclass
class Shop:
    """What outlives the operator, and the operator that lives now."""

    kube: KubeClient
    cloud: SimulatedCloud
    metrics_url: str
    clock: Clock = field(default_factory=Clock)
    life: Operator | None = None

    @contextlib.asynccontextmanager
    async def operator(self, fuse: Fuse | None = None, *, listing_lag: float = 120.0) -> AsyncIterator[Operator]:
        """One life of the operator, fed by watches as kopf feeds it; with a fuse, it may end in the middle."""
        fuse = fuse or Fuse()
        environment = {
            "HAIPOOL_CLOUD_ENDPOINT": self.cloud.url,
            "TENCENTCLOUD_SECRET_ID": SANDBOX_KEY.secret_id,
            "TENCENTCLOUD_SECRET_KEY": SANDBOX_KEY.secret_key,
        }
        kube, cloud = KubeClient(self.kube.connection), connect(CloudSettings.from_environment(environment))
        settings = Settings(
            cloud_interval=0.05,
            dispatcher_url=self.metrics_url,
            metrics_port=0,
            leak_audit_interval=0.1,
            lease=False,
            listing_lag=listing_lag,
        )
        life = await Operator.start(
            cast("KubeClient", Mortal(kube, fuse, KUBE_WRITES)),
            cast("Cloud", Mortal(cloud, fuse, (*CLOUD_WRITES, "create_application"))),
            settings,
        )
        life.ctx.clock, life.ctx.steady = self.clock, self.clock.steady
        cast("Any", life.ctx.cloud)._clock = self.clock.steady
        self.life = life
        kinds = (("GpuPool", POOLS), ("RegionPreset", PRESETS), ("GpuInstance", INSTANCES))
        watches = [asyncio.create_task(self._follow(life, kind, resource)) for kind, resource in kinds]
        try:
            yield life
        finally:
            for watch in watches:
                watch.cancel()
            await asyncio.gather(*watches, return_exceptions=True)
            await life.stop()
            self.life = None

    async def _follow(self, life: Operator, kind: str, resource: Resource) -> None:
        async for event in Reflector(self.kube, resource).events():
            if event.kind is Kind.PUT:
                life.changed(kind, "MODIFIED", event.raw)
            elif event.kind is Kind.DELETED:
                life.changed(kind, "DELETED", event.raw)

    async def pass_(self, seconds: float) -> None:
        """Let time pass, and have everybody look."""
        self.clock.ahead += seconds
        await self.cloud.settle()
        if self.life is not None:
            for preset in self.life.ctx.store.presets:
                self.life.ctx.wake_preset(preset.metadata.key)
            for pool in self.life.ctx.store.pools:
                self.life.ctx.wake_pool(pool.metadata.key)

    # --- objects -------------------------------------------------------------------------------------------------

    async def preset(self, region: str = "ap-beijing", priority: int = 1, **spec: Any) -> None:
        """Apply a RegionPreset named after its region."""
        body = {
            "apiVersion": "haipool.io/v1alpha1",
            "kind": "RegionPreset",
            "metadata": {"name": region.removeprefix("ap-")},
            "spec": {"region": region, "priority": priority, "application": {"name": "haipool-sample"}} | spec,
        }
        await self.kube.create(PRESETS, body, **DEFAULT)

    async def pool(self, name: str = "pool", minimum: int = 1, *bundles: str, **spec: Any) -> None:
        """Apply a GpuPool that buys these bundles."""
        body = {
            "apiVersion": "haipool.io/v1alpha1",
            "kind": "GpuPool",
            "metadata": {"name": name},
            "spec": {
                "replicas": {"min": minimum},
                "gpuTypes": [{"bundle": bundle} for bundle in bundles or ("XL",)],
                "server": {"port": 7860, "startupTimeoutSeconds": 86400},
                "scaling": {"intervalSeconds": 1},
            }
            | spec,
        }
        await self.kube.create(POOLS, body, **DEFAULT)

    async def want(self, minimum: int, *pools: str) -> None:
        """Raise the minimum of these pools, all at once."""
        body = {"spec": {"replicas": {"min": minimum}}}
        await asyncio.gather(*(self.kube.patch(POOLS, name, body, **DEFAULT) for name in pools))

    async def get(self, resource: Resource, name: str) -> dict[str, Any]:
        return dict(await self.kube.get(resource, name, **DEFAULT))

    async def status(self, name: str = "beijing") -> dict[str, Any]:
        """Status of a preset."""
        return dict((await self.get(PRESETS, name)).get("status", {}))

    async def offer(self, bundle: str = "XL", name: str = "beijing") -> OfferStatus:
        offers = (await self.status(name)).get("offers", [])
        found = [o for o in offers if o["bundle"] == bundle]
        return msgspec.convert(found[0], OfferStatus) if found else OfferStatus(bundle=cast("Any", bundle))

    async def instances(self) -> list[dict[str, Any]]:
        return [dict(i) for i in (await self.kube.list(INSTANCES, **DEFAULT)).items]

    async def condition(self, resource: Resource, name: str, kind: str) -> str:
        """`Status/Reason` of a condition, empty while it is not there."""
        found = await self.get(resource, name)
        conditions = found.get("status", {}).get("conditions", [])
        return next((f"{c['status']}/{c['reason']}" for c in conditions if c["type"] == kind), "")

    async def message(self, kind: str = "Ready", name: str = "beijing") -> str:
        conditions = (await self.status(name)).get("conditions", [])
        return next((str(c["message"]) for c in conditions if c["type"] == kind), "")

    async def events(self, reason: str) -> list[str]:
        """Names of the objects that have an event of this reason, one for each occurrence."""
        items = (await self.kube.list(EVENTS, **DEFAULT)).items
        return sorted(
            i["involvedObject"]["name"] for i in items if i["reason"] == reason for _ in range(i.get("count", 1))
        )

    def purchases(self, bundle: str = "XL", region: str = "ap-beijing") -> list[Purchase]:
        """What the cloud was asked to sell of this offer."""
        return [p for p in self.cloud.purchases() if (p.bundle, p.region) == (bundle, region)]

    # --- waiting -------------------------------------------------------------------------------------------------

    async def until(self, look: Callable[[], Awaitable[Any]], what: str, *, seconds: float = 30.0) -> Any:
        """Look again and again until it is truthy."""
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while not (found := await look()):
            assert loop.time() < end, f"not within {seconds:g} s: {what}"
            await asyncio.sleep(0.05)
        return found

    async def told(self, resource: Resource, name: str, kind: str, wanted: str) -> None:
        """Wait for a condition."""

        async def look() -> bool:
            return await self.condition(resource, name, kind) == wanted

        try:
            await self.until(look, f"{kind} of {name} is {wanted}")
        except AssertionError as error:
            raise AssertionError(f"{error}; it is {(await self.get(resource, name)).get('status')}") from None

    async def servers(self, count: int) -> list[dict[str, Any]]:
        """Wait until so many purchases stand, and nothing else is being tried."""

        async def look() -> bool:
            found = await self.instances()
            return len(found) == sum(bool(i.get("status", {}).get("instanceId")) for i in found) == count

        await self.until(look, f"{count} servers are bought")
        return await self.instances()

    async def decided(self, *pools: str) -> None:
        """Wait until each pool has decided twice from now on: it has done what it had to about what is known now."""
        before = {name: self._decisions(name) for name in pools}

        async def all_decided() -> bool:
            return all(self._decisions(name) >= count + 2 for name, count in before.items())

        await self.until(all_decided, "every pool decides twice")

    def _decisions(self, pool: str) -> float:
        assert self.life is not None
        samples = [s for metric in self.life.ctx.metrics.decisions.collect() for s in metric.samples]
        return sum(s.value for s in samples if s.labels["pool"] == pool and s.name.endswith("_total"))


@contextlib.asynccontextmanager
async def open_shop(**config: Any) -> AsyncIterator[Shop]:
    """A cluster and a cloud, without an operator yet."""
    async with contextlib.AsyncExitStack() as stack:
        clock = Clock()
        cloud = SimulatedCloud(CloudConfig(**config), clock=clock)
        stack.push_async_callback(cloud.stop)
        await cloud.start(HOST, 0)
        kubernetes = LocalKubernetes()
        kubernetes.install(shipped.definitions())
        stack.push_async_callback(kubernetes.stop)
        kube = KubeClient(Connection(await kubernetes.start(HOST, 0)))
        stack.push_async_callback(kube.close)
        dispatcher = Dispatcher(kube)
        await dispatcher.start(stack)
        yield Shop(kube, cloud, dispatcher.url, clock)
