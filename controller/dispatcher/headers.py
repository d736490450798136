"""Headers on their way through the proxy (RFC 9110, 7.6)."""

import re
from collections.abc import Mapping
from typing import Final

from multidict import CIMultiDict, CIMultiDictProxy, istr

from controller.dispatcher.servers import Server
from controller.dispatcher.task import Task

CONNECTION: Final = istr("Connection")
UPGRADE: Final = istr("Upgrade")
#: Meant for one connection only, never for the next.
HOP_BY_HOP: Final = (
    CONNECTION,
    istr("Keep-Alive"),
    istr("Proxy-Authenticate"),
    istr("Proxy-Authorization"),
    istr("Proxy-Connection"),
    istr("TE"),
    istr("Trailer"),
    istr("Transfer-Encoding"),
    UPGRADE,
)
VIA: Final = "1.1 haipool"
#: What proxies say about the hops before them.
FORWARDED: Final = ("Forwarded", "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Real-Ip")

#: Headers that are said here and nowhere else. CGI and its descendants take X_Forwarded_For for X-Forwarded-For, so
#: whoever may not say the one may not say the other.
_OURS: Final = frozenset({name.lower() for name in (*FORWARDED, *HOP_BY_HOP, "Content-Length", "Host", "Via")})

_ABSOLUTE: Final = re.compile(r"https?://[^/?#]*", re.IGNORECASE)


def end_to_end(headers: CIMultiDictProxy[str]) -> CIMultiDict[str]:
    """The headers that travel on: without hop-by-hop ones and those that `Connection` names."""
    forwarded = headers.copy()
    for value in headers.getall(CONNECTION, ()):
        for token in value.split(","):
            if token.strip().lower() != "host":  # no option of a connection: a server without it takes another one
                forwarded.popall(token.strip(), None)
    for name in HOP_BY_HOP:
        forwarded.popall(name, None)
    return forwarded


def to_server(
    headers: CIMultiDictProxy[str], *, peer: str, client: str, scheme: str, trusted: bool, believed: str
) -> CIMultiDict[str]:
    """Request headers for a server, with the hops named as proxies do.

    Args:
        headers: as they came.
        peer: address of the socket's other end.
        client: address of the client.
        scheme: of this hop.
        trusted: whether the peer is a proxy whose word counts; what others say of earlier hops is dropped.
        believed: the header in which such a proxy names the hops. Of `Forwarded` and `X-Forwarded-For` the other one
            may be the client's own: it is dropped, so that no server is deceived by it.
    """
    forwarded = end_to_end(headers)
    for name in ("Content-Length", "Expect", *(() if trusted else FORWARDED)):
        forwarded.popall(name, None)
    for name in [name for name in forwarded if "_" in name and name.replace("_", "-").lower() in _OURS]:
        forwarded.popall(name, None)
    if trusted and believed == "Forwarded":
        hop = f'for="[{peer}]"' if ":" in peer else f"for={peer}"
        forwarded["Forwarded"] = ", ".join([*forwarded.popall("Forwarded", ()), hop])
        forwarded["X-Forwarded-For"] = peer if client == peer else f"{client}, {peer}"
    else:
        forwarded.popall("Forwarded", None)
        forwarded["X-Forwarded-For"] = ", ".join([*forwarded.popall("X-Forwarded-For", ()), peer])
    forwarded.setdefault("X-Forwarded-Proto", scheme)
    if "Host" in headers:
        forwarded.setdefault("X-Forwarded-Host", headers["Host"])
    forwarded.add("Via", VIA)
    return forwarded


def to_client(headers: CIMultiDictProxy[str], extra: Mapping[str, str]) -> CIMultiDict[str]:
    """Response headers for the client."""
    forwarded = end_to_end(headers)
    forwarded.add("Via", VIA)
    forwarded.update(extra)
    return forwarded


def is_websocket(method: str, headers: CIMultiDictProxy[str]) -> bool:
    """Whether a request opens a WebSocket. Only such a one is an upgrade here; the header alone changes nothing."""
    if method != "GET" or headers.get("Upgrade", "").strip().lower() != "websocket":
        return False
    return any(token.strip().lower() == "upgrade" for v in headers.getall("Connection", ()) for token in v.split(","))


def origin_form(target: str) -> str | None:
    """The path and query of a request target, to the letter; None for a target without (`*`, `host:port`)."""
    if not target.startswith("/"):
        authority = _ABSOLUTE.match(target)
        if authority is None:
            return None
        rest = target[authority.end() :]
        target = rest if rest.startswith("/") else "/" + rest
    return target.partition("#")[0]


def about_task(task: Task, server: Server) -> dict[str, str]:
    """What a client may want to know about its task."""
    return {
        "X-Haipool-Task": task.task_id,
        "X-Haipool-User": task.identity.user,
        "X-Haipool-User-Sequence": str(task.number),
        "X-Haipool-Start-Sequence": str(task.start_number),
        "X-Haipool-Wait-Seconds": f"{(task.started or task.submitted) - task.submitted:.6f}",
        "X-Haipool-Server": server.spec.name,
    }
