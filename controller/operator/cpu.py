"""CPU from Cloud Monitor, where HAI publishes a metric: asked once a minute per region, for all pools together.

Cloud Monitor gives a million free calls a month; its points lag by minutes, so asking more often buys nothing.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from controller.cloud.contract import Cloud, CpuPoint
from controller.cloud.errors import CloudError
from controller.scaling.readings import cpu_from_monitor
from controller.scaling.snapshot import Signal

logger = logging.getLogger(__name__)

#: Time between two questions per region.
CPU_INTERVAL_SECONDS: Final = 60.0
#: Time after which it is asked again whether there is a metric at all.
DISCOVERY_SECONDS: Final = 3600.0
#: Pause after a failed discovery.
DISCOVERY_RETRY_SECONDS: Final = 120.0


class CpuMonitor:
    """The newest CPU point of every instance."""

    def __init__(self, cloud: Cloud, clock: Callable[[], float]) -> None:
        self._cloud = cloud
        self._clock = clock
        self._metric: str | None = None
        self._discover_at = 0.0
        self._points: dict[str, CpuPoint] = {}
        self._asked: dict[str, float] = {}
        self._lock = asyncio.Lock()

    async def reading(self, ids_by_region: Mapping[str, Iterable[str]]) -> Signal | None:
        """Mean CPU of these instances; None where there is no metric, or no point fresh enough."""
        async with self._lock:
            metric = await self._discover()
            if metric is None:
                return None
            for region, ids in ids_by_region.items():
                await self._refresh(region, sorted(ids), metric)
        wanted = {i for ids in ids_by_region.values() for i in ids}
        points = [(p.at.timestamp(), p.percent) for i, p in self._points.items() if i in wanted]
        found = cpu_from_monitor(points, now=self._clock())
        return None if found is None else Signal(found[0], found[1], f"monitor:{metric}")

    async def _discover(self) -> str | None:
        now = self._clock()
        if now < self._discover_at:
            return self._metric
        try:
            self._metric = await self._cloud.cpu_metric()
            self._discover_at = now + DISCOVERY_SECONDS
        except CloudError as error:
            logger.warning("Cloud Monitor's metrics could not be listed: %s", error)
            self._discover_at = now + DISCOVERY_RETRY_SECONDS
        return self._metric

    async def _refresh(self, region: str, ids: list[str], metric: str) -> None:
        now = self._clock()
        known = all(i in self._points for i in ids)
        if not ids or (known and now - self._asked.get(region, 0.0) < CPU_INTERVAL_SECONDS):
            return
        if now - self._asked.get(region, 0.0) < CPU_INTERVAL_SECONDS / 4:
            return
        self._asked[region] = now
        try:
            for point in await self._cloud.cpu_percent(region, ids, metric=metric):
                self._points[point.instance_id] = point
        except CloudError as error:
            logger.warning("CPU figures of %s could not be read: %s", region, error)
