"""Request bodies, taken in whole before a task queues: small ones in memory, large ones on disk, all capped.

A slow client then never holds a GPU, and a task whose server died can be sent again.
"""

import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import IO, Final

from aiohttp import StreamReader

from controller.api.queue import SlowClients
from controller.dispatcher.files import chunks, in_thread, write_all
from controller.dispatcher.slow import paced

#: Bodies up to this stay in memory; a prompt does, an uploaded image may not.
MEMORY_BYTES: Final = 1024 * 1024
#: All bodies in memory together; further ones go to disk however small they are.
MEMORY_TOTAL_BYTES: Final = 256 * 1024 * 1024


DEFAULT_SLOW: Final = SlowClients()


class BodyTooLargeError(Exception):
    """The body exceeds `queue.maxBodyBytes`."""


class SpoolError(Exception):
    """The body cannot be kept: the disk is full or the folder cannot be written to."""


class Spool:
    """Where bodies are kept."""

    def __init__(self, folder: Path | None, *, memory_limit: int = MEMORY_TOTAL_BYTES) -> None:
        #: None: the system's folder for temporary files.
        self.folder = folder
        self.memory_limit = memory_limit
        #: Bytes of bodies in memory now.
        self.in_memory = 0

    async def receive(self, content: StreamReader, *, limit: int, slow: SlowClients = DEFAULT_SLOW) -> "Body":
        """Take in a whole body.

        Raises:
            BodyTooLargeError: it is larger than `limit` bytes; the rest was not read.
            SlowBodyError: it comes too slowly.
            SpoolError: it cannot be kept.
        """
        body = Body(self)
        try:
            if content.is_eof():
                # All of it is here already, as most prompts are by the time their request is looked at.
                await body.take(content.read_nowait(), limit)
                return body
            async for chunk in paced(content, slow):
                await body.take(chunk, limit)
        except BaseException:
            body.close()
            raise
        return body


class Body:
    """A request body that can be sent more than once. Close it when the task is over."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._memory = bytearray()
        self._file: IO[bytes] | None = None
        self.size = 0

    async def take(self, chunk: bytes, limit: int) -> None:
        """Append to the body, which may become so many bytes long.

        Raises:
            BodyTooLargeError: it would be longer.
            SpoolError: the disk does not take it.
        """
        if self.size + len(chunk) > limit:
            raise BodyTooLargeError
        await self.add(chunk)

    async def add(self, chunk: bytes) -> None:
        """Append to the body.

        Raises:
            SpoolError: the disk does not take it.
        """
        self.size += len(chunk)
        fits = self.size <= MEMORY_BYTES and self._spool.in_memory + len(chunk) <= self._spool.memory_limit
        if self._file is None and fits:
            self._memory += chunk
            self._spool.in_memory += len(chunk)
            return
        try:
            await in_thread(lambda: self._spill(chunk))
        except OSError as error:
            folder = self._spool.folder or tempfile.gettempdir()
            raise SpoolError(f"a request body cannot be kept in {folder}: {error}") from error
        self._drop_memory()

    def _spill(self, chunk: bytes) -> None:
        if self._file is None:
            self._file = tempfile.TemporaryFile(dir=self._spool.folder, buffering=0)  # noqa: SIM115 - closed with the body
            write_all(self._file.fileno(), self._memory)
        write_all(self._file.fileno(), chunk)

    def payload(self) -> bytes | AsyncIterator[bytes]:
        """The body for one request: bytes, or chunks read from disk."""
        return bytes(self._memory) if self._file is None else chunks(self._file.fileno())

    def close(self) -> None:
        """Give memory and disk back."""
        self._drop_memory()
        if self._file is not None:
            self._file.close()

    def _drop_memory(self) -> None:
        self._spool.in_memory -= len(self._memory)
        self._memory = bytearray()
