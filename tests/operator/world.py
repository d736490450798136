"""The operator, a local Kubernetes API, a simulated cloud and its servers in one loop of virtual time.

Everything talks over real sockets, and the operator uses the real SDK. What a test can make go wrong: the process dies
at a moment (`Fuse`), the cloud's faults, the API's (`Trouble`), what the watches tell (`Watches`), the clock (`Clock`).
"""

import asyncio
import contextlib
import copy
import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, cast

from aiohttp import web

from controller.cloud.contract import Cloud
from controller.cloud.tencent import Settings as CloudSettings
from controller.cloud.tencent import connect
from controller.kube.client import KubeClient, NotFoundError
from controller.kube.connect import Connection
from controller.kube.watch import Kind, Reflector
from controller.operator.context import Settings
from controller.operator.events import EVENTS
from controller.operator.handlers import START_AGAIN_SECONDS
from controller.operator.objects import INSTANCES, POOLS, PRESETS
from controller.operator.process import Operator, StartupError
from controller.sandbox import shipped
from controller.sandbox.cloudsim import SANDBOX_KEY, CloudConfig, SimulatedCloud
from controller.sandbox.cloudsim.cloud import InstanceView
from controller.sandbox.gpuserver import Behaviour, Fleet
from controller.sandbox.kubeapi.server import LocalKubernetes
from controller.sandbox.loopback import reserve_block
from tests.operator.idle import Dispatcher
from tests.operator.oracle import EDGE_SECONDS, Oracle, Witness
from tests.operator.virtualtime import Threads, VirtualLoop

HOST = "127.0.0.1"
NAMESPACE = "default"
KUBE_WRITES = ("create", "patch", "delete")
CLOUD_WRITES = ("run_instance", "terminate_instance")
#: Noon in Beijing in the middle of a month: no day and no month ends in a story.
BEGIN = datetime(2026, 1, 15, 4, tzinfo=UTC).timestamp()
#: Name of instances that are not ours: there may be hundreds, and nobody talks to them.
FOREIGN = "foreign"
#: The cloud of most stories.
SOLD = CloudConfig(deploy_s=30.0, terminate_s=10.0)
#: Virtual seconds after which a story is stuck.
STUCK_SECONDS = 3600.0
#: How the API tells the operator's requests from the test's.
OPERATOR_TOKEN = "the-operator"


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
class Clock:
    """What the operator takes for the time. The cloud's and the API's clocks are right."""

    #: By how much it is off.
    offset: float = 0.0

    @staticmethod
    def true() -> float:
        return BEGIN + asyncio.get_running_loop().time() - _born()

    def __call__(self) -> float:
        return self.true() + self.offset


def _born() -> float:
    loop = asyncio.get_running_loop()
    born: float = loop.__dict__.setdefault("born", loop.time())
    return born


@dataclass
class Trouble:
    """What the API answers to the operator's requests, one after the other: a status, and whether the work was done."""

    #: (method, part of the path) that are affected.
    methods: tuple[str, ...]
    path: str
    status: int
    count: int
    done: bool = False
    seconds: float = 0.0
    met: int = 0

    def affects(self, request: web.Request) -> bool:
        told = request.headers.get("Authorization") == f"Bearer {OPERATOR_TOKEN}"
        return told and self.met < self.count and request.method in self.methods and self.path in request.path


@dataclass
class Watches:
    """How what happens reaches the operator's cache."""

    #: Seconds by which it comes late.
    late: float = 0.0
    #: How often each event comes.
    copies: int = 1
    #: Old versions come again: after each event, the object as it was at first.
    ghosts: bool = False
    #: There are no watches: all is listed anew each so many seconds, and what went meanwhile is never told.
    lasts: float | None = None


@dataclass
class World:
    """What outlives the operator."""

    kubernetes: LocalKubernetes
    cloud: SimulatedCloud
    fleet: Fleet
    dispatcher: Dispatcher
    kube: KubeClient
    oracle: Oracle
    clock: Clock = field(default_factory=Clock)
    troubles: list[Trouble] = field(default_factory=list)
    watches: Watches = field(default_factory=Watches)
    #: The SDK's time-out: real seconds, since its threads know no others.
    cloud_timeout: float = 10.0
    _background: list["asyncio.Task[None]"] = field(default_factory=list)

    def background(self, work: Coroutine[Any, Any, None]) -> None:
        """Something that goes on beside the story."""
        self._background.append(asyncio.create_task(work))

    async def rest(self) -> None:
        """Wait for it."""
        await asyncio.gather(*self._background)

    async def instances(self) -> list[dict[str, Any]]:
        return list((await self.kube.list(INSTANCES, namespace=NAMESPACE)).items)

    async def pool(self, name: str = "pool") -> dict[str, Any]:
        return await self.kube.get(POOLS, name, namespace=NAMESPACE)

    async def resize(self, size: int) -> None:
        await self.kube.patch(POOLS, "pool", {"spec": {"replicas": {"min": size}}}, namespace=NAMESPACE)

    async def delete_pool(self) -> None:
        await self.kube.delete(POOLS, "pool", namespace=NAMESPACE)

    async def is_ready(self, count: int = 1) -> bool:
        found = [i.get("status", {}).get("phase") for i in await self.instances()]
        return found == ["Ready"] * count

    async def is_gone(self) -> bool:
        try:
            await self.pool()
        except NotFoundError:
            return True
        return False

    def alive(self) -> list[str]:
        return [b.instance_id for b in self.cloud.bills() if b.ended is None]

    async def events(self) -> set[str]:
        listed = await self.kube.list(EVENTS, namespace=NAMESPACE)
        return {str(e["reason"]) for e in listed.items}


@contextlib.asynccontextmanager
async def world(
    config: CloudConfig | None = None, *, edge_seconds: float | None = EDGE_SECONDS
) -> AsyncIterator[World]:
    """A world, judged by the money oracle at the end of its story."""
    fleet, block = Fleet(Behaviour(port=7860, task_seconds=0.1, boot_seconds=0.0)), reserve_block(7860)

    async def running(instance: InstanceView) -> None:
        if instance.name != FOREIGN:
            await fleet.start(instance.instance_id, instance.bundle, instance.address)

    async def gone(instance: InstanceView) -> None:
        await fleet.stop(instance.instance_id)

    async with contextlib.AsyncExitStack() as stack:
        stack.callback(block.release)
        stack.push_async_callback(fleet.close)
        # The operator counts its calls in virtual seconds, the cloud in real ones: no limit here.
        made = replace(config or SOLD, addresses=str(block.network), calls_per_second=1e9)
        cloud = SimulatedCloud(made, clock=Clock.true, on_running=running, on_gone=gone)
        stack.push_async_callback(cloud.stop)
        await cloud.start(HOST, 0)
        kubernetes, troubles = LocalKubernetes(clock=lambda: datetime.fromtimestamp(Clock.true(), UTC)), list[Trouble]()
        kubernetes.install(copy.deepcopy(_definitions()))
        _make_troubled(kubernetes, troubles)
        stack.push_async_callback(kubernetes.stop)
        kube = KubeClient(Connection(await kubernetes.start(HOST, 0)))
        stack.push_async_callback(kube.close)
        dispatcher, witness = Dispatcher(kube), Witness(Clock.true)
        await dispatcher.start(stack)
        looking = asyncio.create_task(witness.watch(kube, None))
        stack.push_async_callback(_end, looking)
        oracle = Oracle(witness, edge_seconds=edge_seconds)
        place = World(kubernetes, cloud, fleet, dispatcher, kube, oracle, troubles=troubles)
        yield place
        await place.rest()
        await oracle.judge(cloud, kube, None)


@functools.cache
def _definitions() -> list[dict[str, Any]]:
    """Read once: a test has many worlds."""
    return list(shipped.definitions())


async def _end(*tasks: "asyncio.Task[None]") -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _make_troubled(kubernetes: LocalKubernetes, troubles: list[Trouble]) -> None:
    """Have the API fail as it is told; it is asked over HTTP, and answers over HTTP."""

    @web.middleware
    async def middleware(request: web.Request, handler: Any) -> web.StreamResponse:
        trouble = next((t for t in troubles if t.affects(request)), None)
        if trouble is None:
            answer: web.StreamResponse = await handler(request)
            return answer
        trouble.met += 1
        if trouble.done:
            await handler(request)
        await asyncio.sleep(trouble.seconds)
        if trouble.status == 0:
            assert request.transport is not None
            request.transport.abort()
        body = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": trouble.status, "message": "trouble"}
        return web.json_response(body, status=trouble.status or 500)

    build = kubernetes._api.application

    def application() -> web.Application:
        app = build()
        app.middlewares.insert(0, middleware)
        return app

    kubernetes._api.application = application  # type: ignore[method-assign]


@contextlib.asynccontextmanager
async def operator(place: World, fuse: Fuse | None = None, **settings: Any) -> AsyncIterator[Operator]:
    """One life of the operator, fed by watches as kopf feeds it."""
    fuse, loop = fuse or Fuse(), asyncio.get_running_loop()
    kube = KubeClient(Connection(place.kube.connection.server, token=OPERATOR_TOKEN))
    cloud = connect(
        CloudSettings.from_environment(
            {
                "HAIPOOL_CLOUD_ENDPOINT": place.cloud.url,
                "HAIPOOL_CLOUD_TIMEOUT_SECONDS": str(place.cloud_timeout),
                "TENCENTCLOUD_SECRET_ID": SANDBOX_KEY.secret_id,
                "TENCENTCLOUD_SECRET_KEY": SANDBOX_KEY.secret_key,
            }
        )
    )
    if isinstance(loop, VirtualLoop):
        transport = cast("Any", cloud)._transport
        transport._executor.shutdown()
        transport._executor = Threads(loop, 4)
    chosen = {"dispatcher_url": place.dispatcher.url, "metrics_port": 0, "leak_audit_interval": 10.0, "lease": False}
    life = await _start(
        cast("KubeClient", Mortal(kube, fuse, KUBE_WRITES)),
        cast("Cloud", Mortal(cloud, fuse, CLOUD_WRITES)),
        Settings(**{**chosen, **settings}),
        place.clock,
    )
    kinds = (("GpuPool", POOLS), ("RegionPreset", PRESETS), ("GpuInstance", INSTANCES))
    watches = [asyncio.create_task(follow(place, life, kind, Reflector(place.kube, r))) for kind, r in kinds]
    try:
        yield life
    finally:
        await _end(*watches)
        await life.stop()


async def _start(kube: KubeClient, cloud: Cloud, settings: Settings, clock: Clock) -> Operator:
    """As kopf starts it: again, until it succeeds."""
    while True:
        try:
            return await Operator.start(kube, cloud, settings, clock=clock)
        except StartupError:
            await asyncio.sleep(START_AGAIN_SECONDS)


async def follow(place: World, life: Operator, kind: str, reflector: Reflector) -> None:
    """Tell the operator what happens, as late, as often and as broken as the watches are."""
    first: dict[str, Any] = {}
    while True:
        async for event in reflector.events():
            if event.kind in (Kind.PUT, Kind.DELETED):
                how, told = place.watches, "DELETED" if event.kind is Kind.DELETED else "MODIFIED"
                await asyncio.sleep(how.late)
                for _ in range(how.copies):
                    life.changed(kind, told, event.raw)
                if how.ghosts:
                    life.changed(kind, "MODIFIED", first.setdefault(event.raw["metadata"]["uid"], event.raw))
            elif event.kind is Kind.SYNCED and place.watches.lasts is not None:
                await asyncio.sleep(place.watches.lasts)
                break
        reflector = Reflector(place.kube, reflector._resource)


async def until(
    look: Callable[[], Awaitable[Any]], what: str, fuse: Fuse | None = None, *, look_seconds: float = 0.5
) -> bool:
    """Wait until the look is true; False when the process died before."""
    loop = asyncio.get_running_loop()
    end = loop.time() + STUCK_SECONDS
    while fuse is None or not fuse.blown.is_set():
        if await look():
            return True
        assert loop.time() < end, f"never: {what}" + (f"; the last moments were {fuse.passed[-6:]}" if fuse else "")
        await asyncio.sleep(look_seconds)
    return False


PRESET: dict[str, Any] = {
    "apiVersion": "haipool.io/v1alpha1",
    "kind": "RegionPreset",
    "metadata": {"name": "beijing"},
    "spec": {"region": "ap-beijing", "application": {"name": "haipool-sample"}},
}


def pool(minimum: int = 1, **spec: Any) -> dict[str, Any]:
    """A pool as people write them: all times are the defaults."""
    body = {"replicas": {"min": minimum}, "server": {"port": 7860}} | spec
    return {"apiVersion": "haipool.io/v1alpha1", "kind": "GpuPool", "metadata": {"name": "pool"}, "spec": body}


async def begin(place: World, minimum: int = 1, **spec: Any) -> None:
    """A preset and a pool."""
    await place.kube.create(PRESETS, PRESET, namespace=NAMESPACE)
    await place.kube.create(POOLS, pool(minimum, **spec), namespace=NAMESPACE)
