"""`haipool dispatcher --servers-file`: without Kubernetes, from start to an orderly end."""

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from controller.api import metrics
from controller.operator.page import parse

pytestmark = pytest.mark.processes

Launch = Callable[..., Awaitable[Any]]
Start = Callable[[], Awaitable[Any]]


async def started(gpu: Any, count: int) -> None:
    while len(gpu.started) < count:  # noqa: ASYNC110 - filled by another process
        await asyncio.sleep(0.01)


async def test_tasks_are_served_and_the_rest_passes(launch: Launch, gpu_server: Start, file: Any) -> None:
    gpu = await gpu_server()
    dispatcher = await launch("--servers-file", file(gpu))
    await dispatcher.listening()
    gpu.go.release()
    status, headers, body = await dispatcher.task("one")
    assert (status, body, headers["X-Haipool-Server"]) == (200, b"done one", "gpu-0")
    async with dispatcher.http.get(dispatcher.ports["data"] + "/") as page:
        assert page.status == 200
    assert await dispatcher.admin("/-/healthy") == (200, "ok\n")
    assert await dispatcher.admin("/-/ready") == (200, "ok\n")
    assert [start["number"] for start in (await dispatcher.queue())["recentStarts"]] == [1]


async def test_the_metrics_are_what_the_contract_says_and_the_operator_reads(
    launch: Launch, gpu_server: Start, file: Any
) -> None:
    gpu = await gpu_server()
    dispatcher = await launch("--servers-file", file(gpu))
    await dispatcher.listening()
    tasks = [asyncio.create_task(dispatcher.task(str(n))) for n in range(3)]
    await started(gpu, 1)
    await dispatcher.until(lambda: _is(dispatcher.figure(metrics.QUEUE_LENGTH), 2.0))
    text = (await dispatcher.admin("/metrics"))[1]
    names = [value for name, value in vars(metrics).items() if name.isupper() and str(value).startswith("haipool_")]
    gauges = [name for name in names if name not in (*metrics.TOTALS, metrics.SERVER_BUSY)]
    assert len(gauges) == 11
    assert f"\n# TYPE {metrics.SERVER_BUSY} counter\n" in text
    for name in metrics.TOTALS:
        assert f"\n{name} " in text
    for name in gauges:
        assert f"\n# HELP {name} " in text
        assert f"\n# TYPE {name} gauge\n" in text
    reading = parse("url", text, at=1.0)
    assert reading.queue_length == 2
    assert 0 < reading.oldest_age < 120
    server = reading.servers["gpu-0"]
    assert (server.in_flight, server.tasks, server.slots, server.up, server.draining) == (1, 1, 1, True, False)
    assert server.busy_seconds is not None
    assert server.busy_seconds > 0.0
    for _ in tasks:
        gpu.go.release()
    assert [answer[0] for answer in await asyncio.gather(*tasks)] == [200] * 3
    assert 'haipool_tasks_total{status="success"} 3.0' in (await dispatcher.admin("/metrics"))[1]


async def _is(figure: Awaitable[float], wanted: float) -> bool:
    return await figure == wanted


async def test_on_sigterm_what_runs_finishes_and_what_waits_or_comes_is_sent_away(
    launch: Launch, gpu_server: Start, file: Any
) -> None:
    gpu = await gpu_server()
    dispatcher = await launch("--servers-file", file(gpu))
    await dispatcher.listening()
    running = asyncio.create_task(dispatcher.task("running"))
    await started(gpu, 1)
    waiting = asyncio.create_task(dispatcher.task("waiting"))
    await dispatcher.until(lambda: _is(dispatcher.figure(metrics.QUEUE_LENGTH), 1.0))
    dispatcher.terminate()
    status, headers, body = await waiting
    assert (status, json.loads(body)["title"]) == (503, "Shutting down")
    assert int(headers["Retry-After"]) > 0
    assert (await dispatcher.admin("/-/ready"))[0] == 503
    assert await dispatcher.figure('haipool_server_tasks{server="gpu-0"}') == 1, "the operator still sees what runs"
    assert (await dispatcher.task("late"))[0] == 503
    gpu.go.release()
    assert (await running)[2] == b"done running"
    assert await dispatcher.ends() == 0
    assert gpu.started == ["running"]


async def test_what_does_not_finish_in_time_is_cut(launch: Launch, gpu_server: Start, file: Any) -> None:
    gpu = await gpu_server()
    dispatcher = await launch("--servers-file", file(gpu), "--grace", "0.2")
    await dispatcher.listening()
    running = asyncio.create_task(dispatcher.task("running"))
    await started(gpu, 1)
    dispatcher.terminate()
    with pytest.raises(aiohttp.ClientError):
        await running
    assert await dispatcher.ends() == 0
    assert "1 tasks did not end in time" in "\n".join(dispatcher.lines)


async def test_a_second_signal_ends_the_patience(launch: Launch, gpu_server: Start, file: Any) -> None:
    gpu = await gpu_server()
    dispatcher = await launch("--servers-file", file(gpu))
    await dispatcher.listening()
    running = asyncio.create_task(dispatcher.task("running"))
    await started(gpu, 1)
    dispatcher.terminate()
    await dispatcher.until(lambda: _not_ready(dispatcher))
    dispatcher.terminate()
    with pytest.raises(aiohttp.ClientError):
        await running
    assert await dispatcher.ends() == 0


async def _not_ready(dispatcher: Any) -> bool:
    return bool((await dispatcher.admin("/-/ready"))[0] == 503)


async def test_clients_that_only_keep_a_connection_open_delay_nothing(
    launch: Launch, gpu_server: Start, file: Any
) -> None:
    gpu = await gpu_server()
    dispatcher = await launch("--servers-file", file(gpu))
    await dispatcher.listening()
    async with dispatcher.http.get(dispatcher.ports["data"] + "/") as page:
        await page.read()
    dispatcher.terminate()
    assert await dispatcher.ends() == 0


async def test_servers_and_spec_follow_the_file(launch: Launch, gpu_server: Start, file: Any) -> None:
    first, second = await gpu_server(), await gpu_server()
    dispatcher = await launch("--servers-file", file(first))
    await dispatcher.listening()
    file(first, second, queue={"maxBodyBytes": 3})

    async def both() -> bool:
        return len(await dispatcher.servers()) == 2

    await dispatcher.until(both)
    assert (await dispatcher.task("four"))[0] == 413


async def test_a_server_that_dies_is_noticed_by_the_probes(launch: Launch, gpu_server: Start, file: Any) -> None:
    gpu = await gpu_server()
    gpu.url = "http://127.0.0.1:1"
    spec = {"server": {"probeIntervalSeconds": 1, "failureThreshold": 2}}
    dispatcher = await launch("--servers-file", file(gpu, **spec))
    await dispatcher.listening()
    await dispatcher.until(lambda: _is(dispatcher.figure('haipool_server_up{server="gpu-0"}'), 0.0))
    assert "gpu-0 is down" in "\n".join(dispatcher.lines)


@pytest.mark.parametrize(
    ("text", "said"),
    [(None, "servers.yaml"), ("servers: [{name: a}]", "address"), ("[", "servers.yaml")],
    ids=["missing", "incomplete", "no-yaml"],
)
async def test_a_bad_file_is_one_line_and_an_exit_status(
    launch: Launch, tmp_path: Path, text: str | None, said: str
) -> None:
    path = tmp_path / "servers.yaml"
    if text is not None:
        path.write_text(text, encoding="utf-8")
    dispatcher = await launch("--servers-file", str(path))
    assert await dispatcher.ends() == 1
    assert said in "\n".join(dispatcher.lines)
    assert "Traceback" not in "\n".join(dispatcher.lines)


async def test_a_port_in_use_is_one_line_and_an_exit_status(launch: Launch, gpu_server: Start, file: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        dispatcher = await launch("--servers-file", file(), "--port", str(taken.getsockname()[1]))
        assert await dispatcher.ends() == 1
    assert "address already in use" in "\n".join(dispatcher.lines)
    assert "Traceback" not in "\n".join(dispatcher.lines)


async def test_without_any_kubernetes_it_says_what_to_set(launch: Launch, tmp_path: Path) -> None:
    dispatcher = await launch(environment={"HOME": str(tmp_path), "PATH": "/usr/bin"})
    assert await dispatcher.ends() == 1
    assert "KUBECONFIG" in dispatcher.lines[-1]
    assert "Traceback" not in "\n".join(dispatcher.lines)
