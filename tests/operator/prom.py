"""A real Prometheus, and something for it to scrape."""

import asyncio
import shutil
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml
from aiohttp import web

HOST = "127.0.0.1"
PROMETHEUS = shutil.which("prometheus")
needs_prometheus = pytest.mark.skipif(not PROMETHEUS, reason="needs Prometheus (Debian: apt install prometheus)")


@dataclass
class Exporter:
    """A page of metrics, to be changed at will."""

    page: str
    runner: web.AppRunner

    @property
    def target(self) -> str:
        """Host and port."""
        host, port = self.runner.addresses[0][:2]
        return f"{host}:{port}"

    async def die(self) -> None:
        """Answer no more."""
        await self.runner.cleanup()


@asynccontextmanager
async def exporter(page: str) -> AsyncIterator[Exporter]:
    """Serves a page."""

    async def answer(_: web.Request) -> web.Response:
        return web.Response(text=served.page)

    app = web.Application()
    app.router.add_get("/metrics", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, HOST, 0).start()
    served = Exporter(page, runner)
    try:
        yield served
    finally:
        await runner.cleanup()


@dataclass
class Server:
    """A running Prometheus."""

    url: str
    process: asyncio.subprocess.Process

    async def kill(self) -> None:
        """End it at once."""
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()


@asynccontextmanager
async def prometheus(folder: Path, **jobs: list[str]) -> AsyncIterator[Server]:
    """A Prometheus that scrapes these targets each second, by job; it is ready to answer."""
    assert PROMETHEUS is not None
    scrapes: list[dict[str, Any]] = [
        {"job_name": job, "static_configs": [{"targets": targets}]} for job, targets in jobs.items()
    ]
    config = {"global": {"scrape_interval": "1s", "scrape_timeout": "1s"}, "scrape_configs": scrapes}
    file = folder / "prometheus.yml"
    file.write_text(yaml.safe_dump(config), encoding="utf-8")
    with socket.create_server((HOST, 0)) as free:
        port = free.getsockname()[1]
    process = await asyncio.create_subprocess_exec(
        *(PROMETHEUS, f"--config.file={file}", f"--storage.tsdb.path={folder / 'tsdb'}"),
        f"--web.listen-address={HOST}:{port}",
        stdin=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    server = Server(f"http://{HOST}:{port}", process)
    try:
        await _ready(server)
        yield server
    finally:
        await server.kill()


async def _ready(server: Server) -> None:
    async with aiohttp.ClientSession() as session:
        while True:
            assert server.process.returncode is None, "Prometheus has ended"
            try:
                async with session.get(f"{server.url}/-/ready") as answer:
                    if answer.status == 200:
                        return
            except aiohttp.ClientConnectionError:
                pass
            await asyncio.sleep(0.1)
