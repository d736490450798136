"""Who owns what, when an instance is called leaked, and what may be done to it."""

from typing import Any

import pytest

from controller.api.gpuinstance import GpuInstance
from controller.api.model import read, write
from controller.api.names import Mark, instance_name, parse_instance_name
from controller.cloud.contract import CloudInstance
from controller.operator import leaks as rules
from controller.operator.leaks import Leaks
from controller.operator.store import Store

CLUSTER = "c1c1c1c1-0000-4000-8000-000000000000"
POOL = "aaaaaaaa-0000-4000-8000-000000000000"
UID = "bbbbbbbb-0000-4000-8000-00000000000{}"
NOW = 1_768_449_600.0


def named(number: int = 1, *, pool: str = POOL, cluster: str = CLUSTER, bundle: str = "XL") -> str:
    return instance_name(cluster_uid=cluster, pool_uid=pool, instance_uid=UID.format(number), bundle=bundle)


def cloud(instance_id: str = "hai-1", name: str | None = None, state: Any = "RUNNING") -> CloudInstance:
    return CloudInstance(instance_id, named() if name is None else name, state, "127.0.0.1", None, False, "")


def gpuinstance(number: int = 1, *, annotations: dict[str, str] | None = None, **status: Any) -> dict[str, Any]:
    meta = {"name": f"pool-{number}", "uid": UID.format(number), "annotations": annotations or {}}
    spec = {"pool": "pool", "poolUID": POOL, "region": "ap-beijing", "bundle": "XL", "applicationId": "app-1",
            "pricePerHour": 1.0, "launchNumber": number}  # fmt: skip
    return {"metadata": meta, "spec": spec, "status": status}


def store(*pools: dict[str, Any], offers: Any = ({"bundle": "XL", "pricePerHour": 0.88},)) -> Store:
    made = Store()
    for pool in pools or ({},):
        meta = {"name": "pool", "namespace": "default", "uid": POOL} | pool.get("metadata", {})
        made.pools.put({"metadata": meta, "spec": pool.get("spec", {})})
    made.presets.put(
        {
            "metadata": {"name": "beijing", "namespace": "default", "uid": "p"},
            "spec": {"region": "ap-beijing", "application": {"id": "app-1"}},
            "status": {"applicationId": "app-1", "offers": list(offers)},
        }
    )
    return made


def passed(leaks: Leaks, times: int, place: Store, *instances: CloudInstance, region: str = "ap-beijing") -> None:
    for n in range(times):
        rules.take_pass(leaks, region, rules.marked(instances, CLUSTER), place, now=NOW + n)
        leaks.listed[region] = NOW + n


@pytest.mark.parametrize("bundle", ["XL", "XL_2X", "24GB_A"])
def test_a_name_we_gave_is_read_back(bundle: str) -> None:
    assert parse_instance_name(named(bundle=bundle)) == Mark("c1c1c1c1", "aaaaaaaa", UID.format(1), bundle)


@pytest.mark.parametrize(
    "name",
    ["", "web-1", "hp1", "hp1-c1c1c1c1-aaaaaaaa", f"x{named()}", f"{named()}x", named().replace("hp1", "hp2"),
     named().upper(), named(bundle="A100"), named().replace("-XL", "")],
)  # fmt: skip
def test_what_merely_resembles_our_mark_is_not_ours(name: str) -> None:
    assert parse_instance_name(name) is None
    assert rules.marked([cloud(name=name)], CLUSTER) == []


def test_another_clusters_instances_are_not_ours() -> None:
    assert rules.marked([cloud(name=named(cluster="d2d2d2d2"))], CLUSTER) == []


@pytest.mark.parametrize("state", ["TERMINATING", "TERMINATED"])
def test_what_goes_already_is_no_leak(state: str) -> None:
    assert rules.marked([cloud(state=state)], CLUSTER) == []


OWNED = [
    pytest.param(gpuinstance(instanceId="hai-1"), True, id="recorded by its object"),
    pytest.param(gpuinstance(), True, id="a purchase that is not recorded yet"),
    pytest.param(gpuinstance(2, instanceId="hai-1"), True, id="recorded by another object: taken over"),
    pytest.param({**gpuinstance(2), "spec": {**gpuinstance(2)["spec"], "adopts": "hai-1"}}, True,
        id="being taken over"),
    pytest.param(gpuinstance(instanceId="hai-9", annotations={"haipool.io/orphaned": "true"}), True,
        id="whatever bears the name of an orphan"),
    pytest.param(gpuinstance(instanceId="hai-9"), False, id="bought twice under one name"),
    pytest.param(gpuinstance(2, instanceId="hai-2"), False, id="another object"),
]  # fmt: skip


@pytest.mark.parametrize(("raw", "owned"), OWNED)
def test_an_object_owns_what_it_recorded_or_may_have_bought(raw: dict[str, Any], owned: bool) -> None:
    ((instance, mark),) = rules.marked([cloud()], CLUSTER)
    assert rules.owners([raw]).own(instance, mark) is owned
    assert rules.owners_known([read(GpuInstance, raw)]).own(instance, mark) is owned


def test_an_object_that_does_not_fit_its_kind_still_owns() -> None:
    ((instance, mark),) = rules.marked([cloud()], CLUSTER)
    broken = {"metadata": {"uid": UID.format(1)}, "spec": {"bundle": "no such bundle"}}
    assert rules.owners([broken]).own(instance, mark)


def test_one_pass_is_no_proof_and_the_second_is() -> None:
    leaks, place = Leaks(NOW), store()
    for expected in ([], ["hai-1"], []):
        told = rules.take_pass(leaks, "ap-beijing", rules.marked([cloud()], CLUSTER), place, now=NOW)
        assert [leak.instance_id for leak in told] == expected


def test_an_instance_that_is_owned_in_between_begins_anew() -> None:
    leaks, place = Leaks(NOW), store()
    passed(leaks, 1, place, cloud())
    passed(leaks, 1, place)
    passed(leaks, 1, place, cloud())
    assert not leaks.found["hai-1"].confirmed


def test_a_pass_of_one_region_says_nothing_of_another() -> None:
    leaks, place = Leaks(NOW), store()
    passed(leaks, 2, place, cloud())
    passed(leaks, 3, place, region="ap-nanjing")
    assert leaks.found["hai-1"].passes == 2


@pytest.mark.parametrize(
    ("offers", "price"),
    [
        ([{"bundle": "XL", "pricePerHour": 0.88}], 0.88),
        ([{"bundle": "3XL", "pricePerHour": 2.0}], None),
        ([{"bundle": "XL"}], None),
    ],
)
def test_an_unknown_price_stays_unknown(offers: Any, price: float | None) -> None:
    assert rules.price_of(store(offers=offers), "ap-beijing", "XL") == price


def test_a_price_from_elsewhere_is_better_than_none() -> None:
    assert rules.price_of(store(), "ap-nanjing", "XL") == 0.88


@pytest.mark.parametrize(
    ("passes", "pool", "instance", "count"),
    [
        pytest.param(2, {}, cloud(), 1, id="confirmed"),
        pytest.param(1, {}, cloud(), 0, id="not certain yet"),
        pytest.param(2, {}, cloud(state="UNKNOWN"), 0, id="in no state to serve"),
        pytest.param(2, {"spec": {"gpuTypes": [{"bundle": "3XL"}]}}, cloud(), 0, id="a type the pool does not want"),
        pytest.param(2, {}, cloud(name=named(bundle="4XL")), 0, id="a price nobody knows"),
        pytest.param(2, {}, cloud(name=named(pool="ffffffff")), 0, id="another pool's"),
    ],
)
def test_what_a_pool_can_take_over(passes: int, pool: Any, instance: CloudInstance, count: int) -> None:
    leaks, place = Leaks(NOW), store(pool)
    passed(leaks, passes, place, instance)
    (owner,) = place.pools
    assert len(rules.strays(leaks, place, owner)) == count


def test_a_pool_that_was_read_before_its_last_change_takes_over_just_the_same() -> None:
    leaks, place = Leaks(NOW), store()
    (before,) = place.pools
    place.pools.put({"metadata": {"name": "pool", "namespace": "default", "uid": POOL}})
    passed(leaks, 2, place, cloud())
    assert len(rules.strays(leaks, place, before)) == 1


@pytest.mark.parametrize(("fate", "status"), [("", "False"), ("adopt", "True"), ("destroy", "False")])
def test_what_is_being_taken_over_is_no_waste_and_what_is_being_destroyed_still_is(fate: Any, status: str) -> None:
    leaks, place = Leaks(NOW), store()
    passed(leaks, 2, place, cloud())
    leaks.found["hai-1"].fate = fate
    (pool,) = place.pools
    assert rules.leak_condition(leaks, place, pool, now=NOW).status == status


def test_a_take_over_that_came_to_nothing_is_proved_anew() -> None:
    leaks, place = Leaks(NOW), store()
    passed(leaks, 5, place, cloud())
    leaks.found["hai-1"].fate = "adopt"
    passed(leaks, 1, place, cloud())
    assert (leaks.found["hai-1"].fate, leaks.found["hai-1"].passes) == ("", 1)


@pytest.mark.parametrize("fate", ["adopt", "destroy"])
def test_what_something_was_begun_with_is_offered_to_nobody(fate: Any) -> None:
    leaks, place = Leaks(NOW), store()
    passed(leaks, 2, place, cloud())
    leaks.found["hai-1"].fate = fate
    (owner,) = place.pools
    assert rules.strays(leaks, place, owner) == ()


def test_two_pools_whose_marks_look_alike_take_nothing_over() -> None:
    other = {"metadata": {"name": "other", "uid": POOL[:8] + "-1111-4111-8111-111111111111"}}
    leaks, place = Leaks(NOW), store({}, other)
    passed(leaks, 3, place, cloud())
    assert [rules.strays(leaks, place, pool) for pool in place.pools] == [(), ()]
    assert rules.pool_of(place, leaks.found["hai-1"].mark) is None


@pytest.mark.parametrize(
    ("spec", "passes", "allowed"),
    [
        ({}, 3, True),
        ({}, 2, False),
        ({"deletionPolicy": "Orphan"}, 9, False),
        ({"paused": "All"}, 9, False),
        ({"paused": "ScaleUp"}, 9, False),
        ({"mode": "Recommend"}, 9, False),
    ],
)
def test_what_the_audit_may_destroy(spec: Any, passes: int, allowed: bool) -> None:
    leaks, place = Leaks(NOW), store({"spec": spec})
    passed(leaks, passes, place, cloud())
    leak = leaks.found["hai-1"]
    assert (rules.may_destroy(leak, rules.pool_of(place, leak.mark)) == "") is allowed


def test_without_its_pool_nothing_is_destroyed() -> None:
    leaks, place = Leaks(NOW), store({"metadata": {"uid": "f" * 8}})
    passed(leaks, 9, place, cloud())
    leak = leaks.found["hai-1"]
    assert "its pool is gone" in rules.may_destroy(leak, rules.pool_of(place, leak.mark))


def barrier(leaks: Leaks, place: Store, *, now: float = NOW) -> str:
    (pool,) = place.pools
    return rules.unaudited(leaks, place, pool, now=now)


def test_nothing_is_bought_before_the_pools_regions_are_listed() -> None:
    leaks, place = Leaks(NOW), store()
    assert barrier(leaks, place) == "waiting for the first complete listing of ap-beijing"
    leaks.listed["ap-nanjing"] = NOW
    assert "ap-beijing" in barrier(leaks, place)
    leaks.listed["ap-beijing"] = NOW
    assert barrier(leaks, place) == ""


def test_a_region_that_cannot_be_listed_holds_purchases_up_for_a_minute_only() -> None:
    leaks, place = Leaks(NOW), store()
    assert barrier(leaks, place, now=NOW + 59.0)
    assert not barrier(leaks, place, now=NOW + 60.0)


def test_a_purchase_waits_until_it_is_certain_whether_one_can_be_taken_over() -> None:
    leaks, place = Leaks(NOW, {"ap-beijing": NOW}), store()
    passed(leaks, 1, place, cloud())
    assert "hai-1" in barrier(leaks, place)
    passed(leaks, 1, place, cloud())
    assert barrier(leaks, place) == ""


@pytest.mark.parametrize(
    ("passes", "told"), [(0, "Unknown/NotAudited"), (1, "True/AllOwned"), (2, "False/Leaked")]
)  # fmt: skip
def test_the_condition_is_false_once_it_is_certain(passes: int, told: str) -> None:
    leaks, place = Leaks(NOW), store()
    passed(leaks, passes, place, cloud())
    (pool,) = place.pools
    got = write(rules.leak_condition(leaks, place, pool, now=NOW))
    assert f"{got['status']}/{got['reason']}" == told
    assert ("hai-1 (XL in ap-beijing, 0.88 CNY/h)" in got["message"]) is (passes == 2)


def test_where_the_cloud_was_not_looked_at_for_long_nothing_is_claimed() -> None:
    leaks, place = Leaks(NOW), store()
    passed(leaks, 1, place)
    (pool,) = place.pools
    told = [rules.leak_condition(leaks, place, pool, now=NOW + later).status for later in (900.0, 901.0)]
    assert told == ["True", "Unknown"]
