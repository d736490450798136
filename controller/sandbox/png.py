"""PNG images without an imaging library: what a simulated GPU server returns, and how the demo checks it."""

import hashlib
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
#: Bit depth 8, colour type 2 (RGB), deflate, adaptive filters, no interlace.
_RGB8: Final = bytes((8, 2, 0, 0, 0))
#: Keyword of the tEXt chunk under which Stable Diffusion WebUI stores how an image was made.
PARAMETERS: Final = "parameters"
#: The image is a grid of this many cells each way, mirrored like an identicon.
_CELLS: Final = 8
#: Pixels along the side of a cell.
_CELL_PIXELS: Final = 16


class InvalidPngError(ValueError):
    """The bytes are no complete PNG; the text says what is wrong."""


@dataclass(frozen=True, slots=True)
class Png:
    """A decoded image, as far as a check needs it."""

    width: int
    height: int
    #: tEXt chunks by keyword.
    text: dict[str, str]


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _rows(prompt: str) -> Iterator[bytes]:
    """One scan line per pixel row, each led by its filter byte (0: none)."""
    digest = hashlib.sha512(prompt.encode()).digest()
    colour, background = digest[:3], bytes(255 - byte // 4 for byte in digest[3:6])
    for row in range(_CELLS):
        bits = digest[6 + row]
        half = [colour if bits >> column & 1 else background for column in range(_CELLS // 2)]
        line = b"\x00" + b"".join(cell * _CELL_PIXELS for cell in half + half[::-1])
        for _ in range(_CELL_PIXELS):
            yield line


def draw(prompt: str) -> bytes:
    """A picture of the prompt: the same for the same prompt, another for another, with the prompt stored inside."""
    side = _CELLS * _CELL_PIXELS
    # A tEXt chunk is Latin-1; what does not fit is written as JSON would write it.
    text = PARAMETERS.encode() + b"\x00" + prompt.encode("latin-1", "backslashreplace")
    return (
        _SIGNATURE
        + _chunk(b"IHDR", struct.pack(">II", side, side) + _RGB8)
        + _chunk(b"tEXt", text)
        + _chunk(b"IDAT", zlib.compress(b"".join(_rows(prompt))))
        + _chunk(b"IEND", b"")
    )


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    if not data.startswith(_SIGNATURE):
        raise InvalidPngError("no PNG signature")
    at = len(_SIGNATURE)
    while at < len(data):
        if len(data) < at + 12:
            raise InvalidPngError("ends within a chunk")
        (length,) = struct.unpack_from(">I", data, at)
        kind, body = data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        stored = data[at + 8 + length : at + 12 + length]
        if len(stored) < 4:
            raise InvalidPngError("ends within a chunk")
        if struct.pack(">I", zlib.crc32(kind + body)) != stored:
            raise InvalidPngError(f"wrong checksum in {kind!r}")
        yield kind, body
        at += 12 + length


def read(data: bytes) -> Png:
    """Decode an 8-bit RGB PNG: signature, every checksum, and as many pixels as the header says.

    Raises:
        InvalidPngError: it is not whole.
    """
    chunks = list(_chunks(data))
    kinds = [kind for kind, _ in chunks]
    if kinds[:1] != [b"IHDR"] or kinds[-1:] != [b"IEND"] or len(chunks[0][1]) != 13:
        raise InvalidPngError("does not run from IHDR to IEND")
    width, height = struct.unpack_from(">II", chunks[0][1])
    if chunks[0][1][8:] != _RGB8:
        raise InvalidPngError("is not 8-bit RGB")
    try:
        pixels = zlib.decompress(b"".join(body for kind, body in chunks if kind == b"IDAT"))
    except zlib.error as error:
        raise InvalidPngError(f"pixels do not decompress: {error}") from error
    if len(pixels) != height * (1 + 3 * width):
        raise InvalidPngError(f"{len(pixels)} bytes of pixels for {width} x {height}")
    texts = (body.partition(b"\x00") for kind, body in chunks if kind == b"tEXt")
    return Png(width, height, {key.decode("latin-1"): value.decode("latin-1") for key, _, value in texts})
