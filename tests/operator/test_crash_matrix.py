"""The operator killed at every write it makes, one after the other: nothing bought twice, nothing left behind.

One run takes a pool from nothing to one Ready server and through its deletion. First it is run whole, counting every
write to the Kubernetes API and every call that changes something at the cloud. Then it is run once for each moment just
before and just after each of them: there the process dies (no call gets out any more, all memory is lost), another one
starts, and the cloud's own ledger must show one instance, owned, and gone in the end.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from aiohttp import web

from controller.api import metrics
from controller.api.names import instance_name
from controller.cloud.contract import Cloud
from controller.cloud.tencent import Settings as CloudSettings
from controller.cloud.tencent import connect
from controller.kube.client import KubeClient, NotFoundError
from controller.kube.connect import Connection
from controller.kube.watch import Kind, Reflector
from controller.operator.context import Settings
from controller.operator.objects import INSTANCES, POOLS, PRESETS
from controller.operator.process import Operator, cluster_identity
from controller.sandbox import shipped
from controller.sandbox.cloudsim import SANDBOX_KEY, CloudConfig, SimulatedCloud
from controller.sandbox.cloudsim.cloud import InstanceView
from controller.sandbox.gpuserver import Behaviour, Fleet
from controller.sandbox.kubeapi.server import LocalKubernetes
from controller.sandbox.loopback import reserve_block

pytestmark = [pytest.mark.crash, pytest.mark.timeout(400)]

HOST = "127.0.0.1"
KUBE_WRITES = ("create", "patch", "delete")
CLOUD_WRITES = ("run_instance", "terminate_instance")


class Crash(BaseException):
    """The process is gone. No `except Exception` of the operator survives it."""


@dataclass
class Fuse:
    """Counts moments, and is the death of the process at one of them."""

    at: int | None = None
    passed: list[str] = field(default_factory=list)
    blown: asyncio.Event = field(default_factory=asyncio.Event)

    def burn(self, moment: str) -> None:
        if self.blown.is_set():
            raise Crash(moment)
        self.passed.append(moment)
        if self.at is not None and len(self.passed) > self.at:
            self.blown.set()
            raise Crash(moment)


class Mortal:
    """Something whose writes burn the fuse, just before and just after they are done."""

    def __init__(self, inner: Any, fuse: Fuse, writes: tuple[str, ...]) -> None:
        self._inner, self._fuse, self._writes = inner, fuse, writes

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if name not in self._writes:
            return found

        async def call(*arguments: Any, **options: Any) -> Any:
            what = f"{name} {getattr(arguments[0], 'plural', arguments[0])} {options.get('subresource', '')}".strip()
            self._fuse.burn(f"before {what}")
            answer = await found(*arguments, **options)
            self._fuse.burn(f"after {what}")
            return answer

        return call


@dataclass
class World:
    """What outlives the operator."""

    kubernetes: LocalKubernetes
    cloud: SimulatedCloud
    metrics_url: str
    kube: KubeClient


@contextlib.asynccontextmanager
async def world() -> AsyncIterator[World]:
    fleet, block = Fleet(Behaviour(port=7860, task_seconds=0.1, boot_seconds=0.0)), reserve_block(7860)

    async def running(instance: InstanceView) -> None:
        await fleet.start(instance.instance_id, instance.bundle, instance.address)

    async def gone(instance: InstanceView) -> None:
        await fleet.stop(instance.instance_id)

    async with contextlib.AsyncExitStack() as stack:
        stack.callback(block.release)
        stack.push_async_callback(fleet.close)
        config = CloudConfig(deploy_s=0.05, terminate_s=0.05, addresses=str(block.network))
        cloud = SimulatedCloud(config, on_running=running, on_gone=gone)
        stack.push_async_callback(cloud.stop)
        await cloud.start(HOST, 0)
        kubernetes = LocalKubernetes()
        kubernetes.install(shipped.definitions())
        stack.push_async_callback(kubernetes.stop)
        url = await kubernetes.start(HOST, 0)
        kube = KubeClient(Connection(url))
        stack.push_async_callback(kube.close)
        yield World(kubernetes, cloud, await idle_dispatcher(stack), kube)


async def idle_dispatcher(stack: contextlib.AsyncExitStack) -> str:
    """Metrics of a dispatcher that has nothing to do and knows no server."""
    figures = dict.fromkeys(metrics.REQUIRED, 0) | {metrics.DISPATCHER_SYNCED: 1}
    text = "".join(f"# TYPE {name} gauge\n{name} {value}\n" for name, value in figures.items())

    async def answer(_: web.Request) -> web.Response:
        return web.Response(text=text)

    app = web.Application()
    app.router.add_get("/metrics", answer)
    runner = web.AppRunner(app)
    stack.push_async_callback(runner.cleanup)
    await runner.setup()
    await web.TCPSite(runner, HOST, 0).start()
    return f"http://{HOST}:{runner.addresses[0][1]}/metrics"


@contextlib.asynccontextmanager
async def operator(place: World, fuse: Fuse) -> AsyncIterator[None]:
    """One life of the operator, fed by watches as kopf feeds it."""
    kube = KubeClient(place.kube.connection)
    cloud = connect(
        CloudSettings.from_environment(
            {
                "HAIPOOL_CLOUD_ENDPOINT": place.cloud.url,
                "TENCENTCLOUD_SECRET_ID": SANDBOX_KEY.secret_id,
                "TENCENTCLOUD_SECRET_KEY": SANDBOX_KEY.secret_key,
            }
        )
    )
    life = await Operator.start(
        cast("KubeClient", Mortal(kube, fuse, KUBE_WRITES)),
        cast("Cloud", Mortal(cloud, fuse, CLOUD_WRITES)),
        Settings(
            cloud_interval=0.05, dispatcher_url=place.metrics_url, metrics_port=0, leak_audit_interval=0.1, lease=False
        ),
    )
    kinds = (("GpuPool", POOLS), ("RegionPreset", PRESETS), ("GpuInstance", INSTANCES))
    watches = [asyncio.create_task(follow(life, kind, Reflector(place.kube, r))) for kind, r in kinds]
    try:
        yield
    finally:
        for watch in watches:
            watch.cancel()
        await asyncio.gather(*watches, return_exceptions=True)
        await life.stop()


async def follow(life: Operator, kind: str, reflector: Reflector) -> None:
    async for event in reflector.events():
        if event.kind is Kind.PUT:
            life.changed(kind, "MODIFIED", event.raw)
        elif event.kind is Kind.DELETED:
            life.changed(kind, "DELETED", event.raw)


async def until(look: Callable[[], Any], fuse: Fuse) -> bool:
    """Wait until the look is true; False when the process died before."""
    loop = asyncio.get_running_loop()
    end = loop.time() + 30
    while not fuse.blown.is_set():
        if await look():
            return True
        assert loop.time() < end, f"stuck; the last moments were {fuse.passed[-6:]}"
        await asyncio.sleep(0.02)
    return False


async def leak(place: World) -> None:
    """An instance of the pool that is billed and whose object is gone."""
    pool = await place.kube.get(POOLS, "pool", namespace="default")
    name = instance_name(
        cluster_uid=await cluster_identity(place.kube),
        pool_uid=pool["metadata"]["uid"],
        instance_uid="0b5e55ed-0000-4000-8000-000000000000",
        bundle="XL",
    )
    place.cloud.add_instances("ap-beijing", "XL", 1, name=name)


async def nothing(place: World) -> None:
    """The world as it is."""


async def story(place: World, fuses: list[Fuse], prepare: Callable[[World], Awaitable[None]]) -> None:
    """From nothing to one Ready server and through the pool's deletion, in as many lives as there are fuses."""
    lives = iter(fuses)

    async def ready() -> bool:
        found = (await place.kube.list(INSTANCES, namespace="default")).items
        return len(found) == 1 and found[0].get("status", {}).get("phase") == "Ready"

    async def gone() -> bool:
        try:
            await place.kube.get(POOLS, "pool", namespace="default")
        except NotFoundError:
            return True
        return False

    await place.kube.create(PRESETS, PRESET, namespace="default")
    await place.kube.create(POOLS, POOL, namespace="default")
    await prepare(place)
    steps = [ready, gone]
    while steps:
        fuse = next(lives)
        async with operator(place, fuse):
            while steps and await until(steps[0], fuse):
                if steps.pop(0) is ready:
                    await place.kube.delete(POOLS, "pool", namespace="default")


PRESET = {
    "apiVersion": "haipool.io/v1alpha1",
    "kind": "RegionPreset",
    "metadata": {"name": "beijing"},
    "spec": {"region": "ap-beijing", "application": {"name": "haipool-sample"}},
}
POOL = {
    "apiVersion": "haipool.io/v1alpha1",
    "kind": "GpuPool",
    "metadata": {"name": "pool"},
    "spec": {
        "replicas": {"min": 1},
        "server": {"port": 7860, "probeIntervalSeconds": 1},
        "scaling": {"intervalSeconds": 1, "down": {"drainTimeoutSeconds": 5}},
    },
}


async def lived(at: int | None, prepare: Callable[[World], Awaitable[None]] = nothing) -> list[str]:
    """Run the story with a death at moment `at`, check the ledger, and return the moments of the first life."""
    async with world() as place:
        first = Fuse(at)
        try:
            await story(place, [first, Fuse()], prepare)
        except AssertionError as error:
            objects = (await place.kube.list(INSTANCES, namespace="default")).items
            raise AssertionError(f"death at {first.passed[-1]}: {error}; {objects}") from error
        bills = place.cloud.bills()
        told = f"died {first.passed[-1] if first.blown.is_set() else 'not at all'}"
        assert len(bills) == 1, f"{told}: {len(bills)} instances were bought"
        assert bills[0].ended is not None, f"{told}: {bills[0].instance_id} was left behind"
        left = (await place.kube.list(INSTANCES, namespace="default")).items
        assert left == (), f"{told}: objects left"
        return first.passed


async def test_a_death_at_any_write_buys_nothing_twice_and_leaves_nothing_behind() -> None:
    moments = await lived(None)
    wanted = {"before run_instance ap-beijing", "after run_instance ap-beijing", "after terminate_instance ap-beijing"}
    assert wanted <= set(moments)
    # Events tell and change nothing: what happens around them happens around their neighbours too.
    matter = [k for k, moment in enumerate(moments) if " events" not in moment]
    assert len(matter) > 20
    for k in matter:
        await lived(k)


async def test_a_death_at_any_write_of_a_take_over_buys_nothing_and_leaves_nothing_behind() -> None:
    moments = await lived(None, leak)
    assert not [moment for moment in moments if "run_instance" in moment]
    # From the deletion on it is the same story as above.
    until = moments.index("before terminate_instance ap-beijing")
    matter = [k for k, moment in enumerate(moments[:until]) if " gpuinstances" in moment]
    assert len(matter) > 6
    for k in matter:
        await lived(k, leak)
