"""How the dispatcher saves traffic on the way: the rest of `spec.traffic.optimization`."""

from typing import Annotated, Literal

from msgspec import Meta

from controller.api.model import Model

#: From which traffic level on something is done.
SaveFrom = Literal["Off", "Always", "Optimize", "Critical"]


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
    ] = "Off"
