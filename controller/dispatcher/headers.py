"""Headers on their way through the proxy (RFC 9110, 7.6)."""

from collections.abc import Mapping
from typing import Final

from multidict import CIMultiDict, CIMultiDictProxy

#: Meant for one connection only, never for the next.
HOP_BY_HOP: Final = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
VIA: Final = "1.1 haipool"


def end_to_end(headers: CIMultiDictProxy[str]) -> CIMultiDict[str]:
    """The headers that travel on: without hop-by-hop ones and those that `Connection` names."""
    named = {token.strip().lower() for value in headers.getall("Connection", ()) for token in value.split(",")}
    dropped = HOP_BY_HOP | named
    return CIMultiDict((name, value) for name, value in headers.items() if name.lower() not in dropped)


def to_server(headers: CIMultiDictProxy[str], *, peer: str, scheme: str, host: str) -> CIMultiDict[str]:
    """Request headers for a server, with the hops named as proxies do."""
    forwarded = end_to_end(headers)
    for name in ("Content-Length", "Expect"):
        forwarded.popall(name, None)
    chain = [*headers.getall("X-Forwarded-For", ()), peer]
    forwarded["X-Forwarded-For"] = ", ".join(chain)
    forwarded.setdefault("X-Forwarded-Proto", scheme)
    forwarded.setdefault("X-Forwarded-Host", host)
    forwarded.add("Via", VIA)
    return forwarded


def to_client(headers: CIMultiDictProxy[str], extra: Mapping[str, str]) -> CIMultiDict[str]:
    """Response headers for the client."""
    forwarded = end_to_end(headers)
    forwarded.add("Via", VIA)
    forwarded.update(extra)
    return forwarded
