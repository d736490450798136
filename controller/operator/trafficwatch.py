"""The free traffic quota of every instance, read once per region and interval for all pools together.

Reading goes on beside the decisions: none of them waits for it. What is read is folded into the status of each
instance, at most once in its pool's `traffic.intervalSeconds`; the pools only add up.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any, Final

from controller.api.gpuinstance import GpuInstance
from controller.api.gpupool import GpuPool
from controller.api.model import write_over
from controller.api.times import unix
from controller.cloud.contract import BandwidthPoint, Cloud, NetworkUsage
from controller.cloud.errors import CloudError
from controller.kube.client import KubeError
from controller.operator.objects import Objects
from controller.operator.store import Store
from controller.scaling.readings import CPU_POINT_MAX_AGE_SECONDS
from controller.scaling.usage import Reading, count

logger = logging.getLogger(__name__)

#: A region that could not be read is asked again after this time, or after its interval if that is shorter.
RETRY_SECONDS: Final = 60.0
#: The last reading of an instance may hold up its destruction, which costs money, for no longer than this.
LAST_READING_SECONDS: Final = 10.0
#: Cloud Monitor lags by minutes; a bandwidth older than this says nothing about now.
BANDWIDTH_MAX_AGE_SECONDS: Final = CPU_POINT_MAX_AGE_SECONDS
#: Fields of status that hold a bandwidth, by direction.
_FIELDS: Final = {"In": "networkInMbps", "Out": "networkOutMbps"}


class TrafficWatch:
    """Reads usage and bandwidth, and writes them into the instances' statuses."""

    def __init__(self, cloud: Cloud, store: Store, objects: Objects, clock: Callable[[], float]) -> None:
        self._cloud = cloud
        self._store = store
        self._objects = objects
        self._clock = clock
        #: Clock seconds of the last reading that came, and before which the next is not asked for, by region.
        self._read_at: dict[str, float] = {}
        self._retry_at: dict[str, float] = {}
        self._asking: dict[str, asyncio.Task[None]] = {}
        #: Clock seconds of the last reading folded into each instance, by uid.
        self._folded: dict[str, float] = {}
        #: Folding reads and writes one status; the last reading before an end must not be lost to an older one.
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    def look(self, pool: GpuPool) -> None:
        """Have the regions of the pool's servers read if it is time. Returns at once."""
        interval = float(pool.spec.traffic.interval_seconds)
        for region in self._regions(pool):
            if self._due(region, interval):
                self._retry_at[region] = self._clock() + min(RETRY_SECONDS, interval)
                self._asking[region] = asyncio.create_task(self._read(region), name=f"traffic:{region}")

    def checked_at(self, pool: GpuPool) -> float | None:
        """Clock seconds since which all the pool's regions have been read; as last written until that is so."""
        regions = self._regions(pool)
        if regions and all(region in self._read_at for region in regions):
            return min(self._read_at[region] for region in regions)
        return unix(pool.status.traffic.checked_at)

    def reads(self, pool: GpuPool) -> bool:
        """Whether the pool has a server whose traffic can be read."""
        return bool(self._regions(pool))

    async def last_reading(self, instance: GpuInstance) -> None:
        """Read an instance just before it is destroyed. Trouble is logged: traffic never keeps a server alive."""
        if not _measurable(instance):
            return
        try:
            async with asyncio.timeout(LAST_READING_SECONDS):
                usages = await self._cloud.network_usage(instance.spec.region, [instance.status.instance_id])
                for usage in usages:
                    await self._fold(instance, usage, (), at=self._clock())
        except (CloudError, TimeoutError) as error:
            logger.warning("%s: its last traffic could not be read: %r", instance.metadata.key, error)

    async def close(self) -> None:
        """End what is being asked."""
        for task in self._asking.values():
            task.cancel()
        await asyncio.gather(*self._asking.values(), return_exceptions=True)

    def _regions(self, pool: GpuPool) -> set[str]:
        return {i.spec.region for i in self._store.instances_of(pool) if _measurable(i)}

    def _due(self, region: str, interval: float) -> bool:
        asking = self._asking.get(region)
        if asking is not None and not asking.done():
            return False
        now = self._clock()
        read, retry = self._read_at.get(region), self._retry_at.get(region, now)
        # Neither holds a reading up for longer than it may where the clock was set back since.
        waits = now < retry <= now + RETRY_SECONDS
        return not waits and (read is None or not 0.0 <= now - read < interval)

    async def _read(self, region: str) -> None:
        """One reading of a region: every instance of every pool."""
        at = self._clock()
        instances = [i for i in self._store.instances if i.spec.region == region and _measurable(i)]
        ids = sorted(i.status.instance_id for i in instances)
        try:
            usages = {usage.instance_id: usage for usage in await self._cloud.network_usage(region, ids)}
            bandwidths = await self._bandwidths(region, ids)
            self._read_at[region] = at
            self._forget()
            for instance in instances:
                usage = usages.get(instance.status.instance_id)
                if usage is not None and self._folds(instance, at):
                    await self._fold(instance, usage, bandwidths.get(usage.instance_id, ()), at=at)
        except CloudError as error:
            logger.warning("traffic of %d instances in %s could not be read: %s", len(ids), region, error)
        except Exception:
            logger.exception("traffic of %d instances in %s could not be read", len(ids), region)

    async def _bandwidths(self, region: str, ids: list[str]) -> dict[str, list[BandwidthPoint]]:
        """Fresh points by instance; none while Cloud Monitor cannot be read, which is no reason to lose the usage."""
        found: defaultdict[str, list[BandwidthPoint]] = defaultdict(list)
        try:
            for point in await self._cloud.bandwidth(region, ids):
                if self._clock() - point.at.timestamp() <= BANDWIDTH_MAX_AGE_SECONDS:
                    found[point.instance_id].append(point)
        except CloudError as error:
            logger.warning("bandwidth of %d instances in %s could not be read: %s", len(ids), region, error)
        return found

    def _folds(self, instance: GpuInstance, at: float) -> bool:
        """Whether the interval of its own pool is over; another pool's may be shorter."""
        pool = self._store.pool_of(instance)
        last = self._folded.get(instance.metadata.uid)
        return pool is not None and (last is None or at - last >= pool.spec.traffic.interval_seconds)

    def _forget(self) -> None:
        """Keep nothing about instances whose objects are gone."""
        known = {i.metadata.uid for i in self._store.instances}
        for uid in self._folded.keys() - known:
            del self._folded[uid]
        for uid in self._locks.keys() - known:
            del self._locks[uid]

    async def _fold(
        self, instance: GpuInstance, usage: NetworkUsage, points: Iterable[BandwidthPoint], *, at: float
    ) -> None:
        """Bring one status up to a reading. A write that fails is made good by the next: the counter goes on."""
        async with self._locks[instance.metadata.uid]:
            current = self._store.instances.get(instance.metadata.key)
            if current is None or current.metadata.uid != instance.metadata.uid:
                return
            self._folded[instance.metadata.uid] = at
            try:
                await self._objects.instance_status(current, changes(current, usage, points, at=at))
            except KubeError as error:
                logger.warning("%s: its traffic could not be written: %s", instance.metadata.key, error)


def _measurable(instance: GpuInstance) -> bool:
    status = instance.status
    ending = status.terminate_requested_at is not None or status.ended_at is not None
    return bool(status.instance_id and status.running_at) and not ending and not instance.orphaned


def changes(
    instance: GpuInstance, usage: NetworkUsage, points: Iterable[BandwidthPoint], *, at: float
) -> dict[str, Any]:
    """What of the status a reading changes; what did not change costs no request."""
    status, changed = instance.status, dict[str, Any]()
    traffic = count(status.traffic, Reading(usage.total_gb, usage.remaining_gb, at))
    if traffic != status.traffic:
        changed["traffic"] = write_over(traffic)
    told = {_FIELDS[point.direction]: point.mbps for point in points}
    known = {"networkInMbps": status.network_in_mbps, "networkOutMbps": status.network_out_mbps}
    return changed | {field: told.get(field) for field, before in known.items() if told.get(field) != before}
