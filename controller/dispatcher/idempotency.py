"""`Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header): a request that is sent twice is one task."""

import hashlib
import re
from collections.abc import Sequence
from typing import Final

#: Characters a key may have at most.
MAX_KEY: Final = 255

#: A structured-field string (RFC 8941), as the draft wants it.
_QUOTED: Final = re.compile(r'"((?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\["\\])*)"')
#: What most clients send in its place.
_BARE: Final = re.compile(r"[\x21\x23-\x7e]+")


def read_key(headers: Sequence[str]) -> str | None:
    """The key of a request; None if it has none.

    Args:
        headers: all `Idempotency-Key` headers. Quotes around the key make no difference.

    Raises:
        ValueError: what is there is no key; the message says why.
    """
    if not headers:
        return None
    if len(headers) > 1:
        raise ValueError("there is more than one Idempotency-Key")
    text = headers[0].strip()
    quoted = _QUOTED.fullmatch(text)
    key = re.sub(r"\\(.)", r"\1", quoted[1]) if quoted else text
    if not 1 <= len(key) <= MAX_KEY or not (quoted or _BARE.fullmatch(text)):
        raise ValueError(f"an Idempotency-Key has 1 to {MAX_KEY} visible ASCII characters")
    return key


class Fingerprint:
    """What makes two requests the same: method, target, and body."""

    def __init__(self, method: str, target: str) -> None:
        self._hash = hashlib.sha256(f"{method} {target}\n".encode(errors="surrogateescape"))

    def add(self, part: bytes) -> None:
        """A part of the body."""
        self._hash.update(part)

    def digest(self) -> bytes:
        """The fingerprint of what was added."""
        return self._hash.digest()
