"""What the HTTP parser lets through and a proxy must not: requests that two servers could understand differently.

The parser itself refuses ambiguous lengths, folded and malformed headers, bare line ends and broken chunks.
"""

import re
from functools import lru_cache
from typing import Final

from aiohttp import HttpVersion10, HttpVersion11, web
from multidict import istr

from controller.dispatcher.headers import origin_form
from controller.dispatcher.problems import problem

#: A name of 253 characters (RFC 1035, 2.3.4), and a port.
_LONGEST_AUTHORITY: Final = 260
_HOST: Final = istr("Host")
_TRANSFER_ENCODING: Final = istr("Transfer-Encoding")
#: uri-host and port (RFC 9110, 7.2; RFC 3986, 3.2.2).
_AUTHORITY: Final = re.compile(
    r"[A-Za-z0-9._~!$&'()*+,;=%-]*(:[0-9]*)?|\[[0-9A-Fa-f:.]+(%[A-Za-z0-9._~-]+)?\](:[0-9]*)?"
)


def admitted(request: web.BaseRequest) -> str | web.Response:
    """The path and query of a request, to the letter; or the answer to one that is none to forward.

    After such an answer the connection ends: what comes next on it may belong to the request.
    """
    refused = _version(request) or _coding(request) or _host(request)
    target = origin_form(request.raw_path)
    if refused is None and target is not None and request.method != "CONNECT":
        return target
    response = refused or problem(
        400, "Malformed request", f"{request.method} {request.raw_path} names no path to forward"
    )
    response.force_close()
    return response


def _version(request: web.BaseRequest) -> web.Response | None:
    """HTTP/0.9 has no headers to say where it ends, and HTTP/2 is not spoken in lines."""
    if request.version in (HttpVersion11, HttpVersion10):
        return None
    major, minor = request.version
    return problem(505, "HTTP version not supported", f"this is HTTP/{major}.{minor}; speak HTTP/1.1")


def _coding(request: web.BaseRequest) -> web.Response | None:
    """A coding other than chunked would be taken off the headers, and stay on the body (RFC 9112, 6.1)."""
    if _TRANSFER_ENCODING not in request.headers:
        return None
    codings = request.headers.getall(_TRANSFER_ENCODING)
    if len(codings) == 1 and codings[0].strip().lower() == "chunked":
        return None
    return problem(501, "Unknown transfer coding", f"Transfer-Encoding may be chunked, not {', '.join(codings)!r}")


@lru_cache(1024)
def _is_authority(host: str) -> bool:
    return _AUTHORITY.fullmatch(host) is not None


def _host(request: web.BaseRequest) -> web.Response | None:
    """RFC 9112, 3.2: one valid Host, and the same as in an absolute target."""
    host, target = request.headers.get(_HOST, ""), request.raw_path
    if len(host) > _LONGEST_AUTHORITY or not _is_authority(host):
        return problem(400, "Malformed request", f"the Host header {host!r} is no host with or without port")
    if target.startswith("/") or "://" not in target:
        return None
    authority = re.split(r"[/?#]", target.partition("://")[2], maxsplit=1)[0]
    if authority.lower() == host.lower():
        return None
    return problem(400, "Malformed request", f"the target names {authority!r}, the Host header {host!r}")
