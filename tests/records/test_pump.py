"""Step by step, under a clock of the test's own: when it is written, synced and tried again, and what is given up."""

import fcntl
import logging
import os
from pathlib import Path
from typing import Any

import pytest

from controller.api.records import Records
from controller.records.backlog import CHUNK_BYTES, Backlog
from controller.records.counters import Counters
from controller.records.folder import RecordFolder
from controller.records.lines import FileKey, RecordType, entry
from controller.records.pump import LINGER_SECONDS, MAX_RETRY_SECONDS, RETRY_SECONDS, TIDY_SECONDS, Pump

MIB = 1024 * 1024


class Bench:
    """A pump on a folder; `now` is its clock, the wall clock is the fixture's."""

    def __init__(self, path: Path, wall: Any) -> None:
        self.path = path
        self.wall = wall
        self.now = 1000.0
        self.counters = Counters(lambda: self.now)
        self.folder = RecordFolder(path)
        self.pump = Pump(self.folder, self.counters, wall, Backlog(4 * MIB))

    def record(self, data: Any = None, kind: RecordType = "task_processing", count: int = 1) -> None:
        self.pump.take([entry(kind, self.wall(), {} if data is None else data)] * count)

    def work(self, after: float = 0.0, *, last: bool = False) -> None:
        self.now += after
        self.pump.work(self.now, last=last)

    @property
    def file(self) -> Path:
        return self.path / "task_processing_2025-01-31.log"

    def break_folder(self) -> None:
        """A file stands where the folder should be: real errors, for root too."""
        self.path.rename(self.path.with_name("aside"))
        self.path.touch()

    def mend_folder(self) -> None:
        self.path.unlink()
        self.path.with_name("aside").rename(self.path)


@pytest.fixture
def bench(tmp_path: Path, clock: Any) -> Bench:
    bench = Bench(tmp_path / "logs", clock)
    bench.work()
    return bench


def test_records_are_written_at_once_and_synced_in_time(bench: Bench) -> None:
    bench.record()
    bench.work()
    assert bench.file.stat().st_size
    assert bench.folder.unsynced
    # What lingered before it was written counts, too.
    assert bench.pump.due(bench.now) == pytest.approx(1.0 - LINGER_SECONDS)
    bench.work(after=0.5)
    bench.record()
    bench.work(after=0.39)
    assert bench.folder.unsynced
    bench.work(after=0.02)
    assert not bench.folder.unsynced
    assert bench.pump.idle


@pytest.mark.parametrize("seconds", [0.0, 0.05, LINGER_SECONDS])
def test_fsync_seconds_zero_syncs_with_every_write(bench: Bench, seconds: float) -> None:
    bench.pump.settings = Records(fsync_seconds=seconds)
    bench.record()
    bench.work()
    assert bench.pump.idle


def test_with_nothing_to_do_it_looks_at_its_folder_once_a_minute(bench: Bench) -> None:
    assert bench.pump.due(bench.now) == TIDY_SECONDS


def test_a_disk_that_fails_is_tried_again_after_longer_and_longer_times(bench: Bench) -> None:
    bench.break_folder()
    waits = []
    for _ in range(9):
        bench.record()
        bench.work()
        waits.append(bench.pump.due(bench.now))
        bench.work(after=waits[-1] / 2)
        assert bench.pump.due(bench.now) == pytest.approx(waits[-1] / 2), "tried too early"
        bench.now += waits[-1] / 2 + 1e-6
    longest = MAX_RETRY_SECONDS
    assert waits == pytest.approx([0.2, 0.4, 0.8, 1.6, 3.2, 6.4, longest, longest, longest])
    assert bench.counters.errors == 9
    assert "File exists" in str(bench.counters.last_error)


def test_what_waited_is_written_once_the_disk_works_again(bench: Bench, read: Any) -> None:
    bench.record({"n": 0})
    bench.work()
    bench.break_folder()
    for n in range(1, 5):
        bench.record({"n": n})
        bench.work(after=100)
    assert bench.pump.backlog.lines == 4
    bench.mend_folder()
    bench.work(after=100)
    assert [line["data"]["n"] for line in read(bench.file)] == [0, 1, 2, 3, 4]
    assert bench.counters.last_error is None
    bench.break_folder()
    bench.record()
    bench.work()
    assert bench.pump.due(bench.now) == pytest.approx(RETRY_SECONDS), "the next trouble starts from the first wait"


def test_the_end_does_not_wait_for_the_next_attempt(bench: Bench) -> None:
    bench.break_folder()
    bench.record()
    bench.work()
    bench.mend_folder()
    bench.work()
    assert not bench.pump.idle
    bench.work(last=True)
    assert bench.pump.idle
    assert bench.file.stat().st_size


def test_trouble_is_told_once_a_minute_and_so_is_its_end(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.break_folder()
    bench.now -= 11
    for _ in range(11):
        bench.record()
        bench.work(after=11)
    told = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert len(told) == 2, told  # at 11 and 77 of 121 seconds
    assert "1 wait in memory; 0 records were dropped" in told[0]
    assert "7 wait in memory" in told[1]
    bench.mend_folder()
    bench.work(after=11)
    assert "are written to" in caplog.messages[-1]


def test_memory_is_bounded_and_what_came_first_is_kept(bench: Bench, read: Any) -> None:
    bench.break_folder()
    bench.record({"n": 1, "text": "x" * MIB}, count=3)
    bench.record({"n": 2, "text": "x" * MIB}, count=2)
    assert bench.counters.dropped["task_processing", "backlog"] == 2
    assert bench.pump.backlog.bytes < 4 * MIB
    bench.record({"n": 3})
    bench.mend_folder()
    bench.work()
    assert [line["data"]["n"] for line in read(bench.file)] == [1, 1, 1, 3]
    assert bench.counters.written["task_processing"] == 4
    assert (bench.pump.backlog.bytes, bench.pump.backlog.lines) == (0, 0)


def test_a_file_that_fails_keeps_no_other_one_from_being_written(bench: Bench) -> None:
    bench.file.symlink_to("/dev/full")
    bench.record()
    bench.record(kind="alerts")
    bench.work()
    assert bench.counters.written == {"alerts": 1}
    assert bench.pump.backlog.lines == 1
    assert "No space left on device" in str(bench.counters.last_error)
    bench.file.unlink()
    bench.work(after=RETRY_SECONDS)
    assert bench.counters.written == {"alerts": 1, "task_processing": 1}


def test_a_full_disk_keeps_nothing_from_being_synced_nor_old_files_from_making_room(bench: Bench) -> None:
    bench.file.symlink_to("/dev/full")
    old = bench.path / "alerts_2020-01-01.log"
    old.touch()
    bench.record()
    bench.record(kind="alerts")
    bench.work(after=TIDY_SECONDS)
    assert not old.exists()
    bench.record()
    bench.work(after=1.0)
    assert not bench.folder.unsynced
    assert bench.pump.backlog.lines == 2


def test_a_record_goes_into_the_file_of_its_own_day(bench: Bench, read: Any) -> None:
    midnight = 1738368000.0
    moments = [midnight - 0.001, midnight, midnight - 0.0001, midnight + 1]
    bench.pump.take(entry("task_processing", t, {"n": n}) for n, t in enumerate(moments))
    bench.work()
    next_day = bench.path / "task_processing_2025-02-01.log"
    assert [line["data"]["n"] for line in read(bench.file)] == [0, 2]
    assert [line["data"]["n"] for line in read(next_day)] == [1, 3]
    assert [line["timestamp"] for line in read(next_day)] == [
        "2025-02-01T00:00:00.000000Z",
        "2025-02-01T00:00:01.000000Z",
    ]


def test_when_the_day_turns_files_that_are_too_old_go(bench: Bench) -> None:
    bench.pump.settings = Records(retention_days=1)
    for name in ("task_processing_2025-01-30.log", "alerts_2025-01-29.log", "nginx_2020-01-01.log"):
        (bench.path / name).write_bytes(b"{}\n")
    bench.record()
    bench.wall.set("2025-01-31T23:59:00Z")
    bench.work(after=TIDY_SECONDS)
    assert sorted(path.name for path in bench.path.iterdir()) == [
        "nginx_2020-01-01.log",
        "task_processing_2025-01-30.log",
        "task_processing_2025-01-31.log",
    ]
    bench.wall.set("2025-02-01T00:00:00Z")
    bench.work(after=TIDY_SECONDS)
    assert not (bench.path / "task_processing_2025-01-30.log").exists()
    assert bench.file.exists()


def test_past_days_make_room_for_today(bench: Bench) -> None:
    bench.pump.settings = Records(max_bytes=2 * MIB)
    for day in (28, 29, 30):
        (bench.path / f"task_processing_2025-01-{day}.log").write_bytes(b"{}\n" * (MIB // 6))
    bench.work(after=TIDY_SECONDS)
    bench.record({"text": "x" * (MIB - 100_000)})
    bench.work()
    assert sorted(path.name[-6:-4] for path in bench.path.iterdir()) == ["29", "30", "31"]
    assert bench.folder.bytes == sum(path.stat().st_size for path in bench.path.iterdir()) <= 2 * MIB
    assert bench.counters.all_dropped == 0


def test_todays_file_fills_the_cap_to_its_last_line_and_the_rest_is_counted(
    bench: Bench, read: Any, caplog: pytest.LogCaptureFixture
) -> None:
    bench.pump.settings = Records(max_bytes=MIB)
    bench.record({"text": "x" * 1000}, count=1500)
    bench.record({"n": "short"}, kind="alerts")
    bench.work()
    written = len(read(bench.file))
    assert 900 < written < 1024
    assert bench.counters.dropped["task_processing", "cap"] == 1500 - written
    assert bench.folder.bytes <= MIB
    assert MIB - bench.folder.bytes < 1100
    assert "records.maxBytes" in caplog.text
    assert not bench.pump.backlog.lines
    # The next day there is room again.
    bench.wall.set("2025-02-01T00:00:00Z")
    before = bench.counters.all_dropped
    bench.record({"text": "x" * 1000})
    bench.work()
    assert bench.counters.all_dropped == before
    assert not bench.file.exists()


def test_a_lower_cap_takes_effect_with_the_next_look(bench: Bench) -> None:
    for day in (29, 30, 31):
        (bench.path / f"task_processing_2025-01-{day}.log").write_bytes(b"{}\n" * (MIB // 4))
    bench.pump.settings = Records(max_bytes=MIB)
    bench.pump.tidy_soon()
    bench.work()
    assert [path.name[-6:-4] for path in bench.path.iterdir()] == ["31"]


def test_large_backlogs_are_written_in_pieces_so_that_a_nearly_full_disk_takes_what_fits(bench: Bench) -> None:
    bench.record({"text": "x" * 1000}, count=3000)
    key = FileKey("task_processing", "2025-01-31")
    chunk = bench.pump.backlog.chunk(key)
    assert CHUNK_BYTES - 1100 < sum(map(len, chunk)) <= CHUNK_BYTES
    bench.work()
    assert bench.counters.written["task_processing"] == 3000


@pytest.mark.parametrize("what", ["file", "folder"])
def test_what_somebody_removes_is_made_anew(bench: Bench, read: Any, what: str) -> None:
    bench.record()
    bench.work()
    bench.file.unlink()
    if what == "folder":
        bench.path.rmdir()
    bench.record({"n": 1})
    bench.work()
    assert [line["data"] for line in read(bench.file)] == [{"n": 1}]
    assert bench.counters.errors == 0
    assert bench.folder.bytes == bench.file.stat().st_size
    bench.work(after=1)
    assert bench.pump.idle


def test_at_its_start_it_repairs_every_torn_file(
    tmp_path: Path, clock: Any, read: Any, caplog: pytest.LogCaptureFixture
) -> None:
    names = ["task_processing_2025-01-20.log", "task_processing_2025-01-31.log", "other.log"]
    for name in names:
        (tmp_path / name).write_bytes(b'{"n":1}\n{"torn')
    bench = Bench(tmp_path, clock)
    bench.work()
    assert [read(tmp_path / name) for name in names[:2]] == [[{"n": 1}]] * 2
    assert (tmp_path / names[2]).read_bytes().endswith(b"torn"), "not a file of ours"
    assert sum("6 bytes were cut off" in message for message in caplog.messages) == 2
    assert bench.folder.bytes == 16


def test_a_file_that_cannot_be_repaired_is_left_and_told(
    tmp_path: Path, clock: Any, caplog: pytest.LogCaptureFixture
) -> None:
    # A file that nobody may shorten, not even root.
    sealed = os.memfd_create("sealed", os.MFD_ALLOW_SEALING)
    os.write(sealed, b'{"torn')
    fcntl.fcntl(sealed, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
    (tmp_path / "alerts_2025-01-20.log").symlink_to(f"/proc/self/fd/{sealed}")
    bench = Bench(tmp_path, clock)
    bench.record()
    bench.work()
    os.close(sealed)
    assert "alerts_2025-01-20.log is left as it is" in caplog.text
    assert bench.counters.written["task_processing"] == 1
