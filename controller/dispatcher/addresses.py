"""Addresses and networks: how they are read, what counts as one network, and which of several networks holds one."""

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

#: Providers hand every customer a /64 at least, so one customer is one network.
IPV6_SHARE_PREFIX: Final = 64
#: Things read once that are kept: the same clients come again and again, and reading an address takes microseconds.
KEPT: Final = 8192
#: No address is longer, with brackets, quotes, zone and port. Longer text is not looked at, nor kept.
MAX_TEXT: Final = 100

_MAPPED: Final = IPv6Network("::ffff:0:0/96")
#: The prefix under which IPv4 clients reach an IPv6-only cluster through NAT64 or SIIT (RFC 6052, 2.1).
_NAT64: Final = IPv6Network("64:ff9b::/96")
#: `192.0.2.1`, `192.0.2.1:80`, `[2001:db8::1]`, `[2001:db8::1]:80`, `2001:db8::1`, `fe80::1%eth0`. A port may be
#: obfuscated (RFC 7239, 6). A bare IPv6 address has no port: nothing tells it from the address.
_NODE: Final = re.compile(
    r"(?:\[(?P<bracketed>[0-9A-Fa-f:.]+)(?:%[^\]]*)?\]|(?P<v4>[0-9.]+))(?::(?:[0-9]{1,5}|_[0-9A-Za-z._-]+))?"
    r"|(?P<v6>[0-9A-Fa-f:.]+)(?:%[^\s\]]+)?"
)


def parse_address(text: str) -> Address | None:
    """An address as it stands in a header or at a socket: with port, brackets, quotes or zone.

    IPv4 in IPv6 clothes is IPv4: mapped addresses always, and those under NAT64's well-known prefix where they hold a
    public address (it must not hold another, RFC 6052, 3.1, so a private one there is a forgery). Otherwise all IPv4
    clients would be one /64.

    Returns:
        None for whatever is no address: `unknown`, an obfuscated name, a host name, nothing.
    """
    return _parse(text) if len(text) <= MAX_TEXT else None


@lru_cache(KEPT)
def _parse(text: str) -> Address | None:
    found = _NODE.fullmatch(text.strip().strip('"'))
    if found is None:
        return None
    try:
        address = ip_address(found["bracketed"] or found["v4"] or found["v6"])
    except ValueError:
        return None
    return _unmapped(address)


def _unmapped(address: Address) -> Address:
    if isinstance(address, IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address in _NAT64:
        inner = IPv4Address(int(address) & 0xFFFFFFFF)
        return inner if inner.is_global else address
    return address


def share_key(address: Address) -> str:
    """What shares are counted by: nobody gains a turn by walking through the /64 that is theirs."""
    if isinstance(address, IPv4Address):
        return str(address)
    return str(IPv6Network((address, IPV6_SHARE_PREFIX), strict=False))


def parse_network(text: str, field: str) -> Network:
    """A network in CIDR notation; a bare address is a network of one.

    Args:
        text: what stands in the spec.
        field: where it stands there, for the message.

    Raises:
        ValueError: it is no network; the message names the field and the text.
    """
    try:
        network = ip_network(text.strip(), strict=False)
    except ValueError as error:
        raise ValueError(f"{field}: {error}; write 10.0.0.0/8, say") from error
    if isinstance(network, IPv6Network) and network.subnet_of(_MAPPED):
        # Addresses are unmapped before they are compared, so their networks must be too.
        inner = IPv4Address(int(network.network_address) & 0xFFFFFFFF)
        return IPv4Network((inner, network.prefixlen - 96))
    return network


def parse_networks(texts: Iterable[str], field: str) -> tuple[Network, ...]:
    """The networks of a list.

    Raises:
        ValueError: one is none; the message names the field with its index.
    """
    return tuple(parse_network(text, f"{field}[{index}]") for index, text in enumerate(texts))


class NetworkTable:
    """Networks in order, compiled: a look-up among 256 of them takes microseconds, not a tenth of a millisecond."""

    def __init__(self, networks: Sequence[Network]) -> None:
        self._entries: dict[int, list[tuple[int, int, int]]] = {4: [], 6: []}
        for index, network in enumerate(networks):
            entry = (int(network.netmask), int(network.network_address), index)
            self._entries[network.version].append(entry)

    def find(self, address: Address) -> int | None:
        """Index of the first network that holds the address."""
        number = int(address)
        return next((index for mask, net, index in self._entries[address.version] if number & mask == net), None)
