"""The sandbox as one object.

Local Kubernetes API, simulated cloud and GPU servers run in this process; the real operator and the real dispatcher
are processes beside it.
"""

import asyncio
import contextlib
import random
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import aiohttp

from controller.command import CommandError
from controller.sandbox import shipped
from controller.sandbox.children import Child
from controller.sandbox.cloudsim import SANDBOX_KEY, CloudConfig, InstanceView, SimulatedCloud
from controller.sandbox.gpuserver import Behaviour, Fleet
from controller.sandbox.kubeapi.server import LocalKubernetes
from controller.sandbox.loopback import HOST, AddressBlock, free_port, is_free, reserve_block

#: Time within which operator and dispatcher have to answer after their start; imports take most of it.
START_SECONDS: Final = 60.0
#: Time between two questions whether they answer yet.
ASK_SECONDS: Final = 0.1
#: How long the operator takes one listing for current. Short: here waiting for the cloud is all there is to wait for.
CLOUD_INTERVAL_SECONDS: Final = 0.5
#: Time that running tasks get when the dispatcher is stopped; the sandbox's own servers go away next anyway.
GRACE_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class Ports:
    """Ports on 127.0.0.1 of the five services."""

    kubernetes: int
    cloud: int
    data: int
    admin: int
    liveness: int

    @classmethod
    def choose(cls, base: int | None, *, rng: random.Random | None = None) -> "Ports":
        """Five ports from `base` on, or free ones.

        Raises:
            CommandError: one of the five from `base` on is taken.
        """
        if base is None:
            chosen: set[int] = set()
            while len(chosen) < 5:
                chosen.add(free_port(rng=rng))
            return cls(*sorted(chosen))
        for port in range(base, base + 5):
            if not is_free(port):
                raise CommandError(f"port {port} on {HOST} is taken; choose another --port-base")
        return cls(*range(base, base + 5))


@dataclass(frozen=True, slots=True)
class Options:
    """What a sandbox is asked to be."""

    pool: str = "demo"
    cloud: CloudConfig = field(default_factory=CloudConfig)
    servers: Behaviour = field(default_factory=Behaviour)
    port_base: int | None = None
    #: For logs, records and the kubeconfig; None: a new one under the system's temporary folder.
    directory: Path | None = None


class Sandbox:
    """A running sandbox. Made by `running_sandbox`."""

    def __init__(self, options: Options, directory: Path, ports: Ports, block: AddressBlock) -> None:
        self.options = options
        self.directory = directory
        self.ports = ports
        self.kubeconfig = directory / "kubeconfig"
        self.kubernetes = LocalKubernetes()
        self.fleet = Fleet(options.servers)
        self.cloud = SimulatedCloud(
            replace(options.cloud, addresses=str(block.network)),
            on_running=self._on_running,
            on_gone=self._on_gone,
            bytes_sent=self.fleet.bytes_sent,
        )
        self.children: list[Child] = []

    @property
    def records(self) -> Path:
        """Folder with the dispatcher's records of tasks; the operator's are in `operator` below it."""
        return self.directory / "records"

    @property
    def data_url(self) -> str:
        """The dispatcher's data port: where tasks go."""
        return f"http://{HOST}:{self.ports.data}"

    @property
    def admin_url(self) -> str:
        """The dispatcher's admin port."""
        return f"http://{HOST}:{self.ports.admin}"

    async def _on_running(self, instance: InstanceView) -> None:
        await self.fleet.start(instance.instance_id, instance.bundle, instance.address)

    async def _on_gone(self, instance: InstanceView) -> None:
        await self.fleet.stop(instance.instance_id)

    async def start(self, stack: AsyncExitStack) -> None:
        """Start everything in order; `stack` gets what ends it, in reverse.

        Raises:
            CommandError: a part does not come up.
        """
        stack.push_async_callback(self.fleet.close)
        stack.push_async_callback(self.kubernetes.stop)
        self.kubernetes.install(shipped.definitions())
        await self.kubernetes.start(HOST, self.ports.kubernetes)
        self.kubernetes.write_kubeconfig(self.kubeconfig)
        stack.push_async_callback(self.cloud.stop)
        await self.cloud.start(HOST, self.ports.cloud)
        stack.push_async_callback(self._stop_children)
        # Both before either is waited for: each spends its first seconds importing.
        operator = await self._start_child("operator", self._operator_arguments())
        dispatcher = await self._start_child("dispatcher", self._dispatcher_arguments())
        await _answers(operator, f"http://{HOST}:{self.ports.liveness}/healthz")
        await _answers(dispatcher, f"{self.admin_url}/-/healthy")

    async def _stop_children(self) -> None:
        await asyncio.gather(*(child.stop() for child in self.children))

    async def _start_child(self, name: str, arguments: list[str]) -> Child:
        env = {
            "KUBECONFIG": str(self.kubeconfig),
            "HAIPOOL_CLOUD_ENDPOINT": self.cloud.url,
            "TENCENTCLOUD_SECRET_ID": SANDBOX_KEY.secret_id,
            "TENCENTCLOUD_SECRET_KEY": SANDBOX_KEY.secret_key,
        }
        child = await Child.start(name, arguments, log=self.directory / f"{name}.log", env=env)
        self.children.append(child)
        return child

    def _operator_arguments(self) -> list[str]:
        return [
            *("operator", "--cloud-interval", f"{CLOUD_INTERVAL_SECONDS:g}"),
            *("--dispatcher-url", f"{self.admin_url}/metrics"),
            *("--liveness-port", str(self.ports.liveness), "--metrics-port", "0"),
            # Nothing here is anybody's secret, and a receiver to try notifications with is on this machine.
            *("--logs", str(self.records / "operator"), "--allow-webhooks-to", "127.0.0.0/8"),
        ]

    def _dispatcher_arguments(self) -> list[str]:
        return [
            *("dispatcher", "--pool", self.options.pool, "--grace", f"{GRACE_SECONDS:g}"),
            *("--host", HOST, "--port", str(self.ports.data)),
            *("--admin-host", HOST, "--admin-port", str(self.ports.admin)),
            *("--logs", str(self.records)),
        ]

    async def child_ended(self) -> Child:
        """Wait until one of the processes has ended, which in a healthy sandbox none does."""
        waiting = {asyncio.create_task(child.wait()): child for child in self.children}
        try:
            done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            return waiting[done.pop()]
        finally:
            for task in waiting:
                task.cancel()


async def _answers(child: Child, url: str) -> None:
    """Wait until a child answers with 2xx, as a kubelet would.

    Raises:
        CommandError: it ended, or does not answer in time; with its last words.
    """
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session:
        try:
            async with asyncio.timeout(START_SECONDS):
                while not await _is_ok(session, url):
                    if not child.running:
                        raise CommandError(child.obituary())
                    await asyncio.sleep(ASK_SECONDS)
        except TimeoutError:
            raise CommandError(f"the {child.name} does not answer at {url}; {child.last_words()}") from None


async def _is_ok(session: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with session.get(url) as response:
            return response.ok
    except (aiohttp.ClientError, TimeoutError):
        return False


@asynccontextmanager
async def running_sandbox(options: Options, *, rng: random.Random | None = None) -> AsyncIterator[Sandbox]:
    """A sandbox for the length of the block. On the way out everything ends in reverse order: processes first.

    A folder that was made for it is removed after an orderly end; after an error it stays, for its logs.

    Raises:
        CommandError: a port is taken, or a part does not come up.
    """
    directory = _directory(options)
    try:
        async with AsyncExitStack() as stack:
            ports = Ports.choose(options.port_base, rng=rng)
            block = reserve_block(options.servers.port, rng=rng)
            stack.callback(block.release)
            sandbox = Sandbox(options, directory, ports, block)
            await sandbox.start(stack)
            yield sandbox
    except Exception:
        # The logs tell why; whoever reports the error names them.
        raise
    except BaseException:
        _remove(options, directory)
        raise
    _remove(options, directory)


def _remove(options: Options, directory: Path) -> None:
    if options.directory is None:
        shutil.rmtree(directory)


def _directory(options: Options) -> Path:
    if options.directory is None:
        return Path(tempfile.mkdtemp(prefix="haipool-"))
    try:
        options.directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CommandError(f"cannot use {options.directory}: {error.strerror}") from error
    for log in options.directory.glob("*.log"):
        with contextlib.suppress(FileNotFoundError):
            log.unlink()
    return options.directory.resolve()
