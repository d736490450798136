"""A whole haipool around a test: the cluster, a simulated cloud with real servers, and the real processes."""

import asyncio
import itertools
import json
import os
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from controller.kube.client import KubeClient
from controller.kube.connect import load
from controller.sandbox.children import Child
from controller.sandbox.cloudsim import SANDBOX_KEY, CloudConfig, SimulatedCloud
from controller.sandbox.cloudsim.cloud import InstanceView
from controller.sandbox.gpuserver import Behaviour, Fleet
from controller.sandbox.kubectl import find_kubectl
from controller.sandbox.loopback import free_port, reserve_block
from tests.operator.oracle import Oracle, Witness

HOST = "127.0.0.1"
REPOSITORY = Path(__file__).parents[2]


class Rig:
    """One namespace with its own cloud, operator and dispatcher."""

    def __init__(self, kubeconfig: Path, namespace: str, folder: Path, stack: AsyncExitStack) -> None:
        self.kubeconfig = kubeconfig
        self.namespace = namespace
        self.folder = folder
        self.stack = stack
        self.fleet = Fleet(Behaviour(port=7860, task_seconds=0.2, boot_seconds=0.1))
        self.data_port, self.admin_port = free_port(), free_port()
        self.children: dict[str, Child] = {}
        self._logs = itertools.count()
        block = reserve_block(7860)
        stack.callback(block.release)
        self._addresses = str(block.network)
        self.oracle: Oracle
        self.key = SANDBOX_KEY
        self.cloud: SimulatedCloud

    async def start_cloud(self, config: CloudConfig) -> None:
        """The cloud of this test."""

        async def running(instance: InstanceView) -> None:
            await self.fleet.start(instance.instance_id, instance.bundle, instance.address)

        async def gone(instance: InstanceView) -> None:
            await self.fleet.stop(instance.instance_id)

        self.stack.push_async_callback(self.fleet.close)
        self.key = config.keys[0]
        self.cloud = SimulatedCloud(
            replace(config, addresses=self._addresses),
            on_running=running,
            on_gone=gone,
            bytes_sent=self.fleet.bytes_sent,
        )
        self.stack.push_async_callback(self.cloud.stop)
        await self.cloud.start(HOST, 0)

    async def start_oracle(self) -> None:
        """Look on from the beginning, and judge at the end: see `tests.operator.oracle`."""
        kube, witness = KubeClient(load(str(self.kubeconfig))), Witness(self.cloud.now)
        self.stack.push_async_callback(kube.close)
        looking = asyncio.create_task(witness.watch(kube, self.namespace))

        async def end() -> None:
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)

        self.stack.push_async_callback(end)
        self.oracle = Oracle(witness)
        self._kube = kube

    async def judge(self) -> None:
        """What was bought, owned and booked, whatever else the test looked at."""
        async with asyncio.timeout(30):
            await self.oracle.judge(self.cloud, self._kube, self.namespace)

    # --- processes -----------------------------------------------------------------------------------------------

    async def start_operator(
        self,
        *extra: str,
        secret_key: str | None = None,
        metrics_port: int = 0,
        lease: bool = False,
    ) -> Child:
        """Start (or start again) the operator for this namespace; without a lease it need not wait for one to end."""
        arguments = [
            *("operator", "--namespace", self.namespace, "--cloud-interval", "0.5"),
            *("--dispatcher-url", f"http://{HOST}:{self.admin_port}/metrics"),
            *("--liveness-port", "0", "--metrics-port", str(metrics_port), "--leak-audit-interval", "1", *extra),
            *(() if lease else ("--no-lease",)),
        ]
        return await self._start("operator", arguments, secret_key=secret_key)

    async def start_dispatcher(self, *extra: str, pool: str = "pool") -> Child:
        """Start the dispatcher of a pool."""
        arguments = [
            *("dispatcher", "--pool", pool, "--namespace", self.namespace, "--grace", "5", *extra),
            *(
                "--host",
                HOST,
                "--port",
                str(self.data_port),
                "--admin-host",
                HOST,
                "--admin-port",
                str(self.admin_port),
            ),
        ]
        return await self._start("dispatcher", arguments)

    async def _start(self, name: str, arguments: list[str], *, secret_key: str | None = None) -> Child:
        env = {
            "KUBECONFIG": str(self.kubeconfig),
            "HAIPOOL_CLOUD_ENDPOINT": self.cloud.url,
            "HAIPOOL_CLOUD_TIMEOUT_SECONDS": "3",
            "TENCENTCLOUD_SECRET_ID": self.key.secret_id,
            "TENCENTCLOUD_SECRET_KEY": secret_key or self.key.secret_key,
        }
        log = self.folder / f"{name}-{next(self._logs)}.log"
        child = await Child.start(name, arguments, log=log, env=env)
        self.children[name] = child
        self.stack.push_async_callback(child.stop)
        return child

    def logs(self) -> str:
        """Everything the processes wrote."""
        return "\n".join(path.read_text(errors="replace") for path in sorted(self.folder.glob("*.log")))

    # --- kubectl -------------------------------------------------------------------------------------------------

    async def kubectl(self, *arguments: str, stdin: str | None = None, fails: bool = False) -> str:
        """Run kubectl in the namespace; returns what it said, on stderr where it is to fail."""
        process = await asyncio.create_subprocess_exec(
            str(find_kubectl()),
            *("--namespace", self.namespace),
            *arguments,
            env={**os.environ, "KUBECONFIG": str(self.kubeconfig)},
            stdin=asyncio.subprocess.PIPE if stdin is not None else asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate(None if stdin is None else stdin.encode())
        assert (process.returncode != 0) is fails, f"kubectl {' '.join(arguments)}: {out.decode()}{err.decode()}"
        return (err if fails else out).decode()

    async def apply(self, *objects: dict[str, Any]) -> None:
        """Apply objects in one call."""
        await self.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(objects))

    async def get(self, kind: str, name: str) -> dict[str, Any]:
        """One object."""
        return dict(json.loads(await self.kubectl("get", kind, name, "-o", "json")))

    async def all(self, kind: str) -> list[dict[str, Any]]:
        """All objects of a kind, by creation."""
        items = json.loads(await self.kubectl("get", kind, "-o", "json"))["items"]
        return sorted(items, key=lambda i: i["spec"].get("launchNumber", 0))

    async def events(self, name: str) -> list[tuple[str, str]]:
        """(reason, message) of the events about an object."""
        items = json.loads(await self.kubectl("get", "events", "-o", "json"))["items"]
        return [(i["reason"], i["message"]) for i in items if i["involvedObject"]["name"] == name]

    async def condition(self, kind: str, name: str, wanted: str) -> dict[str, Any]:
        """A condition of an object, empty while it is not there."""
        conditions = (await self.get(kind, name)).get("status", {}).get("conditions", [])
        return next((dict(c) for c in conditions if c["type"] == wanted), {})

    # --- waiting -------------------------------------------------------------------------------------------------

    async def until(self, look: Callable[[], Awaitable[Any]], what: str, *, seconds: float = 40.0) -> Any:
        """Look again and again until it is truthy; the processes' logs tell why it never was."""
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while not (found := await look()):
            assert loop.time() < end, f"not within {seconds:g} s: {what}\n{self.logs()[-6000:]}"
            await asyncio.sleep(0.1)
        return found

    async def ready(self, count: int, *, seconds: float = 40.0) -> list[dict[str, Any]]:
        """Wait until exactly this many servers exist and are Ready."""

        async def look() -> list[dict[str, Any]]:
            found = await self.all("gpuinstances")
            good = [i for i in found if i.get("status", {}).get("phase") == "Ready"]
            return found if len(good) == len(found) == count else []

        if count == 0:

            async def none() -> bool:
                return not await self.all("gpuinstances")

            await self.until(none, "no GpuInstance left")
            return []
        found: list[dict[str, Any]] = await self.until(look, f"{count} Ready servers", seconds=seconds)
        return found

    def alive(self) -> list[str]:
        """Ids of the instances that the cloud bills now."""
        return [b.instance_id for b in self.cloud.bills() if b.ended is None]

    async def task(self, *, seconds: float = 0.2, client: str = HOST) -> tuple[int, dict[str, str]]:
        """Send one task through the dispatcher; returns status and headers."""
        connector = aiohttp.TCPConnector(local_addr=(client, 0))
        async with aiohttp.ClientSession(connector=connector) as session:
            body = {"prompt": secrets.token_hex(4), "seconds": seconds}
            url = f"http://{HOST}:{self.data_port}/sdapi/v1/txt2img"
            async with session.post(url, json=body) as response:
                await response.read()
                return response.status, dict(response.headers)


def preset(region: str, priority: int = 1, application: str = "haipool-sample") -> dict[str, Any]:
    """A RegionPreset."""
    return {
        "apiVersion": "haipool.io/v1alpha1",
        "kind": "RegionPreset",
        "metadata": {"name": region.removeprefix("ap-")},
        "spec": {"region": region, "priority": priority, "application": {"name": application}},
    }


def pool(minimum: int = 1, *, name: str = "pool", **spec: Any) -> dict[str, Any]:
    """A GpuPool with short times."""
    scaling = {
        "intervalSeconds": 1,
        "windowSeconds": 2,
        "down": {"stabilizationSeconds": 2, "minLifetimeSeconds": 3, "drainTimeoutSeconds": 20},
    }
    server = {"port": 7860, "probeIntervalSeconds": 1, "failureThreshold": 2, "startupTimeoutSeconds": 30}
    body = {"replicas": {"min": minimum}, "server": server, "scaling": scaling}
    return {
        "apiVersion": "haipool.io/v1alpha1",
        "kind": "GpuPool",
        "metadata": {"name": name},
        "spec": body | spec,
    }


@pytest.fixture
def make_pool() -> Callable[..., dict[str, Any]]:
    return pool


@pytest.fixture
def make_preset() -> Callable[..., dict[str, Any]]:
    return preset


@pytest.fixture
def cloud_config() -> CloudConfig:
    """What the cloud sells; a test may override it by parametrizing `cloud_config` indirectly."""
    return CloudConfig(deploy_s=0.5, terminate_s=0.3)


@pytest.fixture
async def rig(cluster: Any, cloud_config: CloudConfig, tmp_path: Path) -> AsyncIterator[Rig]:
    """A fresh namespace; the processes are the test's to start."""
    namespace = f"t-{secrets.token_hex(4)}"
    async with AsyncExitStack() as stack:
        made = Rig(Path(cluster.kubeconfig), namespace, tmp_path, stack)
        await made.start_cloud(cloud_config)
        await made.kubectl("create", "namespace", namespace)
        await made.start_oracle()
        yield made
        await made.judge()


@pytest.fixture
def crash_points(record_property: Callable[[str, object], None]) -> Callable[[int], None]:
    """Tell how many moments a test let the process die at; the summary of the run adds them up."""
    return lambda count: record_property("crash points", count)


@pytest.fixture
def fault_cases(record_property: Callable[[str, object], None]) -> Callable[[int], None]:
    """Tell how many cases of the fault list a test went through; the summary of the run adds them up."""
    return lambda count: record_property("fault cases", count)
