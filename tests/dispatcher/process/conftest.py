"""The dispatcher as the process that users run, and small servers for it."""

import asyncio
import json
import re
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml
from aiohttp import web
from aiohttp.test_utils import TestServer

HOST = "127.0.0.1"


class Dispatcher:
    """A running `haipool dispatcher`."""

    def __init__(self, process: asyncio.subprocess.Process, http: aiohttp.ClientSession) -> None:
        self.process = process
        self.http = http
        self.lines: list[str] = []
        self.ports: dict[str, str] = {}
        self._listening = asyncio.Event()
        self.reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self.process.stderr is not None
        async for raw in self.process.stderr:
            line = raw.decode().rstrip()
            self.lines.append(line)
            if port := re.search(r"(admin|data) port: (\S+)", line):
                self.ports[port[1]] = port[2]
                if len(self.ports) == 2:
                    self._listening.set()
        self._listening.set()

    async def listening(self) -> None:
        await self._listening.wait()
        assert len(self.ports) == 2, "\n".join(self.lines)

    async def ends(self) -> int:
        """Its exit status, once it has ended and said all it had to say."""
        status = await self.process.wait()
        await self.reader
        return status

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    async def task(self, body: str = "", **options: Any) -> tuple[int, dict[str, str], bytes]:
        """One task and its answer."""
        async with self.http.post(self.ports["data"] + "/run", data=body, **options) as answer:
            return answer.status, dict(answer.headers), await answer.read()

    async def admin(self, path: str) -> tuple[int, str]:
        """A page of the admin port."""
        async with self.http.get(self.ports["admin"] + path) as answer:
            return answer.status, await answer.text()

    async def queue(self) -> dict[str, Any]:
        """What it says of its queue and servers."""
        page: dict[str, Any] = json.loads((await self.admin("/-/queue"))[1])
        return page

    async def servers(self) -> dict[str, dict[str, Any]]:
        """Its servers by name."""
        return {server["name"]: server for server in (await self.queue())["servers"]}

    async def until(self, holds: Callable[[], Awaitable[bool]]) -> None:
        """Look until it holds; the test's time-out is the limit."""
        while not await holds():
            assert self.process.returncode is None, "\n".join(self.lines)
            await asyncio.sleep(0.02)

    async def figure(self, name: str) -> float:
        """A metric without labels."""
        found = re.search(rf"^{name} (\S+)$", (await self.admin("/metrics"))[1], re.MULTILINE)
        assert found, name
        return float(found[1])


@dataclass
class GpuServer:
    """A small server: each task waits until it is let go."""

    url: str = ""
    started: list[str] = field(default_factory=list)
    go: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))

    def let_all_go(self) -> None:
        for _ in self.started:
            self.go.release()

    async def __call__(self, request: web.Request) -> web.Response:
        body = (await request.read()).decode()
        if request.method == "POST":
            self.started.append(body)
            await self.go.acquire()
        return web.Response(text=f"done {body}")


@pytest.fixture
async def gpu_server() -> AsyncIterator[Callable[[], Awaitable[GpuServer]]]:
    """Starts small servers."""
    async with AsyncExitStack() as stack:

        async def start() -> GpuServer:
            gpu = GpuServer()

            async def serve(request: web.Request) -> web.Response:
                return await gpu(request)

            app = web.Application()
            app.router.add_route("*", "/{path:.*}", serve)
            server = TestServer(app, host=HOST)
            await server.start_server()
            stack.push_async_callback(server.close)
            # Tasks that a failed test left behind would hold the server's end up.
            stack.callback(gpu.let_all_go)
            gpu.url = f"http://{HOST}:{server.port}"
            return gpu

        yield start


@pytest.fixture
async def launch() -> AsyncIterator[Callable[..., Awaitable[Dispatcher]]]:
    """Starts `haipool dispatcher` with these arguments on ports of its own."""
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(aiohttp.ClientSession())

        async def start(*arguments: str, environment: dict[str, str] | None = None) -> Dispatcher:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "controller.cli", "dispatcher", "--pool", "demo"),
                *("--host", HOST, "--port", "0", "--admin-host", HOST, "--admin-port", "0"),
                *arguments,
                stdin=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
                env=environment,
            )
            dispatcher = Dispatcher(process, http)

            async def end() -> None:
                if process.returncode is None:
                    process.kill()
                await dispatcher.ends()

            stack.push_async_callback(end)
            return dispatcher

        yield start


@pytest.fixture
def file(tmp_path: Path) -> Callable[..., str]:
    """Writes a servers file for these servers."""

    def write(*servers: Any, **spec: Any) -> str:
        entries = [{"name": f"gpu-{n}", "address": server.url} for n, server in enumerate(servers)]
        path = tmp_path / "servers.yaml"
        path.write_text(yaml.safe_dump({"servers": entries, "spec": spec}), encoding="utf-8")
        return str(path)

    return write
