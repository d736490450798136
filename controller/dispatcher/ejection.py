"""Passive health: a server that fails the tasks it is given is left alone for a while. Pure.

What Envoy calls outlier detection: so many failures in a row eject a server; the n-th ejection in a row lasts n times
as long as the first; never more than a share of the servers is ejected, so that one bad kind of request cannot take
the pool away from everybody. After its time a server is on probation: it gets work again, and its first failure ejects
it anew.
"""

from dataclasses import dataclass

from controller.api.server import Ejection


@dataclass(slots=True)
class PassiveHealth:
    """What a server's answers to tasks say of it. Times are seconds of the caller's clock."""

    #: Failures and answers with 5xx in a row.
    failures: int = 0
    #: When it gets work again; None: it is not ejected.
    until: float | None = None
    #: Ejections in a row.
    ejections: int = 0
    #: Ejections ever.
    total: int = 0
    #: It is back from an ejection and has not done anything well yet.
    probation: bool = False
    #: Since when nothing failed.
    clean_since: float = 0.0

    @property
    def ejected(self) -> bool:
        """Gets no work for now."""
        return self.until is not None

    def failed(self, now: float, policy: Ejection) -> bool:
        """A task failed here.

        Returns:
            Whether the server is to be ejected, if the rest of the pool allows it.
        """
        self._decay(now, policy)
        self.clean_since = now
        if self.ejected:
            return False
        self.failures += 1
        return self.probation or self.failures >= policy.consecutive_failures

    def succeeded(self) -> None:
        """A task went well here."""
        self.failures = 0
        if not self.ejected:
            self.probation = False

    def eject(self, now: float, policy: Ejection) -> None:
        """Give it no work for a time that grows with each ejection in a row."""
        self.ejections += 1
        self.total += 1
        self.failures, self.probation = 0, False
        self.until = now + _length(self.ejections, policy)

    def readmit(self, now: float) -> None:
        """Its time is over, or the pool cannot do without it."""
        self.until, self.probation, self.clean_since = None, True, now

    def _decay(self, now: float, policy: Ejection) -> None:
        """Forget one ejection for each time as long as it lasted that went by without a failure."""
        if self.ejected:
            return
        while self.ejections and now - self.clean_since >= (length := _length(self.ejections, policy)):
            self.ejections -= 1
            self.clean_since += length


def _length(ejections: int, policy: Ejection) -> float:
    return float(min(policy.base_seconds * ejections, policy.max_seconds))


def may_be_ejected(able: int, policy: Ejection) -> int:
    """How many servers may be ejected at a time.

    Args:
        able: servers that could work: Ready, alive and not draining; ejected ones included.
        policy: `server.ejection`.

    Returns:
        At most `maxEjectedPercent` of them, rounded down, and never all.
    """
    return max(0, min(able - 1, able * policy.max_ejected_percent // 100))
