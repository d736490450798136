"""Notices when nearly all requests come from one address: then many users may be taken for one.

That happens behind a proxy that is not trusted, and behind source address translation: kube-proxy puts a node's address
in place of the client's unless `externalTrafficPolicy` is Local. To a fair queue it is the worst fault there is, and
nobody sees it. A sliding count over minutes, bounded in memory, finds it.
"""

from collections import deque
from dataclasses import dataclass, field
from typing import Final

from controller.dispatcher.forwarded import Hop
from controller.dispatcher.identity import Identifier

#: The count slides over so many seconds, in steps of a tenth.
WINDOW_SECONDS: Final = 600.0
_STEPS: Final = 10
#: With fewer requests in the window one busy user is nothing unusual.
MIN_REQUESTS: Final = 200
#: A client dominates with more than this share of the requests.
MAX_SHARE: Final = 0.8
#: The header that says for whom a request was forwarded counts as a habit from this share of a client's requests on.
HABIT: Final = 0.5
#: The same warning comes again after this.
QUIET_SECONDS: Final = 3600.0
#: Clients counted one by one in a step; one that dominates is sure to be among the first.
KEPT_CLIENTS: Final = 1024


@dataclass(slots=True)
class _Count:
    requests: int = 0
    #: Of them, those that say for whom they were forwarded, which changed nothing.
    unheard: int = 0


@dataclass(slots=True)
class _Step:
    end: float
    total: int = 0
    clients: dict[str, _Count] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Dominant:
    """The most frequent client of the window."""

    #: An address, or an address and a name.
    client: str
    requests: int
    total: int
    unheard: int

    @property
    def share(self) -> float:
        """Of all requests, 0 to 1."""
        return self.requests / self.total

    @property
    def forwards(self) -> bool:
        """Whether its requests usually say for whom they were forwarded."""
        return self.unheard >= HABIT * self.requests


class Dominance:
    """The sliding count. Times are seconds of the caller's clock."""

    def __init__(self) -> None:
        self._steps: deque[_Step] = deque()
        self._start = self._end = float("-inf")
        self._quiet_until = float("-inf")

    def count(self, client: str, now: float, *, unheard: bool) -> bool:
        """Count a request.

        Args:
            client: the address, or where users behind it are told apart, address and name (`Identity.flow`).
            now: seconds.
            unheard: whether it says for whom it was forwarded, which changed nothing.

        Returns:
            Whether a step of the window has begun with it, which is the time to ask `warning`.
        """
        begun = not self._start <= now < self._end
        if begun:
            self._begin(now)
        step = self._steps[-1]
        step.total += 1
        count = step.clients.get(client)
        if count is None:
            if len(step.clients) >= KEPT_CLIENTS:
                return begun
            count = step.clients[client] = _Count()
        count.requests += 1
        if unheard:
            count.unheard += 1
        return begun

    def _begin(self, now: float) -> None:
        if now < self._start:
            # The clock was set back: what was counted lies in the future, where nothing slides.
            self._steps.clear()
            self._quiet_until = float("-inf")
        self._start, self._end = now, now + WINDOW_SECONDS / _STEPS
        self._steps.append(_Step(self._end))
        self._drop(now)

    def _drop(self, now: float) -> None:
        while self._steps and self._steps[0].end <= now - WINDOW_SECONDS:
            self._steps.popleft()

    def most_frequent(self, now: float) -> Dominant | None:
        """The most frequent client of the window that ends now; None without requests."""
        self._drop(now)
        sums: dict[str, _Count] = {}
        for step in self._steps:
            for client, count in step.clients.items():
                into = sums.setdefault(client, _Count())
                into.requests += count.requests
                into.unheard += count.unheard
        if not sums:
            return None
        client, most = max(sums.items(), key=lambda item: item[1].requests)
        return Dominant(client, most.requests, sum(step.total for step in self._steps), most.unheard)

    def share(self, now: float) -> float:
        """Share of the most frequent client in the window, 0 to 1; 0 without requests."""
        found = self.most_frequent(now)
        return 0.0 if found is None else found.share

    def warning(self, now: float, identifier: Identifier) -> str | None:
        """What to tell people if many users may be taken for one; at most once in `QUIET_SECONDS`.

        Args:
            now: seconds.
            identifier: knows the trusted proxies and the header in which they name their clients.
        """
        if now < self._quiet_until:
            return None
        found = self.most_frequent(now)
        if found is None or found.total < MIN_REQUESTS or found.share <= MAX_SHARE:
            return None
        hop = identifier.trust.hop(found.client)
        advice = None if hop is None else _advice(found, hop, identifier.chain_header)
        if advice is None:
            return None
        self._quiet_until = now + QUIET_SECONDS
        what = f"{found.share:.0%} of the last {found.total} requests came from {found.client}"
        return f"{what}, which counts as one user; {advice}"


def _advice(found: Dominant, hop: Hop, header: str) -> str | None:
    """What the address may be and what to do; None for a client that is merely busy.

    An address that anybody on the internet may have is never called a proxy on its own word: it says only what to do
    if it is one.
    """
    if hop.trusted:
        which = "says for whom in another way" if found.forwards else "does not say for whom"
        return (
            f"it is in queue.trustedNetworks but {which}: let that proxy send {header}, or set queue.forwardedHeader "
            "to the header that it does manage"
        )
    if found.forwards:
        return (
            "its requests carry X-Forwarded-For or Forwarded, which is not believed. If it is a proxy of yours, and "
            "only then, add it to queue.trustedNetworks"
        )
    if not hop.address.is_global:
        return (
            "if many users are behind it, a proxy or address translation hides them. A proxy: let it send "
            f"{header} and add it to queue.trustedNetworks. A Service: set externalTrafficPolicy: Local. Neither: tell "
            "the users apart by API keys or queue.userHeader"
        )
    return None
