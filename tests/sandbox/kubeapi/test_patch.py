"""Patches: RFC 7396, RFC 6902, and strategic merge of built-in kinds."""

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.sandbox.kubeapi.errors import ApiError
from controller.sandbox.kubeapi.patch import JSON, MERGE, STRATEGIC, merge, patcher

Object = dict[str, Any]

_leaves = st.none() | st.booleans() | st.integers() | st.text(max_size=3)
_values = st.recursive(
    _leaves,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)
_objects = st.dictionaries(st.sampled_from("abc"), _values, max_size=3)


def _has_null(value: Any) -> bool:
    return value is None or (isinstance(value, dict) and any(map(_has_null, value.values())))


@given(_objects, _objects)
def test_a_merge_patch_changes_neither_of_its_arguments(target: Object, patch: Object) -> None:
    before = copy.deepcopy((target, patch))
    merge(target, patch)
    assert (target, patch) == before


@given(_objects, _objects)
def test_a_merge_patch_twice_is_the_same_as_once(target: Object, patch: Object) -> None:
    once = merge(target, patch)
    assert merge(once, patch) == once


@given(_objects.filter(lambda value: not _has_null(value)))
def test_a_merge_patch_of_nothing_is_the_patch(patch: Object) -> None:
    assert merge({}, patch) == patch


@pytest.mark.parametrize(
    ("target", "patch", "result"),
    [
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": None}}, {"a": {"c": 2}}),
        ({"a": [1, 2]}, {"a": [3]}, {"a": [3]}),
        ({"a": "x"}, {"a": {"b": None, "c": 1}}, {"a": {"c": 1}}),
        ({"a": 1}, {}, {"a": 1}),
    ],
)
def test_merge_patches(target: Object, patch: Object, result: Object) -> None:
    assert patcher(MERGE, patch)(target) == result


def test_a_json_patch_is_done_as_a_whole_or_not_at_all() -> None:
    target = {"a": 1}
    operations = [{"op": "add", "path": "/b", "value": 2}, {"op": "test", "path": "/a", "value": 5}]
    with pytest.raises(ApiError) as refused:
        patcher(JSON, operations)(target)
    assert refused.value.code == 422
    assert target == {"a": 1}


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "remove", "path": "/nope"},
        {"op": "replace", "path": "/nope/deeper", "value": 1},
        {"op": "nonsense", "path": "/a"},
        {"op": "add"},
    ],
)
def test_a_json_patch_that_cannot_be_done_is_422(operation: Object) -> None:
    with pytest.raises(ApiError) as refused:
        patcher(JSON, [operation])({"a": 1})
    assert refused.value.code == 422


@pytest.mark.parametrize(("content_type", "patch"), [(JSON, {"op": "add"}), (JSON, ["x"]), (MERGE, []), (STRATEGIC, 1)])
def test_a_patch_of_the_wrong_form_is_400(content_type: str, patch: Any) -> None:
    with pytest.raises(ApiError) as refused:
        patcher(content_type, patch)({})
    assert refused.value.code == 400


STRATEGIC_CASES: dict[str, tuple[Object, Object, Object]] = {
    "maps merge": ({"data": {"a": "1"}}, {"data": {"b": "2", "a": None}}, {"data": {"b": "2"}}),
    "ports merge by port": (
        {"spec": {"ports": [{"port": 80, "name": "a"}, {"port": 81}]}},
        {"spec": {"$setElementOrder/ports": [{"port": 80}], "ports": [{"port": 80, "name": "b"}, {"port": 82}]}},
        {"spec": {"ports": [{"port": 80, "name": "b"}, {"port": 81}, {"port": 82}]}},
    ),
    "an entry goes": (
        {"spec": {"ports": [{"port": 80}, {"port": 81}]}},
        {"spec": {"ports": [{"$patch": "delete", "port": 80}]}},
        {"spec": {"ports": [{"port": 81}]}},
    ),
    "a list is replaced": (
        {"spec": {"ports": [{"port": 80}, {"port": 81}]}},
        {"spec": {"ports": [{"$patch": "replace"}, {"port": 90}]}},
        {"spec": {"ports": [{"port": 90}]}},
    ),
    "a map is replaced": ({"data": {"a": "1"}}, {"data": {"$patch": "replace", "b": "2"}}, {"data": {"b": "2"}}),
    "a map goes": ({"data": {"a": "1"}, "x": 1}, {"data": {"$patch": "delete"}}, {"x": 1}),
    "finalizers are a set": (
        {"metadata": {"finalizers": ["a", "b"]}},
        {"metadata": {"finalizers": ["b", "c"]}},
        {"metadata": {"finalizers": ["a", "b", "c"]}},
    ),
    "a finalizer goes": (
        {"metadata": {"finalizers": ["a", "b"]}},
        {"metadata": {"$deleteFromPrimitiveList/finalizers": ["a"]}},
        {"metadata": {"finalizers": ["b"]}},
    ),
    "other lists are values": ({"x": [1, 2]}, {"x": [3]}, {"x": [3]}),
}


@pytest.mark.parametrize(("target", "patch", "result"), STRATEGIC_CASES.values(), ids=STRATEGIC_CASES)
def test_strategic_merge_patches(target: Object, patch: Object, result: Object) -> None:
    assert patcher(STRATEGIC, patch)(target) == result
