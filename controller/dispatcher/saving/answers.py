"""Answers whose coding changes on the way: whether it may, and what their headers say then."""

from typing import Final, cast

from multidict import CIMultiDict, CIMultiDictProxy, istr

from controller.dispatcher.saving.accept import ACCEPT_ENCODING, AnyHeaders, may_be_changed
from controller.dispatcher.saving.gzips import Content
from controller.dispatcher.upstream import Reply

CONTENT_ENCODING: Final = istr("Content-Encoding")
CONTENT_LENGTH: Final = istr("Content-Length")
CONTENT_TYPE: Final = istr("Content-Type")
ETAG: Final = istr("ETag")
VARY: Final = istr("Vary")

#: Below this, gzip's own bytes and the work outweigh what is saved.
SMALLEST_BYTES: Final = 1024
#: What compresses besides `text/*`, `*+json` and `*+xml`. Images, video and archives are compressed already.
_COMPRESSIBLE: Final = frozenset({
    "application/graphql", "application/javascript", "application/json", "application/jsonl",
    "application/manifest+json", "application/ndjson", "application/x-javascript", "application/x-jsonlines",
    "application/x-ndjson", "application/xml", "application/yaml",
})  # fmt: skip
#: No content, or a part of it, whose place is counted in the content as it is (RFC 9110, 15).
_NOT_WHOLE: Final = frozenset({204, 205, 206, 304})
#: What is true of a body's very bytes.
_DIGESTS: Final = ("Content-MD5", "Digest", "Content-Digest", "Repr-Digest")


class Changed:
    """An answer with another body than the server sent. Has of an answer what sinks look at."""

    def __init__(self, status: int, reason: str, headers: CIMultiDict[str], content: Content) -> None:
        self.status, self.reason = status, reason
        self.headers = CIMultiDictProxy(headers)
        self.content = content


def changed(upstream: Reply, headers: CIMultiDict[str], content: Content) -> Reply:
    """An answer with other headers and another body."""
    return cast("Reply", Changed(upstream.status, upstream.reason, headers, content))


def is_whole(status: int) -> bool:
    """Whether an answer of this status has a body that may be changed."""
    return status >= 200 and status not in _NOT_WHOLE


def is_gzip(headers: AnyHeaders) -> bool:
    """Whether a body is in gzip, and in nothing else."""
    return CONTENT_ENCODING in headers and _coding(headers) in ("gzip", "x-gzip")


def _coding(headers: AnyHeaders) -> str:
    return ", ".join(headers.getall(CONTENT_ENCODING, ())).strip().lower()


def media_type(headers: AnyHeaders) -> str:
    """The media type of a body, in lower case and without parameters; empty: unknown."""
    return headers.get(CONTENT_TYPE, "").partition(";")[0].strip().lower()


def compresses(status: int, headers: AnyHeaders) -> bool:
    """Whether an answer may be compressed, and is worth it."""
    if not is_whole(status) or _coding(headers) not in ("", "identity") or not is_large(headers):
        return False
    kind = media_type(headers)
    if not (kind.startswith("text/") or kind.endswith(("+json", "+xml")) or kind in _COMPRESSIBLE):
        return False
    return may_be_changed(headers) and not has_digest(headers)


def is_large(headers: AnyHeaders) -> bool:
    """Whether a body is worth any work, as far as its length is known."""
    length = headers.get(CONTENT_LENGTH)
    return length is None or int(length) >= SMALLEST_BYTES


def has_digest(headers: AnyHeaders) -> bool:
    """Whether somebody means to check the body's very bytes."""
    return any(name in headers for name in _DIGESTS)


def recoded(headers: AnyHeaders, coding: str | None) -> CIMultiDict[str]:
    """The headers of the same content in another coding.

    Args:
        headers: of the answer as it was.
        coding: the coding; None: none.
    """
    new = altered(headers)
    new.popall(CONTENT_ENCODING, None)
    if coding is not None:
        new[CONTENT_ENCODING] = coding
    depends_on(new, ACCEPT_ENCODING)
    return new


def altered(headers: AnyHeaders) -> CIMultiDict[str]:
    """The headers of an answer without what its bytes alone made true; its length is not known any more."""
    new = CIMultiDict(headers)
    for name in (CONTENT_LENGTH, "Accept-Ranges", *_DIGESTS):
        new.popall(name, None)
    tag = new.get(ETAG)
    if tag is not None and not tag.startswith("W/"):
        # The same content in other bytes: that is what a weak tag says (RFC 9110, 8.8.1).
        new[ETAG] = f"W/{tag}"
    return new


def depends_on(headers: CIMultiDict[str], name: str) -> None:
    """Tell caches that a header of the request decides (RFC 9110, 12.5.5)."""
    said = [field.strip().lower() for field in ",".join(headers.getall(VARY, ())).split(",")]
    if name.lower() not in said and "*" not in said:
        headers[VARY] = ", ".join([*headers.popall(VARY, ()), name])
