"""One file on the disk. Whatever fails, it holds whole lines, each at most once."""

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from controller.records.lines import is_whole

#: The owner writes, its group reads (a shipper, a report), nobody else: lines hold addresses.
FILE_MODE: Final = 0o640
#: File systems that know no locks; a folder there must have one writer, as it should everywhere.
_NO_LOCKS: Final = frozenset({errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS})
#: Read at a time when the last newline is searched from the end.
_BLOCK: Final = 65536
#: No line is longer; what is longer and has no newline is not read to see whether it is whole.
_LONGEST_LINE: Final = 1024 * 1024


class Appended(NamedTuple):
    """What became of an append."""

    #: Whole lines that are in the file now.
    lines: int
    bytes: int
    #: Why it is not all.
    error: OSError | None


class DayFile:
    """An open file that lines are appended to."""

    def __init__(self, path: Path) -> None:
        """Open it, or make it.

        Raises:
            OSError: neither is possible.
        """
        self._path = path
        #: Its end is a part of a line that the caller still has: to be cut, even if it lacks only its newline.
        self._torn = False
        flags = os.O_RDWR | os.O_APPEND | os.O_CLOEXEC
        #: Whether this call has made the file; its folder has to be synced then.
        self.made = False
        try:
            self._fd = os.open(path, flags)
        except FileNotFoundError:
            self._fd = os.open(path, flags | os.O_CREAT, FILE_MODE)
            self.made = True
            os.fchmod(self._fd, FILE_MODE)  # whatever the umask says

    def is_current(self) -> bool:
        """Whether the path still leads to this file: it may have been moved, removed or replaced."""
        try:
            there = self._path.stat()
        except FileNotFoundError:
            return False
        return os.path.samestat(there, os.fstat(self._fd))

    def append(self, data: bytes) -> Appended:
        """Append whole lines.

        What a full disk cut off in the middle of a line is taken away again, so the caller can write on with the first
        line that is not in the file. If even that fails, the next append does it.
        """
        written, failure = 0, None
        try:
            with locked(self._fd):
                _mend(self._fd, complete=not self._torn)
                self._torn = False
                start = os.fstat(self._fd).st_size
                written, failure = _write(self._fd, data)
                self._torn = written > (kept := _whole(data, written))
                if self._torn:
                    os.ftruncate(self._fd, start + kept)
                    self._torn = False
        except OSError as error:
            failure = failure or error
        kept = _whole(data, written)
        return Appended(data.count(b"\n", 0, kept), kept, failure)

    def mend(self) -> int:
        """Repair the last line, if a process or the machine ended while it was written.

        Returns:
            Bytes that were cut off; a line that lacks only its newline gets one instead.

        Raises:
            OSError: the file cannot be read or changed.
        """
        with locked(self._fd):
            return _mend(self._fd)

    def sync(self) -> None:
        """Have it on the disk when this returns.

        Raises:
            OSError: the disk says that it is not.
        """
        os.fsync(self._fd)

    def close(self) -> None:
        """Close it; what was not synced is still on its way to the disk."""
        os.close(self._fd)


def sync_folder(path: Path) -> None:
    """Have a folder's new entries on the disk when this returns.

    Raises:
        OSError: the disk says that they are not.
    """
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


@contextlib.contextmanager
def locked(fd: int) -> Iterator[None]:
    """Alone with this file or folder: processes that share one must not take each other's lines for torn ones."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        yield
        return
    try:
        yield
    finally:
        fcntl.flock(fd, fcntl.LOCK_UN)


def _write(fd: int, data: bytes) -> tuple[int, OSError | None]:
    """Bytes written, and why not all were."""
    view, written = memoryview(data), 0
    while written < len(data):
        try:
            written += os.write(fd, view[written:])
        except OSError as error:
            return written, error
    return written, None


def _whole(data: bytes, written: int) -> int:
    """Bytes of the whole lines among those written."""
    return data.rfind(b"\n", 0, written) + 1


def _mend(fd: int, *, complete: bool = True) -> int:
    size = os.fstat(fd).st_size
    if size == 0 or os.pread(fd, 1, size - 1) == b"\n":
        return 0
    end = _end_of_lines(fd, size)
    if complete and size - end <= _LONGEST_LINE and is_whole(os.pread(fd, size - end, end)):
        os.write(fd, b"\n")
        return 0
    os.ftruncate(fd, end)
    return size - end


def _end_of_lines(fd: int, size: int) -> int:
    """Where the last whole line ends."""
    end = size
    while end > 0:
        start = max(0, end - _BLOCK)
        found = os.pread(fd, end - start, start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return 0
