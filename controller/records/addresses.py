"""Clients' addresses behind a keyed hash: the same client stays the same, and nobody without the key learns who it is.

A plain hash would hide nothing: all four billion IPv4 addresses are hashed in minutes.
"""

import hashlib
import hmac
import os
import secrets
from functools import lru_cache
from pathlib import Path
from typing import Final

from controller.records.dayfile import locked
from controller.records.folder import FOLDER_MODE

#: Beside the records, unless a file is named.
KEY_FILE: Final = ".address-key"
#: A shorter key could be guessed.
MIN_KEY_BYTES: Final = 16
_MADE_KEY_BYTES: Final = 32
#: 64 bits: among a million clients two share a hash with a probability of 3 in 100 million.
HASH_CHARACTERS: Final = 16
#: Hashes kept: the same clients come again and again.
_KEPT: Final = 8192


def hashed(key: bytes, text: str) -> str:
    """HMAC-SHA256 of a text, the first 16 hexadecimal digits."""
    return hmac.digest(key, text.encode(), hashlib.sha256).hex()[:HASH_CHARACTERS]


class AddressHash:
    """Hashes addresses with one key. The key is kept, so that hashes stay the same over restarts."""

    def __init__(self, key: bytes) -> None:
        self._hash = lru_cache(_KEPT)(lambda text: hashed(key, text))

    def __call__(self, address: str) -> str:
        """The hash that stands for an address, or for a network."""
        return self._hash(address)


def read_key(path: Path) -> bytes:
    """The key in a file, without white space around it.

    Raises:
        ValueError: it cannot be read, or is too short; the message says what to do.
    """
    try:
        key = path.read_bytes().strip()
    except OSError as error:
        raise ValueError(f"record key {path}: {error.strerror}") from error
    if len(key) < MIN_KEY_BYTES:
        raise ValueError(
            f"record key {path}: {len(key)} bytes are too few, at least {MIN_KEY_BYTES} are needed; "
            "make one with: openssl rand -hex 32"
        )
    return key


def kept_key(folder: Path) -> bytes:
    """The key of a folder, made when it has none: for its owner's eyes only, and on the disk when this returns.

    Raises:
        OSError: it can be neither read nor made.
        ValueError: what stands there is no key.
    """
    folder.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
    path = folder / KEY_FILE
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with locked(fd):
            if not path.exists():
                _make_key(path)
                os.fsync(fd)
    finally:
        os.close(fd)
    return read_key(path)


def _make_key(path: Path) -> None:
    """Written aside first: a key cut off by a crash would be another key."""
    draft = path.with_name(f"{path.name}.new")
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(secrets.token_hex(_MADE_KEY_BYTES).encode())
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
