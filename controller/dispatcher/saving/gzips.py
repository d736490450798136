"""gzip while a body passes: never a whole body at once, and never long on the event loop."""

import asyncio
import zlib
from collections.abc import Callable
from typing import Final, Protocol

import aiohttp

from controller.dispatcher.files import in_thread

#: gzip's header and checksum around deflate (zlib's manual, `deflateInit2`).
GZIP: Final = 16 + zlib.MAX_WBITS
#: Base64 becomes no smaller above this, and JSON by 1 % for twice the time.
LEVEL: Final = 4
#: Up to so many bytes are worked on at once; more of them in a thread, which costs less than others' waiting for them.
AT_ONCE_BYTES: Final = 16 * 1024
#: So many bytes at most come of one step of unpacking, however little they were packed into.
STEP_BYTES: Final = 256 * 1024
_MAGIC: Final = b"\x1f\x8b"


class Content(Protocol):
    """Of a body on its way what sinks look at."""

    async def readany(self) -> bytes:
        """What is there of it, once something is; empty at its end."""
        ...

    def at_eof(self) -> bool:
        """Whether nothing more comes."""
        ...

    @property
    def total_bytes(self) -> int:
        """What has come in so far."""
        ...


class Squeezer:
    """Compresses a body part by part."""

    def __init__(self) -> None:
        self._gzip = zlib.compressobj(LEVEL, zlib.DEFLATED, GZIP)
        #: Bytes before and after.
        self.taken = 0
        self.given = 0

    async def add(self, part: bytes, *, flush: bool = False) -> bytes:
        """What a part becomes; with `flush` all of it, so that the receiver can have it now."""
        self.taken += len(part)
        return self._gave(await self._add(part, flush=flush))

    async def _add(self, part: bytes, *, flush: bool) -> bytes:
        def work() -> bytes:
            packed = self._gzip.compress(part)
            return packed + self._gzip.flush(zlib.Z_SYNC_FLUSH) if flush else packed

        return work() if len(part) <= AT_ONCE_BYTES else await in_thread(work)

    def end(self) -> bytes:
        """What is left."""
        return self._gave(self._gzip.flush())

    def _gave(self, packed: bytes) -> bytes:
        self.given += len(packed)
        return packed


class Squeezed:
    """A body that is compressed while it is read."""

    def __init__(self, content: Content, *, live: bool, saved: Callable[[int], None]) -> None:
        """Begin.

        Args:
            content: the body.
            live: whether its receiver may want each part as soon as it is there.
            saved: told at its end how many bytes less it has become.
        """
        self._content = content
        self._live = live
        self._saved = saved
        self._squeezer = Squeezer()
        self._over = False

    async def readany(self) -> bytes:
        """The next part; empty at the end."""
        while not self._over:
            part = await self._content.readany()
            ends = not part or self._content.at_eof()
            packed = await self._squeezer.add(part, flush=self._live and not ends)
            if ends:
                self._over = True
                packed += self._squeezer.end()
                self._saved(self._squeezer.taken - self._squeezer.given)
            if packed:
                return packed
        return b""

    def at_eof(self) -> bool:
        """Whether nothing more comes."""
        return self._over

    @property
    def total_bytes(self) -> int:
        """What has come in so far."""
        return self._content.total_bytes


class Unpacked:
    """A body in gzip that is unpacked while it is read."""

    def __init__(self, content: Content, saved: Callable[[int], None]) -> None:
        """Begin.

        Args:
            content: the body.
            saved: told at its end how many bytes less came in than went out.
        """
        self._content = content
        self._saved = saved
        self._gzip = zlib.decompressobj(GZIP)
        #: Bytes that came and were not looked at yet.
        self._left = b""
        self._given = 0
        #: Whether what follows is no gzip any more. Browsers and curl ignore such a rest, and so would the client have.
        self._ignores = False
        self._over = False

    async def readany(self) -> bytes:
        """The next part; empty at the end.

        Raises:
            aiohttp.ClientPayloadError: it is no gzip, or ends too early.
        """
        while not self._over:
            if self._stuck():
                await self._more()
                continue
            part = await self._step()
            if part:
                self._given += len(part)
                return part
        return b""

    def _stuck(self) -> bool:
        """Whether nothing can be done before more comes in."""
        return not self._left or (self._gzip.eof and len(self._left) < len(_MAGIC))

    async def _more(self) -> None:
        part = await self._content.readany()
        if not part:
            self._end()
        elif not self._ignores:
            self._left += part

    def _end(self) -> None:
        if not self._gzip.eof and self._content.total_bytes:
            raise aiohttp.ClientPayloadError("its gzip ends too early")
        self._over = True
        self._saved(self._given - self._content.total_bytes)

    async def _step(self) -> bytes:
        if self._gzip.eof:
            if not self._left.startswith(_MAGIC):
                self._ignores, self._left = True, b""
                return b""
            self._gzip = zlib.decompressobj(GZIP)  # a file of several members is one body (RFC 1952, 2.2)
        packed, gzip = self._left, self._gzip
        try:
            if len(packed) <= AT_ONCE_BYTES:
                await asyncio.sleep(0)
                part = gzip.decompress(packed, STEP_BYTES)
            else:
                part = await in_thread(lambda: gzip.decompress(packed, STEP_BYTES))
        except zlib.error as error:
            raise aiohttp.ClientPayloadError(f"its gzip is broken: {error}") from error
        self._left = gzip.unused_data if gzip.eof else gzip.unconsumed_tail
        return part

    def at_eof(self) -> bool:
        """Whether nothing more comes."""
        return self._over

    @property
    def total_bytes(self) -> int:
        """What has come in so far."""
        return self._content.total_bytes
