"""Each fault of an object is one cause: where, which reason, what text."""

from typing import Any

import pytest

from controller.sandbox.kubeapi.validation import compile_schema

Schema = dict[str, Any]

#: schema of the field `x`, a value, reason and text of the fault (None: it is valid)
CASES: dict[str, tuple[Schema, Any, str | None, str]] = {
    "integer": ({"type": "integer"}, 3, None, ""),
    "whole float": ({"type": "integer"}, 3.0, None, ""),
    "broken float": ({"type": "integer"}, 3.5, "FieldValueTypeInvalid", 'must be of type integer: "number"'),
    "boolean is no integer": ({"type": "integer"}, True, "FieldValueTypeInvalid", 'of type integer: "boolean"'),
    "integer is a number": ({"type": "number"}, 3, None, ""),
    "text": ({"type": "string"}, 3, "FieldValueTypeInvalid", 'Invalid value: "integer": x in body must be of type'),
    "null": ({"type": "string"}, None, "FieldValueTypeInvalid", 'of type string: "null"'),
    "nullable": ({"type": "string", "nullable": True}, None, None, ""),
    "minimum": ({"type": "integer", "minimum": 1}, 0, "FieldValueInvalid", "greater than or equal to 1"),
    "exclusive minimum": (
        {"type": "number", "minimum": 0, "exclusiveMinimum": True},
        0,
        "FieldValueInvalid",
        "Invalid value: 0: x in body should be greater than 0",
    ),
    "maximum": ({"type": "integer", "maximum": 9}, 10, "FieldValueInvalid", "less than or equal to 9"),
    "enum": ({"type": "string", "enum": ["a", "b"]}, "c", "FieldValueNotSupported", 'supported values: "a", "b"'),
    "too long": ({"type": "string", "maxLength": 2}, "abc", "FieldValueTooLong", "may not be more than 2 bytes"),
    "too short": ({"type": "string", "minLength": 1}, "", "FieldValueInvalid", "at least 1 chars long"),
    "pattern": ({"type": "string", "pattern": "^/"}, "a", "FieldValueInvalid", "should match '^/'"),
    "too many": ({"type": "array", "maxItems": 1}, [1, 2], "FieldValueTooMany", "2: must have at most 1 items"),
    "too few": ({"type": "array", "minItems": 1}, [], "FieldValueInvalid", "should have at least 1 items"),
    "time": ({"type": "string", "format": "date-time"}, "2025-01-31T08:00:00Z", None, ""),
    "time with an offset": ({"type": "string", "format": "date-time"}, "2025-01-31T08:00:00.5+08:00", None, ""),
    "no time": ({"type": "string", "format": "date-time"}, "soon", "FieldValueTypeInvalid", "of type date-time"),
    "day without time": ({"type": "string", "format": "date-time"}, "2025-01-31", "FieldValueTypeInvalid", "date-time"),
    "unknown format": ({"type": "string", "format": "nonsense"}, "a", None, ""),
    "either": ({"x-kubernetes-int-or-string": True}, 1, None, ""),
    "neither": ({"x-kubernetes-int-or-string": True}, 1.5, "FieldValueInvalid", "must be an integer or a string"),
    "a set": ({"type": "array", "x-kubernetes-list-type": "set"}, [1, 2], None, ""),
    "not a set": ({"type": "array", "x-kubernetes-list-type": "set"}, [1, 1], "FieldValueDuplicate", "Duplicate value"),
}


@pytest.mark.parametrize(("schema", "value", "reason", "text"), CASES.values(), ids=CASES)
def test_a_value_under_a_schema(schema: Schema, value: Any, reason: str | None, text: str) -> None:
    causes = compile_schema({"type": "object", "properties": {"x": schema}})({"x": value})
    assert [cause.reason for cause in causes] == ([] if reason is None else [reason])
    for cause in causes:
        assert cause.field.startswith("x")
        assert text in cause.message


def test_paths_lead_to_the_place() -> None:
    item = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name", "kind"]}
    schema = {
        "type": "object",
        "properties": {"spec": {"type": "object", "properties": {"list": {"type": "array", "items": item}}}},
    }
    causes = compile_schema(schema)({"spec": {"list": [{"name": "a", "kind": "b"}, {"name": 1}]}})
    assert sorted((cause.field, cause.reason) for cause in causes) == [
        ("spec.list[1].kind", "FieldValueRequired"),
        ("spec.list[1].name", "FieldValueTypeInvalid"),
    ]


def test_entries_of_a_map_list_differ_in_their_keys() -> None:
    conditions = {
        "type": "array",
        "items": {"type": "object"},
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
    }
    validate = compile_schema({"type": "object", "properties": {"conditions": conditions}})
    assert validate({"conditions": [{"type": "A", "status": "True"}, {"type": "B", "status": "True"}]}) == []
    (cause,) = validate({"conditions": [{"type": "A"}, {"type": "B"}, {"type": "A", "status": "True"}]})
    assert cause.field == "conditions[2]"
