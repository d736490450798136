"""The record of a task says what happened to it, however it ended."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from jsonschema import Draft202012Validator, FormatChecker

from controller.dispatcher.recording import Recorder
from controller.records.addresses import AddressHash, kept_key
from controller.records.schema import schema
from controller.records.writer import RecordWriter

#: 1970-01-01T00:01:40Z, where the bench's wall clock stands.
NAME = "task_processing_1970-01-01.log"
KEY = b"k" * 16


class Log:
    """The records of a bench."""

    def __init__(self, bench: Any, folder: Path, key: bytes | None) -> None:
        self.bench = bench
        self.folder = folder
        writer = RecordWriter(folder, types=("task_processing",), wall=lambda: float(bench.wall))
        clock = asyncio.get_running_loop().time
        self.recorder = Recorder(writer, "demo", clock=clock, wall=lambda: float(bench.wall), key=key)
        bench.state.recorder = self.recorder
        bench.spec()

    async def lines(self) -> list[dict[str, Any]]:
        """The data of all records, in order; every line fits the schema."""
        await self.recorder.close()
        validator = Draft202012Validator(schema("task_processing"), format_checker=FormatChecker())
        lines = [json.loads(line) for line in (self.folder / NAME).read_bytes().splitlines()]
        for line in lines:
            validator.validate(line)
        return [line["data"] for line in lines]

    async def only(self) -> dict[str, Any]:
        """The data of the only record."""
        (data,) = await self.lines()
        return data


@pytest.fixture
async def log(bench: Any, tmp_path: Path) -> AsyncIterator[Log]:
    """Everything that this bench records."""
    log = Log(bench, tmp_path / "logs", KEY)
    yield log
    await log.recorder.close()


async def ok(request: web.Request) -> web.Response:
    await request.read()
    return web.Response(text="done")


def seconds(data: dict[str, Any], start: str, end: str) -> float:
    """From one of its times to another."""
    return (datetime.fromisoformat(data[end]) - datetime.fromisoformat(data[start])).total_seconds()


async def test_a_task_that_succeeds(bench: Any, log: Log) -> None:
    bench.spec(queue={"routes": [{"name": "images", "pathPrefix": "/run", "cost": 2.5}]})
    waiting = asyncio.create_task(bench.send("x", of="127.0.0.9"))
    await bench.until(lambda: bench.scheduler.waiting == 1)
    await asyncio.sleep(0.05)
    await bench.upstream(ok, region="ap-beijing", bundle="XL")
    answer = await waiting
    data = await log.only()
    wait, total = data["wait_duration"], data["response_duration"]
    assert 0.05 <= wait < total
    assert data["processing_duration"] == pytest.approx(total - wait, abs=0.02)
    assert 0 < data["processing_duration"] <= total - wait
    assert seconds(data, "submit_time", "start_time") == pytest.approx(wait, abs=2e-6)
    assert seconds(data, "submit_time", "complete_time") == pytest.approx(total, abs=2e-6)
    assert data["complete_time"] == "1970-01-01T00:01:40.000000Z"
    assert {key: value for key, value in data.items() if not key.endswith(("_time", "_duration"))} == {
        "task_id": answer.headers["X-Haipool-Task"],
        "pool": "demo",
        "task_type": "images",
        "cost": 2.5,
        "user_id": "user_127.0.0.9_1",
        "user_identification_method": "ip_time_window",
        "client_ip": "127.0.0.9",
        "network": "127.0.0.9",
        "time_window": 1,
        "server_id": "demo-1",
        "region": "ap-beijing",
        "gpu_type": "XL",
        "status": "success",
        "failure_reason": None,
        "attempts": 1,
        "gpu_percent": None,
        "gpu_memory_percent": None,
    }


async def test_a_task_whose_first_server_died(bench: Any, log: Log) -> None:
    bench.server("demo-1", "http://127.0.0.1:1")
    await bench.upstream(ok, name="demo-2", region="ap-nanjing", bundle="3XL")
    assert (await bench.send("x")).status == 200
    data = await log.only()
    assert (data["status"], data["attempts"], data["failure_reason"]) == ("success", 2, None)
    assert (data["server_id"], data["region"], data["gpu_type"]) == ("demo-2", "ap-nanjing", "3XL")


async def test_a_task_that_fails_at_its_server(bench: Any, log: Log) -> None:
    async def broken(_: web.Request) -> web.Response:
        return web.Response(status=500)

    await bench.upstream(broken)
    assert (await bench.send("x")).status == 500
    data = await log.only()
    assert (data["status"], data["attempts"], data["server_id"]) == ("failed", 1, "demo-1")
    assert data["failure_reason"] == "demo-1 answered with status 500"
    # What is not known is null: this server has no region.
    assert (data["region"], data["gpu_type"]) == (None, None)


NEVER_STARTED = ("server_id", "region", "gpu_type", "start_time", "processing_duration", "wait_duration")


async def test_a_task_that_waits_too_long(bench: Any, log: Log) -> None:
    bench.spec(queue={"maxWaitSeconds": 1})
    (await bench.send("x")).problem(503)
    data = await log.only()
    assert (data["status"], data["attempts"]) == ("expired", 0)
    assert "queue.maxWaitSeconds" in data["failure_reason"]
    assert [data[field] for field in NEVER_STARTED] == [None] * 6
    assert data["response_duration"] >= 1


@pytest.mark.parametrize("running", [False, True], ids=["waiting", "running"])
async def test_a_task_whose_client_goes_away(bench: Any, log: Log, running: bool) -> None:
    go = asyncio.Event()

    async def slow(_: web.Request) -> web.Response:
        await go.wait()
        return web.Response()

    if running:
        await bench.upstream(slow)
    leaving = asyncio.create_task(bench.send("x"))
    await bench.until(lambda: bench.in_flight() == 1 if running else bench.scheduler.waiting == 1)
    leaving.cancel()
    await bench.until(bench.scheduler.idle.is_set)
    go.set()
    data = await log.only()
    assert (data["status"], data["attempts"]) == ("cancelled", int(running))
    assert data["failure_reason"] == "the client went away"
    assert (data["start_time"] is None) is not running
    assert (data["processing_duration"] is None) is not running


async def test_every_task_is_recorded_once_and_nothing_else_is(bench: Any, log: Log) -> None:
    bench.spec(queue={"maxBodyBytes": 10})
    await bench.upstream(ok, slots=4)
    answers = await asyncio.gather(*(bench.send(str(n)) for n in range(50)))
    assert (await bench.send("x" * 11)).status == 413
    assert (await bench.send(None, method="GET")).status == 200
    recorded = [data["task_id"] for data in await log.lines()]
    assert sorted(recorded) == sorted(answer.headers["X-Haipool-Task"] for answer in answers)


async def test_addresses_are_hashed_wherever_they_stand(bench: Any, log: Log) -> None:
    bench.spec(records={"hashAddresses": True})
    await bench.upstream(ok)
    await bench.send("x", of="127.0.0.9")
    bench.spec(records={"hashAddresses": False})
    await bench.send("x", of="127.0.0.9")
    hidden, plain = await log.lines()
    code = AddressHash(KEY)("127.0.0.9")
    assert (hidden["client_ip"], hidden["network"], hidden["user_id"]) == (code, code, f"user_{code}_1")
    assert "127.0.0.9" not in json.dumps(hidden)
    assert (plain["client_ip"], plain["user_id"]) == ("127.0.0.9", "user_127.0.0.9_1")


V6, V6_NETWORK = "2001:db8:0:1::7", "2001:db8:0:1::/64"


@pytest.mark.parametrize("share_by", ["Network", "User"])
@pytest.mark.parametrize("hide", [False, True])
async def test_a_named_ipv6_client_behind_a_proxy(bench: Any, log: Log, share_by: str, hide: bool) -> None:
    queue = {"trustedNetworks": ["127.0.0.1/32"], "userHeader": "X-User", "shareBy": share_by}
    bench.spec(records={"hashAddresses": hide}, queue=queue)
    await bench.upstream(ok)
    await bench.send("x", headers={"X-Forwarded-For": V6, "X-User": "ann"})
    data, code = await log.only(), AddressHash(KEY)
    assert data["client_ip"] == (code(V6) if hide else V6)
    assert data["network"] == (code(V6_NETWORK) if hide else V6_NETWORK)
    assert data["user_id"] == f"user_{code(V6) if hide else V6}+~ann_1"
    assert data["user_identification_method"] == "ip_header_time_window"


async def test_a_key_is_kept_beside_the_records(bench: Any, tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    log = Log(bench, folder, None)
    bench.spec(records={"hashAddresses": True})
    await bench.upstream(ok)
    await bench.send("x")
    assert (await log.only())["client_ip"] == AddressHash(kept_key(folder))("127.0.0.1")


async def test_an_address_is_hidden_even_while_no_key_can_be_kept(
    bench: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "logs"
    folder.touch()
    log = Log(bench, folder, None)
    await bench.upstream(ok)
    for _ in range(2):
        bench.spec(records={"hashAddresses": True})
        await bench.send("x")
    folder.unlink()
    for _ in range(2):
        bench.spec(records={"hashAddresses": True})
        await bench.send("x")
    first, second, third, fourth = [data["client_ip"] for data in await log.lines()]
    assert first == second != third == fourth == AddressHash(kept_key(folder))("127.0.0.1")
    assert "127.0.0.1" not in (folder / NAME).read_text()


async def test_nothing_is_removed_before_the_pool_has_said_how_long_records_are_kept(
    bench: Any, tmp_path: Path
) -> None:
    old = tmp_path / "task_processing_1969-01-01.log"
    old.write_bytes(b"{}\n")
    clock = asyncio.get_running_loop().time
    writer = RecordWriter(tmp_path, types=("task_processing",), wall=lambda: 100.0)
    bench.state.recorder = recorder = Recorder(writer, "demo", clock=clock, wall=lambda: 100.0)
    bench.spec(records={"retentionDays": 400})
    await recorder.close()
    assert old.exists()
