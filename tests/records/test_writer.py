"""The writer as its users see it: append from anywhere, close, and nothing is lost."""

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from controller.api.records import Records
from controller.records.backlog import Backlog
from controller.records.metrics import RecordsCollector
from controller.records.writer import RecordWriter

Start = Callable[..., RecordWriter]

#: Long enough for any disk of a test machine; nothing waits for it when all is well.
CLOSE_SECONDS = 60.0
NAME = "task_processing_2025-01-31.log"


def until(holds: Callable[[], bool]) -> None:
    """Look until it holds; the test's time-out is the limit."""
    pause = threading.Event()
    while not holds():
        pause.wait(0.01)


def test_what_was_appended_is_there_once_it_is_closed(writer: Start, tmp_path: Path, clock: Any, read: Any) -> None:
    records = writer()
    for n in range(5000):
        records.append("task_processing", clock(), {"n": n})
    assert records.close(CLOSE_SECONDS)
    lines = read(tmp_path / "logs" / NAME)
    assert [line["data"]["n"] for line in lines] == list(range(5000))
    assert lines[0] == {"timestamp": "2025-01-31T12:00:00.000000Z", "type": "task_processing", "data": {"n": 0}}


def test_any_thread_may_append(writer: Start, tmp_path: Path, clock: Any, read: Any) -> None:
    records = writer()

    def work(of: int) -> None:
        for n in range(500):
            records.append("task_processing", clock(), [of, n])

    threads = [threading.Thread(target=work, args=(of,)) for of in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert records.close(CLOSE_SECONDS)
    found = [line["data"] for line in read(tmp_path / "logs" / NAME)]
    assert sorted(found) == [[of, n] for of in range(4) for n in range(500)]
    for of in range(4):
        assert [n for by, n in found if by == of] == list(range(500))


def test_records_are_written_and_synced_without_more_coming(writer: Start, clock: Any) -> None:
    records = writer()
    records.configure(Records(fsync_seconds=0.2))
    records.append("alerts", clock(), {})
    until(lambda: records.counters.written["alerts"] == 1)
    until(lambda: not records.folder.unsynced)


def test_after_its_end_nothing_is_taken_and_it_is_counted(writer: Start, clock: Any, tmp_path: Path) -> None:
    records = writer()
    assert records.close(CLOSE_SECONDS)
    records.append("alerts", clock(), {})
    assert records.counters.dropped == {("alerts", "closed"): 1}
    assert records.close(CLOSE_SECONDS), "closing twice is no error"


def test_a_folder_that_cannot_be_used_holds_nobody_up(
    writer: Start, clock: Any, tmp_path: Path, read: Any, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "logs"
    folder.touch()
    records = writer(folder)
    records.append("task_processing", clock(), {"n": 1})
    until(lambda: records.counters.errors > 1)
    assert records.counters.last_error
    assert records.backlog == 1
    folder.unlink()
    until(lambda: records.counters.written["task_processing"] == 1)
    assert [line["data"] for line in read(folder / NAME)] == [{"n": 1}]
    until(lambda: records.counters.last_error is None)
    assert "are written to" in caplog.text


def test_what_cannot_be_written_at_the_end_is_told(
    writer: Start, clock: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "logs"
    folder.touch()
    records = writer(folder)
    for _ in range(3):
        records.append("task_processing", clock(), {})
    assert not records.close(0.0)
    (told,) = [r.getMessage() for r in caplog.records if "in time" in r.getMessage() and r.levelno == logging.ERROR]
    assert told == f"3 records could not be written to {folder} in time"


def test_a_full_disk_costs_only_what_memory_does_not_hold(writer: Start, clock: Any, tmp_path: Path, read: Any) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    (folder / NAME).symlink_to("/dev/full")
    records = writer(folder, backlog=Backlog(1000))
    for n in range(50):
        records.append("task_processing", clock(), {"n": n})
    until(lambda: records.counters.errors > 0)
    (folder / NAME).unlink()
    assert records.close(CLOSE_SECONDS)
    written = [line["data"]["n"] for line in read(folder / NAME)]
    dropped = records.counters.dropped["task_processing", "backlog"]
    assert written == list(range(50 - dropped))
    assert 0 < dropped < 50


def test_a_disk_that_hangs_costs_bounded_memory_and_is_told(
    clock: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # Not started: as if its thread hung in its first write.
    records = RecordWriter(tmp_path, types=("alerts",), wall=clock, max_queued=10)
    for _ in range(25):
        records.append("alerts", clock(), {})
    assert records.backlog == 10
    assert records.counters.dropped == {("alerts", "backlog"): 15}
    assert len([r for r in caplog.records if "does not answer" in r.getMessage()]) == 1


def test_what_cannot_be_json_is_dropped_and_told_alone(
    writer: Start, clock: Any, caplog: pytest.LogCaptureFixture
) -> None:
    records = writer()
    for at, data in ((1.0, {"a": object()}), (float("nan"), {}), (2.0, {})):
        records.append("alerts", at, data)
    assert records.close(CLOSE_SECONDS)
    assert records.counters.dropped["alerts", "invalid"] == 2
    assert records.counters.written["alerts"] == 1
    assert "cannot be written as JSON" in caplog.text


def test_settings_take_effect_while_it_runs(writer: Start, clock: Any, tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    old = folder / "alerts_2025-01-01.log"
    old.write_bytes(b"{}\n")
    records = writer(folder)
    records.append("alerts", clock(), {})
    until(lambda: records.counters.written["alerts"] == 1)
    assert old.exists(), "90 days is the default"
    records.configure(Records(retention_days=7))
    until(lambda: not old.exists())


def test_its_figures_are_exported_and_each_has_its_zero(writer: Start, clock: Any) -> None:
    registry = CollectorRegistry()
    records = writer()
    registry.register(RecordsCollector(records))

    def figure(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(name, labels)

    assert figure("haipool_records_written_total", type="task_processing") == 0
    for reason in ("backlog", "cap", "invalid", "closed"):
        assert figure("haipool_records_dropped_total", type="alerts", reason=reason) == 0
    assert figure("haipool_records_errors_total") == 0
    records.append("alerts", clock(), {})
    records.append("alerts", clock(), {"a": object()})
    assert records.close(CLOSE_SECONDS)
    records.append("alerts", clock(), {})
    assert figure("haipool_records_written_total", type="alerts") == 1
    assert figure("haipool_records_dropped_total", type="alerts", reason="invalid") == 1
    assert figure("haipool_records_dropped_total", type="alerts", reason="closed") == 1
    assert figure("haipool_records_backlog") == 0
    assert figure("haipool_records_disk_bytes") == records.folder.bytes > 0
