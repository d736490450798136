"""The metrics page as promtool judges it, and as a real Prometheus scrapes it, with the admin port's token."""

import asyncio
import json
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from controller.api import metrics

pytestmark = pytest.mark.processes

PROMTOOL, PROMETHEUS = shutil.which("promtool"), shutil.which("prometheus")
missing = pytest.mark.skipif(not (PROMTOOL and PROMETHEUS), reason="needs Prometheus (Debian: apt install prometheus)")

Launch = Callable[..., Awaitable[Any]]
Start = Callable[[], Awaitable[Any]]


def write(path: Path, content: Any) -> str:
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content), encoding="utf-8")
    return str(path)


async def started(gpu: Any, count: int) -> None:
    while len(gpu.started) < count:  # noqa: ASYNC110 - filled by another process
        await asyncio.sleep(0.01)


@missing
async def test_promtool_finds_nothing_to_complain_about(launch: Launch, gpu_server: Start, tmp_path: Path) -> None:
    assert PROMTOOL is not None
    gpu = await gpu_server()
    file = write(tmp_path / "servers.yaml", {"servers": [{"name": "gpu-1", "address": gpu.url}]})
    dispatcher = await launch("--servers-file", file, "--logs", str(tmp_path / "logs"))
    await dispatcher.listening()
    gpu.go.release()
    await dispatcher.task("one")
    status, page = await dispatcher.admin("/metrics")
    assert status == 200
    done = await asyncio.to_thread(
        subprocess.run, [PROMTOOL, "check", "metrics"], input=page, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@asynccontextmanager
async def prometheus(folder: Path, target: str, token: str) -> AsyncIterator[str]:
    """A Prometheus that scrapes this address each second with this token; yields its own."""
    assert PROMETHEUS is not None
    config = {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s"},
        "scrape_configs": [
            {
                "job_name": "dispatcher",
                "authorization": {"credentials_file": token},
                "static_configs": [{"targets": [target]}],
            }
        ],
    }
    file = write(folder / "prometheus.yml", config)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = await asyncio.create_subprocess_exec(
        *(PROMETHEUS, f"--config.file={file}", f"--storage.tsdb.path={folder / 'tsdb'}"),
        f"--web.listen-address=127.0.0.1:{port}",
        stdin=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        await process.wait()


@missing
async def test_a_real_prometheus_reads_it_with_the_token(launch: Launch, gpu_server: Start, tmp_path: Path) -> None:
    gpu, token = await gpu_server(), write(tmp_path / "token", "s3cret\n")
    file = write(tmp_path / "servers.yaml", {"servers": [{"name": "gpu-1", "address": gpu.url}]})
    dispatcher = await launch("--servers-file", file, "--admin-token-file", token)
    await dispatcher.listening()
    assert (await dispatcher.admin("/metrics"))[0] == 401
    tasks = [asyncio.create_task(dispatcher.task(str(n))) for n in range(4)]
    await started(gpu, 1)
    target = dispatcher.ports["admin"].removeprefix("http://")
    async with prometheus(tmp_path, target, token) as url:

        async def value(query: str) -> float | None:
            try:
                async with dispatcher.http.get(url + "/api/v1/query", params={"query": query}) as answer:
                    found = json.loads(await answer.text())["data"]["result"] if answer.status == 200 else []
            except aiohttp.ClientConnectionError:
                return None  # it is starting
            return float(found[0]["value"][1]) if found else None

        async def reads(query: str, wanted: float) -> bool:
            return await value(query) == wanted

        await dispatcher.until(lambda: reads(metrics.QUEUE_LENGTH, 3))
        assert await value("up") == 1
        assert await value(f'{metrics.SERVER_TASKS}{{server="gpu-1"}}') == 1
        for _ in tasks:
            gpu.go.release()
        await asyncio.gather(*tasks)
        await dispatcher.until(lambda: reads('haipool_tasks_total{status="success"}', 4))
        assert await value("histogram_quantile(0.99, haipool_task_wait_seconds_bucket)") is not None
