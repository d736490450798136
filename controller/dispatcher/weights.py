"""`queue.weights`, compiled: whose share is larger or smaller than everybody's."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from controller.api.queue import Weight
from controller.dispatcher.addresses import IPV6_SHARE_PREFIX, KEPT, Address, Network, NetworkTable, parse_network

#: Everybody's.
PLAIN: Final = 1.0


class Shares(NamedTuple):
    """The weights of one request, at both levels of the queue."""

    #: Of its network among the networks; with `shareBy: User` of its user among all.
    network: float
    #: Of its user among the users of the network.
    user: float


class Weights:
    """The weights of a pool."""

    def __init__(self, weights: Sequence[Weight], *, share_by: str = "Network") -> None:
        """Compile them.

        Raises:
            ValueError: an entry names both a network and a key, or neither, or no network; the message names the field.
        """
        self._by_user = share_by == "User"
        self._networks: list[tuple[int, float]] = []
        #: Place in the list and weight; the first entry of a key counts.
        self._keys: dict[str, tuple[int, float]] = {}
        self._table = NetworkTable(self._sort(weights))
        self._of_network: Callable[[Address], tuple[int, float] | None] = lru_cache(KEPT)(self._find)

    def _sort(self, weights: Sequence[Weight]) -> list[Network]:
        """Take the entries in; returns the networks in order."""
        networks: list[Network] = []
        for index, entry in enumerate(weights):
            if entry.api_key is not None and entry.network is None:
                self._keys.setdefault(entry.api_key, (index, entry.weight))
            elif entry.network is not None and entry.api_key is None:
                networks.append(self._network(entry.network, f"queue.weights[{index}].network"))
                self._networks.append((index, entry.weight))
            else:
                raise ValueError(f"queue.weights[{index}]: set network or apiKey, one of them")
        return networks

    def _network(self, text: str, field: str) -> Network:
        network = parse_network(text, field)
        if not self._by_user and network.version == 6 and network.prefixlen > IPV6_SHARE_PREFIX:
            raise ValueError(f"{field}: {text} is a part of a network, whose share has one weight; write a /64 or more")
        return network

    def _find(self, address: Address) -> tuple[int, float] | None:
        found = self._table.find(address)
        return None if found is None else self._networks[found]

    def weight_of(self, address: Address, key: str | None) -> Shares:
        """The weights of a request.

        With `shareBy: Network` its network has the weight of the first entry with a network that holds its address, and
        its user, among the network's, that of its key. With `shareBy: User` there is one level, and the first entry of
        all that fits counts.

        Args:
            address: of the client.
            key: name of the API key it came with, if any.
        """
        network, mine = self._of_network(address), self._keys.get(key) if key is not None else None
        if self._by_user:
            fits = [found for found in (network, mine) if found is not None]
            return Shares(min(fits)[1] if fits else PLAIN, PLAIN)
        return Shares(PLAIN if network is None else network[1], PLAIN if mine is None else mine[1])
