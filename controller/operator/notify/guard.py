"""Where requests to other people's URLs may go: public addresses, and networks that the operator's flags name.

A person who may edit a pool, or a Secret, must not be able to have the operator reach what only the cluster can reach
(server-side request forgery). So the name is resolved here, once for each request; every address it has must be
allowed; and the connection is made to just those addresses, which a second answer of the DNS cannot change.
"""

import asyncio
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any, Final
from urllib.parse import quote, quote_plus

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from controller.operator.notify.errors import BadSecretError, RefusedError, UnreachableError

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

#: IPv6 addresses that stand for IPv4 ones behind a NAT64 gateway.
_NAT64: Final = IPv6Network("64:ff9b::/96")
#: The part of IPv6 that is given out to the public.
_UNICAST: Final = IPv6Network("2000::/3")
#: Special-purpose blocks that `is_global` knows or not, depending on the version of Python: protocol assignments,
#: tunnels that could lead to any IPv4 address (6to4, Teredo), documentation.
_SPECIAL: Final[tuple[Network, ...]] = tuple(
    ip_network(text)
    for text in ("192.0.0.0/24", "192.88.99.0/24", "2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")
)
_SHORTEST_SECRET: Final = 6


@dataclass(frozen=True, slots=True)
class Target:
    """A URL from a Secret. Its `str` tells the host only."""

    url: URL

    def __str__(self) -> str:
        return self.url.host or ""

    def hide(self, text: str) -> str:
        """The text without any part of the URL that may be a key; receivers may repeat what they were sent.

        They may do so in any spelling: as it travels in the URL, as they have read it, or quoted by themselves.
        """
        plain = [*self.url.parts, *self.url.query.values()]
        travels = [*self.url.raw_parts, *(pair.partition("=")[2] for pair in self.url.raw_query_string.split("&"))]
        parts = {*plain, *travels, *(quote(part, safe="") for part in plain), *map(quote_plus, plain)}
        for part in sorted((p for p in parts if len(p) >= _SHORTEST_SECRET), key=len, reverse=True):
            text = text.replace(part, "…")
        return text


def parse(text: str) -> Target:
    """Read a URL.

    Raises:
        BadSecretError: it is none; the text does not repeat it.
    """
    try:
        url = URL(text)
        port = url.port
    except ValueError:
        raise BadSecretError("its value is no URL") from None
    if url.scheme not in ("http", "https") or not url.host or not port:
        raise BadSecretError("its value is no URL of the form https://HOST/PATH")
    if url.user is not None or url.password is not None:
        raise BadSecretError("its URL holds a user or a password; only the path and the query may hold keys")
    return Target(url.with_fragment(None))


def verdict(address: Address, allowed: Sequence[Network]) -> str:
    """Why no request may go to this address; empty if it may.

    Args:
        address: in whatever form; an IPv4 address inside an IPv6 one is what counts.
        allowed: networks that the operator was started with, beyond what is public.
    """
    real = _plain(address)
    if real.is_link_local or real.is_multicast or real.is_unspecified:
        # Metadata services live here; no flag opens them.
        return "a link-local, multicast or unspecified address is never called"
    if any(real in network for network in allowed if network.version == real.version):
        return ""
    return "" if _public(real) else "it is not a public address"


def _plain(address: Address) -> Address:
    if isinstance(address, IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return IPv4Address(int(address) & 0xFFFFFFFF) if address in _NAT64 else address


def _public(address: Address) -> bool:
    if any(address in network for network in _SPECIAL if network.version == address.version):
        return False
    given_out = not address.is_reserved if isinstance(address, IPv4Address) else address in _UNICAST
    return address.is_global and given_out


class Guard:
    """The rules of one operator process."""

    def __init__(self, allowed: Sequence[Network] = ()) -> None:
        self._allowed = tuple(allowed)

    async def addresses(self, target: Target) -> tuple[Address, ...]:
        """All addresses of the URL's host, each of them allowed.

        Raises:
            RefusedError: one of them is not, or the scheme is not for where it leads.
            UnreachableError: the name has no address.
        """
        found = await _resolve(target)
        for address in found:
            if why := verdict(address, self._allowed):
                raise RefusedError(
                    f"{target} is at {address}: {why}; to allow it, start the operator with --allow-webhooks-to NETWORK"
                )
        if target.url.scheme == "http" and not all(self._named(address) for address in found):
            raise RefusedError(f"{target}: the URL holds a key, so it has to be https")
        return found

    def _named(self, address: Address) -> bool:
        real = _plain(address)
        return any(real in network for network in self._allowed if network.version == real.version)


async def _resolve(target: Target) -> tuple[Address, ...]:
    host, port = target.url.host or "", target.url.port
    if _numeric(host):
        try:
            return (ip_address(host),)
        except ValueError:
            # Such as 127.1 or 2130706433, which the system's own functions would take for an address.
            raise RefusedError(f"{host} is no address in its usual form") from None
    try:
        answers = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise UnreachableError(f"{target} cannot be resolved: {error.strerror or error}") from None
    return tuple(dict.fromkeys(ip_address(answer[4][0]) for answer in answers))


def _numeric(host: str) -> bool:
    return ":" in host or host.replace(".", "").isdigit()


class Pinned(AbstractResolver):
    """Answers with the addresses that were checked, whatever is asked."""

    def __init__(self, addresses: Sequence[Address]) -> None:
        self._addresses = tuple(addresses)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """The addresses that were checked."""
        return [
            ResolveResult(
                hostname=host,
                host=str(address),
                port=port,
                family=socket.AF_INET if address.version == 4 else socket.AF_INET6,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in self._addresses
        ]

    async def close(self) -> None:
        """Nothing is held."""


def connector(addresses: Sequence[Address], **options: Any) -> aiohttp.TCPConnector:
    """Connections to these addresses and to no other, looked at once more as each socket is made."""
    pinned = frozenset(addresses)

    def make(info: tuple[Any, ...]) -> socket.socket:
        family, kind, protocol, _, address = info
        if ip_address(address[0]) not in pinned:
            raise OSError(None, "the address is not the one that was checked")
        made = socket.socket(family, kind, protocol)
        made.setblocking(False)
        return made

    return aiohttp.TCPConnector(
        resolver=Pinned(addresses), use_dns_cache=False, force_close=True, socket_factory=make, **options
    )


def network(text: str) -> Network:
    """A network as a flag gives it.

    Raises:
        ValueError: it is none.
    """
    return ip_network(text, strict=True)
