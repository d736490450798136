"""`haipool dispatcher --logs DIR`: what the process writes is what docs/schemas says, once for each task."""

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml
from jsonschema import Draft202012Validator, FormatChecker

from controller.records.addresses import hashed
from controller.records.lines import parse_name

pytestmark = pytest.mark.processes

Launch = Callable[..., Awaitable[Any]]
Start = Callable[[], Awaitable[Any]]

SCHEMA = Path(__file__).parents[3] / "docs" / "schemas" / "task_processing.schema.json"


@pytest.fixture
def file(tmp_path: Path) -> Callable[..., str]:
    """Writes a servers file."""

    def write(servers: dict[str, str], **spec: Any) -> str:
        entries = [{"name": name, "address": address} for name, address in servers.items()]
        path = tmp_path / "servers.yaml"
        path.write_text(yaml.safe_dump({"servers": entries, "spec": spec}), encoding="utf-8")
        return str(path)

    return write


def records(folder: Path) -> list[dict[str, Any]]:
    """The data of every line of every file, each of which fits the schema and stands in the file of its day."""
    validator = Draft202012Validator(json.loads(SCHEMA.read_text(encoding="utf-8")), format_checker=FormatChecker())
    found = []
    for path in sorted(folder.glob("*.log")):
        key = parse_name(path.name)
        assert key is not None
        for text in path.read_bytes().splitlines(keepends=True):
            assert text.endswith(b"\n")
            line = json.loads(text)
            validator.validate(line)
            assert (line["type"], line["timestamp"][:10]) == key
            found.append(line["data"])
    return found


async def started(gpu: Any, count: int) -> None:
    while len(gpu.started) < count:  # noqa: ASYNC110 - filled by another process
        await asyncio.sleep(0.01)


async def test_every_task_is_there_once_however_it_ended(
    launch: Launch, gpu_server: Start, file: Any, tmp_path: Path
) -> None:
    gpu, logs = await gpu_server(), tmp_path / "logs"
    # The dead server further down has to stay one that is worth a try.
    once = {"name": "once", "idempotent": False}
    spec = {"queue": {"maxWaitSeconds": 1, "routes": [once]}, "server": {"failureThreshold": 100}}
    dispatcher = await launch("--servers-file", file({"gpu-0": gpu.url}, **spec), "--logs", str(logs), "--grace", "1")
    await dispatcher.listening()
    # One at a time while the slot is theirs.
    answers = []
    for n in range(20):
        gpu.go.release()
        answers.append(await dispatcher.task(f"success {n}"))
    # One occupies the slot; two wait until they expire, and one of those that wait goes away.
    running = asyncio.create_task(dispatcher.task("cut"))
    await started(gpu, 21)
    leaving = asyncio.create_task(dispatcher.task("leaving"))
    expiring = [asyncio.create_task(dispatcher.task(str(n))) for n in range(2)]
    await dispatcher.until(lambda: _is(dispatcher.figure("haipool_queue_length"), 3.0))
    leaving.cancel()
    assert [answer[0] for answer in await asyncio.gather(*expiring)] == [503, 503]
    # It may not be repeated: failed. One that never reached a server waits for another until it expires.
    file({"gpu-1": "http://127.0.0.1:1"}, **spec)
    assert (await running)[0] == 502, "its server was withdrawn"
    assert (await dispatcher.task("to a dead server"))[0] == 503
    # The last one is cut by the end of the process.
    file({"gpu-0": gpu.url}, **spec)
    await dispatcher.until(lambda: _has(dispatcher, "gpu-0"))
    last = asyncio.create_task(dispatcher.task("last"))
    await started(gpu, 22)
    metrics = (await dispatcher.admin("/metrics"))[1]
    dispatcher.terminate()
    with pytest.raises(aiohttp.ClientError):
        await last
    assert await dispatcher.ends() == 0, "\n".join(dispatcher.lines)

    found = records(logs)
    assert len({record["task_id"] for record in found}) == len(found)
    by_status = Counter(record["status"] for record in found)
    assert by_status == {"success": 20, "expired": 3, "failed": 1, "cancelled": 2}
    succeeded = [record["task_id"] for record in found if record["status"] == "success"]
    assert succeeded == [headers["X-Haipool-Task"] for _, headers, _ in answers]
    # What ended before the end of the process was counted by the process, too.
    for status, count in by_status.items():
        assert f'haipool_tasks_total{{status="{status}"}} {count - (status == "cancelled")}.0' in metrics
    assert 'haipool_records_dropped_total{reason="backlog",type="task_processing"} 0.0' in metrics
    assert [path.stat().st_mode & 0o777 for path in logs.glob("*.log")] == [0o640]


async def _is(figure: Awaitable[float], wanted: float) -> bool:
    return await figure == wanted


async def _has(dispatcher: Any, name: str) -> bool:
    return name in await dispatcher.servers()


async def test_addresses_are_hashed_with_the_key_of_a_file(
    launch: Launch, gpu_server: Start, file: Any, tmp_path: Path
) -> None:
    gpu, logs, key = await gpu_server(), tmp_path / "logs", tmp_path / "key"
    key.write_text("0123456789abcdef\n")
    servers = file({"gpu-0": gpu.url}, records={"hashAddresses": True})
    for _ in range(2):
        dispatcher = await launch("--servers-file", servers, "--logs", str(logs), "--record-key", str(key))
        await dispatcher.listening()
        gpu.go.release()
        assert (await dispatcher.task("x"))[0] == 200
        dispatcher.terminate()
        assert await dispatcher.ends() == 0
    assert [record["client_ip"] for record in records(logs)] == [hashed(b"0123456789abcdef", "127.0.0.1")] * 2
    assert not (logs / ".address-key").exists()


async def test_a_folder_that_takes_no_records_stops_no_task(
    launch: Launch, gpu_server: Start, file: Any, tmp_path: Path
) -> None:
    gpu, logs = await gpu_server(), tmp_path / "logs"
    logs.touch()
    dispatcher = await launch("--servers-file", file({"gpu-0": gpu.url}), "--logs", str(logs))
    await dispatcher.listening()
    gpu.go.release()
    assert (await dispatcher.task("x"))[0] == 200
    await dispatcher.until(lambda: _is(dispatcher.figure("haipool_records_backlog"), 1.0))
    assert "records cannot be written to" in "\n".join(dispatcher.lines)
    logs.unlink()
    # It comes back by itself, at the latest for the end.
    dispatcher.terminate()
    assert await dispatcher.ends() == 0
    assert len(records(logs)) == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--record-key", "nowhere"], "--record-key has no effect without --logs"),
        (["--logs", "logs", "--record-key", "nowhere"], "record key nowhere: No such file"),
    ],
)
async def test_a_key_that_cannot_be_used_is_one_line_and_an_exit_status(
    launch: Launch, file: Any, arguments: list[str], said: str
) -> None:
    dispatcher = await launch("--servers-file", file({}), *arguments)
    assert await dispatcher.ends() == 1
    assert said in dispatcher.lines[-1]
    assert "Traceback" not in "\n".join(dispatcher.lines)
