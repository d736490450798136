"""Files without blocking the event loop."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from typing import Final, TypeVar

CHUNK_BYTES: Final = 256 * 1024

T = TypeVar("T")


async def in_thread(work: Callable[[], T]) -> T:
    """Run `work` in a thread, to its end: a cancelled caller would else close the file under a running thread."""
    job = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(job)
    except asyncio.CancelledError:
        await asyncio.wait([job])
        if not job.cancelled():
            job.exception()
        raise


def write_all(file: int, data: bytes | bytearray | memoryview) -> None:
    """Write everything to a descriptor.

    Raises:
        OSError: the disk does not take it.
    """
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]


async def chunks(file: int) -> AsyncIterator[bytes]:
    """A file from its start.

    By a descriptor and offset of its own, since the request of an attempt that failed may still be reading when the
    next attempt begins, or when the file is closed.
    """
    own, offset = os.dup(file), 0
    try:
        while chunk := await in_thread(lambda: os.pread(own, CHUNK_BYTES, offset)):  # noqa: B023 - used at once
            yield chunk
            offset += len(chunk)
    finally:
        os.close(own)
