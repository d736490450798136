"""The record files of a folder and of the folders in it: which there are, and their whole lines from an offset on."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from controller.records.lines import parse_name
from controller.shipper.batch import Line

#: Read at a time.
CHUNK_BYTES: Final = 4_000_000
#: A line that is longer is no record, and is not kept in memory.
LONGEST_LINE: Final = 16_000_000


@dataclass(frozen=True, slots=True)
class RecordFile:
    """One file as it is now."""

    #: `task_processing_2025-01-31.log`, or `pod-0/task_processing_2025-01-31.log`.
    name: str
    #: Tells a file from another one that took its name.
    inode: int
    size: int


def files(folder: Path) -> list[RecordFile]:
    """The record files, the oldest day first.

    Raises:
        OSError: the folder cannot be read.
    """
    found = []
    for path in [*_children(folder), *(c for sub in _folders(folder) for c in _children(sub))]:
        key = parse_name(path.name)
        if key is None:
            continue
        try:
            stat = path.stat()
        except FileNotFoundError:
            continue
        found.append((key.day, key.type, RecordFile(str(path.relative_to(folder)), stat.st_ino, stat.st_size)))
    return [file for _, _, file in sorted(found, key=lambda f: (f[0], f[1], f[2].name))]


def lines(path: Path, offset: int) -> Iterator[Line]:
    """The whole lines from an offset on; what has no newline yet is still being written.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        file.seek(offset)
        rest, passed_over = b"", 0
        while chunk := file.read(CHUNK_BYTES):
            *whole, rest = (rest + chunk).split(b"\n")
            for text in whole:
                end = offset + passed_over + len(text) + 1
                yield Line(None if passed_over else text, offset, end)
                offset, passed_over = end, 0
            if len(rest) > LONGEST_LINE:
                passed_over, rest = passed_over + len(rest), b""


def _children(folder: Path) -> Iterator[Path]:
    with os.scandir(folder) as entries:
        yield from (Path(e.path) for e in entries if e.is_file())


def _folders(folder: Path) -> list[Path]:
    with os.scandir(folder) as entries:
        return [Path(e.path) for e in entries if e.is_dir() and not e.is_symlink()]
