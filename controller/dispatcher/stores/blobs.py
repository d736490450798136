"""Bodies on their way into a store and out of it: small ones as bytes, large ones as files of their own."""

import os
import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

from controller.dispatcher.files import chunks, in_thread, write_all
from controller.dispatcher.stores.errors import of_disk

#: Above this a body is a file: a database is slower at large values than a file system, and grows by them for good.
INLINE_BYTES: Final = 256 * 1024


class Blob:
    """Content that is coming in. It ends up in a store, or has to be discarded."""

    def __init__(self, folder: Path | None) -> None:
        #: Where large content goes; None: nowhere, all of it stays in memory.
        self._folder = folder
        self._memory = bytearray()
        self._descriptor: int | None = None
        #: Name of the file that holds it; None if it is in memory.
        self.file: str | None = None
        self.size = 0

    @property
    def data(self) -> bytes | None:
        """The content; None if it is in a file."""
        return bytes(self._memory) if self.file is None else None

    async def write(self, chunk: bytes) -> None:
        """Append to it.

        Raises:
            StoreError: the disk does not take it.
        """
        self.size += len(chunk)
        if self._folder is None or (self.file is None and self.size <= INLINE_BYTES):
            self._memory += chunk
            return
        folder = self._folder
        try:
            await in_thread(lambda: self._spill(folder, chunk))
        except OSError as error:
            raise of_disk(error, f"a body cannot be kept in {folder}") from error

    def _spill(self, folder: Path, chunk: bytes) -> None:
        if self._descriptor is None:
            name = secrets.token_hex(16)
            self._descriptor = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            self.file = name
            write_all(self._descriptor, self._memory)
            self._memory = bytearray()
        write_all(self._descriptor, chunk)

    async def seal(self) -> None:
        """Have it on disk for good, name and all, before anything refers to it. Doing it again does nothing.

        Raises:
            StoreError: the disk does not take it.
        """
        if self._descriptor is None:
            return
        try:
            await in_thread(self._sync)
        except OSError as error:
            raise of_disk(error, f"a body cannot be kept in {self._folder}") from error

    def _sync(self) -> None:
        assert self._descriptor is not None  # noqa: S101 - looked at by the only caller
        assert self._folder is not None  # noqa: S101 - a file has a folder
        os.fsync(self._descriptor)
        self._close()
        sync_folder(self._folder)

    def discard(self) -> None:
        """Nobody wants it."""
        self._close()
        self._memory = bytearray()
        if self.file is not None and self._folder is not None:
            (self._folder / self.file).unlink(missing_ok=True)

    def _close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


class Content:
    """Content of a store, to be read as often as needed. Close it."""

    def __init__(self, size: int, *, data: bytes | None = None, descriptor: int | None = None) -> None:
        self.size = size
        self._data = data
        self._descriptor = descriptor

    @classmethod
    def open(cls, path: Path) -> "Content":
        """The content of a file; it can be read to its end even if the file is removed meanwhile.

        Raises:
            OSError: as `os.open` raises it.
        """
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        return cls(os.fstat(descriptor).st_size, descriptor=descriptor)

    def payload(self) -> bytes | AsyncIterator[bytes]:
        """All of it, or chunks read from disk; from its start each time."""
        return self._data or b"" if self._descriptor is None else chunks(self._descriptor)

    def close(self) -> None:
        """Give memory and file back."""
        self._data = None
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def sync_folder(folder: Path) -> None:
    """Have the names in a folder on disk.

    Raises:
        OSError: as `os.fsync` raises it.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
