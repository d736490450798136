"""Listings: asked for once for everybody, and never older than the proof that someone needs."""

import asyncio
from typing import Any, cast

from controller.cloud.contract import Cloud, CloudInstance, Listing
from controller.operator.cloudview import CloudView


class CountingCloud:
    """Counts listings; answers with one instance."""

    def __init__(self) -> None:
        self.calls = 0

    async def list_instances(self, region: str) -> Listing:
        self.calls += 1
        await asyncio.sleep(0)
        found = CloudInstance("hai-1", "hp1-x", "RUNNING", "127.0.0.1", None, busy=False, created="")
        return Listing(region, (found,), complete=True)


def view(interval: float) -> tuple[CountingCloud, CloudView, list[float]]:
    cloud, now = CountingCloud(), [100.0]
    return cloud, CloudView(cast("Cloud", cloud), lambda: now[0], interval), now


async def test_all_who_ask_within_an_interval_share_one_listing() -> None:
    cloud, listings, _ = view(5.0)
    found: list[Any] = await asyncio.gather(*(listings.region("ap-beijing") for _ in range(50)))
    assert cloud.calls == 1
    assert all(seen.find("hai-1") is not None for seen in found)


async def test_after_the_interval_it_is_asked_again() -> None:
    cloud, listings, now = view(5.0)
    await listings.region("ap-beijing")
    now[0] += 5.0
    await listings.region("ap-beijing")
    assert cloud.calls == 2


async def test_a_proof_must_be_asked_for_after_what_it_proves() -> None:
    cloud, listings, now = view(5.0)
    await listings.region("ap-beijing")
    now[0] += 1.0
    assert (await listings.region("ap-beijing", newer_than=99.0)).asked_at == 100.0
    assert (await listings.region("ap-beijing", newer_than=100.5)).asked_at == 101.0
    assert cloud.calls == 2


async def test_regions_are_listed_apart() -> None:
    cloud, listings, _ = view(5.0)
    await asyncio.gather(listings.region("ap-beijing"), listings.region("ap-nanjing"))
    assert cloud.calls == 2
