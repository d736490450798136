"""Lines that are not in their file yet, in bounded memory."""

from collections import deque
from collections.abc import Iterator
from typing import Final

from controller.records.lines import FileKey

#: Lines kept in memory while the disk takes none: about 100 000 tasks, half an hour at 50 a second.
MAX_BYTES: Final = 64 * 1024 * 1024
#: Written at a time; a disk with little room left then takes what fits.
CHUNK_BYTES: Final = 1024 * 1024


class Backlog:
    """Lines by file, in order. Not for several threads."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._files: dict[FileKey, deque[bytes]] = {}
        self._max_bytes = max_bytes
        self.bytes = 0
        self.lines = 0

    def __iter__(self) -> Iterator[FileKey]:
        """The files that have lines here; it may change meanwhile."""
        return iter(tuple(self._files))

    def add(self, key: FileKey, line: bytes) -> bool:
        """Keep a line; False if there is no room for it."""
        if self.bytes + len(line) > self._max_bytes:
            return False
        self._files.setdefault(key, deque()).append(line)
        self.bytes += len(line)
        self.lines += 1
        return True

    def chunk(self, key: FileKey) -> list[bytes]:
        """The first lines of a file, about `CHUNK_BYTES` of them; none if it has none."""
        chunk: list[bytes] = []
        size = 0
        for line in self._files.get(key, ()):
            if chunk and size + len(line) > CHUNK_BYTES:
                break
            chunk.append(line)
            size += len(line)
        return chunk

    def forget(self, key: FileKey, count: int) -> None:
        """The first lines of a file are written, or given up."""
        lines = self._files[key]
        for _ in range(count):
            self.bytes -= len(lines.popleft())
            self.lines -= 1
        if not lines:
            del self._files[key]
