"""What becomes of one image, and of a document with images."""

import base64
import io
import json
import struct
import zlib
from typing import Any

import pytest
from PIL import Image, ImageCms

from controller.dispatcher.saving.imagejobs import Recipe
from controller.dispatcher.saving.images import reencode, reencode_json
from controller.sandbox import png
from tests.dispatcher.saving.pictures import encoded, opened, picture

WEBP = Recipe("webp", 80, 1_000_000)
JPEG = Recipe("jpeg", 80, 1_000_000)


@pytest.mark.parametrize("recipe", [WEBP, JPEG], ids=["webp", "jpeg"])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_an_image_becomes_smaller_and_stays_the_same_picture(recipe: Recipe, mode: str) -> None:
    before = picture(128, mode)
    after = reencode(before, recipe)
    assert after is not None
    assert len(after) < len(before)
    image = opened(after)
    assert (image.format, image.size) == (recipe.format.upper(), (128, 128))
    pairs = zip(image.convert("RGB").tobytes(), opened(before).convert("RGB").tobytes(), strict=True)
    assert sum(abs(a - b) for a, b in pairs) / (128 * 128 * 3) < 12
    assert b"parameters" not in after
    assert b"Steps" not in after


def test_the_sandboxs_own_images_are_left_alone_or_smaller() -> None:
    before = png.draw("a cat")
    after = reencode(before, WEBP)
    assert after is None or len(after) < len(before)


def test_transparency_stays_or_the_image_does() -> None:
    before = picture(128, "RGBA")
    after = reencode(before, WEBP)
    assert after is not None
    alpha = opened(after).getchannel("A")
    assert alpha.tobytes() == opened(before).getchannel("A").tobytes()
    assert reencode(before, JPEG) is None


def test_the_colour_profile_stays() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for recipe in (WEBP, JPEG):
        after = reencode(picture(128, icc_profile=profile), recipe)
        assert after is not None
        assert opened(after).info["icc_profile"] == profile


def _animated() -> bytes:
    out = io.BytesIO()
    first, second = opened(picture(64)), opened(picture(64)).rotate(90)
    first.save(out, "PNG", save_all=True, append_images=[second])
    return out.getvalue()


def _turned() -> bytes:
    out, image = io.BytesIO(), opened(picture(64))
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(out, "PNG", exif=exif)
    return out.getvalue()


def _deep() -> bytes:
    out = io.BytesIO()
    Image.frombytes("I;16", (64, 64), bytes(range(256)) * 32).save(out, "PNG")
    return out.getvalue()


def _header(width: int, height: int, size: int = 10_000_000) -> bytes:
    """A PNG that says it is so large, and whose pixels unpack to so many bytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(size), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no image",
        b"\x89PNG\r\n\x1a\n",
        picture(128)[:-300],
        picture(128)[:40] + b"\xff" * 40 + picture(128)[80:],
        picture(1001),
        _header(60000, 60000),
        _header(2**31 - 1, 2**31 - 1),
        _header(900, 900, 10_000),
        _animated(),
        _turned(),
        _deep(),
        picture(128, "P"),
        picture(128, "1"),
    ],
    ids=["empty", "none", "signature", "cut", "broken", "large", "bomb", "huge bomb", "pixels missing", "animated",
         "turned", "16 bits", "palette", "two colours"],
)  # fmt: skip
def test_what_cannot_be_done_well_is_not_done(data: bytes) -> None:
    assert reencode(data, WEBP) is None


def test_what_would_not_become_smaller_stays() -> None:
    small = io.BytesIO()
    Image.new("RGB", (2, 2)).save(small, "PNG")
    assert reencode(small.getvalue(), JPEG) is None


# --- documents --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "document",
    [
        {"images": ["PNG", "PNG"], "parameters": {"cfg": 7.0}, "info": '{"seed": 1}'},
        {"created": 1, "data": [{"b64_json": "PNG", "revised_prompt": "ein Fuß"}]},
        {"output": {"image": "data:image/png;base64,PNG"}},
        ["PNG"],
    ],
    ids=["webui", "openai", "data uri", "list"],
)
def test_images_in_documents_become_smaller_and_all_else_stays(document: Any) -> None:
    image = encoded(picture(128))
    body = json.dumps(document, indent=1).replace("PNG", image).encode()
    after = reencode_json(body, WEBP)
    assert after is not None
    webp = encoded(reencode(picture(128), WEBP) or b"")
    expected = json.dumps(document, indent=1).replace("data:image/png", "data:image/webp").replace("PNG", webp)
    assert after == expected.encode()


def test_escaped_slashes_are_slashes() -> None:
    image = encoded(picture(128))
    assert "/" in image
    after = reencode_json(b'{"image":"' + image.replace("/", r"\/").encode() + b'"}', WEBP)
    assert after is not None
    assert opened(base64.b64decode(json.loads(after)["image"])).format == "WEBP"


@pytest.mark.parametrize(
    "body",
    [
        b'{"image": "iVBORw0KGgo"}',
        b'{"image": "iVBORw0KGgoAAAANSUhEUgAA"}',
        b'{"image": "iVBORw0KGgoA=A="}',
        json.dumps({"info": json.dumps({"image": encoded(picture(128))})}).encode(),
        json.dumps({"text": "see " + encoded(picture(128))}).encode(),
        json.dumps({"image": encoded(picture(128)) + "!"}).encode(),
    ],
    ids=["a beginning", "a part", "no base64", "in a string", "in a sentence", "and more"],
)
def test_what_is_no_image_stays(body: bytes) -> None:
    assert reencode_json(body, WEBP) is None


def test_of_several_images_each_is_judged_by_itself() -> None:
    good, bad = encoded(picture(128)), encoded(picture(128)[:-300])
    after = reencode_json(json.dumps([good, bad, good]).encode(), WEBP)
    assert after is not None
    first, second, third = json.loads(after)
    assert first == third != good
    assert second == bad
