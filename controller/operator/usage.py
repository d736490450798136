"""GPU and memory figures from Cloud Monitor, for the log alone: asked in the background, every five minutes per region.

Cloud Monitor gives a million free calls a month: three figures in six regions every five minutes are 155 520.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from controller.api.gpuinstance import GpuInstance
from controller.cloud.contract import Cloud, Figure, UsagePoint
from controller.cloud.errors import CloudError
from controller.scaling.readings import CPU_POINT_MAX_AGE_SECONDS

logger = logging.getLogger(__name__)

#: Time between two questions per region.
USAGE_INTERVAL_SECONDS: Final = 300.0


class UsageMonitor:
    """The newest figures of every instance."""

    def __init__(self, cloud: Cloud, clock: Callable[[], float]) -> None:
        self._cloud = cloud
        self._clock = clock
        self._points: dict[tuple[str, Figure], UsagePoint] = {}
        self._asked: dict[str, float] = {}
        self._asking: dict[str, asyncio.Task[None]] = {}

    def ask(self, instances: Iterable[GpuInstance]) -> None:
        """Have the running ones among them asked about, where that is due."""
        by_region: defaultdict[str, list[str]] = defaultdict(list)
        for instance in instances:
            if instance.status.running_at and not instance.status.ended_at:
                by_region[instance.spec.region].append(instance.status.instance_id)
        for region, ids in by_region.items():
            asking = self._asking.get(region)
            busy = asking is not None and not asking.done()
            if not busy and self._clock() - self._asked.get(region, 0.0) >= USAGE_INTERVAL_SECONDS:
                self._asked[region] = self._clock()
                self._asking[region] = asyncio.create_task(self._ask(region, sorted(ids)))

    def of(self, instance_id: str, *, now: float) -> Mapping[Figure, float]:
        """Percent by figure, as far as a point is at most ten minutes old."""
        found: dict[Figure, float] = {}
        for figure in ("gpu", "gpu_memory", "memory"):
            point = self._points.get((instance_id, figure))
            if point is not None and now - point.at.timestamp() <= CPU_POINT_MAX_AGE_SECONDS:
                found[figure] = point.percent
        return found

    async def _ask(self, region: str, ids: list[str]) -> None:
        try:
            points = await self._cloud.usage(region, ids)
        except CloudError as error:
            logger.warning("GPU figures of %s could not be read: %s", region, error)
            return
        now = self._clock()
        self._points |= {(p.instance_id, p.figure): p for p in points}
        fresh = {k: p for k, p in self._points.items() if now - p.at.timestamp() <= 2 * CPU_POINT_MAX_AGE_SECONDS}
        self._points = fresh

    async def close(self) -> None:
        """End what is being asked."""
        for task in self._asking.values():
            task.cancel()
        await asyncio.gather(*self._asking.values(), return_exceptions=True)
