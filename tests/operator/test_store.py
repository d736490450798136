"""The cache: newer wins, own writes are not undone by their echo, nonsense never replaces what is good."""

from typing import Any

from controller.operator.store import Store


def pool(version: int, *, uid: str = "u1", **spec: Any) -> dict[str, Any]:
    meta = {"name": "a", "namespace": "ns", "uid": uid, "resourceVersion": str(version)}
    return {"metadata": meta, "spec": spec}


def test_an_older_version_does_not_replace_a_newer_one() -> None:
    store = Store()
    store.pools.put(pool(5, mode="Recommend"))
    known = store.pools.put(pool(4))
    assert known is not None
    assert known.spec.mode == "Recommend"


def test_another_object_of_the_same_name_replaces_whatever_was_there() -> None:
    store = Store()
    store.pools.put(pool(5))
    store.pools.put(pool(2, uid="u2"))
    found = store.pools.get("ns/a")
    assert found is not None
    assert found.metadata.uid == "u2"


def test_the_deletion_of_a_predecessor_does_not_drop_its_successor() -> None:
    store = Store()
    store.pools.put(pool(9, uid="u2"))
    store.pools.drop("ns/a", "u1")
    assert store.pools.get("ns/a") is not None


def test_an_object_that_is_gone_never_comes_back_whatever_a_watch_that_is_behind_may_tell() -> None:
    store = Store()
    store.pools.put(pool(5))
    store.pools.drop("ns/a", "u1")
    assert store.pools.put(pool(4)) is None
    assert store.pools.put(pool(9)) is None
    assert store.pools.get("ns/a") is None
    assert store.pools.put(pool(10, uid="u2")) is not None


def test_an_object_that_does_not_fit_leaves_the_last_good_one() -> None:
    store = Store()
    store.pools.put(pool(1))
    assert store.pools.put(pool(2, replicas={"min": "many"})) is None
    assert store.pools.get("ns/a") is not None


def test_presets_are_selected_by_label_and_namespace() -> None:
    store = Store()
    body = {"region": "ap-beijing", "application": {"name": "x"}}
    for name, namespace, labels in (("one", "ns", {"app": "sd"}), ("two", "ns", {}), ("three", "other", {"app": "sd"})):
        meta = {"name": name, "namespace": namespace, "uid": name, "resourceVersion": "1", "labels": labels}
        store.presets.put({"metadata": meta, "spec": body})
    chosen = store.pools.put(pool(1, presetSelector={"matchLabels": {"app": "sd"}}))
    everything = store.pools.put(pool(2))
    assert chosen is not None
    assert everything is not None
    assert [p.metadata.name for p in store.presets_of(chosen)] == ["one"]
    assert [p.metadata.name for p in store.presets_of(everything)] == ["one", "two"]


def instance(
    name: str, pool: str, *, version: int = 1, uid: str = "", pool_uid: str = "u1", **meta: Any
) -> dict[str, Any]:
    spec = {
        "pool": pool,
        "poolUID": pool_uid,
        "region": "ap-beijing",
        "bundle": "XL",
        "applicationId": "app-1",
        "pricePerHour": 0.88,
        "launchNumber": 1,
    }
    named = {"name": name, "namespace": "ns", "uid": uid or name, "resourceVersion": str(version)}
    return {"metadata": named | meta, "spec": spec}


def names(store: Store) -> list[str]:
    mine = store.pools.get("ns/a")
    assert mine is not None
    return [i.metadata.name for i in store.instances_of(mine)]


def test_a_pool_has_the_instances_that_name_it_and_its_uid() -> None:
    store = Store()
    store.pools.put(pool(1))
    store.instances.put(instance("a-1", "a"))
    store.instances.put(instance("b-1", "b"))
    store.instances.put(instance("a-2", "a", pool_uid="of a pool of that name before"))
    store.instances.put(instance("a-3", "a", annotations={"haipool.io/orphaned": "true"}))
    store.instances.put(instance("a-4", "a", namespace="other"))
    assert names(store) == ["a-1"]


def test_an_instance_that_changes_or_goes_does_so_for_its_pool() -> None:
    store = Store()
    store.pools.put(pool(1))
    for name in ("a-1", "a-2"):
        store.instances.put(instance(name, "a"))
    store.instances.put(instance("a-1", "a", version=2))
    assert names(store) == ["a-1", "a-2"]
    store.instances.drop("ns/a-1", "a-1")
    assert names(store) == ["a-2"]
    store.instances.drop("ns/a-2", "another object of that name")
    assert names(store) == ["a-2"]


def test_an_object_that_comes_again_for_another_pool_leaves_the_first() -> None:
    store = Store()
    store.pools.put(pool(1))
    store.instances.put(instance("x", "a", uid="1"))
    store.instances.put(instance("x", "b", uid="2", version=2))
    assert names(store) == []
    store.instances.drop("ns/x", "2")
    assert store.instances.of("ns/b") == ()
