"""Who is the user: client address and window.

The address is the right-most hop that no trusted proxy vouches for. A header is believed only as far as the chain of
trusted peers reaches; what an untrusted peer sent says nothing.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

from controller.scaling.readings import window_number

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

#: Providers hand every customer a /64 at least, so one customer is one network.
IPV6_SHARE_PREFIX: Final = 64
#: Addresses whose reading is kept: the same clients come again and again, and reading one takes ten microseconds.
KEPT_ADDRESSES: Final = 8192


@dataclass(frozen=True, slots=True)
class Identity:
    """The user a request belongs to."""

    #: `user_{ip}_{window}`
    user: str
    #: What shares are counted by: an IPv4 address or an IPv6 /64.
    network: str
    ip: str
    window: int


def parse_networks(texts: Iterable[str]) -> tuple[Network, ...]:
    """The trusted networks.

    Raises:
        ValueError: one is not a CIDR; the message names it.
    """
    return tuple(ip_network(text, strict=False) for text in texts)


@lru_cache(KEPT_ADDRESSES)
def parse_address(text: str) -> Address | None:
    """An address as it stands in a header: with port, brackets, quotes or zone; IPv4-mapped IPv6 is unmapped."""
    text = text.strip().strip('"')
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def client_address(peer: str, forwarded_for: Sequence[str], trusted: Sequence[Network]) -> Address | None:
    """The right-most untrusted hop.

    Args:
        peer: address of the socket's other end.
        forwarded_for: the X-Forwarded-For headers in order; each may hold several hops.
        trusted: networks of proxies whose word counts.

    Returns:
        The client; the last hop that could be read where the chain is malformed; None for an unreadable peer.
    """
    address = parse_address(peer)
    if address is None or not is_trusted(address, trusted):
        return address
    hops = [hop for header in forwarded_for for hop in header.split(",")]
    for hop in reversed(hops):
        found = parse_address(hop)
        if found is None:
            return address
        address = found
        if not is_trusted(address, trusted):
            return address
    return address


def is_trusted(address: Address | None, trusted: Sequence[Network]) -> bool:
    """Whether the word of this hop counts."""
    if address is None:
        return False
    return any(address.version == network.version and address in network for network in trusted)


@lru_cache(KEPT_ADDRESSES)
def share_key(address: Address) -> str:
    """What shares are counted by: nobody gains a turn by walking through the /64 that is theirs."""
    if isinstance(address, IPv4Address):
        return str(address)
    return str(IPv6Network((address, IPV6_SHARE_PREFIX), strict=False))


def identify(
    address: Address, now: float, *, origin: float, window_seconds: int, share_by: str = "Network"
) -> Identity:
    """The user of an address at a time.

    Args:
        address: the client.
        now: Unix seconds.
        origin: start of window 1, Unix seconds.
        window_seconds: length of a window.
        share_by: `Network`, or `User` for the literal form in which every (address, window) has its own share.
    """
    window = window_number(now, origin=origin, window_seconds=window_seconds)
    user = f"user_{address}_{window}"
    return Identity(user, user if share_by == "User" else share_key(address), str(address), window)
