"""What the small servers of this folder have in place of a GPU and an image library."""

import asyncio
import base64
import struct
import zlib

#: A black pixel each, as Pillow writes it.
_WEBP_PIXEL = base64.b64decode("MAEAnQEqAQABAAMANCWkAANwAP77lAAA")
_JPEG_PIXEL = base64.b64decode(
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAKBueIx4ZKCMgoy0qqC+8P//8Nzc8P//////////////////////////////////////////////////"
    "////////wAALCAABAAEBAREA/8QAFAABAAAAAAAAAAAAAAAAAAAAA//EABQQAQAAAAAAAAAAAAAAAAAAAAD/2gAIAQEAAD8AF//Z"
)


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


def webp(text: str) -> bytes:
    """A WebP of one pixel that carries a text in Exif's UserComment, where the WebUI puts parameters outside PNG."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return kind + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)

    has_exif, one_by_one = b"\x08\0\0\0", b"\0" * 6
    chunks = chunk(b"VP8X", has_exif + one_by_one) + chunk(b"VP8 ", _WEBP_PIXEL) + chunk(b"EXIF", _exif(text))
    return chunk(b"RIFF", b"WEBP" + chunks)


def jpeg(text: str) -> bytes:
    """A JPEG of one pixel that carries a text in Exif's UserComment."""
    exif = b"Exif\0\0" + _exif(text)
    return _JPEG_PIXEL[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + _JPEG_PIXEL[2:]


def user_comment(image: bytes) -> str:
    """The text that `webp` or `jpeg` put in."""
    tag = image.index(b"\x92\x86\x00\x07") + 4
    (length,) = struct.unpack_from(">I", image, tag)
    start = image.index(b"UNICODE\0")
    return image[start + 8 : start + length].decode("utf-16-be")


def _exif(text: str) -> bytes:
    """A TIFF with one tag, UserComment, under the pointer to the Exif directory."""
    comment = b"UNICODE\0" + text.encode("utf-16-be")
    directory = struct.pack(">HHHII", 1, 0x9286, 7, len(comment), 44) + struct.pack(">I", 0)
    pointer = struct.pack(">HHHII", 1, 0x8769, 4, 1, 26) + struct.pack(">I", 0)
    return b"MM\0*" + struct.pack(">I", 8) + pointer + directory + comment
