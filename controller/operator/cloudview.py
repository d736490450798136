"""The cloud as listed: once per region and interval for all pools together, never once per pool."""

import asyncio
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from controller.cloud.contract import Cloud, CloudInstance, Listing


@dataclass(frozen=True)
class Seen:
    """A listing and when it was asked for."""

    listing: Listing
    #: Seconds, by the view's clock, just before the request: what happened later may not be in it.
    asked_at: float

    def find(self, instance_id: str) -> CloudInstance | None:
        """The instance with this id."""
        return self._by_id.get(instance_id)

    @cached_property
    def _by_id(self) -> dict[str, CloudInstance]:
        """Every server of the region looks itself up in each listing."""
        return {i.instance_id: i for i in self.listing.instances}

    def named(self, name: str) -> list[CloudInstance]:
        """All instances with this name; more than one would be a double purchase."""
        return [i for i in self.listing.instances if i.name == name]


class CloudView:
    """Listings shared by everyone who asks within an interval.

    Args:
        cloud: the account.
        clock: seconds that pass evenly. What is older and what is newer is a matter of proof here, so it must not
            depend on a clock that can be set.
        interval: seconds for which one listing serves everybody.
    """

    def __init__(self, cloud: Cloud, clock: Callable[[], float], interval: float) -> None:
        self._cloud = cloud
        self._clock = clock
        self._interval = interval
        self._seen: dict[str, Seen] = {}
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    def now(self) -> float:
        """The view's own time."""
        return self._clock()

    async def region(self, region: str, *, newer_than: float | None = None) -> Seen:
        """The newest listing of a region, at most one interval old.

        Args:
            region: region id.
            newer_than: if set, the listing must have been asked for after this time: proof of what happened.

        Raises:
            CloudError: the region could not be listed.
        """
        async with self._locks[region]:
            seen = self._seen.get(region)
            now = self._clock()
            stale = seen is None or now - seen.asked_at >= self._interval
            if seen is None or stale or (newer_than is not None and seen.asked_at <= newer_than):
                seen = Seen(await self._cloud.list_instances(region), now)
                self._seen[region] = seen
            return seen
