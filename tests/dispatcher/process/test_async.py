"""Asynchronous tasks through the process that users run: over its end, its next start, and a full disk."""

import asyncio
import json
import resource
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.processes

Launch = Callable[..., Awaitable[Any]]
Start = Callable[[], Awaitable[Any]]

ASYNC = {"Prefer": "respond-async"}
ONCE = {"queue": {"routes": [{"name": "once", "methods": ["POST"], "pathPrefix": "/once", "idempotent": False}]}}


async def hand_in(dispatcher: Any, body: str, path: str = "/run") -> str:
    async with dispatcher.http.post(dispatcher.ports["data"] + path, data=body, headers=ASYNC) as answer:
        assert answer.status == 202, await answer.text()
        return str(answer.headers["Location"])


async def look(dispatcher: Any, where: str) -> dict[str, Any]:
    async with dispatcher.http.get(dispatcher.ports["data"] + where) as answer:
        assert answer.status == 200, await answer.text()
        document: dict[str, Any] = await answer.json()
        return document


async def until(dispatcher: Any, where: str, state: str) -> dict[str, Any]:
    async def there() -> bool:
        return bool((await look(dispatcher, where))["state"] == state)

    await dispatcher.until(there)
    return await look(dispatcher, where)


async def test_what_waits_outlives_the_process_and_is_done_by_the_next_in_the_same_order(
    launch: Launch, gpu_server: Start, file: Any, tmp_path: Path
) -> None:
    data = ("--data", str(tmp_path / "data"))
    first = await launch("--servers-file", file(), *data)
    await first.listening()
    tasks = {body: await hand_in(first, body) for body in ("a", "b", "c", "d")}
    first.terminate()
    assert await first.ends() == 0

    gpu = await gpu_server()
    second = await launch("--servers-file", file(gpu), *data)
    await second.listening()
    for _ in tasks:
        gpu.go.release()
    for body, where in tasks.items():
        assert (await until(second, where, "succeeded"))["attempts"] == 1
        async with second.http.get(second.ports["data"] + where + "/result") as answer:
            assert await answer.text() == f"done {body}"
    assert gpu.started == ["a", "b", "c", "d"]
    assert any("4 tasks wait since before the start" in line for line in second.lines)


async def test_what_runs_at_the_end_may_finish_and_its_answer_is_there_for_the_next(
    launch: Launch, gpu_server: Start, file: Any, tmp_path: Path
) -> None:
    gpu, data = await gpu_server(), ("--data", str(tmp_path / "data"))
    first = await launch("--servers-file", file(gpu), *data)
    await first.listening()
    where = await hand_in(first, "x")
    await until(first, where, "running")
    first.terminate()

    async def refuses() -> bool:
        return bool((await first.task("late", headers=ASYNC))[0] == 503)

    await first.until(refuses)
    assert (await look(first, where))["state"] == "running", "both ports stay open"
    gpu.go.release()
    assert await first.ends() == 0
    second = await launch("--servers-file", file(), *data)
    await second.listening()
    assert (await look(second, where))["state"] == "succeeded"


async def test_what_does_not_finish_in_time_is_done_again_if_it_may_and_has_failed_if_not(
    launch: Launch, gpu_server: Start, file: Any, tmp_path: Path
) -> None:
    first_gpu, second_gpu = await gpu_server(), await gpu_server()
    servers, data = file(first_gpu, second_gpu, **ONCE), ("--data", str(tmp_path / "data"))
    first = await launch("--servers-file", servers, *data, "--grace", "0.2")
    await first.listening()
    again, once = await hand_in(first, "again"), await hand_in(first, "once", "/once")
    for where in (again, once):
        await until(first, where, "running")
    first.terminate()
    assert await first.ends() == 0

    second = await launch("--servers-file", servers, *data)
    await second.listening()
    failed = await look(second, once)
    assert (failed["state"], failed["failure"]["title"]) == ("failed", "Task interrupted")
    assert "the dispatcher restarted while it ran" in failed["failure"]["detail"]
    for gpu in (first_gpu, second_gpu):
        gpu.go.release(), gpu.go.release()
    assert (await until(second, again, "succeeded"))["attempts"] == 2
    assert sorted(first_gpu.started + second_gpu.started) == ["again", "again", "once"]
    assert 'haipool_tasks_total{status="failed"} 1.0' in (await second.admin("/metrics"))[1]


async def test_a_folder_serves_one_dispatcher(launch: Launch, file: Any, tmp_path: Path) -> None:
    data = ("--data", str(tmp_path / "data"))
    await (await launch("--servers-file", file(), *data)).listening()
    second = await launch("--servers-file", file(), *data)
    assert await second.ends() == 1
    assert any("in use by another dispatcher" in line for line in second.lines)
    assert not any("Traceback" in line for line in second.lines)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [(["--store", "sqlite"], "--data"), (["--data", "{file}/data"], "{file}/data")],
    ids=["no folder", "no folder there"],
)
async def test_a_store_that_cannot_be_had_is_one_line_and_status_1(
    launch: Launch, file: Any, tmp_path: Path, arguments: list[str], complaint: str
) -> None:
    path = file()
    dispatcher = await launch("--servers-file", path, *(each.format(file=path) for each in arguments))
    assert await dispatcher.ends() == 1
    assert complaint.format(file=path) in dispatcher.lines[-1]
    assert not any("Traceback" in line for line in dispatcher.lines)


async def test_without_a_folder_the_preference_is_ignored(launch: Launch, gpu_server: Start, file: Any) -> None:
    gpu = await gpu_server()
    dispatcher = await launch("--servers-file", file(gpu))
    await dispatcher.listening()
    gpu.go.release()
    assert (await dispatcher.task("x", headers=ASYNC))[0] == 200


async def test_with_a_full_disk_tasks_are_refused_and_nothing_is_lost(
    launch: Launch, gpu_server: Start, file: Any, tmp_path: Path
) -> None:
    """A limit on the size of files stands for the disk: what would grow beyond it fails, as it does on a full disk."""
    data = tmp_path / "data"
    spec = {"queue": {"maxTasksPerUser": 1000}}
    dispatcher = await launch("--servers-file", file(**spec), "--data", str(data))
    await dispatcher.listening()
    kept = {"before": await hand_in(dispatcher, "before")}
    sizes = [path.stat().st_size for path in data.iterdir() if path.is_file()]
    unlimited = resource.prlimit(dispatcher.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(dispatcher.process.pid, resource.RLIMIT_FSIZE, (max(sizes) + 100_000, unlimited[1]))
    refused = 0
    for number in range(60):
        status, headers, _ = await dispatcher.task(f"{number} {'x' * 20_000}", headers=ASYNC)
        assert status in (202, 503, 507)
        refused += status != 202
        if status == 202:
            kept[f"{number} {'x' * 20_000}"] = headers["Location"]
    status, headers, body = await dispatcher.task("large " + "x" * 600_000, headers=ASYNC)
    assert (status, json.loads(body)["title"]) == (507, "No room for the task")
    assert refused > 0
    assert int(headers["Retry-After"]) > 0
    assert (await dispatcher.admin("/-/healthy"))[0] == 200
    resource.prlimit(dispatcher.process.pid, resource.RLIMIT_FSIZE, unlimited)
    kept["after"] = await hand_in(dispatcher, "after")
    for where in kept.values():
        assert (await look(dispatcher, where))["state"] == "queued"
    gpu = await gpu_server()
    file(gpu, **spec)  # it reads the file again
    for _ in kept:
        gpu.go.release()
    for where in kept.values():
        await until(dispatcher, where, "succeeded")
    assert gpu.started == list(kept)
    assert [path.name for path in (data / "bodies").iterdir()] == []


async def test_streams_of_events_do_not_hold_the_end_up(launch: Launch, file: Any, tmp_path: Path) -> None:
    dispatcher = await launch("--servers-file", file(), "--data", str(tmp_path / "data"))
    await dispatcher.listening()
    where = await hand_in(dispatcher, "x")
    async with dispatcher.http.get(dispatcher.ports["data"] + where + "/events") as stream:
        await stream.content.readuntil(b"\n\n")
        waiting = asyncio.create_task(dispatcher.task("y", headers={"Prefer": "respond-async, wait=100"}))

        async def both() -> bool:
            return bool((await dispatcher.queue())["waiting"] == 2)

        await dispatcher.until(both)
        dispatcher.terminate()
        assert (await waiting)[0] == 202
        assert await dispatcher.ends() == 0
        assert b"event: status" in await stream.content.read()
