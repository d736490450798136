"""CPU from Cloud Monitor, where HAI publishes a metric: asked once a minute per region, for all pools together.

Cloud Monitor gives a million free calls a month; its points lag by minutes, so asking more often buys nothing.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from controller.cloud.contract import Cloud, CpuPoint
from controller.cloud.errors import CloudError
from controller.scaling.readings import CPU_POINT_MAX_AGE_SECONDS, cpu_from_monitor
from controller.scaling.snapshot import Missing, Signal

logger = logging.getLogger(__name__)

#: Time between two questions per region.
CPU_INTERVAL_SECONDS: Final = 60.0
#: Time after which it is asked again whether there is a metric at all.
DISCOVERY_SECONDS: Final = 3600.0
#: Pause after a failed discovery.
DISCOVERY_RETRY_SECONDS: Final = 120.0
#: Points older than this belong to servers that are gone.
FORGET_SECONDS: Final = 3600.0


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
        #: Cloud Monitor has said which metric there is, or that there is none.
        self._discovered = False
        self._discover_at = 0.0
        self._points: dict[str, CpuPoint] = {}
        self._asked: dict[str, float] = {}
        #: When all instances of a region were asked for.
        self._asked_all: dict[str, float] = {}
        self._asking: dict[str, asyncio.Task[None]] = {}
        #: Why the last question failed, by region.
        self._failed: dict[str, str] = {}

    def reading(self, ids_by_region: Mapping[str, Iterable[str]]) -> Signal | Missing:
        """Mean CPU of these instances as last told, or why there is none: no metric, no point, or none fresh enough."""
        wanted = {region: frozenset(ids) for region, ids in ids_by_region.items()}
        for region, ids in wanted.items():
            if ids and self._due(region, ids):
                self._asked[region] = self._clock()
                self._asking[region] = asyncio.create_task(self._ask(region, self._whom(region, ids)))
        mine = frozenset[str]().union(*wanted.values())
        points = [(p.at.timestamp(), p.percent) for i, p in self._points.items() if i in mine]
        found = cpu_from_monitor(points, servers=len(mine), now=self._clock())
        if found is None:
            return self._missing(wanted, [at for at, _ in points], len(mine))
        return Signal(found[0], found[1], f"monitor:{self._metric}")

    def _missing(self, regions: Iterable[str], times: list[float], servers: int) -> Missing:
        """Why there is no figure."""
        failed = [f"{region}: {self._failed[region]}" for region in regions if region in self._failed]
        if failed:
            return Missing("CpuUnknown", f"Cloud Monitor could not be read in {'; '.join(failed)}")
        if not self._discovered:
            return Missing("CpuUnknown", "Cloud Monitor has not answered yet")
        if self._metric is None:
            return Missing("NoCpuMetric", "Cloud Monitor has no CPU metric for HAI: set scaling.cpu.source to Slots")
        if not times:
            return Missing("CpuUnknown", f"Cloud Monitor has no point of {self._metric} for these servers yet")
        age, limit = self._clock() - max(times), CPU_POINT_MAX_AGE_SECONDS
        if age > limit:
            late = f"the newest point of {self._metric} is {age / 60:.0f} min old, more than {limit / 60:.0f}"
            return Missing("CpuUnknown", f"Cloud Monitor lags: {late}")
        return Missing("CpuUnknown", f"Cloud Monitor has fresh points of fewer than half of the {servers} servers")

    def _whom(self, region: str, ids: frozenset[str]) -> list[str]:
        """All of the region once a minute; in between those that have no point yet."""
        everyone = sorted(ids.union(self._everyone(region)))
        if self._clock() - self._asked_all.get(region, 0.0) < CPU_INTERVAL_SECONDS:
            return [instance for instance in everyone if instance not in self._points]
        self._asked_all[region] = self._clock()
        return everyone

    def newest(self, instance_id: str, *, now: float) -> float | None:
        """Percent of one instance as last told; None without a point that is fresh enough."""
        point = self._points.get(instance_id)
        found = cpu_from_monitor([(point.at.timestamp(), point.percent)] if point else [], servers=1, now=now)
        return None if found is None else found[0]

    def _due(self, region: str, ids: frozenset[str]) -> bool:
        """A region is asked every minute, and a little sooner when it has instances without a point."""
        asking = self._asking.get(region)
        if asking is not None and not asking.done():
            return False
        interval = CPU_INTERVAL_SECONDS if ids <= self._points.keys() else CPU_INTERVAL_SECONDS / 4
        return self._clock() - self._asked.get(region, 0.0) >= interval

    async def _ask(self, region: str, ids: list[str]) -> None:
        try:
            metric = await self._discover()
            points = () if metric is None else await self._cloud.cpu_percent(region, ids, metric=metric)
        except CloudError as error:
            logger.warning("CPU figures of %s could not be read: %s", region, error)
            self._failed[region] = str(error)
            return
        self._failed.pop(region, None)
        oldest = self._clock() - FORGET_SECONDS
        self._points = {i: point for i, point in self._points.items() if point.at.timestamp() > oldest}
        self._points.update({point.instance_id: point for point in points})

    async def _discover(self) -> str | None:
        """The metric's name, asked for once an hour; a failure is tried again sooner."""
        now = self._clock()
        if now >= self._discover_at:
            self._discover_at = now + DISCOVERY_RETRY_SECONDS
            self._metric = await self._cloud.cpu_metric()
            self._discovered = True
            self._discover_at = now + DISCOVERY_SECONDS
        return self._metric

    async def close(self) -> None:
        """End what is being asked."""
        for task in self._asking.values():
            task.cancel()
        await asyncio.gather(*self._asking.values(), return_exceptions=True)
