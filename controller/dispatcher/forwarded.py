"""The client behind trusted proxies: the right-most hop that is no trusted proxy.

Every proxy appends the address it saw, so what stands at the right was written last, by the nearest proxy. A hop counts
only as long as everything to its right is a trusted proxy, and nothing further left is even looked at: whatever a
client wrote there, it cannot change how the part is read that the proxies wrote. That holds for `Forwarded` too, whose
quoted strings, read from the left, would let an opening quote of the client's swallow what follows.

Of `X-Forwarded-For` and `Forwarded` only the one that `queue.forwardedHeader` names is read. A proxy that manages one
of them passes a client's own copy of the other on untouched; whoever believes that other one, because it is there or
comes first, believes the client.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from controller.dispatcher.addresses import KEPT, MAX_TEXT, Address, Network, NetworkTable, parse_address

#: A parameter of an element of `Forwarded` and what ends it. Values may be unquoted where RFC 7239 wants quotes
#: (`for=[2001:db8::1]`), as some proxies write them.
_PARAMETER: Final = re.compile(
    r"""[ \t]*(?:(?P<name>[!#$%&'*+.^_`|~0-9A-Za-z-]+)=(?P<value>"(?:[^"\\]|\\.)*"|[^\s",;"]*))?[ \t]*(?:;|\Z)""",
    re.DOTALL,
)
_ESCAPED: Final = re.compile(r"\\(.)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Hop:
    """One hop of a chain, as far as it could be read."""

    address: Address
    #: The address as text.
    ip: str
    #: Whether it is a proxy whose word counts.
    trusted: bool


class Trust:
    """Reads hops, and knows the proxies whose word counts. What it has read it keeps."""

    def __init__(self, networks: Sequence[Network]) -> None:
        self._table = NetworkTable(networks)
        self._kept: Callable[[str], Hop | None] = lru_cache(KEPT)(self._read)

    def hop(self, text: str) -> Hop | None:
        """The hop a text stands for; None if it is no address."""
        return self._kept(text) if len(text) <= MAX_TEXT else None

    def _read(self, text: str) -> Hop | None:
        address = parse_address(text)
        if address is None:
            return None
        return Hop(address, str(address), self._table.find(address) is not None)


def client_hop(peer: Hop, hops: Iterable[str], trust: Trust) -> Hop:
    """The right-most hop that is no trusted proxy.

    Args:
        peer: the socket's other end.
        hops: what the header says, right-most first.
        trust: the proxies whose word counts.

    Returns:
        The client; the last hop that could be read where the chain is malformed or has only trusted proxies.
    """
    if not peer.trusted:
        return peer
    last = peer
    for text in hops:
        found = trust.hop(text)
        if found is None:
            return last
        last = found
        if not last.trusted:
            return last
    return last


def x_forwarded_for(values: Sequence[str]) -> Iterator[str]:
    """The hops of `X-Forwarded-For`, right-most first.

    Args:
        values: of the repeated header, in order.
    """
    for value in reversed(values):
        end = len(value)
        while end >= 0:
            comma = value.rfind(",", 0, end)
            yield value[comma + 1 : end]
            end = comma


def forwarded(values: Sequence[str]) -> Iterator[str]:
    """The hops that the `for` of `Forwarded` (RFC 7239) names, right-most first; "" for an element that names none.

    Args:
        values: of the repeated header, in order.
    """
    for value in reversed(values):
        for element in _elements(value):
            yield for_of(element)


#: The readers by `queue.forwardedHeader`: header and function.
READERS: Final[Mapping[str, tuple[str, Callable[[Sequence[str]], Iterator[str]]]]] = {
    "XForwardedFor": ("X-Forwarded-For", x_forwarded_for),
    "Forwarded": ("Forwarded", forwarded),
}


def _elements(value: str) -> Iterator[str]:
    """The elements of a list with quoted strings, last first; "" for what lies left of a quote that nothing opens."""
    end = at = comma = len(value)
    while end >= 0:
        if comma >= at:
            comma = value.rfind(",", 0, at)
        closing = value.rfind('"', comma + 1, at)
        if closing < 0:
            yield value[comma + 1 : end]
            end = at = comma
            continue
        at = _opening(value, closing)
        if at < 0:
            yield ""
            return


def _opening(value: str, closing: int) -> int:
    """Where the quoted string begins that ends at `closing`, -1 if nowhere; escaped quotes are part of it."""
    at = closing
    while True:
        at = slash = value.rfind('"', 0, at)
        while slash > 0 and value[slash - 1] == "\\":
            slash -= 1
        if (at - slash) % 2 == 0:
            return at


def for_of(element: str) -> str:
    """The value of `for` in one element of `Forwarded`, without quotes; "" if it is malformed or has none, or two."""
    at, found = 0, None
    while at < len(element):
        parameter = _PARAMETER.match(element, at)
        if parameter is None:
            return ""
        if (parameter["name"] or "").lower() == "for":
            if found is not None:
                return ""
            found = parameter["value"]
        at = parameter.end()
    return _unquoted(found or "")


def _unquoted(value: str) -> str:
    return _ESCAPED.sub(r"\1", value[1:-1]) if value.startswith('"') else value
