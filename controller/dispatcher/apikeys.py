"""API keys: who is who behind one address. They open no door, they only tell users apart.

A key file holds digests, never keys, so whoever reads it cannot pose as anybody. A key is looked up by its digest: how
long that takes says nothing about any key, since nobody can choose digests.
"""

import asyncio
import hashlib
import logging
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

logger = logging.getLogger(__name__)

#: How often the file is looked at.
FILE_SECONDS: Final = 1.0
#: Longer text in the header is something else, a token for the application, say.
MAX_KEY: Final = 512
#: A file larger than this is no key file.
MAX_FILE_BYTES: Final = 16 * 1024 * 1024

#: `NAME: SHA256`. The names are those that `queue.weights[].apiKey` can hold.
_LINE: Final = re.compile(r"(?P<name>[A-Za-z0-9_.-]{1,63})\s*:\s*(?P<digest>[0-9A-Fa-f]{64})")
_BEARER: Final = re.compile(r"bearer[ \t]+", re.IGNORECASE)
_FORM: Final = "write NAME: SHA256, where SHA256 are the 64 hex digits that printf %s KEY | sha256sum prints"


@dataclass(frozen=True, slots=True)
class ApiKeys:
    """The keys that are known, by digest."""

    names: Mapping[bytes, str] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.names)

    def name_of(self, values: Iterable[str]) -> str | None:
        """Whose key it is.

        Args:
            values: of the header, each a key as such or as `Bearer KEY`.

        Returns:
            The name of the first key that is known; None if none is: what is no key of ours may be meant for the
            application.
        """
        for value in values:
            bearer = _BEARER.match(value)
            key = value[bearer.end() :] if bearer else value
            name = self._name(key.strip())
            if name is not None:
                return name
        return None

    def _name(self, key: str) -> str | None:
        if not key or len(key) > MAX_KEY or not key.isascii():
            return None
        return self.names.get(hashlib.sha256(key.encode()).digest())


def parse_keys(text: str) -> ApiKeys:
    """The keys of a file: a line `NAME: SHA256` each. Empty lines and lines that begin with `#` are left out.

    A name may have several keys, so that a new one can be handed out before the old one goes.

    Raises:
        ValueError: a line is something else, or two names have one key. The message has the number of the line, and
            nothing of what stands there: it may be a key.
    """
    names: dict[bytes, str] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        found = _LINE.fullmatch(stripped)
        if found is None:
            raise ValueError(f"line {number}: {_FORM}")
        name, digest = found["name"], bytes.fromhex(found["digest"])
        if names.setdefault(digest, name) != name:
            raise ValueError(f"line {number}: {name} has the same key as {names[digest]}")
    return ApiKeys(names)


class KeyFile:
    """The key file (`--api-keys`), read anew when it changes; a mounted Secret changes so, too."""

    def __init__(self, path: Path, take: Callable[[ApiKeys], None]) -> None:
        """Nothing is read yet; `take` is given the keys of every good version of the file."""
        self._path = path
        self._take = take
        self._stamp: tuple[int, int, int] | None = None

    def load(self) -> None:
        """Read the file now.

        Raises:
            ValueError: it cannot be read or does not fit; the message names the file and the line.
        """
        try:
            self._stamp = self._look()
            if self._stamp[2] > MAX_FILE_BYTES:
                raise ValueError(f"has more than {MAX_FILE_BYTES} bytes")
            keys = parse_keys(self._path.read_text(encoding="utf-8"))
        except UnicodeDecodeError as error:
            raise ValueError(f"API keys {self._path}: is not UTF-8 text; {_FORM}") from error
        except (OSError, ValueError) as error:
            raise ValueError(f"API keys {self._path}: {error}") from error
        self._take(keys)
        logger.info("%d API keys tell users apart", len(keys.names))

    def _look(self) -> tuple[int, int, int]:
        stat = self._path.stat()
        return stat.st_ino, stat.st_mtime_ns, stat.st_size

    async def run(self) -> None:
        """Look for changes for ever; a file that does not fit is reported once, and the last good one stays."""
        while True:
            await asyncio.sleep(FILE_SECONDS)
            self.refresh()

    def refresh(self) -> None:
        """Read the file if it has changed."""
        try:
            stamp = self._look()
        except OSError as error:
            if self._stamp is not None:
                logger.error("the last good API keys stay in force: %s", error)  # noqa: TRY400 - the sentence says it all
            self._stamp = None
            return
        if stamp == self._stamp:
            return
        try:
            self.load()
        except ValueError as error:
            logger.error("the last good API keys stay in force: %s", error)  # noqa: TRY400 - the sentence says it all
