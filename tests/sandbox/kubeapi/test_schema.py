"""Pruning and defaulting as structural schemas define them."""

from typing import Any

import pytest

from controller.sandbox.kubeapi.schema import fit

Schema = dict[str, Any]


def _schema(**properties: Schema) -> Schema:
    return {"type": "object", "properties": properties}


def _fit(value: dict[str, Any], schema: Schema) -> tuple[dict[str, Any], list[str]]:
    return fit(value, schema)


def test_defaults_of_a_parent_that_is_itself_a_default_apply() -> None:
    schema = _schema(
        spec=_schema(up=_schema(step={"type": "integer", "default": 1}) | {"default": {}}) | {"default": {}}
    )
    assert _fit({}, schema) == ({"spec": {"up": {"step": 1}}}, [])


def test_without_a_default_of_the_parent_nested_defaults_vanish() -> None:
    schema = _schema(spec=_schema(step={"type": "integer", "default": 1}))
    assert _fit({}, schema) == ({}, [])
    assert _fit({"spec": {}}, schema) == ({"spec": {"step": 1}}, [])


def test_a_default_is_a_copy() -> None:
    schema = _schema(spec={"type": "array", "items": {"type": "string"}, "default": []})
    first, _ = _fit({}, schema)
    first["spec"].append("changed")
    assert _fit({}, schema)[0] == {"spec": []}


def test_null_gives_way_to_the_default_unless_it_is_allowed() -> None:
    schema = _schema(
        a={"type": "integer", "default": 3}, b={"type": "integer"}, c={"type": "integer", "nullable": True}
    )
    assert _fit({"a": None, "b": None, "c": None}, schema)[0] == {"a": 3, "c": None}


def test_unknown_fields_go_and_are_named() -> None:
    schema = _schema(spec=_schema(list={"type": "array", "items": _schema(a={"type": "string"})}))
    value = {"spec": {"list": [{"a": "x"}, {"a": "y", "b": 1}], "foo": {"deep": 1}}, "top": 1}
    fitted, unknown = _fit(value, schema)
    assert fitted == {"spec": {"list": [{"a": "x"}, {"a": "y"}]}}
    assert unknown == ["spec.foo", "spec.list[1].b", "top"]


def test_fields_of_the_root_belong_to_the_server() -> None:
    value = {"apiVersion": "v1", "kind": "X", "metadata": {"name": "a", "odd": 1}}
    assert _fit(value, _schema(metadata={"type": "object"})) == (value, [])


def test_maps_keep_their_keys() -> None:
    schema = _schema(labels={"type": "object", "additionalProperties": {"type": "string"}})
    assert _fit({"labels": {"any": "thing"}}, schema) == ({"labels": {"any": "thing"}}, [])


def test_preserved_fields_stay_while_known_ones_are_still_fitted() -> None:
    schema = _schema(known=_schema(a={"type": "string"})) | {"x-kubernetes-preserve-unknown-fields": True}
    assert _fit({"known": {"a": "x", "b": 1}, "free": {"c": 1}}, schema) == (
        {"known": {"a": "x"}, "free": {"c": 1}},
        ["known.b"],
    )


@pytest.mark.parametrize(("sent", "kept"), [(7.0, 7), (7.5, 7.5), (True, True)])
def test_a_whole_number_is_an_integer_however_it_is_written(sent: Any, kept: Any) -> None:
    fitted, _ = _fit({"port": sent}, _schema(port={"type": "integer"}))
    assert fitted == {"port": kept}
    assert type(fitted["port"]) is type(kept)


def test_a_value_of_another_type_is_left_to_validation() -> None:
    assert _fit({"spec": {"a": 1}}, _schema(spec={"type": "string"})) == ({"spec": {"a": 1}}, [])
