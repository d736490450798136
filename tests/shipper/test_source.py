"""Which files there are, and their whole lines."""

from pathlib import Path

import pytest

from controller.shipper import source
from controller.shipper.batch import Line


def test_the_oldest_day_comes_first_and_other_files_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "pod-0").mkdir()
    for name in ("alerts_2025-01-31.log", "pod-0/server_status_2025-01-30.log", "other.log", "pod-0/notes.txt"):
        (tmp_path / name).write_text("x\n")
    (tmp_path / "link").symlink_to(tmp_path / "pod-0", target_is_directory=True)
    assert [f.name for f in source.files(tmp_path)] == ["pod-0/server_status_2025-01-30.log", "alerts_2025-01-31.log"]


def test_lines_that_span_reads_are_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "CHUNK_BYTES", 3)
    path = tmp_path / "f"
    path.write_bytes(b"one\n\nthree and more\nhalf")
    assert list(source.lines(path, 0)) == [Line(b"one", 0, 4), Line(b"", 4, 5), Line(b"three and more", 5, 20)]
    assert list(source.lines(path, 5)) == [Line(b"three and more", 5, 20)]


def test_a_line_longer_than_any_record_is_passed_over_without_keeping_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "CHUNK_BYTES", 4)
    monkeypatch.setattr(source, "LONGEST_LINE", 10)
    path = tmp_path / "f"
    path.write_bytes(b"a\n" + b"x" * 50 + b"\nb\n")
    assert list(source.lines(path, 0)) == [Line(b"a", 0, 2), Line(None, 2, 53), Line(b"b", 53, 55)]
