"""`haipool dispatcher` against a Kubernetes API: servers come, drain and go as their objects say; driven by kubectl."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from controller.api import metrics
from controller.api.names import API_VERSION, POOL_LABEL

pytestmark = pytest.mark.processes

Start = Callable[[], Awaitable[Any]]


class Api:
    """The objects of one namespace, through kubectl."""

    def __init__(self, cluster: Any, namespace: str) -> None:
        self.cluster = cluster
        self.namespace = namespace

    async def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        done = await asyncio.to_thread(self.cluster.kubectl, "-n", self.namespace, *arguments, input=stdin)
        return str(done.stdout)

    async def apply(self, kind: str, name: str, spec: dict[str, Any], labels: dict[str, str] | None = None) -> None:
        body = {
            "apiVersion": API_VERSION,
            "kind": kind,
            "metadata": {"name": name, "labels": labels or {}},
            "spec": spec,
        }
        await self.kubectl("apply", "-f", "-", stdin=json.dumps(body))

    async def pool(self, **spec: Any) -> str:
        """Apply the pool; its uid."""
        await self.apply("GpuPool", "demo", spec)
        return await self.kubectl("get", "gpupool", "demo", "-o", "jsonpath={.metadata.uid}")

    async def instance(self, name: str, pool_uid: str, address: str, **spec: Any) -> None:
        """An instance that serves at this address."""
        body = {
            "pool": "demo",
            "poolUID": pool_uid,
            "region": "ap-nanjing",
            "bundle": "XL",
            "applicationId": "app-1",
            "pricePerHour": 1.2,
            "launchNumber": 1,
            **spec,
        }
        await self.apply("GpuInstance", name, body, {POOL_LABEL: "demo"})
        await self.status(name, phase="Ready", address=address)

    async def status(self, name: str, **status: Any) -> None:
        patch = json.dumps({"status": status})
        await self.kubectl("patch", "gpuinstance", name, "--subresource=status", "--type=merge", "-p", patch)

    async def drain(self, name: str) -> None:
        await self.kubectl("patch", "gpuinstance", name, "--type=merge", "-p", '{"spec":{"drain":true}}')


class Wire:
    """A way to the API server that can be cut."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self.port = 0

    async def mend(self) -> None:
        self._server = await asyncio.start_server(self._carry, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        assert self._server is not None
        self._server.close()
        for writer in tuple(self._writers):
            writer.transport.abort()
        await self._server.wait_closed()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._to)
        self._writers |= {writer, far_writer}

        async def copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
            try:
                while data := await source.read(2**16):
                    target.write(data)
                    await target.drain()
            except ConnectionError:
                pass  # cut, which is what it is for
            finally:
                target.close()

        await asyncio.gather(copy(reader, far_writer), copy(far_reader, writer))
        self._writers -= {writer, far_writer}


@pytest.fixture
def api(cluster: Any, namespace: str) -> Api:
    return Api(cluster, namespace)


@pytest.fixture
async def wire(cluster: Any) -> AsyncIterator[Wire]:
    wire = Wire(int(cluster.url.rpartition(":")[2]))
    await wire.mend()
    yield wire
    await wire.cut()


@pytest.fixture
async def dispatcher(launch: Any, api: Api, wire: Wire, tmp_path: Path) -> Any:
    """A dispatcher of the pool `demo`, whose way to the API server can be cut."""
    text = api.cluster.kubeconfig.read_text(encoding="utf-8")
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(text.replace(api.cluster.url, api.cluster.url.rpartition(":")[0] + f":{wire.port}"))
    dispatcher = await launch("--namespace", api.namespace, "--kubeconfig", str(kubeconfig))
    await dispatcher.listening()
    return dispatcher


async def is_synced(dispatcher: Any, wanted: bool = True) -> bool:
    return bool(await dispatcher.figure(metrics.DISPATCHER_SYNCED) == float(wanted))


async def test_before_the_pool_exists_it_says_so_and_then_serves(dispatcher: Any, api: Api) -> None:
    status, _, body = await dispatcher.task()
    assert (status, json.loads(body)["title"]) == (503, "Not ready")
    assert (await dispatcher.admin("/-/ready"))[0] == 503
    assert not await is_synced(dispatcher)
    await api.pool()
    await dispatcher.until(lambda: is_synced(dispatcher))
    assert (await dispatcher.admin("/-/ready"))[0] == 200


async def test_a_server_comes_drains_and_goes(dispatcher: Any, api: Api, gpu_server: Start) -> None:
    gpu = await gpu_server()
    uid = await api.pool()
    await dispatcher.until(lambda: is_synced(dispatcher))
    waiting = asyncio.create_task(dispatcher.task("before any server"))
    await api.instance("demo-1", uid, gpu.url)

    async def tasks_at_it() -> bool:
        return bool((await dispatcher.servers()).get("demo-1", {}).get("tasks") == 1)

    await dispatcher.until(tasks_at_it)
    await api.drain("demo-1")

    async def draining() -> bool:
        return bool((await dispatcher.servers())["demo-1"]["draining"])

    await dispatcher.until(draining)
    assert await dispatcher.figure('haipool_server_draining{server="demo-1"}') == 1
    assert await dispatcher.figure('haipool_server_in_flight{server="demo-1"}') == 1
    next_ = asyncio.create_task(dispatcher.task("after the drain began"))
    gpu.go.release()
    assert (await waiting)[0] == 200
    assert await dispatcher.figure('haipool_server_in_flight{server="demo-1"}') == 0
    await api.status("demo-1", phase="Terminating", address="")

    async def gone() -> bool:
        return not await dispatcher.servers()

    await dispatcher.until(gone)
    assert gpu.started == ["before any server"]
    other = await gpu_server()
    other.go.release()
    await api.instance("demo-2", uid, other.url)
    assert (await next_)[2] == b"done after the drain began"


async def test_concurrency_and_speed_are_those_of_its_type(dispatcher: Any, api: Api, gpu_server: Start) -> None:
    gpu = await gpu_server()
    uid = await api.pool(gpuTypes=[{"bundle": "XL", "concurrency": 3}])
    await api.instance("demo-1", uid, gpu.url)

    async def slots(wanted: int) -> bool:
        return bool((await dispatcher.servers()).get("demo-1", {}).get("slots") == wanted)

    await dispatcher.until(lambda: slots(3))
    await api.pool(gpuTypes=[{"bundle": "XL", "concurrency": 2}])
    await dispatcher.until(lambda: slots(2))


async def test_an_address_that_comes_again_is_another_server(dispatcher: Any, api: Api, gpu_server: Start) -> None:
    """What ran at the old one is done anew, and does not count at the new one."""
    gpu = await gpu_server()
    uid = await api.pool()
    await dispatcher.until(lambda: is_synced(dispatcher))
    await api.instance("demo-1", uid, gpu.url)
    running = asyncio.create_task(dispatcher.task("one"))

    async def at(name: str) -> bool:
        return bool((await dispatcher.servers()).get(name, {}).get("tasks") == 1)

    await dispatcher.until(lambda: at("demo-1"))
    await api.instance("demo-2", uid, gpu.url)
    await api.kubectl("delete", "gpuinstance", "demo-1", "--wait=false")
    await dispatcher.until(lambda: at("demo-2"))
    gpu.let_all_go()  # the server still sits on the first request too, whose client is gone
    status, headers, _ = await running
    assert (status, headers["X-Haipool-Server"]) == (200, "demo-2")
    assert (await dispatcher.servers())["demo-2"]["tasks"] == 0


async def test_instances_of_another_pool_or_of_a_namesake_before_are_none_of_its_own(
    dispatcher: Any, api: Api, gpu_server: Start
) -> None:
    gpu = await gpu_server()
    uid = await api.pool()
    await api.instance("stranger", "another-uid", gpu.url)
    await api.instance("demo-1", uid, gpu.url)

    async def there() -> bool:
        return "demo-1" in await dispatcher.servers()

    await dispatcher.until(there)
    assert [*await dispatcher.servers()] == ["demo-1"]


async def test_limits_changed_in_the_pool_apply_and_nonsense_does_not(dispatcher: Any, api: Api) -> None:
    await api.pool(queue={"maxBodyBytes": 10})
    await dispatcher.until(lambda: is_synced(dispatcher))

    async def answers(size: int, wanted: int) -> bool:
        try:
            return bool((await dispatcher.task("x" * size, timeout=aiohttp.ClientTimeout(total=0.3)))[0] == wanted)
        except TimeoutError:
            return wanted == 0  # it queues

    assert await answers(11, 413)
    await api.pool(queue={"maxBodyBytes": 20})
    await dispatcher.until(lambda: answers(11, 0))
    # The API server cannot know what a CIDR is; the dispatcher does.
    await api.pool(queue={"maxBodyBytes": 5, "trustedNetworks": ["10.0.0.0/33"]})

    async def complained() -> bool:
        return any("queue.trustedNetworks" in line for line in dispatcher.lines)

    await dispatcher.until(complained)
    assert await answers(11, 0)
    assert await is_synced(dispatcher)


async def test_while_the_api_server_is_away_it_serves_on_and_says_that_it_may_be_behind(
    dispatcher: Any, api: Api, wire: Wire, gpu_server: Start
) -> None:
    gpu, later = await gpu_server(), await gpu_server()
    uid = await api.pool()
    await api.instance("demo-1", uid, gpu.url)

    async def knows(*names: str) -> bool:
        return [*await dispatcher.servers()] == [*names]

    await dispatcher.until(lambda: knows("demo-1"))
    await wire.cut()
    await dispatcher.until(lambda: is_synced(dispatcher, wanted=False))
    gpu.go.release()
    assert (await dispatcher.task("meanwhile"))[0] == 200
    await api.instance("demo-2", uid, later.url)
    await api.kubectl("delete", "gpuinstance", "demo-1", "--wait=false")
    await wire.mend()
    await dispatcher.until(lambda: is_synced(dispatcher))
    await dispatcher.until(lambda: knows("demo-2"))
