"""A dispatcher's data and admin ports in this process, over real sockets, in front of real small servers."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from yarl import URL

from controller.api.gpupool import GpuPool, GpuPoolSpec, GpuPoolStatus
from controller.api.model import Metadata
from controller.api.traffic import TrafficLevel, TrafficStatus
from controller.dispatcher.admin import make_admin
from controller.dispatcher.app import DataServer
from controller.dispatcher.metrics import DispatcherMetrics
from controller.dispatcher.proxy import Proxy
from controller.dispatcher.scheduler import Scheduler
from controller.dispatcher.servers import ServerSpec
from controller.dispatcher.state import State, View
from controller.dispatcher.tasks.lifecycle import AsyncTasks

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

#: Unix time at which the users' windows of these tests stand: inside window 1 of a pool without a creation time.
NOW = 100.0


@dataclass(frozen=True)
class Answer:
    """An answer, read in whole."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def problem(self, status: int) -> str:
        """The detail of what must be a problem of this status."""
        assert self.status == status, self.body
        assert self.headers["Content-Type"].split(";")[0] == "application/problem+json"
        body = json.loads(self.body)
        assert body["status"] == status
        assert body["type"]
        assert body["title"]
        return str(body["detail"])


class Bench:
    """One dispatcher, its servers and its clients."""

    def __init__(self, folder: Path) -> None:
        self.wall = NOW
        self.scheduler = Scheduler(asyncio.get_running_loop().time)
        self.state = State(
            pool="demo",
            scheduler=self.scheduler,
            metrics=DispatcherMetrics(),
            wall=lambda: self.wall,
            spool=folder,
            started_at=NOW,
        )
        self.state.metrics.attach(self.state)
        self.proxy = Proxy(self.state)
        self.tasks = AsyncTasks(self.state, self.proxy.executor)
        self.data = DataServer(self.state, self.proxy, self.tasks)
        self.url = ""
        self.admin_url = ""
        self._runners: list[web.BaseRunner] = []
        self._upstreams: list[TestServer] = []
        self._sessions: dict[str, aiohttp.ClientSession] = {}
        self._specs: dict[str, ServerSpec] = {}

    async def start(self) -> None:
        """Open both ports."""
        data = web.ServerRunner(self.data, shutdown_timeout=1)
        admin = web.AppRunner(make_admin(self.state), access_log=None, shutdown_timeout=1)
        self.url, self.admin_url = await self._listen(data), await self._listen(admin)
        self.state.synced = True

    async def _listen(self, runner: web.BaseRunner) -> str:
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self._runners.append(runner)
        return f"http://127.0.0.1:{runner.addresses[0][1]}"

    @property
    def port(self) -> int:
        """The data port."""
        return int(self.url.rpartition(":")[2])

    def spec(self, *, level: TrafficLevel = "Normal", **fields: Any) -> None:
        """Serve by this spec (camelCase, as in YAML) from now on, at this traffic level."""
        spec = msgspec.convert(fields, GpuPoolSpec)
        status = GpuPoolStatus(traffic=TrafficStatus(level=level))
        self.state.take(View.of(GpuPool(metadata=Metadata(name="demo"), spec=spec, status=status)))

    async def upstream(self, handler: Handler, name: str = "demo-1", **options: Any) -> TestServer:
        """Start a server; the pool has it from now on."""

        async def serve(request: web.Request) -> web.StreamResponse:
            return await handler(request)

        app = web.Application(client_max_size=0)
        app.router.add_route("*", "/{path:.*}", serve)
        server = TestServer(app, host="127.0.0.1")
        await server.start_server()
        self._upstreams.append(server)
        self.server(name, f"http://127.0.0.1:{server.port}", **options)
        return server

    def server(self, name: str, address: str, **options: Any) -> None:
        """The pool has this server from now on, or has it so."""
        self._specs[name] = ServerSpec(name=name, uid=f"uid-{name}", address=address, **options)
        self.scheduler.update_servers(list(self._specs.values()))

    def change(self, name: str, **options: Any) -> None:
        """What the pool says of a server changes."""
        self._specs[name] = replace(self._specs[name], **options)
        self.scheduler.update_servers(list(self._specs.values()))

    def withdraw(self, name: str) -> None:
        """The pool has this server no more."""
        del self._specs[name]
        self.scheduler.update_servers(list(self._specs.values()))

    async def send(
        self, body: Any = "", *, path: str | URL = "/run", of: str = "127.0.0.1", method: str = "POST", **options: Any
    ) -> Answer:
        """A request of the client at this address, and its whole answer."""
        async with self.client(of).request(method, path, data=body, **options) as response:
            return Answer(response.status, response.headers, await response.read())

    def client(self, address: str = "127.0.0.1") -> aiohttp.ClientSession:
        """A client that comes from this loopback address."""
        if address not in self._sessions:
            connector = aiohttp.TCPConnector(local_addr=(address, 0), limit=0)
            self._sessions[address] = aiohttp.ClientSession(self.url, connector=connector, auto_decompress=False)
        return self._sessions[address]

    def in_flight(self, name: str = "demo-1") -> int:
        """Requests in flight at a server, as the dispatcher counts them."""
        server = self.scheduler.servers.get(name)
        assert server is not None
        return server.in_flight

    async def until(self, condition: Callable[[], bool]) -> None:
        """Let the loop run until this holds; the test's time-out is the limit."""
        while not condition():  # noqa: ASYNC110 - any state may be waited for, so there is no event to wait on
            await asyncio.sleep(0.005)

    async def raw(self, request: bytes) -> bytes:
        """What the data port answers to these very bytes, until it closes the connection."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(request)
            return await asyncio.wait_for(reader.read(), 20)
        finally:
            writer.close()

    async def close(self) -> None:
        """Everything ends."""
        for session in self._sessions.values():
            await session.close()
        self.tasks.end_streams()
        for runner in self._runners:
            await runner.cleanup()
        await self.tasks.close()
        await self.proxy.close()
        for server in self._upstreams:
            await server.close()


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    """A dispatcher of a pool with default settings and no server yet."""
    bench = Bench(tmp_path)
    bench.spec()
    await bench.start()
    try:
        yield bench
    finally:
        await bench.close()
