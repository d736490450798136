"""How fair the queue really is, measured against an ideal that the queue itself knows nothing of. Pure.

The ideal is generalised processor sharing (Parekh, Gallager: IEEE/ACM ToN 1993): whatever the servers are given to do
is due, in equal parts or by weight, to the networks that have tasks waiting at that moment. Each network's service is
compared with what was due to it while it waited, and Jain's index (Jain, Chiu, Hawe: DEC-TR-301, 1984) makes one
figure of it: 1 when everybody got the same part of what was due, 1/n when one of n got everything.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

#: After so many seconds what happened before weighs half.
HALF_LIFE_SECONDS: Final = 300.0
#: A network counts once so many tasks' worth was due to it; before that, whole tasks are too coarse a measure.
LEAST_DUE: Final = 3.0


@dataclass(slots=True)
class _Account:
    """A network that has tasks waiting."""

    weight: float
    #: Tasks that wait.
    waiting: int
    #: Reading of the ideal's clock up to which `due` is booked.
    since: float
    due: float = 0.0
    got: float = 0.0


class FairnessMeter:
    """Books service and what was due. All but `index` and `worst` cost the same however many networks wait."""

    def __init__(self, now: float = 0.0) -> None:
        self._accounts: dict[str, _Account] = {}
        #: Sum of the waiting networks' weights.
        self._weights = 0.0
        #: Service due to a network of weight 1 that has been waiting since the beginning.
        self._clock = 0.0
        self._halved = now

    def waits(self, network: str, weight: float = 1.0) -> None:
        """A task of this network waits from now on."""
        account = self._accounts.get(network)
        if account is None:
            self._accounts[network] = _Account(weight, 1, self._clock)
            self._weights += weight
        else:
            account.waiting += 1

    def leaves(self, network: str) -> None:
        """A task of this network waits no more: it was started, after `served`, or taken out.

        Raises:
            KeyError: none waited.
        """
        account = self._accounts[network]
        account.waiting -= 1
        if not account.waiting:
            del self._accounts[network]
            self._weights = self._weights - account.weight if self._accounts else 0.0

    def served(self, network: str, amount: float) -> None:
        """Servers were given so much to do for this network, or so much more than was thought (negative: less)."""
        if self._weights:
            self._clock += amount / self._weights
        account = self._accounts.get(network)
        if account is not None:
            account.got += amount

    def index(self, now: float) -> float:
        """Jain's index over the networks that wait now; 1 when fewer than two can be compared."""
        self._fade(now)
        return jain(self._shares())

    def worst(self, now: float) -> float:
        """The smallest part that a waiting network got of what was due to it; 1 when none can be judged."""
        self._fade(now)
        return min(self._shares(), default=1.0)

    def _shares(self) -> Iterator[float]:
        for account in self._accounts.values():
            self._book(account)
            if account.due >= LEAST_DUE:
                yield max(0.0, account.got) / account.due

    def _book(self, account: _Account) -> None:
        account.due += (self._clock - account.since) * account.weight
        account.since = self._clock

    def _fade(self, now: float) -> None:
        """Let the past weigh less, so that the figure tells of the last minutes and not of the last week."""
        if now - self._halved < HALF_LIFE_SECONDS:
            return
        factor = 0.5 ** ((now - self._halved) / HALF_LIFE_SECONDS)
        self._halved = now
        for account in self._accounts.values():
            self._book(account)
            account.due *= factor
            account.got *= factor


def jain(shares: Iterable[float]) -> float:
    """Jain's fairness index of non-negative numbers: (sum x)^2 / (n sum x^2); 1 for none, or for zeros only."""
    values = list(shares)
    squares = sum(value * value for value in values)
    return sum(values) ** 2 / (len(values) * squares) if squares else 1.0
