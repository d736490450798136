"""PNG images in another format, as bytes and as Base64 inside JSON. Runs in a process of its own: see `imageworker`."""

import base64
import binascii
import io
import re
import warnings
from typing import Final

from PIL import ExifTags, Image

from controller.dispatcher.saving.imagejobs import Recipe

#: A JSON string that is a PNG in Base64 and nothing else, perhaps as a data URI. Some encoders escape slashes.
_STRING: Final = re.compile(rb'"(data:image/png;base64,)?(iVBORw0KGgo(?:[A-Za-z0-9+/]|\\/)*={0,2})"')
#: Photographs and paintings, and the modes in which they are encoded. Images with a palette are drawings, which PNG
#: packs best, and more than 8 bits have no room elsewhere.
_MODES: Final = {"L": "L", "RGB": "RGB", "LA": "RGBA", "RGBA": "RGBA"}


def reencode(data: bytes, recipe: Recipe) -> bytes | None:
    """A PNG in the recipe's format, with its colour profile and without other metadata.

    Returns:
        None if it is left as it is: it would not become smaller, has more pixels than allowed, is animated, broken or
        turned by its metadata, has a palette or 16 bits, or transparency for which the format has no room.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            encoded = _encoded(data, recipe)
    except MemoryError:
        return None
    except Exception:  # noqa: BLE001 - an imaging library fails in many ways, and the image as it came is always right
        return None
    return encoded if encoded is not None and len(encoded) < len(data) else None


def _encoded(data: bytes, recipe: Recipe) -> bytes | None:
    with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
        width, height = image.size
        if width * height > recipe.max_pixels or getattr(image, "is_animated", False):
            return None
        mode = _MODES.get(image.mode)
        if mode is None or "transparency" in image.info or (mode == "RGBA" and recipe.format == "jpeg"):
            return None
        if image.getexif().get(ExifTags.Base.Orientation, 1) != 1:
            return None
        profile = image.info.get("icc_profile") or b""
        converted = image if image.mode == mode else image.convert(mode)
        out = io.BytesIO()
        converted.save(out, recipe.format, quality=recipe.quality, icc_profile=profile, exif=b"")
    return out.getvalue()


def reencode_json(body: bytes, recipe: Recipe) -> bytes | None:
    """A JSON document whose PNG images are in the recipe's format; all else in it stays to the byte.

    Returns:
        None if none of them is.
    """
    changed = 0

    def smaller(match: re.Match[bytes]) -> bytes:
        nonlocal changed
        uri, text = match[1], match[2].replace(rb"\/", b"/")
        try:
            image = reencode(base64.b64decode(text, validate=True), recipe)
        except binascii.Error:
            return match[0]
        if image is None:
            return match[0]
        changed += 1
        prefix = f"data:image/{recipe.format};base64,".encode() if uri else b""
        return b'"' + prefix + base64.b64encode(image) + b'"'

    new = _STRING.sub(smaller, body)
    return new if changed else None
