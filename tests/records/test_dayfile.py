"""One file on the disk: whole lines, each at most once, whatever fails."""

import errno
import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from controller.records.dayfile import DayFile

TODAY = "task_processing_2025-01-31.log"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / TODAY


def test_the_group_may_read_and_others_nothing(path: Path) -> None:
    before = os.umask(0o077)
    try:
        DayFile(path).close()
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_lines_of_two_processes_stand_side_by_side(path: Path) -> None:
    one, two = DayFile(path), DayFile(path)
    for n in range(10):
        assert one.append(b'{"one":%d}\n' % n).error is None
        assert two.append(b'{"two":%d}\n{"two":0}\n' % n).lines == 2
    assert len([json.loads(line) for line in path.read_bytes().splitlines()]) == 30
    one.close()
    two.close()


WHOLE = b'{"a":1}\n{"a":2}\n'


@pytest.mark.parametrize(
    ("found", "left", "cut"),
    [
        (b"", b"", 0),
        (WHOLE, WHOLE, 0),
        (WHOLE + b'{"a":3', WHOLE, 6),
        (WHOLE + b'{"a":3}', WHOLE + b'{"a":3}\n', 0),
        (WHOLE + b"3", WHOLE, 1),
        (WHOLE + bytes(4096), WHOLE, 4096),
        (b'{"a":', b"", 5),
        (WHOLE * 20000 + b'{"' + b"x" * 200_000, WHOLE * 20000, 200_002),
        (WHOLE + b'{"a":"' + b"x" * 2_000_000 + b'"}', WHOLE, 2_000_008),
    ],
    ids=["empty", "whole", "torn", "lacks its newline", "no object", "zeroes of a lost machine", "only a part",
        "long tail", "too long to be ours"],
)  # fmt: skip
def test_a_torn_end_is_repaired(path: Path, found: bytes, left: bytes, cut: int) -> None:
    path.write_bytes(found)
    file = DayFile(path)
    assert file.mend() == cut
    assert path.read_bytes() == left
    file.close()


def test_an_append_never_continues_a_line_that_another_process_left_torn(path: Path) -> None:
    file = DayFile(path)
    file.append(WHOLE)
    with path.open("ab") as other:
        other.write(b'{"torn":')
    assert file.append(b'{"a":3}\n').lines == 1
    assert path.read_bytes() == WHOLE + b'{"a":3}\n'
    file.close()


def test_a_full_disk_is_told_and_nothing_is_written(tmp_path: Path, path: Path) -> None:
    path.symlink_to("/dev/full")
    file = DayFile(path)
    appended = file.append(WHOLE)
    assert (appended.lines, appended.bytes) == (0, 0)
    assert appended.error is not None
    assert appended.error.errno == errno.ENOSPC
    file.close()


#: Appends under a limit of the kernel on the size of files, then without it.
LIMITED = """
import resource, sys
from pathlib import Path
from controller.records.dayfile import DayFile

limit = int(sys.argv[2])
_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
file = DayFile(Path(sys.argv[1]))
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
lines = [b'{"line":%d}\\n' % n for n in range(100, 200)]
first = file.append(b"".join(lines))
print(first.lines, first.bytes, first.error and first.error.errno)
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
second = file.append(b"".join(lines[first.lines :]))
print(second.lines, second.bytes, second.error)
"""


@pytest.mark.parametrize("limit", [0, 1, 12, 13, 130, 137, 142, 1299, 1300])
def test_what_a_full_disk_cut_off_is_written_once_when_there_is_room_again(path: Path, limit: int) -> None:
    command = [sys.executable, "-c", LIMITED, str(path), str(limit)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    first, second = (line.split() for line in done.stdout.splitlines())
    whole = limit // 13
    assert first == [str(whole), str(whole * 13), "None" if whole == 100 else str(errno.EFBIG)]
    assert second == [str(100 - whole), str((100 - whole) * 13), "None"]
    assert [json.loads(line)["line"] for line in path.read_bytes().splitlines()] == list(range(100, 200))


#: The same in a file of which the kernel lets nothing be taken away again.
SEALED = """
import fcntl, os, resource, sys
from pathlib import Path
from controller.records.dayfile import DayFile

sealed = os.memfd_create("sealed", os.MFD_ALLOW_SEALING)
fcntl.fcntl(sealed, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
file = DayFile(Path(f"/proc/self/fd/{sealed}"))
_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (20, hard))
lines = [b'{"line":%d}\\n' % n for n in range(100, 103)]
print(file.append(b"".join(lines)).lines)
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
print(file.append(lines[1]).lines)
print(os.pread(sealed, 100, 0).decode())
"""


def test_nothing_is_written_behind_a_torn_line_that_cannot_be_taken_away() -> None:
    done = subprocess.run([sys.executable, "-c", SEALED], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == '1\n0\n{"line":100}\n{"line"\n'


@pytest.mark.parametrize("change", ["removed", "moved", "replaced"])
def test_a_file_that_is_no_longer_there_is_noticed(path: Path, change: str) -> None:
    file = DayFile(path)
    assert file.made
    assert file.is_current()
    if change == "removed":
        path.unlink()
    else:
        path.rename(path.with_suffix(".1"))
    if change == "replaced":
        path.touch()
    assert not file.is_current()
    file.close()
