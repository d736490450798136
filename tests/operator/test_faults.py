"""The whole life of a pool, once for each thing that can go wrong: nothing bought twice, nothing left, all booked.

A life: the first server is bought and serves; the pool grows; it shrinks again, which drains and destroys; a server is
deleted by hand and replaced; the pool is deleted. Each fault is there anew at the beginning of each of these stages.
The money oracle judges at the end (`world`), and no fault may cost more purchases than the life needs without it.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from controller.operator.objects import INSTANCES
from controller.sandbox.cloudsim import CloudConfig
from tests.operator.virtualtime import run
from tests.operator.world import FOREIGN, NAMESPACE, SOLD, Trouble, Watches, World, begin, operator, until, world

pytestmark = [pytest.mark.crash, pytest.mark.timeout(120)]

#: What a life buys when nothing goes wrong: one at first, one to grow, one in place of the deleted one.
PURCHASES = 3
#: Longest life, virtual seconds. An outage of a minute in each of five stages, with what waits for proof after it.
LIFE_SECONDS = 3000.0
SCALING = {"down": {"stabilizationSeconds": 30, "minLifetimeSeconds": 60, "drainTimeoutSeconds": 60}}
CHANGES = ("RunInstances", "TerminateInstances")
HOUR = 3600.0
Arrange = Callable[[World, str], Awaitable[None]]


@dataclass(frozen=True)
class Case:
    """A fault: how it comes about, and what it may cost."""

    name: str
    arrange: Arrange
    config: CloudConfig = SOLD
    #: Purchases at most.
    purchases: int = PURCHASES
    #: Seconds by which the pool's own account may exceed the bill for each instance; None: no comparison.
    edge_seconds: float | None = 400.0
    cloud_timeout: float = 10.0
    spec: dict[str, Any] = field(default_factory=dict)


def cloud(kind: Any, *actions: str, name: str = "", **options: Any) -> Case:
    """A fault of the cloud, switched on at each stage for these actions (or all)."""
    purchases, config = options.pop("purchases", PURCHASES), options.pop("config", SOLD)
    timeout, before = options.pop("cloud_timeout", 10.0), options.pop("before", None)
    spec, lasts = options.pop("spec", {}), options.pop("lasts", None)

    async def arrange(place: World, stage: str) -> None:
        if before is not None and stage == "buy":
            before(place)
        place.cloud.clear_faults()
        on = [place.cloud.set_fault(kind, action=action, **options) for action in actions or (None,)]
        if lasts is not None:
            place.background(clear(place, on))

    async def clear(place: World, on: list[int]) -> None:
        await asyncio.sleep(lasts or 0.0)
        for number in on:
            place.cloud.clear_fault(number)

    return Case(name or kind, arrange, config, purchases, cloud_timeout=timeout, spec=spec)


def crowd(place: World) -> None:
    """More instances of other people in the account than HAI pages through."""
    place.cloud.add_instances("ap-beijing", "XL", 250, name=FOREIGN)


def api(name: str, methods: tuple[str, ...], path: str, status: int, **options: Any) -> Case:
    """The Kubernetes API in trouble at the beginning of each stage."""

    async def arrange(place: World, stage: str) -> None:
        place.troubles[:] = [Trouble(methods, path, status, options.pop("count", 6), **options)]

    return Case(name, arrange)


def watches(name: str, how: Watches) -> Case:
    """What happens reaches the operator's cache late, twice, or out of order."""

    async def arrange(place: World, stage: str) -> None:
        place.watches = how

    return Case(name, arrange)


def clock(name: str, *steps: float) -> Case:
    """The operator's clock is set, some seconds into each stage, and again some seconds later."""

    async def arrange(place: World, stage: str) -> None:
        async def set_clock() -> None:
            for step in steps:
                await asyncio.sleep(7.0)
                place.clock.offset += step

        place.background(set_clock())

    return Case(name, arrange, edge_seconds=None)


CLOUD = [
    *(cloud(k, *CHANGES, count=1) for k in ("commit_then_500", "commit_then_reset", "http_500", "reset")),
    cloud("commit_then_timeout", *CHANGES, count=1, seconds=0.6, cloud_timeout=0.3),
    cloud("late", "RunInstances", count=1, seconds=100.0, cloud_timeout=0.3),
    *(cloud(k, *CHANGES, count=2, name=f"{k} of a change") for k in ("missing_fields", "broken_json", "charset")),
    cloud("throttled", count=40, name="a burst of throttling"),
    cloud("throttled", *CHANGES, count=5, name="throttled changes"),
    cloud("error", count=40, code="InternalError", name="a burst of internal errors"),
    cloud("error", count=60, code="AuthFailure.SignatureExpire", name="a signature refused for its time"),
    cloud("sold_out", "RunInstances", count=2, purchases=PURCHASES),
    cloud("arrears", "RunInstances", count=1),
    cloud("busy", count=3),
    cloud("ignored", count=1, name="a destruction that is accepted and does not happen"),
    cloud("slow_body", count=10, seconds=0.05),
    cloud("eventual_listing", seconds=60.0, name="not listed for 60 s"),
    cloud("literal_paging"),
    cloud("literal_paging", before=crowd, name="more instances than HAI pages"),
    cloud("swapped_paging", before=crowd),
    cloud("shuffled_paging", before=crowd),
    cloud("repeated_entries", before=crowd),
    cloud("truncated_paging", before=crowd),
    cloud("wrong_total", lasts=120.0, name="a total that is wrong for two minutes"),
    cloud("launch_failed", "RunInstances", count=1, purchases=2 * PURCHASES),
    cloud("never_running", "RunInstances", count=1, purchases=2 * PURCHASES, spec={"startupTimeoutSeconds": 90}),
]
API = [
    *(api(f"writes answered {code}", ("POST", "PATCH", "DELETE"), "haipool.io", code) for code in (409, 429, 500, 503)),
    *(
        api(f"done, but {code or 'reset'}", ("POST", "PATCH", "DELETE"), "haipool.io", code, done=True, count=3)
        for code in (500, 0)
    ),
    api(
        "done, but no answer in time", ("POST", "PATCH", "DELETE"), "haipool.io", 504, done=True, count=3, seconds=40.0
    ),
    api("reads answered 500", ("GET",), "gpuinstances", 500),
    api("events refused", ("POST", "PATCH"), "events", 500, count=50),
    api("slow", ("GET", "POST", "PATCH", "DELETE"), "haipool.io", 503, count=6, seconds=12.0),
]
WATCHES = [
    watches("a cache that is 60 s behind", Watches(late=60.0)),
    watches("duplicate events", Watches(copies=3)),
    watches("old versions after new ones", Watches(ghosts=True)),
    watches("no watch, but a listing each 20 s", Watches(lasts=20.0)),
    watches("late, duplicate, old and broken", Watches(late=5.0, copies=2, ghosts=True, lasts=10.0)),
]
CLOCKS = [
    clock("an hour forward", HOUR),
    # Further back, a server would only be too young to be destroyed for longer.
    clock("ten minutes back", -600.0),
    clock("an hour forward and back", HOUR, -HOUR),
    clock("an hour back and forward", -HOUR, HOUR),
]
CASES = [*CLOUD, *API, *WATCHES, *CLOCKS]


async def live(case: Case) -> None:
    async with world(case.config, edge_seconds=case.edge_seconds) as place:
        place.cloud_timeout = case.cloud_timeout
        server = {"port": 7860} | case.spec
        began = asyncio.get_running_loop().time()
        await case.arrange(place, "buy")
        await begin(place, server=server, scaling=SCALING)
        # Listing hundreds of instances takes real time, and is not what this is about.
        async with operator(place, cloud_interval=20.0 if place.alive() else 5.0):
            await until(lambda: place.is_ready(1), "the first server")
            await stages(place, case)
        took = asyncio.get_running_loop().time() - began
        bought = [b for b in place.cloud.bills() if b.name != FOREIGN]
        assert len(bought) <= case.purchases, f"{len(bought)} purchases"
        assert [b.instance_id for b in bought if b.ended is None] == []
        assert await place.instances() == []
        assert took < LIFE_SECONDS, f"it took {took:.0f} s"


async def stages(place: World, case: Case) -> None:
    await case.arrange(place, "grow")
    await place.resize(2)
    await until(lambda: place.is_ready(2), "two servers")
    await case.arrange(place, "shrink")
    await place.resize(1)
    await until(lambda: place.is_ready(1), "one server again")
    await case.arrange(place, "replace")
    (server,) = await place.instances()
    await place.kube.delete(INSTANCES, server["metadata"]["name"], namespace=NAMESPACE)

    async def replaced() -> bool:
        uids = [i["metadata"]["uid"] for i in await place.instances()]
        return await place.is_ready(1) and uids != [server["metadata"]["uid"]]

    await until(replaced, "another server in its place")
    await case.arrange(place, "delete")
    await place.delete_pool()
    await until(place.is_gone, "the pool gone")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.replace(" ", "-"))
def test_through_its_whole_life_a_pool_buys_nothing_twice_and_leaves_nothing_behind(
    case: Case, fault_cases: Callable[[int], None]
) -> None:
    run(live(case))
    fault_cases(1)
