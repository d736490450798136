"""Which answers are re-encoded, and what becomes of one; the work itself is done by `workers`."""

from typing import Final, Literal, cast

from multidict import CIMultiDict, istr

from controller.api.transfer import Reencoding
from controller.dispatcher.saving.accept import ACCEPT, AnyHeaders, accepts_type, may_be_changed
from controller.dispatcher.saving.answers import (
    CONTENT_ENCODING,
    CONTENT_LENGTH,
    CONTENT_TYPE,
    Changed,
    altered,
    depends_on,
    has_digest,
    is_gzip,
    is_large,
    media_type,
)
from controller.dispatcher.saving.gzips import Content
from controller.dispatcher.saving.workers import ImageWorkers
from controller.dispatcher.upstream import Reply

REENCODED: Final = istr("X-Haipool-Reencoded")
#: What every PNG begins with, and what that is in Base64.
_PNG: Final = b"\x89PNG\r\n\x1a\n"
_PNG_BASE64: Final = b"iVBORw0KGgo"
#: A body in memory is passed on in such parts, so that a slow client is noticed.
_PART_BYTES: Final = 256 * 1024

Kind = Literal["png", "json"]


class InMemory:
    """A body that was read already, and what may follow it."""

    def __init__(self, body: bytes | bytearray, rest: Content | None = None) -> None:
        self._body = memoryview(body)
        self._rest = rest
        self._at = 0

    async def readany(self) -> bytes:
        """The next part; empty at the end."""
        if self._at == len(self._body):
            return b"" if self._rest is None else await self._rest.readany()
        part = bytes(self._body[self._at : self._at + _PART_BYTES])
        self._at += len(part)
        return part

    def at_eof(self) -> bool:
        """Whether nothing more comes."""
        return self._at == len(self._body) and (self._rest is None or self._rest.at_eof())

    @property
    def total_bytes(self) -> int:
        """What has come in so far."""
        return len(self._body) if self._rest is None else self._rest.total_bytes


class Images:
    """The images in the answer to one request."""

    def __init__(self, settings: Reencoding, client: AnyHeaders, workers: ImageWorkers) -> None:
        self._settings = settings
        self._workers = workers
        self._type = f"image/{settings.format.lower()}"
        self._accepted = accepts_type(client, self._type)
        #: Bytes held back.
        self._held = 0

    def kind(self, upstream: Reply) -> Kind | None:
        """Where an answer has images that may be re-encoded; None: nowhere."""
        headers, kind = upstream.headers, media_type(upstream.headers)
        if upstream.status != 200 or not (CONTENT_ENCODING not in headers or is_gzip(headers)):
            return None
        if not may_be_changed(headers) or has_digest(headers) or not self._fits(headers):
            return None
        if kind == "image/png":
            return "png"
        return "json" if self._settings.in_json and (kind == "application/json" or kind.endswith("+json")) else None

    def _fits(self, headers: AnyHeaders) -> bool:
        return is_large(headers) and int(headers.get(CONTENT_LENGTH, 0)) <= self._settings.max_bytes

    def wanted(self, kind: Kind) -> bool:
        """Whether the client takes another format, and somebody can make it."""
        return (kind == "json" or self._accepted) and self._workers.available()

    def hold(self, size: int) -> bool:
        """Take room for so many bytes more of the answer; False: it has to go on as it is."""
        if self._held + size > self._settings.max_bytes or not self._workers.hold(size):
            return False
        self._held += size
        return True

    def release(self) -> None:
        """Nothing is held back any more."""
        self._workers.held -= self._held
        self._held = 0

    async def reencoded(self, kind: Kind, answer: Reply, body: bytearray) -> Reply:
        """The answer as it goes on."""
        new = await self._smaller(kind, bytes(body))
        headers = CIMultiDict(answer.headers) if new is None else altered(answer.headers)
        if kind == "png":
            depends_on(headers, ACCEPT)
        if new is not None:
            headers[REENCODED] = self._settings.format.lower()
            if kind == "png":
                headers[CONTENT_TYPE] = self._type
        data = body if new is None else new
        headers[CONTENT_LENGTH] = str(len(data))
        return cast("Reply", Changed(answer.status, answer.reason, headers, InMemory(data)))

    async def _smaller(self, kind: Kind, body: bytes) -> bytes | None:
        if not (body.startswith(_PNG) if kind == "png" else _PNG_BASE64 in body):
            return None
        return await self._workers.reencode(body, self._settings, is_json=kind == "json")
