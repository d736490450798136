"""The store: one counter of revisions, the log behind watches, and earlier states."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.sandbox.kubeapi.errors import ApiError
from controller.sandbox.kubeapi.store import Store

THINGS = ("example.com", "things")
OTHERS = ("example.com", "others")
Object = dict[str, Any]


def _thing(name: str, value: int = 0) -> Object:
    return {"metadata": {"name": name, "namespace": "n"}, "value": value}


def _names(items: list[Object]) -> list[str]:
    return [item["metadata"]["name"] for item in items]


def test_every_write_of_any_resource_gets_the_next_revision() -> None:
    store = Store(first_revision=100)
    first = store.put(THINGS, ("n", "a"), _thing("a"))
    second = store.put(OTHERS, ("n", "a"), _thing("a"))
    ended = store.remove(THINGS, ("n", "a"))
    assert [item["metadata"]["resourceVersion"] for item in (first, second, ended)] == ["101", "102", "103"]


def test_a_write_leaves_earlier_states_as_they_were() -> None:
    store = Store()
    first = store.put(THINGS, ("n", "a"), _thing("a", 1))
    store.put(THINGS, ("n", "a"), _thing("a", 2))
    assert first == _thing("a", 1) | {"metadata": first["metadata"]}
    assert [change.type for change in store.changes(THINGS, 1)] == ["ADDED", "MODIFIED"]


def test_lists_are_in_the_order_of_namespace_and_name() -> None:
    store = Store()
    for key in (("b", "x"), ("a", "z"), ("a", "y")):
        store.put(THINGS, key, {"metadata": {"namespace": key[0], "name": key[1]}})
    assert _names(store.items(THINGS, None)) == ["y", "z", "x"]
    assert _names(store.items(THINGS, "a")) == ["y", "z"]


_writes = st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["put", "remove"])), max_size=30)


@given(_writes)
def test_each_earlier_state_can_be_shown_again(writes: list[tuple[str, str]]) -> None:
    store, states = Store(), dict[int, list[Object]]()
    for name, action in writes:
        if action == "put":
            store.put(THINGS, ("n", name), _thing(name, store.revision))
        elif store.get(THINGS, ("n", name)) is not None:
            store.remove(THINGS, ("n", name))
        states[store.revision] = store.items(THINGS, None)
    for revision, items in states.items():
        assert store.items(THINGS, None, revision) == items


@given(_writes, st.integers(0, 30))
def test_the_changes_since_a_state_lead_to_the_present_one(writes: list[tuple[str, str]], cut: int) -> None:
    store = Store()
    seen, since = dict[str, Object](), store.revision
    for index, (name, action) in enumerate(writes):
        if index == cut:
            seen = {item["metadata"]["name"]: item for item in store.items(THINGS, None)}
            since = store.revision
        if action == "put":
            store.put(THINGS, ("n", name), _thing(name))
        elif store.get(THINGS, ("n", name)) is not None:
            store.remove(THINGS, ("n", name))
    for change in store.changes(THINGS, since):
        assert change.revision > since
        if change.type == "DELETED":
            del seen[change.key[1]]
        else:
            assert (change.key[1] in seen) is (change.type == "MODIFIED")
            seen[change.key[1]] = change.object
    assert [seen[name] for name in sorted(seen)] == store.items(THINGS, None)


def test_what_is_forgotten_is_410_and_not_a_gap() -> None:
    store = Store(history=5)
    revisions = [int(store.put(THINGS, ("n", "a"), _thing("a", n))["metadata"]["resourceVersion"]) for n in range(30)]
    kept = [revision for revision in revisions if _is_kept(store, revision)]
    assert kept == revisions[-len(kept) :]
    assert 5 <= len(kept) <= 11
    for revision in kept:
        assert [change.revision for change in store.changes(THINGS, revision)] == [r for r in revisions if r > revision]


def _is_kept(store: Store, revision: int) -> bool:
    try:
        store.changes(THINGS, revision)
    except ApiError as error:
        if error.code != 410 or error.reason != "Expired":
            raise
        return False
    return True


def test_one_busy_resource_does_not_make_another_forget() -> None:
    store = Store(history=2)
    start = store.revision
    store.put(OTHERS, ("n", "a"), _thing("a"))
    for _ in range(20):
        store.put(THINGS, ("n", "a"), _thing("a"))
    assert len(store.changes(OTHERS, start)) == 1


def test_versions_from_before_the_start_are_too_old() -> None:
    store = Store(first_revision=1000)
    with pytest.raises(ApiError) as refused:
        store.changes(THINGS, 999)
    assert refused.value.code == 410
    assert store.changes(THINGS, 1000) == []


def test_a_state_that_has_not_happened_yet_is_504() -> None:
    with pytest.raises(ApiError) as refused:
        Store().items(THINGS, None, 50)
    assert (refused.value.code, refused.value.reason) == (504, "Timeout")
