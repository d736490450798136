"""Which server a network belongs to. Pure.

Without affinity, rendezvous hashing gives a network the same server for as long as that lasts, and nothing has to be
remembered. With affinity a network's tasks go there too, and then the networks have to be spread evenly: by hash, three
of four servers may stand idle while the networks that happen to share the fourth queue for it.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from controller.dispatcher.servers import Server

#: A network that asked for nothing for so long may find itself at another server.
IDLE_SECONDS: Final = 3600.0
#: Networks remembered; of more, those are forgotten that asked for nothing the longest.
REMEMBERED: Final = 100_000


class _Home(NamedTuple):
    #: UID of the server.
    uid: str
    #: When the network last asked for something.
    used: float


class Homes:
    """Network -> server, for the networks that were active lately. Every operation is O(1)."""

    def __init__(self, remembered: int = REMEMBERED) -> None:
        self._remembered = remembered
        #: Least recently used first.
        self._homes: OrderedDict[str, _Home] = OrderedDict()
        self._guests: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._homes)

    def guests(self, uid: str) -> int:
        """Networks at home at this server."""
        return self._guests.get(uid, 0)

    def find(self, network: str, now: float) -> str | None:
        """UID of the network's server, which it keeps for another hour; None if it has none."""
        self._expire(now)
        home = self._homes.get(network)
        if home is None:
            return None
        self._homes[network] = _Home(home.uid, now)
        self._homes.move_to_end(network)
        return home.uid

    def move(self, network: str, uid: str, now: float) -> None:
        """The network's server is this one from now on."""
        self._forget(network)
        self._homes[network] = _Home(uid, now)
        self._guests[uid] = self._guests.get(uid, 0) + 1
        while len(self._homes) > self._remembered:
            self._forget(next(iter(self._homes)))

    def _expire(self, now: float) -> None:
        while self._homes:
            network, home = next(iter(self._homes.items()))
            if now - home.used <= IDLE_SECONDS:
                return
            self._forget(network)

    def _forget(self, network: str) -> None:
        home = self._homes.pop(network, None)
        if home is None:
            return
        self._guests[home.uid] -= 1
        if not self._guests[home.uid]:
            del self._guests[home.uid]


def settle(network: str, servers: "Iterable[Server]", homes: Homes) -> "Server | None":
    """The server for a network that has none: with the fewest networks for what it can do, then by rendezvous.

    Args:
        network: the network.
        servers: those it may go to.
        homes: where the others are.
    """

    def crowd(server: "Server") -> float:
        spec = server.spec
        return (homes.guests(spec.uid) + 1) / (spec.slots * spec.speed * server.share)

    return min(servers, key=lambda s: (crowd(s), _inverse(_weight(network, s.spec.name))), default=None)


def rendezvous(network: str, servers: "Iterable[Server]") -> "Server | None":
    """The server of a network by hash alone (highest random weight, Thaler and Ravishankar 1996).

    A server that comes or goes moves only its own share of the networks.
    """
    return max(servers, key=lambda s: _weight(network, s.spec.name), default=None)


def _weight(network: str, server: str) -> bytes:
    return hashlib.blake2b(f"{network}\0{server}".encode(), digest_size=8).digest()


def _inverse(weight: bytes) -> int:
    return -int.from_bytes(weight)
