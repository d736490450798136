"""How the dispatcher saves traffic on the way: the rest of `spec.traffic.optimization`."""

from typing import Annotated, Literal

from msgspec import Meta, field

from controller.api.model import Model

#: From which traffic level on something is done.
SaveFrom = Literal["Never", "Always", "Optimize", "Critical"]


def _text(description: str) -> Meta:
    return Meta(description=description)


class Compression(Model, frozen=True, kw_only=True):
    """Compressed transfer (gzip) of answers that compress, such as JSON with images in Base64; lossless."""

    from_servers: Annotated[
        SaveFrom,
        _text(
            "From which traffic level on servers are asked for compressed answers where the client did not ask itself; "
            "the dispatcher unpacks them."
        ),
    ] = "Optimize"
    to_clients: Annotated[
        SaveFrom,
        _text(
            "From which traffic level on the dispatcher compresses what a server did not, for clients that accept it. "
            "Spares the dispatcher's own traffic, not that of the servers."
        ),
    ] = "Never"


class Reencoding(Model, frozen=True, kw_only=True):
    """PNG images in answers become WebP or JPEG at the dispatcher, where that makes them smaller. Metadata is lost."""

    level: Annotated[Literal["Optimize", "Critical", "Always"], _text("From which traffic level on.")] = "Optimize"
    format: Annotated[
        Literal["WebP", "JPEG"], _text("What they become. JPEG leaves images with transparency as they are.")
    ] = "WebP"
    quality: Annotated[int, Meta(ge=1, le=100, description="Of the encoder.")] = 80
    in_json: Annotated[
        bool,
        _text(
            "Also images in Base64 inside JSON (`images` of Stable Diffusion WebUI, OpenAI's `b64_json`). Nothing in "
            "a request says whether its client can read them: this field does."
        ),
    ] = field(default=False, name="inJSON")
    max_pixels: Annotated[
        int,
        Meta(
            ge=1,
            le=268435456,
            description="Images of more pixels are left as they are. Two at a time take up to 26 bytes a pixel each: "
            "more than the default needs a higher memory limit of the dispatcher than the manifests give.",
        ),
    ] = 8_388_608
    max_bytes: Annotated[
        int,
        Meta(ge=1024, le=268435456, description="Answers of more bytes are left as they are; up to it they are held."),
    ] = 33_554_432
    timeout_seconds: Annotated[
        int, Meta(ge=1, le=300, description="An answer that takes longer to re-encode is sent as it is.")
    ] = 15
