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


def _nobody(_region: str) -> Iterable[str]:
    return ()


class CpuMonitor:
    """The newest CPU point of every instance. Asking happens in the background: no decision waits for Cloud Monitor.

    Args:
        cloud: what is asked.
        clock: seconds.
        everyone: ids of all instances of a region whose pools want to know, so that one pool's question serves all.
    """

    def __init__(
        self, cloud: Cloud, clock: Callable[[], float], everyone: Callable[[str], Iterable[str]] = _nobody
    ) -> None:
        self._cloud = cloud
        self._clock = clock
        self._everyone = everyone
        self._metric: str | None = None
        self._discover_at = 0.0
        self._points: dict[str, CpuPoint] = {}
        self._asked: dict[str, float] = {}
        #: When all instances of a region were asked for.
        self._asked_all: dict[str, float] = {}
        self._asking: dict[str, asyncio.Task[None]] = {}

    def reading(self, ids_by_region: Mapping[str, Iterable[str]]) -> Signal | None:
        """Mean CPU of these instances as last told; None where there is no metric, or no point fresh enough."""
        wanted = {region: frozenset(ids) for region, ids in ids_by_region.items()}
        for region, ids in wanted.items():
            if ids and self._due(region, ids):
                self._asked[region] = self._clock()
                self._asking[region] = asyncio.create_task(self._ask(region, self._whom(region, ids)))
        mine = frozenset[str]().union(*wanted.values())
        points = [(p.at.timestamp(), p.percent) for i, p in self._points.items() if i in mine]
        found = cpu_from_monitor(points, now=self._clock())
        return None if found is None else Signal(found[0], found[1], f"monitor:{self._metric}")

    def _whom(self, region: str, ids: frozenset[str]) -> list[str]:
        """All of the region once a minute; in between those that have no point yet."""
        everyone = sorted(ids.union(self._everyone(region)))
        if self._clock() - self._asked_all.get(region, 0.0) < CPU_INTERVAL_SECONDS:
            return [instance for instance in everyone if instance not in self._points]
        self._asked_all[region] = self._clock()
        return everyone

    def _due(self, region: str, ids: frozenset[str]) -> bool:
        """A region is asked every minute, and a little sooner when it has instances without a point."""
        asking = self._asking.get(region)
        if asking is not None and not asking.done():
            return False
        interval = CPU_INTERVAL_SECONDS if ids <= self._points.keys() else CPU_INTERVAL_SECONDS / 4
        return self._clock() - self._asked.get(region, 0.0) >= interval

    async def _ask(self, region: str, ids: list[str]) -> None:
        try:
            metric = await self._discovered()
            if metric is None:
                return
            for point in await self._cloud.cpu_percent(region, ids, metric=metric):
                self._points[point.instance_id] = point
        except CloudError as error:
            logger.warning("CPU figures of %s could not be read: %s", region, error)

    async def _discovered(self) -> str | None:
        """The metric's name, asked for once an hour; a failure is tried again sooner."""
        now = self._clock()
        if now >= self._discover_at:
            self._discover_at = now + DISCOVERY_RETRY_SECONDS
            self._metric = await self._cloud.cpu_metric()
            self._discover_at = now + DISCOVERY_SECONDS
        return self._metric

    async def close(self) -> None:
        """End what is being asked."""
        for task in self._asking.values():
            task.cancel()
        await asyncio.gather(*self._asking.values(), return_exceptions=True)
