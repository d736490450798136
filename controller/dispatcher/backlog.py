"""What a server has answered and its client has not taken yet: some in memory, then on disk, capped.

A client that reads slowly would else hold a GPU for as long as it reads.
"""

import asyncio
import logging
import os
import tempfile
from collections import deque
from typing import IO, Final

from controller.dispatcher.files import CHUNK_BYTES, in_thread
from controller.dispatcher.spool import Spool

logger = logging.getLogger(__name__)

#: Of one answer, so much stays in memory.
MEMORY_BYTES: Final = 1024 * 1024


class Backlog:
    """First in, first out. One writer, one reader."""

    def __init__(self, spool: Spool, limit: int) -> None:
        """Make an empty one.

        Args:
            spool: gives the folder, and the memory there is for all.
            limit: bytes that it takes at a time.
        """
        self._spool = spool
        self._limit = limit
        self._memory: deque[bytes] = deque()
        self._in_memory = 0
        #: Parts that came after those in memory: bytes from `_read` to `_written` of the file.
        self._file: IO[bytes] | None = None
        self._read = 0
        self._written = 0
        self._disk_fails = False
        #: One thread at the file at a time.
        self._at_file = asyncio.Lock()
        self._room = asyncio.Event()

    def __len__(self) -> int:
        """Bytes in it."""
        return self._in_memory + self._written - self._read

    async def room(self) -> None:
        """Wait until something was taken since the last refusal."""
        await self._room.wait()

    async def add(self, part: bytes) -> bool:
        """Append.

        Returns:
            False if there is no room for it: then the server has to wait for the client after all.
        """
        self._room.clear()
        if self._read == self._written and self._fits(part):
            return self._remember(part)
        if len(self) + len(part) > max(self._limit, len(part)) or self._disk_fails:
            # An empty one takes any part: nothing would ever make more room.
            return not len(self) and self._remember(part)
        try:
            async with self._at_file:
                await in_thread(lambda: self._append(part))
                self._written += len(part)
        except OSError as error:
            logger.error("no room for answers on disk, so slow clients hold slots: %s", error)  # noqa: TRY400 - the sentence says it all
            self._disk_fails = True
            return False
        return True

    def _fits(self, part: bytes) -> bool:
        mine, all_of_them = self._in_memory + len(part), self._spool.in_memory + len(part)
        return mine <= MEMORY_BYTES and all_of_them <= self._spool.memory_limit

    def _remember(self, part: bytes) -> bool:
        self._memory.append(part)
        self._in_memory += len(part)
        self._spool.in_memory += len(part)
        return True

    def _append(self, part: bytes) -> None:
        if self._file is None:
            self._file = tempfile.TemporaryFile(dir=self._spool.folder, buffering=0)  # noqa: SIM115 - closed with this
        view, offset = memoryview(part), self._written
        while view:
            done = os.pwrite(self._file.fileno(), view, offset)
            view, offset = view[done:], offset + done

    async def take(self) -> bytes:
        """The next part; empty when there is none now.

        Raises:
            OSError: the disk has lost it.
        """
        if self._memory:
            part = self._memory.popleft()
            self._in_memory -= len(part)
            self._spool.in_memory -= len(part)
        elif self._read < self._written:
            async with self._at_file:
                part = await self._from_file()
        else:
            return b""
        self._room.set()
        return part

    async def _from_file(self) -> bytes:
        assert self._file is not None  # noqa: S101 - something was written to it
        file, offset, size = self._file.fileno(), self._read, min(CHUNK_BYTES, self._written - self._read)
        part = await in_thread(lambda: os.pread(file, size, offset))
        self._read += len(part)
        if self._read == self._written:
            # Its beginning may be overwritten now, so the file never grows much beyond the limit.
            self._read = self._written = 0
        return part

    def close(self) -> None:
        """Give memory and disk back; nothing else may be called any more."""
        self._spool.in_memory -= self._in_memory
        self._in_memory = 0
        self._memory.clear()
        if self._file is not None:
            self._file.close()
