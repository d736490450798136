"""The money oracle can fail: each thing that must not be, planted, is found, and a life as it should be is not."""

from collections.abc import Callable
from typing import Any

import pytest

from controller.api.names import instance_name
from controller.operator.process import cluster_identity
from controller.sandbox.cloudsim import Bill, Purchase
from tests.operator.oracle import Books, Life, audit
from tests.operator.virtualtime import run
from tests.operator.world import World, begin, operator, until, world

POOL = "aaaaaaaa-0000-4000-8000-000000000000"
UID = "bbbbbbbb-0000-4000-8000-00000000000{}"
NOON = 1_768_449_600.0
TIME = "2026-01-15T04:{:02d}:00.000Z"


def bill(number: int = 1, *, name: int | None = None, ended: float | None = 600.0) -> Bill:
    mark = instance_name(cluster_uid="c1c1c1c1", pool_uid=POOL, instance_uid=UID.format(name or number), bundle="XL")
    end = None if ended is None else NOON + ended
    return Bill(f"hai-{number}", mark, "ap-beijing", "XL", 3.6, NOON, None, end, ended or 0.0, 0.0)


def life(number: int = 1, *, gone: float | None = 600.0, ended: int | None = 10, **fields: Any) -> Life:
    status = {"instanceId": f"hai-{number}", "attemptedAt": TIME.format(0), "launchedAt": TIME.format(0)}
    status |= {"endedAt": TIME.format(ended)} if ended is not None else {}
    raw = {
        "metadata": {"name": f"pool-{number}", "uid": UID.format(number)} | fields.pop("metadata", {}),
        "spec": {"poolUID": POOL, "pricePerHour": 3.6} | fields.pop("spec", {}),
        "status": status | fields.pop("status", {}),
    }
    return Life(raw, NOON, None if gone is None else NOON + gone, **fields)


def pool(spent: float) -> Life:
    spend = {"thisMonth": spent, "booked": []}
    return Life({"metadata": {"name": "pool", "uid": POOL}, "spec": {}, "status": {"spend": spend}}, NOON)


def books(bills: list[Bill], lives: list[Life], *, spent: float = 0.6, bought: tuple[str, ...] = ()) -> Books:
    purchases = [Purchase(NOON, "ap-beijing", "XL", "", token, 3.6, "bought", (), ()) for token in bought]
    instances = {i.raw["metadata"]["uid"]: i for i in lives}
    return Books(bills, purchases, instances, {POOL: pool(spent)}, NOON + 1200.0)


def test_a_life_as_it_should_be_is_not_complained_of() -> None:
    assert audit(books([bill()], [life()], bought=("t1", "t2"))) == []


PLANTED = {
    "an instance without any object": (books([bill()], [], spent=0.0), "had no owner for 600.000 s and is gone"),
    "an object that went before its instance": (books([bill()], [life(gone=599.0)]), "had no owner for 1.000 s"),
    "an instance that outlives its object": (books([bill(ended=None)], [life()]), "600.000 s and is still billed"),
    "an orphan": (books([bill(ended=None)], [life(gone=None, let_go=NOON + 5.0, ended=None)]), "is still billed"),
    "two of one name": (books([bill(), bill(2, name=1)], [life()]), "hai-2 is one of 2 named"),
    "a token that bought twice": (books([bill()], [life()], bought=("t1", "t1")), "the token t1 bought 2 times"),
    "an object whose instance never was": (books([], [life(gone=None, ended=None)]), "which was never bought"),
    "an object whose instance is gone": (books([bill()], [life(gone=None, ended=None)]), "hai-1, which is gone"),
    "a purchase before its attempt": (
        books([bill()], [life(status={"launchedAt": TIME.format(1)})], spent=0.54),
        "launchedAt is +60.000 s",
    ),
    "an end that was noticed before it came": (books([bill()], [life(ended=9)], spent=0.54), "endedAt is -60.000 s"),
    "an end that was noticed late": (books([bill()], [life(ended=11)], spent=0.66), "endedAt is +60.000 s"),
    "a pool that booked too little": (books([bill()], [life()], spent=0.59), "booked 0.59 CNY, not 0.600000"),
    "a pool that booked twice": (books([bill()], [life()], spent=1.2), "booked 1.2 CNY"),
}  # fmt: skip


@pytest.mark.parametrize(("planted", "told"), PLANTED.values(), ids=PLANTED)
def test_what_is_planted_is_found(planted: Books, told: str) -> None:
    assert told in "; ".join(f.text for f in audit(planted))


def test_one_that_was_taken_over_is_owned_again_from_then_on() -> None:
    heir = life(2, gone=700.0, spec={"adopts": "hai-1"}, status={"instanceId": "hai-1"})
    heir.came = NOON + 300.0
    (found, *_) = audit(books([bill()], [life(gone=200.0, ended=None), heir], spent=1.2))
    assert found.text == "hai-1 had no owner for 100.000 s and is gone"


async def stray(place: World) -> None:
    """An instance with our mark that no object stands for."""
    mark = {"cluster_uid": await cluster_identity(place.kube), "pool_uid": (await place.pool())["metadata"]["uid"]}
    name = instance_name(**mark, instance_uid=UID.format(9), bundle="4XL")
    place.cloud.add_instances("ap-beijing", "4XL", 1, name=name)


async def double(place: World) -> None:
    """The same purchase a second time, as an operator would make it that took no token from the object."""
    (bought,) = place.cloud.bills()
    place.cloud.add_instances("ap-beijing", "XL", 1, name=bought.name)


async def nothing(place: World) -> None:
    """All is well."""


@pytest.mark.crash
@pytest.mark.parametrize(
    ("plant", "told"), [(stray, "had no owner"), (double, "is one of 2 named"), (nothing, "")]
)  # fmt: skip
def test_a_story_with_something_planted_fails(plant: Callable[[World], Any], told: str) -> None:
    async def story() -> None:
        async with world() as place:
            await begin(place, gpuTypes=[{"bundle": "XL"}])
            async with operator(place):
                await until(place.is_ready, "a server")
            await plant(place)

    if not told:
        run(story())
        return
    with pytest.raises(AssertionError, match=told):
        run(story())


@pytest.mark.crash
def test_what_is_left_on_purpose_has_to_be_left_indeed() -> None:
    async def story() -> None:
        async with world() as place:
            place.oracle.intends("hai-1", "a test")

    with pytest.raises(AssertionError, match="hai-1 was to be left"):
        run(story())
