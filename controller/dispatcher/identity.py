"""Who is the user: client address, second level, and window.

The address is the right-most hop that is no trusted proxy (`forwarded`). Behind one address, users are told apart by
API key (`apikeys`) or by a header. What a request is thereby known by is an `Identity`.
"""

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal, NamedTuple

from multidict import CIMultiDict, CIMultiDictProxy, istr

from controller.api.queue import Queue
from controller.dispatcher.addresses import KEPT, parse_networks, share_key
from controller.dispatcher.apikeys import ApiKeys
from controller.dispatcher.forwarded import READERS, Hop, Trust, client_hop
from controller.dispatcher.weights import Weights
from controller.scaling.readings import window_number

Headers = CIMultiDict[str] | CIMultiDictProxy[str]
#: How a user was told apart, as it stands in the records.
Method = Literal["ip_time_window", "ip_key_time_window", "ip_header_time_window"]

#: Marks a name that a header claims. The names of API keys cannot have it, so no claim passes for a key.
CLAIMED: Final = "~"
#: Headers whose values are secrets: names made of them are always digests, since names stand in records and answers.
SECRET_HEADERS: Final = frozenset({"authorization", "proxy-authorization", "cookie", "x-api-key"})

_PLAIN: Final = re.compile(r"[A-Za-z0-9_.-]{1,63}")
_X_FORWARDED_FOR: Final = istr("X-Forwarded-For")
_FORWARDED: Final = istr("Forwarded")


@dataclass(frozen=True, slots=True)
class Identity:
    """The user a request belongs to."""

    #: `user_{ip}_{window}`, or `user_{ip}+{name}_{window}`.
    user: str
    #: The user without the window, by which the users of a network take turns: an hour's end changes nothing.
    flow: str
    #: What shares are counted by: an IPv4 address or an IPv6 /64; with `shareBy: User` the user.
    network: str
    #: What limits are counted by: the network, and the name if it is proven. A name that anybody can make up, or
    #: another address of the same /64, opens no second allowance.
    quota: str
    ip: str
    window: int
    #: Of the second level: an API key's name, or `~` and what the header says. None without.
    name: str | None
    method: Method
    network_weight: float
    user_weight: float


class Caller(NamedTuple):
    """Who sent a request, and how that is known."""

    identity: Identity
    #: Whether it came through a proxy whose word counts.
    proxied: bool
    #: Whether it says for whom it was forwarded, which changed nothing: an untrusted proxy's word, or a client's lie.
    unheard: bool


def claimed_name(values: Sequence[str], *, secret: bool = False) -> str | None:
    """The name that a header gives its user, in letters that are safe in ids, labels and file names.

    Args:
        values: of the header.
        secret: whether they must not be seen.

    Returns:
        `~` and the value, or a digest of one that is long or has other characters. None for no value, and for several
        different ones (a proxy's beside the client's): nobody can tell which of them counts.
    """
    said = {value.strip() for value in values}
    if len(said) != 1:
        return None
    (value,) = said
    if not value or "," in value:
        return None
    if not secret and _PLAIN.fullmatch(value):
        return CLAIMED + value
    return CLAIMED + "sha256-" + hashlib.sha256(value.encode(errors="surrogatepass")).hexdigest()[:32]


class Identifier:
    """Tells users apart as the settings of one pool say. What it has made out it keeps: clients come again."""

    def __init__(self, queue: Queue, origin: float) -> None:
        """Compile the settings.

        Args:
            queue: the settings.
            origin: start of window 1, Unix seconds.

        Raises:
            ValueError: a network cannot be read; the message names the field.
        """
        self.trust = Trust(parse_networks(queue.trusted_networks, "queue.trustedNetworks"))
        self._weights = Weights(queue.weights, share_by=queue.share_by)
        header, self._hops = READERS[queue.forwarded_header]
        #: In which trusted proxies name their clients.
        self.chain_header, self._key_header = istr(header), istr(queue.api_key_header)
        self._user_header = None if queue.user_header is None else istr(queue.user_header)
        secrets = SECRET_HEADERS | {queue.api_key_header.lower()}
        self._secret = (queue.user_header or "").lower() in secrets
        self._by_user = queue.share_by == "User"
        self._origin, self._seconds = origin, queue.window_seconds
        self._window, self._begin, self._end = 0, 0.0, 0.0
        self._kept: Callable[[Hop, str | None, Method, bool, int], Identity] = lru_cache(KEPT)(self._make)

    def identify(self, peer: str, headers: Headers, keys: ApiKeys, now: float) -> Caller | None:
        """Who sent a request.

        Args:
            peer: address of the socket's other end.
            headers: of the request.
            keys: the API keys known.
            now: Unix seconds.

        Returns:
            None if the peer's address cannot be read.
        """
        near = client = self.trust.hop(peer)
        if near is None or client is None:
            return None
        if near.trusted:
            client = client_hop(near, self._hops(headers.getall(self.chain_header, ())), self.trust)
        name, method = self._second_level(headers, keys, proxied=near.trusted)
        proven = method == "ip_key_time_window" or near.trusted
        identity = self._kept(client, name, method, proven, self._window_at(now))
        unheard = client is near and (_X_FORWARDED_FOR in headers or _FORWARDED in headers)
        return Caller(identity, near.trusted, unheard)

    def _second_level(self, headers: Headers, keys: ApiKeys, *, proxied: bool) -> tuple[str | None, Method]:
        """The name behind the address. A key that is known wins over the header.

        Inside a network anybody may claim a name: all of them share what is the network's. With `shareBy: User` a name
        is a share of its own, so it must come from a trusted proxy.
        """
        if keys:
            name = keys.name_of(headers.getall(self._key_header, ()))
            if name is not None:
                return name, "ip_key_time_window"
        if self._user_header is not None and (proxied or not self._by_user):
            name = claimed_name(headers.getall(self._user_header, ()), secret=self._secret)
            if name is not None:
                return name, "ip_header_time_window"
        return None, "ip_time_window"

    def _window_at(self, now: float) -> int:
        if not self._begin <= now < self._end:
            self._window = window_number(now, origin=self._origin, window_seconds=self._seconds)
            self._begin = self._origin + (self._window - 1) * self._seconds
            self._end = self._begin + self._seconds
        return self._window

    def _make(self, client: Hop, name: str | None, method: Method, proven: bool, window: int) -> Identity:
        flow = client.ip if name is None else f"{client.ip}+{name}"
        network = share_key(client.address)
        user = f"user_{flow}_{window}"
        weights = self._weights.weight_of(client.address, name)  # a claimed name is no key's
        return Identity(
            user=user,
            flow=flow,
            network=user if self._by_user else network,
            quota=f"{network}+{name}" if name is not None and proven else network,
            ip=client.ip,
            window=window,
            name=name,
            method=method,
            network_weight=weights.network,
            user_weight=weights.user,
        )
