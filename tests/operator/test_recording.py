"""Records that must not be lost are believed only once they are on the disk; a standby touches nothing."""

import asyncio
import json
from pathlib import Path
from typing import Any

from controller.api.gpupool import GpuPool
from controller.api.model import read
from controller.api.records import Records
from controller.operator.recording import Recording, settings

NOW = 1_738_324_800.0


def pool(**records: Any) -> GpuPool:
    return read(GpuPool, {"metadata": {"name": "a"}, "spec": {"records": records}})


def test_a_folder_of_several_pools_is_kept_as_the_most_careful_of_them_asks() -> None:
    one = pool(fsyncSeconds=0.5, retentionDays=7, maxBytes=1 << 20)
    other = pool(fsyncSeconds=2, retentionDays=365, maxBytes=1 << 30)
    assert settings([one, other]) == Records(fsync_seconds=0.5, retention_days=365, max_bytes=1 << 30)
    assert settings([]).retention_days == 3650, "nobody has asked for anything to be removed yet"


def written(folder: Path) -> list[Any]:
    (file,) = folder.iterdir()
    return [json.loads(line)["data"] for line in file.read_text().splitlines()]


async def until(look: Any) -> None:
    while not look():  # noqa: ASYNC110 - the thread that writes sets no event
        await asyncio.sleep(0.01)


async def test_a_record_counts_as_written_once_it_is_on_the_disk_and_is_written_once(tmp_path: Path) -> None:
    recording = Recording(tmp_path, lambda: NOW)
    recording.configure([pool(fsyncSeconds=0.2)])
    made: list[str] = []

    def records() -> Any:
        made.append("made")
        return [("alerts", NOW, {"rule": "A"})]

    assert not recording.once("a", records)
    await until(lambda: recording.once("a", records))
    assert made == ["made"]
    assert written(tmp_path) == [{"rule": "A"}]
    await recording.close()


async def test_while_the_disk_takes_nothing_nothing_counts_as_written(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("no folder")
    recording = Recording(blocked, lambda: NOW)
    recording.configure([pool(fsyncSeconds=0)])
    assert not recording.once("a", lambda: [("alerts", NOW, {"rule": "A"})])
    assert recording.writer is not None
    await until(lambda: recording.writer and recording.writer.counters.errors)
    assert not recording.once("a", list)
    blocked.unlink()
    await until(lambda: recording.once("a", list))
    assert len(list(blocked.iterdir())) == 1
    await recording.close()


async def test_a_standby_touches_nothing_before_it_acts(tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    recording = Recording(folder, lambda: NOW)
    recording.append("alerts", NOW, {})
    await recording.close()
    assert not folder.exists()


async def test_without_a_folder_everything_counts_as_written() -> None:
    recording = Recording(None, lambda: NOW)
    recording.configure([pool()])
    recording.append("alerts", NOW, {})
    assert recording.once("a", lambda: [("alerts", NOW, {})])
    assert not recording.active
    await recording.close()
