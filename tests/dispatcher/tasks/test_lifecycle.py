"""Asynchronous tasks over the end of a process: what the next one finds, and what must not happen in between."""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from controller.dispatcher.recording import Recorder
from controller.records.writer import RecordWriter

Restart = Callable[..., Awaitable[None]]


async def test_what_waited_waits_again_in_its_old_order(desk: Any, restart: Restart, gate: Any) -> None:
    busy = await desk.hand_in("busy")
    await desk.until(busy, "running")
    for name, of in (("a", 1), ("b", 1), ("c", 2), ("d", 1)):
        await desk.hand_in(name, of=f"127.0.1.{of}")
    await restart()
    gate.let_go(6)
    await desk.bench.until(lambda: len(gate.ended) == 6 and desk.bench.scheduler.idle.is_set())
    assert gate.started == ["busy", "busy", "a", "c", "b", "d"]
    assert (await desk.status(busy))["attempts"] == 2


async def test_a_task_waits_as_long_as_it_waited_not_as_its_process_lived(desk: Any, restart: Restart) -> None:
    where = await desk.hand_in("x")
    desk.bench.wall += 100
    await restart()
    assert desk.bench.scheduler.oldest_age() >= 100
    desk.bench.spec(queue={"maxWaitSeconds": 50})
    await desk.bench.tasks.expire()
    assert (await desk.status(where))["state"] == "expired"
    assert desk.bench.scheduler.waiting == 0


async def test_no_slot_and_no_task_is_left_when_it_ends(desk: Any, gate: Any) -> None:
    for number in range(5):
        await desk.hand_in(str(number))
    await desk.bench.until(lambda: len(gate.started) == 1)
    await desk.bench.tasks.close()
    assert desk.bench.in_flight() == 0
    assert desk.bench.scheduler.idle.is_set()
    assert desk.bench.scheduler.queue.running == 0


async def test_tasks_that_expire_all_at_once_are_ended_in_portions(desk: Any, caplog: pytest.LogCaptureFixture) -> None:
    bench = desk.bench
    bench.spec(queue={"maxTasksPerUser": 2000, "maxWaitSeconds": 1})
    await asyncio.gather(*(desk.hand_in("x") for _ in range(700)))
    sync = asyncio.create_task(bench.send("waits by itself"))
    with caplog.at_level(logging.ERROR):
        await bench.until(lambda: bench.scheduler.waiting == 0)
    assert (await sync).status == 503
    sample = bench.state.metrics.registry.get_sample_value
    assert sample("haipool_tasks_total", {"status": "expired"}) == 701
    assert caplog.records == []


async def test_a_fault_of_the_dispatcher_ends_the_task_and_is_logged(
    desk: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def ok(_: web.Request) -> web.Response:
        return web.Response()

    async def broken(*_: Any) -> None:
        raise LookupError("a bug")

    monkeypatch.setattr(desk.bench.proxy.executor, "_send", broken)
    await desk.bench.upstream(ok)
    where = await desk.hand_in("x")
    failed = await desk.until(where, "failed")
    assert failed["failure"]["title"] == "Internal Server Error"
    assert any(record.exc_info for record in caplog.records)
    assert desk.bench.in_flight() == 0


async def test_every_end_is_recorded_once_with_what_is_known_of_it(
    desk: Any, restart: Any, gate: Any, tmp_path: Path
) -> None:
    bench = desk.bench

    async def recorded() -> list[dict[str, Any]]:
        await desk.bench.state.recorder.close()
        lines = (tmp_path / "logs" / "task_processing_1970-01-01.log").read_bytes().splitlines()
        return [json.loads(line)["data"] for line in lines]

    def record(bench: Any) -> None:
        writer = RecordWriter(tmp_path / "logs", types=("task_processing",), wall=lambda: float(bench.wall))
        clock = asyncio.get_running_loop().time
        bench.state.recorder = Recorder(writer, "demo", clock=clock, wall=lambda: float(bench.wall))
        bench.spec(queue={"routes": [{"name": "once", "pathPrefix": "/once", "idempotent": False}]})

    record(bench)
    done, interrupted = await desk.hand_in("done"), await desk.hand_in("cut", path="/once")
    called_off, waits = await desk.hand_in("off"), await desk.hand_in("waits")
    gate.let_go()
    await desk.until(done, "succeeded")
    await desk.until(interrupted, "running")
    await desk.delete(called_off)
    first = await recorded()
    assert [(data["task_id"], data["status"], data["server_id"], data["attempts"]) for data in first] == [
        (done.rpartition("/")[2], "success", "demo-1", 1),
        (called_off.rpartition("/")[2], "cancelled", None, 0),
    ]
    assert (first[0]["client_ip"], first[0]["task_type"], first[1]["start_time"]) == ("127.0.0.1", "task", None)
    assert first[0]["processing_duration"] >= 0

    await restart(record)
    bench = desk.bench
    gate.let_go()
    await desk.until(waits, "succeeded")
    later = (await recorded())[2:]
    assert [(data["status"], data["failure_reason"] is None) for data in later] == [
        ("failed", False),
        ("success", True),
    ]
    assert (later[0]["server_id"], later[0]["processing_duration"]) == ("demo-1", None), "unknown is not zero"
