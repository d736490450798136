"""The leak audit: looks through the cloud for instances that carry our mark and have no GpuInstance.

One pass lists every region (sharing the listings that the rest of the operator uses), and only if something there is
unknown to the cache, lists the GpuInstances at the API server, after the cloud: an object is always older than its
purchase, so what is missing in the later listing was missing at the purchase too, or has been deleted since.
"""

import asyncio
import logging
from typing import Final, Literal

from controller.api.catalog import REGIONS
from controller.api.names import Mark
from controller.cloud.contract import CloudInstance
from controller.cloud.errors import CloudError, NotFoundError
from controller.kube.client import KubeError
from controller.operator import leaks as rules
from controller.operator.cloudview import Seen
from controller.operator.context import Context
from controller.operator.leaks import Leak

logger = logging.getLogger(__name__)

Mode = Literal["report", "delete"]
#: Shortest pause between two passes while something is unsettled.
RECHECK_SECONDS: Final = 1.0


class Audit:
    """The audit of one operator process."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        #: When the listing of each region's last pass was asked for: the same one is no second proof.
        self._asked: dict[str, float] = {}
        #: Regions whose trouble is in the log already.
        self._unlisted: set[str] = set()
        self._task: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Start to look, again and again."""
        self._task = asyncio.create_task(self._run(), name="leak-audit")

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
                logger.warning("leak audit: the objects could not be listed, this pass does not count: %s", error)
            except Exception:
                self._ctx.metrics.errors.labels("LeakAudit").inc()
                logger.exception("leak audit: the pass failed")
            await asyncio.sleep(self._pause())

    def _pause(self) -> float:
        """Short while something is unsettled: pools may be waiting to buy."""
        known, settings = self._ctx.leaks, self._ctx.settings
        missing = self._ctx.view.now() - known.started < rules.BARRIER_SECONDS and set(REGIONS) - set(known.listed)
        if missing or any(not leak.confirmed for leak in known.found.values()):
            return min(max(RECHECK_SECONDS, 2.0 * settings.cloud_interval), settings.leak_audit_interval)
        return settings.leak_audit_interval

    async def look(self) -> None:
        """One pass.

        Raises:
            KubeError: the objects could not be listed; nothing was concluded.
        """
        ctx = self._ctx
        seen = [s for s in await asyncio.gather(*map(self._list, REGIONS)) if s is not None]
        fresh = {s.listing.region: s for s in seen if s.listing.complete and self._is_new(s)}
        unowned = await self._unowned(fresh)
        confirmed: list[Leak] = []
        for region, at in fresh.items():
            self._asked[region] = at.asked_at
            confirmed += rules.take_pass(ctx.leaks, region, unowned[region], ctx.store, now=ctx.view.now())
        opened = set(fresh) - set(ctx.leaks.listed)
        ctx.leaks.listed |= dict.fromkeys(fresh, ctx.view.now())
        self._report(confirmed)
        if opened or confirmed:
            for pool in ctx.store.pools:
                ctx.wake_pool(pool.metadata.key)
        if ctx.settings.leak_audit == "delete":
            for leak in list(ctx.leaks.found.values()):
                await self._destroy(leak)

    def _is_new(self, seen: Seen) -> bool:
        return seen.asked_at > self._asked.get(seen.listing.region, 0.0)

    async def _list(self, region: str) -> Seen | None:
        """The region as listed; None if it cannot be: what is not seen is neither there nor gone."""
        try:
            seen = await self._ctx.view.region(region)
        except CloudError as error:
            if region not in self._unlisted:
                logger.warning("leak audit: %s cannot be listed: %s", region, error)
            self._unlisted.add(region)
            return None
        if seen.listing.complete:
            self._unlisted.discard(region)
        elif region not in self._unlisted:
            self._unlisted.add(region)
            logger.warning("leak audit: the listing of %s is not complete, nothing is concluded from it", region)
        return seen

    async def _unowned(self, fresh: dict[str, Seen]) -> dict[str, list[tuple[CloudInstance, Mark]]]:
        """By region, what bears our mark and has no object: by the cache, and then by the API server itself."""
        ctx = self._ctx
        known = rules.owners_known(ctx.store.instances)
        # What an application is made from is somebody's, whatever its name.
        sources = {preset.spec.source_instance_id for preset in ctx.store.presets}
        found = {
            region: [
                (i, mark)
                for i, mark in rules.marked(seen.listing.instances, ctx.cluster_uid)
                if not known.own(i, mark) and self._within_reach(mark) and i.instance_id not in sources
            ]
            for region, seen in fresh.items()
        }
        if not any(found.values()):
            return found
        certain = rules.owners(await ctx.objects.all_instances(ctx.settings.namespace))
        return {region: [(i, m) for i, m in here if not certain.own(i, m)] for region, here in found.items()}

    def _within_reach(self, mark: Mark) -> bool:
        """An operator of one namespace knows nothing of the other namespaces' pools, and leaves theirs alone."""
        return self._ctx.settings.namespace is None or rules.pool_of(self._ctx.store, mark) is not None

    def _report(self, confirmed: list[Leak]) -> None:
        for leak in confirmed:
            pool = rules.pool_of(self._ctx.store, leak.mark)
            whose = f"pool {pool.metadata.key}" if pool else f"a pool that is gone (uid {leak.mark.pool}...)"
            logger.warning("leak audit: %s of %s is billed and has no GpuInstance", leak, whose)
        for region in REGIONS:
            here = [k for k in self._ctx.leaks.found.values() if k.region == region and k.wasted]
            self._ctx.metrics.leaked_rate.labels(region).set(sum(k.price_per_hour or 0.0 for k in here))
            self._ctx.metrics.leaked.labels(region).set(len(here))

    async def _destroy(self, leak: Leak) -> None:
        """Destroy one leak, if every rule allows it; asked again in each pass until the cloud lists it no more."""
        ctx, pool = self._ctx, rules.pool_of(self._ctx.store, leak.mark)
        if not leak.confirmed or leak.fate == "adopt" or rules.may_destroy(leak, pool) or pool is None:
            return
        # From here on no pool takes it over.
        before, leak.fate = leak.fate, "destroy"
        try:
            await ctx.cloud.terminate_instance(leak.region, leak.instance_id)
        except NotFoundError:
            return
        except CloudError as error:
            leak.fate = before
            await ctx.events.warning(pool, "LeakNotDestroyed", f"{leak} is still billed: {error}")
            return
        if not before:
            message = f"{leak} had no GpuInstance in {leak.passes} complete passes and is being destroyed"
            await ctx.events.warning(pool, "LeakDestroyed", f"{message} (--leak-audit delete)")
