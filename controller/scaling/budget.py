"""The budget's brake on purchases. It looks ahead, and it never stops a server that runs.

A purchase is held against what its period will have cost with it: what was spent, what the servers that exist are
certain to cost yet, and the new ones for at least their minimum lifetime. Certain is the minimum lifetime of each
server and, where the pool is to grow, the whole rest of the period for the minimum: growth may not eat what the minimum
needs.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from math import floor
from typing import Final, Literal

from controller.api.budget import Budget, Cap
from controller.scaling.actions import Verdict
from controller.scaling.periods import DAY, MONTH, Period
from controller.scaling.snapshot import ServerState, ServerView, Snapshot

#: Beyond the soft cap, time between two purchases, of one server each.
SOFT_CAP_PAUSE_SECONDS: Final = 600.0
#: A CNY counts as within a cap if it misses by less than what is shown.
_SLACK: Final = 1e-9

Name = Literal["Hourly", "Daily", "Monthly"]


@dataclass(frozen=True, slots=True)
class Line:
    """One period of the budget and what it is certain to cost."""

    name: Name
    cap: Cap
    #: CNY that the period costs without another purchase; for `Hourly`, CNY per hour now.
    certain: float
    #: CNY that one more server of the offer adds.
    each: float

    def fits(self, cap: float | None) -> int | None:
        """How many more servers fit under a cap; None: it is not set."""
        if cap is None:
            return None
        room = cap - self.certain + _SLACK
        return max(0, floor(room / self.each)) if self.each > 0 else 0 if room < 0 else 10**9

    def above(self, level: Literal["hard", "soft"]) -> str:
        """The arithmetic of a refusal."""
        unit = "CNY/h" if self.name == "Hourly" else "CNY"
        cap = self.cap.hard if level == "hard" else self.cap.soft
        with_it = f"{self.certain:.2f} + {self.each:.2f} {unit}"
        return f"{with_it} would exceed budget.{self.name.lower()}.{level} {cap:g}"


def committed(server: ServerView, snapshot: Snapshot, *, until: float, now: float) -> float:
    """CNY that a server is certain to cost between now and a time: its drain, or its minimum lifetime.

    The lifetime counts from Ready, so that of a server being deployed is counted from now on.
    """
    down = snapshot.spec.scaling.down
    if server.state is ServerState.TERMINATING:
        seconds = 0.0
    elif server.draining:
        seconds = float(down.drain_timeout_seconds)
    else:
        seconds = (now if server.ready_at is None else server.ready_at) + down.min_lifetime_seconds - now
    return server.price_per_hour * max(0.0, min(seconds, until - now)) / 3600.0


def kept_by_minimum(snapshot: Snapshot) -> list[ServerView]:
    """The servers that scale-down will leave: the cheapest, as many as the minimum."""
    staying = [s for s in snapshot.servers if not s.leaving]
    return sorted(staying, key=lambda s: (s.price_per_hour, s.name))[: snapshot.spec.replicas.min]


def lines(snapshot: Snapshot, price: float, *, grows: bool, now: float) -> list[Line]:
    """The periods that have a cap, with what they are certain to cost.

    Args:
        snapshot: the pool.
        price: CNY per hour of a new server.
        grows: whether it is bought above the minimum, so that the minimum's own need comes first.
        now: Unix seconds.
    """
    budget, spent = snapshot.spec.budget, snapshot.spent
    found = []
    if budget.hourly is not None:
        found.append(Line("Hourly", budget.hourly, sum(s.price_per_hour for s in snapshot.servers), price))
    capped: tuple[tuple[Name, Cap | None, Period, float], ...] = (
        ("Daily", budget.daily, DAY, spent.today),
        ("Monthly", budget.monthly, MONTH, spent.this_month),
    )
    lifetime = float(snapshot.spec.scaling.down.min_lifetime_seconds)
    for name, cap, period, so_far in capped:
        if cap is not None:
            end = period.end(period.name(now))
            certain = so_far + _still_certain(snapshot, until=end, grows=grows, now=now)
            found.append(Line(name, cap, certain, price * min(lifetime, end - now) / 3600.0))
    return found


def _still_certain(snapshot: Snapshot, *, until: float, grows: bool, now: float) -> float:
    """CNY that the servers that exist are certain to cost between now and a time."""
    kept = {s.name for s in kept_by_minimum(snapshot)} if grows else set()
    return sum(
        s.price_per_hour * (until - now) / 3600.0 if s.name in kept else committed(s, snapshot, until=until, now=now)
        for s in snapshot.servers
    )


def allow(snapshot: Snapshot, price: float, count: int, *, why: str, grows: bool, now: float) -> int | Verdict:
    """How many of the servers that are wanted may be bought now, or the cap that forbids it.

    The hard cap stops every purchase, the minimum's too. The soft cap leaves the minimum alone and slows growth: what
    fits under it is bought as ever, beyond it one server every ten minutes.

    Args:
        snapshot: the pool.
        price: CNY per hour of one of them.
        count: how many are wanted, at least 1.
        why: the words for why they are wanted.
        grows: whether they are wanted above the minimum.
        now: Unix seconds.
    """
    against = lines(snapshot, price, grows=grows, now=now)
    for line in against:
        count = min(count, _or(line.fits(line.cap.hard), count))
        if count == 0:
            return Verdict("Hold", f"{line.name}HardCap", f"{why}; {line.above('hard')}")
    if not grows:
        return count
    for line in against:
        if _or(line.fits(line.cap.soft), count) == 0:
            return _beyond_soft(snapshot, line, why, now=now)
    return min([count, *(_or(line.fits(line.cap.soft), count) for line in against)])


def _beyond_soft(snapshot: Snapshot, line: Line, why: str, *, now: float) -> int | Verdict:
    left = next_growth(snapshot) - now
    if left <= 0:
        return 1
    return Verdict("Hold", f"{line.name}SoftCap", f"{why}; {line.above('soft')}; one more in {left:.0f} s")


def next_growth(snapshot: Snapshot) -> float:
    """Unix seconds from which on a server may be bought beyond the soft cap. Purchases that failed do not count."""
    return max((s.created_at for s in snapshot.servers), default=0.0) + SOFT_CAP_PAUSE_SECONDS


def _or(fits: int | None, otherwise: int) -> int:
    return otherwise if fits is None else fits


def is_hard(reason: str) -> bool:
    """Whether a decision's reason is a hard cap."""
    return reason.endswith("HardCap")


def is_soft(reason: str) -> bool:
    """Whether a decision's reason is a soft cap."""
    return reason.endswith("SoftCap")


def ends_at(reason: str, snapshot: Snapshot, *, now: float) -> float | None:
    """When time alone may end a refusal: the pause beyond the soft cap, or the period; None for other reasons.

    The hourly cap is a rate, so only a server that goes makes room under its hard value.
    """
    if is_soft(reason):
        return next_growth(snapshot)
    period = {"DailyHardCap": DAY, "MonthlyHardCap": MONTH}.get(reason)
    return None if period is None else period.end(period.name(now))


@dataclass(frozen=True, slots=True)
class Standing:
    """What has been spent against one period's cap, without looking ahead."""

    name: Name
    cap: Cap
    spent: float

    @property
    def unit(self) -> str:
        """Of the cap and of what was spent."""
        return "CNY/h" if self.name == "Hourly" else "CNY"

    @property
    def hard(self) -> bool:
        """The hard cap is used up. A rate may be as high as its cap."""
        return self._reached(self.cap.hard)

    @property
    def soft(self) -> bool:
        """The soft cap is used up."""
        return self._reached(self.cap.soft)

    def _reached(self, cap: float | None) -> bool:
        if cap is None:
            return False
        return self.spent > cap + _SLACK if self.name == "Hourly" else self.spent >= cap

    def __str__(self) -> str:
        caps = [
            f"{kind} {cap:g}" for kind, cap in (("soft", self.cap.soft), ("hard", self.cap.hard)) if cap is not None
        ]
        when = {"Hourly": "now", "Daily": "today", "Monthly": "this month"}[self.name]
        return f"{self.spent:.2f} {self.unit} {when} ({', '.join(caps)})"


def standings(budget: Budget, *, per_hour: float, today: float, this_month: float) -> list[Standing]:
    """The periods that have a cap, and what has been spent (CNY; `per_hour` CNY per hour)."""
    rows: Iterable[tuple[Name, Cap | None, float]] = (
        ("Hourly", budget.hourly, per_hour),
        ("Daily", budget.daily, today),
        ("Monthly", budget.monthly, this_month),
    )
    return [Standing(name, cap, spent) for name, cap, spent in rows if cap is not None]


def standings_of(snapshot: Snapshot) -> list[Standing]:
    """The same as a decision sees it."""
    rate = sum(s.price_per_hour for s in snapshot.servers)
    spent = snapshot.spent
    return standings(snapshot.spec.budget, per_hour=rate, today=spent.today, this_month=spent.this_month)
