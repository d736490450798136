"""Images as servers make them."""

import base64
import io
import random
from typing import Any

from PIL import Image, PngImagePlugin


def picture(side: int = 64, mode: str = "RGB", **options: Any) -> bytes:
    """A PNG of something that is no flat colour, with a text in it as image servers write it."""
    noise = random.Random(side)
    small = Image.frombytes("RGB", (8, 8), noise.randbytes(8 * 8 * 3))
    about = PngImagePlugin.PngInfo()
    about.add_text("parameters", "a cat\nSteps: 20")
    out = io.BytesIO()
    image = small.resize((side, side), Image.Resampling.BICUBIC).convert(mode)
    if mode == "RGBA":
        image.putalpha(Image.linear_gradient("L").resize((side, side)))
    image.save(out, "PNG", pnginfo=about, **options)
    return out.getvalue()


def opened(data: bytes) -> Image.Image:
    """The image, decoded in whole."""
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


def encoded(data: bytes) -> str:
    """In Base64."""
    return base64.b64encode(data).decode()
