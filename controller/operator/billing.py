"""Once a day, every pool's ledger against Tencent's bill: for the day before yesterday, when it has settled.

The account's bill is read once for all pools. Whatever goes wrong here is told in `status.billing` and in the log, and
disturbs nothing else: many accounts do not let the key that buys servers read bills.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Iterable
from typing import Final

from msgspec.structs import replace

from controller.api.gpupool import GpuPool
from controller.api.model import write
from controller.api.names import parse_instance_name
from controller.api.spend import Billing
from controller.api.times import rfc3339, unix
from controller.cloud.contract import BilledInstance
from controller.cloud.errors import CloudError, UnauthorizedError
from controller.kube.client import KubeError
from controller.operator.context import Context
from controller.operator.money import bills_of
from controller.scaling.ledger import NANO, unbooked
from controller.scaling.periods import DAY
from controller.scaling.reconcile import Charge, compare, is_young, next_day, ours_on

logger = logging.getLogger(__name__)

#: Time between two looks for a day to compare; a bill that is not complete is read again as often.
LOOK_SECONDS: Final = 3600.0
#: Time between two tries where the key may not read bills: somebody has to change a policy first.
UNAUTHORIZED_SECONDS: Final = 6 * 3600.0

Bill = tuple[BilledInstance, ...]


class Reconciliation:
    """The daily comparison of one operator process."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        #: Clock seconds before which bills are not asked for again.
        self._not_before = 0.0
        self._task: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Start to look, again and again."""
        self._task = asyncio.create_task(self._run(), name="billing")

    async def close(self) -> None:
        """Stop looking."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            try:
                await self.look()
            except KubeError as error:
                logger.warning("bill: the comparison could not be written down, it is made again: %s", error)
            except Exception:
                self._ctx.metrics.errors.labels("Billing").inc()
                logger.exception("bill: the comparison failed")
            await asyncio.sleep(LOOK_SECONDS)

    async def look(self) -> None:
        """Compare every pool that has a day due.

        Raises:
            KubeError: a comparison could not be written down.
        """
        ctx, now = self._ctx, self._ctx.clock()
        for pool in ctx.store.pools:
            ctx.metrics.money.compared(pool, pool.status.billing)
        if now < self._not_before:
            return
        by_day: defaultdict[str, list[GpuPool]] = defaultdict(list)
        for pool in ctx.store.pools:
            made = unix(pool.metadata.creation_timestamp) or now
            day = next_day(pool.status.billing, pool.status.spend_history, made=made, now=now)
            if day is not None and not pool.metadata.deleting:
                by_day[day].append(pool)
        for day, pools in sorted(by_day.items()):
            await self._compare(day, pools)

    async def _compare(self, day: str, pools: Iterable[GpuPool]) -> None:
        try:
            bill = await self._ctx.cloud.bill_of_day(day)
        except CloudError as error:
            await self._cannot(day, pools, error)
            return
        for pool in pools:
            # Reading the bill may have taken minutes.
            current = self._ctx.store.pools.get(pool.metadata.key)
            if current is not None and current.metadata.uid == pool.metadata.uid:
                await self._write(current, self._compared(current, day, bill))

    def _compared(self, pool: GpuPool, day: str, bill: Bill) -> Billing:
        ctx, now = self._ctx, self._ctx.clock()
        bills = unbooked(pool.status.spend, bills_of(ctx, pool))
        ours = ours_on(day, pool.status.settling, bills)
        known = set(ours) | {line.instance for line in pool.status.settling} | {b.instance_id for b in bills}
        billed = {one.instance_id: _charge(one) for one in bill}
        strangers = {
            one.instance_id: _charge(one) for one in bill if self._marked(one, pool) and one.instance_id not in known
        }
        told = compare(day, ours, billed, strangers, checked_at=rfc3339(now))
        if told.state == "Differs" and told.difference < 0 and not told.strangers and is_young(day, now=now):
            return replace(told, state="Waiting", message=f"not complete yet: {told.message}")
        return told

    def _marked(self, one: BilledInstance, pool: GpuPool) -> bool:
        mark = parse_instance_name(one.name)
        return (
            mark is not None
            and self._ctx.cluster_uid.startswith(mark.cluster)
            and pool.metadata.uid.startswith(mark.pool)
        )

    async def _cannot(self, day: str, pools: Iterable[GpuPool], error: CloudError) -> None:
        """Say that there is no bill to compare with; the day that was compared last, and its figures, stay."""
        forbidden = isinstance(error, UnauthorizedError)
        self._not_before = self._ctx.clock() + (UNAUTHORIZED_SECONDS if forbidden else LOOK_SECONDS)
        hint = " - grant the finance permissions of docs/cloud.md, or use --billing-reconciliation off"
        message = f"the bill of {day} cannot be read: {error}{hint if forbidden else ''}"
        logger.warning("bill: %s", message)
        for pool in pools:
            known = self._ctx.store.pools.get(pool.metadata.key)
            if known is not None:
                told = replace(known.status.billing, checked_at=rfc3339(self._ctx.clock()), message=message)
                await self._write(known, replace(told, day=_last_compared(told), state="Unavailable"))

    async def _write(self, pool: GpuPool, billing: Billing) -> None:
        if billing.state in ("Differs", "Agrees"):
            logger.info("bill: pool %s on %s: %s", pool.metadata.key, billing.day, billing.message)
        await self._ctx.objects.pool_status(pool, {"billing": write(billing)})
        self._ctx.metrics.money.compared(pool, billing)


def _last_compared(billing: Billing) -> str:
    """The last day that is done with; one that still waits for its bill is not."""
    return DAY.name(DAY.start(billing.day) - 1.0) if billing.state == "Waiting" else billing.day


def _charge(one: BilledInstance) -> Charge:
    return Charge(round(one.amount * NANO), one.settlements)
