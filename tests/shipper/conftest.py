"""A folder of records, and the simulated CLS that they are shipped to with the real SDK."""

import contextlib
import json
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from controller.cloud.tencent import Settings
from controller.cloud.tencent.cls import ClsTopic
from controller.cloud.tencent.settings import Endpoint
from controller.sandbox.cloudsim import (
    SANDBOX_KEY,
    SANDBOX_TOPIC,
    SANDBOX_TOPIC_REGION,
    CloudConfig,
    SimulatedCloud,
    StoredLog,
)
from controller.shipper.offsets import Offsets
from controller.shipper.ship import Shipper


def record(number: int, *, kind: str = "task_processing", **data: Any) -> dict[str, Any]:
    """One record as a line of a file holds it."""
    at = f"2025-01-31T08:{number // 60 % 60:02d}:{number % 60:02d}.{number:06d}Z"
    return {"timestamp": at, "type": kind, "data": {"task_id": f"t-{number}", "wait_duration": number / 8, **data}}


class Folder:
    """Record files, written as the writer writes them: whole lines, appended."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(exist_ok=True)

    def add(self, *records: dict[str, Any], name: str = "task_processing_2025-01-31.log") -> None:
        self.raw("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in records), name=name)

    def raw(self, text: str, *, name: str = "task_processing_2025-01-31.log") -> None:
        path = self.path / name
        path.parent.mkdir(exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write(text)

    def expected(self) -> Counter[str]:
        """Every record of every file, in the form that `arrived` has."""
        found: Counter[str] = Counter()
        for path in self.path.rglob("*_2???-??-??.log"):
            for line in path.read_text(encoding="utf-8").splitlines():
                found[flat(json.loads(line))] += 1
        return found


def flat(line: dict[str, Any]) -> str:
    """A record with its values as CLS has them, in one text."""
    fields = {"type": line["type"], "timestamp": line["timestamp"]}
    for key, value in line["data"].items():
        if value is not None:
            fields[key] = value if isinstance(value, str) else json.dumps(json.loads(json.dumps(value)))
    return json.dumps(fields, sort_keys=True, ensure_ascii=False)


def arrived(logs: tuple[StoredLog, ...]) -> dict[str, str]:
    """What CLS has, by line id; every copy of a line must be the same."""
    found: dict[str, str] = {}
    for log in logs:
        fields = {k: _plain(k, v) for k, v in log.contents.items() if k != "line_id"}
        text = json.dumps(fields, sort_keys=True, ensure_ascii=False)
        assert found.setdefault(log.contents["line_id"], text) == text
    return found


def _plain(key: str, value: str) -> str:
    """JSON values with one spelling, whoever encoded them."""
    if key in ("type", "timestamp"):
        return value
    try:
        parsed = json.loads(value)
    except ValueError:
        return value
    return value if isinstance(parsed, str) else json.dumps(parsed)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "logs")


@pytest.fixture
async def cloud() -> AsyncIterator[SimulatedCloud]:
    simulated = SimulatedCloud(CloudConfig(calls_per_second=10_000))
    await simulated.start("127.0.0.1", 0)
    yield simulated
    await simulated.stop()


def settings_for(cloud: SimulatedCloud) -> Settings:
    return Settings(
        secret_id=SANDBOX_KEY.secret_id,
        secret_key=SANDBOX_KEY.secret_key,
        endpoint=Endpoint.parse(cloud.url, name="-"),
        timeout_s=2.0,
    )


class Bench:
    """A folder, a cloud, and shippers between them."""

    record = staticmethod(record)

    def __init__(self, cloud: SimulatedCloud, folder: Folder, stack: contextlib.AsyncExitStack) -> None:
        self.cloud = cloud
        self.folder = folder
        self._stack = stack

    def records(self, count: int) -> list[dict[str, Any]]:
        return [record(i) for i in range(count)]

    def shipper(self, topic: str = SANDBOX_TOPIC, region: str = SANDBOX_TOPIC_REGION) -> Shipper:
        """One as a process that starts has it; its offsets are those on the disk."""
        sink = ClsTopic(settings_for(self.cloud), region=region, topic=topic)
        self._stack.push_async_callback(sink.close)
        return Shipper(self.folder.path, sink, Offsets(self.folder.path, f"{region}/{topic}"), pod="pod-0")

    def check(self) -> None:
        """Everything in the files is in CLS, and nothing else; copies do not count."""
        assert Counter(arrived(self.cloud.logs()).values()) == self.folder.expected()


@pytest.fixture
async def bench(cloud: SimulatedCloud, folder: Folder) -> AsyncIterator[Bench]:
    async with contextlib.AsyncExitStack() as stack:
        yield Bench(cloud, folder, stack)
