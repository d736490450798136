"""The images of the simulated GPU servers, and the check that refuses what is no image."""

import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.sandbox import png


@given(st.text())
def test_every_prompt_is_drawn_as_a_whole_image(prompt: str) -> None:
    image = png.read(png.draw(prompt))
    assert (image.width, image.height) == (128, 128)


def test_the_prompt_is_stored_in_the_image() -> None:
    assert png.read(png.draw("A7")).text == {"parameters": "A7"}


def test_the_same_prompt_gives_the_same_image_and_another_prompt_another() -> None:
    assert png.draw("a cat") == png.draw("a cat")
    assert png.draw("a cat") != png.draw("a dog")


def _patched(data: bytes, at: int) -> bytes:
    return data[:at] + bytes((data[at] ^ 0xFF,)) + data[at + 1 :]


def _with_pixels(pixels: bytes) -> bytes:
    """A PNG whose checksums are right and whose IDAT holds these bytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">II", 128, 128) + bytes((8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


GOOD = png.draw("x")


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "signature"),
        (b"<html>504 Gateway Time-out</html>", "signature"),
        (GOOD[:-12], "IHDR to IEND"),
        (GOOD[:-3], "within a chunk"),
        (GOOD[: len(GOOD) // 2], "checksum|within a chunk"),
        (_patched(GOOD, len(GOOD) - 30), "checksum"),
        (_with_pixels(b"not deflate"), "do not decompress"),
        (_with_pixels(zlib.compress(b"\x00" * 100)), "100 bytes of pixels"),
    ],
)
def test_what_is_no_whole_image_is_refused(data: bytes, why: str) -> None:
    with pytest.raises(png.InvalidPngError, match=why):
        png.read(data)
