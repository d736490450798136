"""Request bodies, taken in whole before a task queues: small ones in memory, large ones on disk, all capped.

A slow client then never holds a GPU, and a task whose server died can be sent again.
"""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import IO, Final

from aiohttp import StreamReader

#: Bodies up to this stay in memory; a prompt does, an uploaded image may not.
MEMORY_BYTES: Final = 1024 * 1024
CHUNK_BYTES: Final = 256 * 1024


class BodyTooLargeError(Exception):
    """The body exceeds `queue.maxBodyBytes`."""


class Body:
    """A request body that can be sent more than once. Close it when the task is over."""

    def __init__(self) -> None:
        self._memory = bytearray()
        self._file: IO[bytes] | None = None
        self.size = 0

    @classmethod
    async def receive(cls, content: StreamReader, *, limit: int, folder: Path | None) -> "Body":
        """Take in a whole body.

        Raises:
            BodyTooLargeError: it is larger than `limit` bytes.
        """
        body = cls()
        try:
            async for chunk in content.iter_any():
                body.size += len(chunk)
                if body.size > limit:
                    raise BodyTooLargeError
                await body._add(chunk, folder)
        except BaseException:
            body.close()
            raise
        return body

    async def _add(self, chunk: bytes, folder: Path | None) -> None:
        if self._file is None and len(self._memory) + len(chunk) <= MEMORY_BYTES:
            self._memory += chunk
            return
        await asyncio.to_thread(self._spill, chunk, folder)

    def _spill(self, chunk: bytes, folder: Path | None) -> None:
        if self._file is None:
            self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - closed with the body
            self._file.write(self._memory)
            self._memory.clear()
        self._file.write(chunk)

    def payload(self) -> bytes | AsyncIterator[bytes]:
        """The body for one request: bytes, or chunks read from disk."""
        return bytes(self._memory) if self._file is None else self._chunks(self._file)

    @staticmethod
    async def _chunks(file: IO[bytes]) -> AsyncIterator[bytes]:
        await asyncio.to_thread(file.seek, 0)
        while chunk := await asyncio.to_thread(file.read, CHUNK_BYTES):
            yield chunk

    def close(self) -> None:
        """Give memory and disk back."""
        self._memory.clear()
        if self._file is not None:
            self._file.close()
