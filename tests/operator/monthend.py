"""A sandbox whose time is moved by hand: what a month's end asks of the operator takes a few seconds.

The operator is the real one, in the test's own process, on a clock that the account and the API share. It talks over
real sockets: the real SDK to the simulated account, HTTP to the local Kubernetes API, to small WebUIs on the instances'
addresses, to a receiver of notifications. The dispatcher is a real process; it has the machine's own time, of which
nothing depends here.
"""

import asyncio
import base64
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from ipaddress import ip_network
from pathlib import Path
from typing import Any, cast

import aiohttp
from aiohttp import web
from prometheus_client.parser import text_string_to_metric_families

from controller.cloud.tencent import Settings as CloudSettings
from controller.cloud.tencent import TencentCloud
from controller.cloud.tencent.cdn import TencentCdn
from controller.cloud.tencent.ratelimit import RateLimiter
from controller.kube.client import KubeClient, Resource
from controller.kube.connect import Connection
from controller.kube.watch import Kind, Reflector
from controller.operator.context import Settings
from controller.operator.events import EVENTS
from controller.operator.objects import INSTANCES, POOLS, PRESETS
from controller.operator.process import Operator
from controller.operator.secrets import SECRETS
from controller.operator.workers import Workers
from controller.sandbox import shipped
from controller.sandbox.children import Child
from controller.sandbox.cloudsim import SANDBOX_KEY, CloudConfig, SimulatedCloud
from controller.sandbox.cloudsim.cloud import InstanceView
from controller.sandbox.kubeapi.server import LocalKubernetes
from controller.sandbox.loopback import free_port, reserve_block
from tests.dispatcher.services.a1111 import A1111

HOST = "127.0.0.1"
IN_DEFAULT = {"namespace": "default"}
PORT = 7860
DOMAIN = "cdn.example.com"
#: Seconds of the machine after which a look that is never true fails the test.
STUCK_SECONDS = 60.0


@dataclass
class Clock:
    """Unix seconds, everybody's. Nothing moves it but `Story.pass_`."""

    now: float

    def __call__(self) -> float:
        return self.now


@dataclass
class WebUIs:
    """A small Stable Diffusion WebUI on the address of each instance that runs."""

    running: dict[str, A1111] = field(default_factory=dict)
    _runners: dict[str, web.AppRunner] = field(default_factory=dict)

    async def start(self, instance: InstanceView) -> None:
        webui = A1111(instance.instance_id)
        runner = web.AppRunner(webui.app, access_log=None, shutdown_timeout=0)
        await runner.setup()
        await web.TCPSite(runner, instance.address, PORT).start()
        self.running[instance.instance_id], self._runners[instance.instance_id] = webui, runner

    async def stop(self, instance: InstanceView) -> None:
        self.running.pop(instance.instance_id, None)
        if (runner := self._runners.pop(instance.instance_id, None)) is not None:
            await runner.cleanup()

    async def close(self) -> None:
        for runner in self._runners.values():
            await runner.cleanup()


@dataclass
class Receiver:
    """Where notifications go."""

    url: str = ""
    bodies: list[dict[str, Any]] = field(default_factory=list)

    async def start(self, stack: contextlib.AsyncExitStack) -> None:
        app = web.Application()
        app.router.add_post("/hook", self._take)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0)
        stack.push_async_callback(runner.cleanup)
        await runner.setup()
        await web.TCPSite(runner, HOST, 0).start()
        self.url = f"http://{HOST}:{runner.addresses[0][1]}/hook"

    async def _take(self, request: web.Request) -> web.Response:
        self.bodies.append(await request.json())
        return web.Response()

    def told(self, rule: str) -> list[tuple[str, str]]:
        """(state, level) of what was said of a rule, in order, repetitions included."""
        return [(a["state"], a["level"]) for body in self.bodies for a in body["alerts"] if a["rule"] == rule]


@dataclass
class Story:
    """The sandbox, and the hand on its clock."""

    clock: Clock
    kube: KubeClient
    cloud: SimulatedCloud
    webuis: WebUIs
    receiver: Receiver
    session: aiohttp.ClientSession
    #: The dispatcher's records, and the operator's below them, as in `haipool sandbox`.
    logs: Path
    data_port: int
    metrics_port: int
    dispatcher: Child | None = None
    life: Operator | None = None

    # --- time ----------------------------------------------------------------------------------------------------

    async def pass_(self, seconds: float) -> None:
        """Let time pass, and have everybody in the operator look once at what it brought."""
        self.clock.now += seconds
        await self.cloud.settle()
        assert self.life is not None
        await asyncio.gather(*(_look(workers) for workers in self.life._workers))
        await asyncio.gather(*self.life.ctx.traffic._asking.values())

    async def until(self, look: Callable[[], Awaitable[Any]], what: str, *, step: float = 2.0) -> Any:
        """Let time pass until a look is true."""
        loop = asyncio.get_running_loop()
        end = loop.time() + STUCK_SECONDS
        while not (found := await look()):
            assert loop.time() < end, f"never: {what}; the pool is {json.dumps(await self.status(), indent=1)}"
            await self.pass_(step)
            # Disks, other processes and the threads of the SDK have the machine's time.
            await asyncio.sleep(0.02)
        return found

    async def pass_until(self, moment: float, *, step: float = 3600.0) -> None:
        """Let time pass up to a moment."""
        while self.clock.now < moment:
            await self.pass_(min(step, moment - self.clock.now))

    # --- what there is -------------------------------------------------------------------------------------------

    async def status(self) -> dict[str, Any]:
        return dict((await self.kube.get(POOLS, "pool", **IN_DEFAULT)).get("status", {}))

    async def condition(self, kind: str) -> tuple[str, str]:
        conditions = (await self.status()).get("conditions", [])
        return next(((c["status"], c["reason"]) for c in conditions if c["type"] == kind), ("", ""))

    async def instances(self) -> list[dict[str, Any]]:
        return [dict(i) for i in (await self.kube.list(INSTANCES, **IN_DEFAULT)).items]

    async def ready(self) -> list[dict[str, Any]]:
        return [i for i in await self.instances() if i.get("status", {}).get("phase") == "Ready"]

    async def events(self, prefix: str) -> list[tuple[str, str, str, int]]:
        """(UID, reason, message, count) of the events whose reason begins like this, in order."""
        items = (await self.kube.list(EVENTS, **IN_DEFAULT)).items
        found = [i for i in items if i["reason"].startswith(prefix)]
        found.sort(key=lambda i: str(i["metadata"]["creationTimestamp"]))
        return [(i["metadata"]["uid"], i["reason"], i["message"], int(i.get("count", 1))) for i in found]

    async def metrics(self) -> dict[str, float]:
        """The operator's samples, as a Prometheus would read them."""
        async with self.session.get(f"http://{HOST}:{self.metrics_port}/metrics") as answer:
            return samples(await answer.text())

    async def use(self, instance_id: str, gb: float) -> None:
        """Traffic, as a person adds it to a running sandbox."""
        body = {"instance_id": instance_id, "gb": gb}
        async with self.session.post(f"{self.cloud.url}/_sim/traffic", json=body) as answer:
            assert answer.status == 200, await answer.text()

    async def task(self, prompt: str, *, link: str) -> bytes:
        """The image of one asynchronous task, once the link to its result begins like this."""
        base = f"http://{HOST}:{self.data_port}"
        headers = {"Prefer": "respond-async"}
        async with self.session.post(f"{base}/sdapi/v1/txt2img", json={"prompt": prompt}, headers=headers) as answer:
            assert answer.status == 202, await answer.text()
            place = answer.headers["Location"]

        async def over() -> bool:
            async with self.session.get(f"{base}{place}") as answer:
                told = await answer.json()
            return told["result"] != "pending" and bool(told["links"]["result"] == f"{link}{place}/result")

        await self.until(over, f"{prompt}: a result on {link or 'the dispatcher itself'}")
        async with self.session.get(f"{base}{place}/result") as answer:
            assert answer.status == 200, await answer.text()
            return base64.b64decode((await answer.json())["images"][0])


def samples(page: str) -> dict[str, float]:
    """Samples by their name and what tells several of one name apart."""
    return {
        " ".join([s.name, *(v for k, v in sorted(s.labels.items()) if k not in ("namespace", "pool"))]): s.value
        for family in text_string_to_metric_families(page)
        for s in family.samples
    }


async def _look(workers: Workers) -> None:
    """Have every worker of a kind run once from now on."""
    loop = asyncio.get_running_loop()
    since, keys = loop.time(), workers.keys()
    for key in keys:
        workers.wake(key)
    while any(workers.beats.get(key, since + 1.0) <= since for key in keys):
        assert loop.time() < since + STUCK_SECONDS, f"workers that do not get on: {keys}"
        await asyncio.sleep(0.002)


@contextlib.asynccontextmanager
async def story(folder: Path, begin: float, *, config: CloudConfig) -> AsyncIterator[Story]:
    """A sandbox that begins at a moment, without an operator yet."""
    clock, webuis, receiver = Clock(begin), WebUIs(), Receiver()
    async with contextlib.AsyncExitStack() as stack:
        block = reserve_block(PORT)
        stack.callback(block.release)
        stack.push_async_callback(webuis.close)
        made = replace(config, addresses=str(block.network), calls_per_second=1e6)
        cloud = SimulatedCloud(made, clock=clock, on_running=webuis.start, on_gone=webuis.stop)
        stack.push_async_callback(cloud.stop)
        await cloud.start(HOST, 0)
        kubernetes = LocalKubernetes(clock=lambda: datetime.fromtimestamp(clock(), UTC))
        kubernetes.install(shipped.definitions())
        stack.push_async_callback(kubernetes.stop)
        kube = KubeClient(Connection(await kubernetes.start(HOST, 0)))
        stack.push_async_callback(kube.close)
        kubernetes.write_kubeconfig(folder / "kubeconfig")
        await receiver.start(stack)
        session = await stack.enter_async_context(aiohttp.ClientSession())
        logs = folder / "records"
        logs.mkdir()
        yield Story(clock, kube, cloud, webuis, receiver, session, logs, free_port(), free_port())


def settings_of(cloud: SimulatedCloud) -> CloudSettings:
    environment = {
        "HAIPOOL_CLOUD_ENDPOINT": cloud.url,
        "TENCENTCLOUD_SECRET_ID": SANDBOX_KEY.secret_id,
        "TENCENTCLOUD_SECRET_KEY": SANDBOX_KEY.secret_key,
    }
    return CloudSettings.from_environment(environment)


@contextlib.asynccontextmanager
async def running(place: Story, folder: Path) -> AsyncIterator[None]:
    """The dispatcher and the operator at work."""
    admin_port = free_port()
    arguments = [
        *("dispatcher", "--pool", "pool", "--namespace", "default", "--grace", "5", "--logs", str(place.logs)),
        *("--host", HOST, "--port", str(place.data_port), "--admin-host", HOST, "--admin-port", str(admin_port)),
        *("--data", str(folder / "data")),
    ]
    env = {"KUBECONFIG": str(folder / "kubeconfig")}
    place.dispatcher = await Child.start("dispatcher", arguments, log=folder / "dispatcher.log", env=env)
    await _answers(place, f"http://{HOST}:{admin_port}/-/healthy")
    settings = settings_of(place.cloud)
    life = await Operator.start(
        KubeClient(place.kube.connection),
        TencentCloud(settings, limiter=RateLimiter(calls=100_000), clock=place.clock),
        Settings(
            cloud_interval=0.5,
            dispatcher_url=f"http://{HOST}:{admin_port}/metrics",
            metrics_port=place.metrics_port,
            lease=False,
            leak_audit_interval=0.2,
            logs=place.logs / "operator",
            webhook_networks=(ip_network("127.0.0.0/8"),),
        ),
        cdn=TencentCdn(settings),
        clock=place.clock,
    )
    # What lasted how long is told by the same clock; nothing has begun yet.
    life.ctx.steady = cast("Any", life.ctx.cloud)._clock = life.ctx.view._clock = place.clock
    place.life = life
    kinds = (("GpuPool", POOLS), ("RegionPreset", PRESETS), ("GpuInstance", INSTANCES))
    watches = [asyncio.create_task(_follow(place.kube, life, kind, resource)) for kind, resource in kinds]
    try:
        yield
    finally:
        for watch in watches:
            watch.cancel()
        await asyncio.gather(*watches, return_exceptions=True)
        await life.stop()
        await place.dispatcher.stop()


async def _answers(place: Story, url: str) -> None:
    """Wait until the dispatcher has come up."""
    assert place.dispatcher is not None
    while place.dispatcher.running:
        with contextlib.suppress(aiohttp.ClientConnectionError):
            async with place.session.get(url) as answer:
                if answer.status == 200:
                    return
        await asyncio.sleep(0.02)
    raise AssertionError(place.dispatcher.last_words())


async def _follow(kube: KubeClient, life: Operator, kind: str, resource: Resource) -> None:
    async for event in Reflector(kube, resource).events():
        if event.kind is Kind.PUT:
            life.changed(kind, "MODIFIED", event.raw)
        elif event.kind is Kind.DELETED:
            life.changed(kind, "DELETED", event.raw)


async def apply(place: Story, **spec: Any) -> None:
    """A preset, the receiver's address, and a pool of two servers that saves traffic in every way there is."""
    preset = {
        "apiVersion": "haipool.io/v1alpha1",
        "kind": "RegionPreset",
        "metadata": {"name": "beijing"},
        "spec": {"region": "ap-beijing", "application": {"name": "haipool-sample"}},
    }
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "people"}}
    body = {
        "replicas": {"min": 2},
        "gpuTypes": [{"bundle": "XL"}],
        "server": {"port": PORT},
        "records": {"fsyncSeconds": 1},
        "queue": {"asyncTasks": {"resultTtlSeconds": 600}},
        "traffic": {"optimization": {"hooks": {"hookSet": "StableDiffusionWebUI"}, "cdn": {"domain": DOMAIN}}},
        "notifications": [
            {"name": "oncall", "type": "Webhook", "minLevel": "Info", "urlSecret": {"name": "people", "key": "url"}}
        ],
    }
    pool = {"apiVersion": "haipool.io/v1alpha1", "kind": "GpuPool", "metadata": {"name": "pool"}, "spec": body | spec}
    await place.kube.create(PRESETS, preset, **IN_DEFAULT)
    await place.kube.create(SECRETS, secret | {"stringData": {"url": place.receiver.url}}, **IN_DEFAULT)
    await place.kube.create(POOLS, pool, **IN_DEFAULT)
