"""What a day cost by the servers' times against what Tencent's bill says of it, server by server."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from controller.api.spend import SETTLING_KEPT, STRANGERS_NAMED, Billing, InstanceDay, SpendHistory
from controller.scaling.ledger import Bill, cny, nano, shown, spent
from controller.scaling.periods import DAY

#: Days after which a day is compared: the bill of the day before yesterday has had at least a day to settle.
BILL_AGE_DAYS: Final = 2
#: Days for which lines of destroyed servers wait; whatever has not been compared by then never will be.
SETTLING_DAYS: Final = 4
#: A difference is worth a look beyond either.
DIFFERENCE_CNY: Final = 1.0
DIFFERENCE_SHARE: Final = 0.01
#: What an hour's settlement may be off by, where the cloud rounds each to a cent.
ROUNDING_CNY: Final = 0.005

_DAY_SECONDS: Final = 86400.0


@dataclass(frozen=True, slots=True)
class Charge:
    """What the bill says of one instance on one day, in billionths of a CNY, traffic left out."""

    amount: int
    #: Settlements it is the sum of.
    settlements: int


def due_day(now: float) -> str:
    """The newest day that can be expected to be on the bill."""
    return DAY.name(now - BILL_AGE_DAYS * _DAY_SECONDS)


def is_young(day: str, *, now: float) -> bool:
    """Whether the bill of a day may still be filling up: then a bill that says less is no difference yet."""
    return now < DAY.end(day) + BILL_AGE_DAYS * _DAY_SECONDS


def next_day(billing: Billing, history: SpendHistory, *, made: float, now: float) -> str | None:
    """The next day to compare, or None while there is none.

    Days are compared in turn, those that were missed too for as long as their destroyed servers' lines are kept. A day
    can only be compared if the ledger was kept all day, or all the time since the pool was made.

    Args:
        billing: the last comparison.
        history: tells since when the ledger has been kept.
        made: Unix seconds at which the pool was made.
        now: Unix seconds.
    """
    due = due_day(now)
    first = DAY.name(now - (SETTLING_DAYS - 1) * _DAY_SECONDS)
    if billing.day:
        first = max(first, billing.day if billing.state == "Waiting" else DAY.after(billing.day))
    kept = {one.period for one in history.days}
    return next(
        (
            day
            for day in (*DAY.between(first, due), *([due] if first <= due else []))
            if day in kept and (day == DAY.name(made) or DAY.name(DAY.start(day) - 1.0) in kept)
        ),
        None,
    )


def settling(lines: Sequence[InstanceDay], ended: Iterable[Bill], *, now: float) -> tuple[InstanceDay, ...]:
    """The lines with those of servers that have just been booked; days that nobody will compare any more are dropped.

    Args:
        lines: as last written.
        ended: destroyed servers that become part of the ledger's sums with this write.
        now: Unix seconds.
    """
    oldest = DAY.name(now - SETTLING_DAYS * _DAY_SECONDS)
    days = [*DAY.between(oldest, DAY.name(now)), DAY.name(now)]
    kept = [line for line in lines if line.day >= oldest]
    for bill in ended:
        for day in days:
            amount = spent([bill], since=DAY.start(day), until=DAY.end(day))
            if amount:
                kept.append(InstanceDay(instance=bill.instance_id, day=day, cny=cny(amount)))
    return tuple(kept if len(kept) <= SETTLING_KEPT else _merged(kept))


def _merged(lines: Sequence[InstanceDay]) -> list[InstanceDay]:
    """The newest lines, and one for each day that holds what the others came to."""
    named = [line for line in lines if line.instance]
    over = named[: max(0, len(named) - SETTLING_KEPT // 2)]
    sums: defaultdict[str, int] = defaultdict(int)
    for line in [*over, *(line for line in lines if not line.instance)]:
        sums[line.day] += nano(line.cny)
    return [*(InstanceDay(day=day, cny=cny(amount)) for day, amount in sorted(sums.items())), *named[len(over) :]]


def ours_on(day: str, lines: Iterable[InstanceDay], bills: Iterable[Bill]) -> dict[str, int]:
    """What each server cost on a day, by InstanceId, in billionths of a CNY.

    Args:
        day: as `DAY` names it.
        lines: of servers that were booked.
        bills: of servers that were not.
    """
    sums: defaultdict[str, int] = defaultdict(int)
    for line in lines:
        if line.day == day:
            sums[line.instance] += nano(line.cny)
    since, until = DAY.start(day), DAY.end(day)
    for bill in bills:
        amount = spent([bill], since=since, until=until)
        if amount:
            sums[bill.instance_id] += amount
    return dict(sums)


def compare(
    day: str, ours: Mapping[str, int], billed: Mapping[str, Charge], strangers: Mapping[str, Charge], *, checked_at: str
) -> Billing:
    """The comparison of one day.

    Args:
        day: as `DAY` names it.
        ours: by InstanceId, "" for servers of which only the sum is known.
        billed: the bill's charges by InstanceId; only those of `ours` are looked at.
        strangers: charges of instances that bear the pool's mark and are not known to have been its servers.
        checked_at: RFC 3339.
    """
    # Servers of which only the sum is known can only be found again among the strangers: they are no leak.
    nameless = "" in ours
    theirs = {i: c for i, c in billed.items() if i in ours} | (dict(strangers) if nameless else {})
    leaked = {} if nameless else strangers
    own, their = sum(ours.values()), sum(c.amount for c in theirs.values())
    unbilled = sum(i not in billed for i in ours if i)
    worth = _worth_a_look(own, their, sum(c.settlements for c in theirs.values()))
    return Billing(
        day=day,
        state="Differs" if worth or leaked else "Agrees",
        ours=shown(own),
        billed=shown(their),
        difference=shown(their - own),
        unbilled=unbilled,
        strangers=tuple(sorted(leaked)[:STRANGERS_NAMED]),
        strangers_cny=shown(sum(c.amount for c in leaked.values())),
        checked_at=checked_at,
        message=_message(own, their, unbilled, leaked),
    )


def _worth_a_look(ours: int, billed: int, settlements: int) -> bool:
    """More than 1 CNY or 1 %, and more than the rounding of so many settlements."""
    off = cny(abs(billed - ours))
    if off <= ROUNDING_CNY * settlements:
        return False
    return off > DIFFERENCE_CNY or off > DIFFERENCE_SHARE * max(cny(ours), cny(billed))


def _message(ours: int, billed: int, unbilled: int, leaked: Mapping[str, Charge]) -> str:
    share = 100.0 * (billed - ours) / ours if ours else 0.0
    parts = [f"billed {cny(billed):.2f} CNY, {cny(ours):.2f} CNY by the servers' times ({share:+.1f} %)"]
    if unbilled:
        parts.append(f"{unbilled} servers are not on the bill")
    if leaked:
        named = ", ".join(sorted(leaked)[:STRANGERS_NAMED])
        parts.append(f"billed with this pool's mark and never its servers: {named}")
    return "; ".join(parts)
