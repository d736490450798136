"""The books of a pool: what one decision writes down about money, all of it in one patch."""

from typing import Any, NamedTuple

from msgspec.structs import replace

from controller.api.budget import Budget
from controller.api.gpuinstance import GpuInstance
from controller.api.gpupool import GpuPool
from controller.api.model import write
from controller.api.names import Condition
from controller.api.spend import Spend, SpendHistory
from controller.api.times import unix
from controller.operator.context import Context
from controller.scaling.forecast import forecast
from controller.scaling.ledger import Bill, book, close, last, unbooked, with_traffic
from controller.scaling.periods import DAY, MONTH
from controller.scaling.reconcile import settling
from controller.scaling.snapshot import Spent
from controller.scaling.usage import used_this_month


def bill(instance: GpuInstance, *, now: float) -> Bill | None:
    """The billed life of an instance; None while nothing was asked for, or if nothing was bought.

    A purchase whose answer is not in yet counts from the moment it was asked for: the honest upper bound.
    """
    status = instance.status
    start = unix(status.launched_at)
    if start is None:
        refused = any(c.type == Condition.LAUNCHED and c.status == "False" for c in status.conditions)
        start = None if refused or instance.spec.adopts else unix(status.attempted_at)
    if start is None:
        return None
    return Bill(
        uid=instance.metadata.uid,
        price_per_hour=instance.spec.price_per_hour,
        start=start,
        end=unix(status.ended_at),
        traffic_gb=used_this_month(status.traffic, now=now),
        instance_id=status.instance_id,
    )


def bills_of(ctx: Context, pool: GpuPool) -> list[Bill]:
    """The bills of all the pool's instances whose objects exist."""
    return [b for i in ctx.store.instances_of(pool) if (b := bill(i, now=ctx.clock())) is not None]


class Books(NamedTuple):
    """What is written down: the ledger, and the parts of the status that change with it."""

    spend: Spend
    fields: dict[str, Any]


def keep_books(pool: GpuPool, bills: list[Bill], *, now: float) -> Books:
    """The ledger, the periods that have closed, and the lines that wait for the bill.

    They belong into one write: what is booked in it is closed and lined up in it, so a crash does neither twice.
    """
    before = pool.status.spend
    history = close(pool.status.spend_history, before, bills, now=now)
    spend = with_traffic(book(before, bills, now=now), before, bills, pool.spec.traffic)
    ended = unbooked(before, (b for b in bills if b.end is not None))
    lines = settling(pool.status.settling, ended, now=now)
    spend = _told(spend, history, now=now)
    fields = {
        "spend": write(spend),
        "spendHistory": write(history),
        "settling": [write(line) for line in lines],
    }
    return Books(spend, fields)


def _told(spend: Spend, history: SpendHistory, *, now: float) -> Spend:
    """The ledger with the figures that follow from it."""
    expected = forecast(spend, history, now=now)
    return replace(
        spend,
        yesterday=last(history.days, DAY, now=now),
        last_month=last(history.months, MONTH, now=now),
        forecast_this_month=expected.this_month,
        forecast_basis=expected.basis,
    )


def spent_so_far(ctx: Context, pool: GpuPool, *, now: float) -> Spent:
    """What a decision holds its budget against: the ledger of this moment, not the one last written."""
    if pool.spec.budget == Budget():
        return Spent()
    before, bills = pool.status.spend, bills_of(ctx, pool)
    spend = with_traffic(book(before, bills, now=now), before, bills, pool.spec.traffic)
    return Spent(today=spend.today, this_month=spend.this_month + spend.traffic_this_month)
