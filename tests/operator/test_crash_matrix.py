"""The operator killed at every write it makes, one after the other: nothing bought twice, nothing left behind.

One run takes a pool from nothing to one Ready server and through its deletion. First it is run whole, counting every
write to the Kubernetes API and every call that changes something at the cloud. Then it is run once for each moment just
before and just after each of them: there the process dies (no call gets out any more, all memory is lost), another one
starts, and the cloud's own ledger must show one instance, owned, and gone in the end.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest

from controller.api.names import instance_name
from controller.operator.process import cluster_identity
from tests.operator.virtualtime import run
from tests.operator.world import Clock, Fuse, World, begin, operator, until, world

pytestmark = [pytest.mark.crash, pytest.mark.timeout(400)]

Prepare = Callable[[World], Awaitable[None]]
#: An object of a purchase that is long gone.
STRANGER = "0b5e55ed-0000-4000-8000-000000000000"


async def nothing(place: World) -> None:
    """The world as it is."""


async def leak(place: World) -> None:
    """An instance of the pool that is billed and whose object is gone."""
    pool = await place.pool()
    name = instance_name(
        cluster_uid=await cluster_identity(place.kube),
        pool_uid=pool["metadata"]["uid"],
        instance_uid=STRANGER,
        bundle="XL",
    )
    (instance_id,) = place.cloud.add_instances("ap-beijing", "XL", 1, name=name)
    place.oracle.intends(instance_id, "nobody owns it until it is taken over")


def answer_lost(kind: Any) -> Prepare:
    """The first purchase is made, and its answer gets lost; the instance is not listed for a minute."""

    async def prepare(place: World) -> None:
        place.cloud.set_fault(kind, action="RunInstances", count=1, seconds=0.5)
        place.cloud.set_fault("eventual_listing", seconds=60.0)
        place.cloud_timeout = 0.3

    return prepare


def refused_afterwards(kind: Any) -> Prepare:
    """The answer to the first purchase is lost, and whoever asks again is told that all is sold out."""

    async def prepare(place: World) -> None:
        place.cloud.set_fault(kind, action="RunInstances", count=1)
        place.cloud.set_fault("eventual_listing", seconds=60.0)
        place.background(sell_out(place))

    async def sell_out(place: World) -> None:
        async def bought() -> bool:
            return bool(place.cloud.bills())

        await until(bought, "the purchase", look_seconds=0.001)
        fault = place.cloud.set_fault("sold_out", action="RunInstances")
        await asyncio.sleep(100.0)
        place.cloud.clear_fault(fault)

    return prepare


async def story(place: World, fuses: list[Fuse], prepare: Prepare) -> None:
    """From nothing to one Ready server and through the pool's deletion, in as many lives as there are fuses."""
    lives = iter(fuses)
    await begin(place)
    await prepare(place)
    steps = [place.is_ready, place.is_gone]
    while steps:
        fuse = next(lives)
        async with operator(place, fuse):
            while steps and await until(steps[0], steps[0].__name__, fuse):
                if steps.pop(0) == place.is_ready:
                    await place.delete_pool()


async def live(at: int | None, prepare: Prepare) -> list[str]:
    # An answer that is lost is asked for again for a while, and the account begins with the first attempt.
    async with world(edge_seconds=200.0) as place:
        first = Fuse(at)
        await story(place, [first, Fuse()], prepare)
        told = f"died {first.passed[-1] if first.blown.is_set() else 'not at all'}"
        bills = place.cloud.bills()
        assert len(bills) == 1, f"{told}: {len(bills)} instances were bought"
        assert bills[0].ended is not None, f"{told}: {bills[0].instance_id} was left behind"
        assert await place.instances() == [], f"{told}: objects left"
        return first.passed


def lived(at: int | None, prepare: Prepare = nothing) -> list[str]:
    """Run the story with a death at moment `at`, have the ledger judged, and return the moments of the first life."""
    try:
        return run(live(at, prepare))
    except AssertionError as error:
        raise AssertionError(f"death at moment {at}: {error}") from error


def distinct(moments: list[str]) -> list[int]:
    """The moments that leave the world in different states.

    Events tell and change nothing. What a death after a status patch of a pool or preset leaves is what one before the
    next write does. Of a row of decisions that only wait, the first and the last.
    """
    same = ("after patch gpupools status", "after patch regionpresets status")
    kept = [k for k, moment in enumerate(moments) if " events" not in moment and moment not in same]
    rows = [[moments[k] for k in kept[max(0, n - 1) : n + 2]] for n in range(len(kept))]
    return [k for k, row in zip(kept, rows, strict=True) if row != ["before patch gpupools status"] * 3]


def test_a_death_at_any_write_buys_nothing_twice_and_leaves_nothing_behind(crash_points: Callable[[int], None]) -> None:
    moments = lived(None)
    wanted = {"before run_instance ap-beijing", "after run_instance ap-beijing", "after terminate_instance ap-beijing"}
    assert wanted <= set(moments)
    matter = distinct(moments)
    assert len(matter) > 35
    for k in matter:
        lived(k)
    crash_points(len(matter))


def test_a_death_at_any_write_of_a_take_over_buys_nothing_and_leaves_nothing_behind(
    crash_points: Callable[[int], None],
) -> None:
    moments = lived(None, leak)
    assert not [moment for moment in moments if "run_instance" in moment]
    # From the deletion on it is the same story as above.
    until = moments.index("before terminate_instance ap-beijing")
    matter = [k for k, moment in enumerate(moments[:until]) if " gpuinstances" in moment]
    assert len(matter) > 6
    for k in matter:
        lived(k, leak)
    crash_points(len(matter))


LOST = {
    **{kind: answer_lost(kind) for kind in ("commit_then_500", "commit_then_reset", "commit_then_timeout")},
    "commit_then_reset, then sold out": refused_afterwards("commit_then_reset"),
}


@pytest.mark.parametrize("prepare", LOST.values(), ids=LOST)
def test_a_death_at_any_write_around_a_purchase_whose_answer_is_lost_and_that_is_not_listed_yet(
    prepare: Prepare, crash_points: Callable[[int], None]
) -> None:
    moments = lived(None, prepare)
    calls = [k for k, moment in enumerate(moments) if moment == "before run_instance ap-beijing"]
    assert len(calls) > 1, "it was asked for again"
    matter = [k for k in distinct(moments[: calls[1] + 4]) if "regionpresets" not in moments[k]]
    for k in matter:
        lived(k, prepare)
    crash_points(len(matter))


@dataclass
class Setting(Fuse):
    """Sets the operator's clock at a moment, instead of killing it."""

    clock: Clock | None = None
    step: float = 0.0
    moment: int = 0

    def burn(self, moment: str) -> None:
        if len(self.passed) == self.moment and self.clock is not None:
            self.clock.offset += self.step
        super().burn(moment)


async def clock_set(at: int, step: float) -> None:
    async with world(edge_seconds=None) as place:
        fuse = Setting(clock=place.clock, step=step, moment=at)
        began = Clock.true()
        await story(place, [fuse], nothing)
        took = Clock.true() - began
        (bill,) = place.cloud.bills()
        assert bill.ended is not None, f"{bill.instance_id} was left behind"
        assert took < 600.0, f"it took {took:.0f} s"


def test_a_clock_set_by_an_hour_at_any_write_buys_nothing_twice_and_holds_nothing_up(
    fault_cases: Callable[[int], None],
) -> None:
    moments = lived(None)
    matter = [k for k in distinct(moments) if "gpuinstances" in moments[k] or "ap-beijing" in moments[k]]
    for n, k in enumerate(matter):
        step = 3600.0 if n % 2 else -3600.0
        try:
            run(clock_set(k, step))
        except AssertionError as error:
            raise AssertionError(f"clock set by {step:+.0f} s {moments[k]}: {error}") from error
    fault_cases(len(matter))
