"""What a client accepts: `Accept` and `Accept-Encoding` by weights (RFC 9110, 12.4.2 and 12.5), and `Cache-Control`."""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Final, NamedTuple

from multidict import CIMultiDict, CIMultiDictProxy, istr

ACCEPT: Final = istr("Accept")
ACCEPT_ENCODING: Final = istr("Accept-Encoding")
CACHE_CONTROL: Final = istr("Cache-Control")
RANGE: Final = istr("Range")

#: qvalue (RFC 9110, 12.4.2).
_WEIGHT: Final = re.compile(r"0(\.[0-9]{0,3})?|1(\.0{0,3})?")

AnyHeaders = CIMultiDict[str] | CIMultiDictProxy[str]


class Codings(NamedTuple):
    """The content codings that a client accepts."""

    gzip: bool
    #: Whether gzip is as welcome as no coding at all.
    prefers_gzip: bool
    #: No coding at all.
    identity: bool
    #: The other ones, as a header lists them.
    others: tuple[str, ...] = ()


def weights(header: str) -> Mapping[str, float]:
    """The elements of a list, in lower case, with their weights; one whose weight cannot be read is not wanted."""
    found: dict[str, float] = {}
    for element in header.split(","):
        name, *parameters = (part.strip().lower() for part in element.split(";"))
        if name:
            found.setdefault(name, _weight(parameters))
    return found


def _weight(parameters: list[str]) -> float:
    said = [value.strip() for name, equals, value in (p.partition("=") for p in parameters) if name.strip() == "q"]
    if not said:
        return 1.0
    return float(said[0]) if _WEIGHT.fullmatch(said[0]) else 0.0


@lru_cache(1024)
def _codings(header: str | None) -> Codings:
    if header is None:
        # By the RFC it accepts all; in truth most programs that say nothing cannot decode anything.
        return Codings(gzip=False, prefers_gzip=False, identity=True)
    said = dict(weights(header))
    rest = said.pop("*", None)
    gzip = max((said.pop(name) for name in ("gzip", "x-gzip") if name in said), default=rest or 0.0)
    plain = said.pop("identity", None)
    identity = plain if plain is not None else 1.0 if rest is None else rest
    others = tuple(f"{name};q={weight:g}" for name, weight in said.items() if weight)
    # One that is not named is as welcome as any: to have said gzip, or `*`, is to prefer it.
    return Codings(gzip > 0, 0 < gzip >= (plain or 0.0), identity > 0, others)


def codings(headers: AnyHeaders) -> Codings:
    """The content codings that the sender of these headers accepts."""
    return _codings(", ".join(headers.getall(ACCEPT_ENCODING)) if ACCEPT_ENCODING in headers else None)


@lru_cache(1024)
def _accepts(header: str, media_type: str) -> bool:
    said = weights(header)
    for name in (media_type, media_type.partition("/")[0] + "/*", "*/*"):
        if name in said:
            return said[name] > 0
    return False


def accepts_type(headers: AnyHeaders, media_type: str) -> bool:
    """Whether the sender of these headers accepts a media type; who says nothing accepts all (RFC 9110, 12.5.1)."""
    return ACCEPT not in headers or _accepts(", ".join(headers.getall(ACCEPT)), media_type)


def may_be_changed(headers: AnyHeaders) -> bool:
    """Whether a proxy may change the content of a message (RFC 9111, 5.2.1.6 and 5.2.2.6)."""
    if CACHE_CONTROL not in headers:
        return True
    directives = ",".join(headers.getall(CACHE_CONTROL)).split(",")
    return all(directive.strip().lower() != "no-transform" for directive in directives)
