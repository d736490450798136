"""What the small servers of this folder have in place of a GPU."""

import asyncio
import struct
import zlib


class Gpu:
    """One step of work after another; a test can hold it."""

    def __init__(self) -> None:
        self._free = asyncio.Event()
        self._free.set()
        #: Steps done since the start.
        self.steps = 0

    def hold(self) -> None:
        """No step ends until `release`."""
        self._free.clear()

    def release(self) -> None:
        """Work goes on."""
        self._free.set()

    async def step(self) -> None:
        """One step of sampling, one token."""
        await asyncio.sleep(0)
        await self._free.wait()
        self.steps += 1


def png(text: str) -> bytes:
    """A PNG of one pixel that carries a text, as image servers write their parameters."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)
    about = b"parameters\0" + text.encode("latin-1", "replace")
    pixels = zlib.compress(b"\0\0\0\0")
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"tEXt", about)
        + chunk(b"IDAT", pixels)
        + chunk(b"IEND", b"")
    )
