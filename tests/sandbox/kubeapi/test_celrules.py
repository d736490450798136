"""CEL rules: where they stand, what they see as self and oldSelf, and what a broken one says."""

from typing import Any

import pytest

from controller.sandbox.kubeapi.celrules import CelError, compile_rules

Schema = dict[str, Any]


def _with(rule: dict[str, str], **properties: Schema) -> Schema:
    part = {"type": "object", "properties": properties, "x-kubernetes-validations": [rule]}
    return {"type": "object", "properties": {"spec": part}}


def _messages(schema: Schema, spec: Any, old: Any = None) -> list[tuple[str, str]]:
    before = None if old is None else {"spec": old}
    return [(cause.field, cause.message) for cause in compile_rules(schema)({"spec": spec}, before)]


LIMITS = _with(
    {"rule": "!has(self.max) || self.min <= self.max", "message": "min above max", "fieldPath": ".min"},
    min={"type": "integer"},
    max={"type": "integer"},
)


def test_a_rule_that_holds_says_nothing() -> None:
    assert _messages(LIMITS, {"min": 1}) == []
    assert _messages(LIMITS, {"min": 1, "max": 1}) == []


def test_a_broken_rule_gives_message_and_field() -> None:
    assert _messages(LIMITS, {"min": 2, "max": 1}) == [("spec.min", 'Invalid value: "object": min above max')]


def test_without_a_message_the_rule_itself_is_shown() -> None:
    schema = _with({"rule": "self.a > 1"}, a={"type": "integer"})
    assert _messages(schema, {"a": 1}) == [("spec", 'Invalid value: "object": failed rule: self.a > 1')]


@pytest.mark.parametrize(("value", "holds"), [(3, False), (4, True), (3.5, True)])
def test_numbers_are_doubles_even_where_json_shows_an_integer(value: float, holds: bool) -> None:
    schema = _with({"rule": "self.a > 3.0 && self.a / 2.0 > 1.0", "message": "too small"}, a={"type": "number"})
    assert (_messages(schema, {"a": value}) == []) is holds


def test_a_missing_field_is_an_error_that_names_it() -> None:
    schema = _with({"rule": "self.a == self.b", "message": "not equal"}, a={"type": "integer"}, b={"type": "integer"})
    assert _messages(schema, {"a": 1}) == [
        ("spec", 'Invalid value: "object": no such key: b evaluating rule: not equal')
    ]


def test_a_rule_that_fails_on_its_types_refuses_the_object() -> None:
    schema = _with({"rule": "self.a + 1 > 1", "message": "odd"}, a={"type": "string"})
    ((_, message),) = _messages(schema, {"a": "x"})
    assert message.endswith("evaluating rule: odd")


def test_transition_rules_wait_for_an_old_object() -> None:
    schema = _with({"rule": "self.a == oldSelf.a", "message": "immutable"}, a={"type": "integer"})
    assert _messages(schema, {"a": 2}) == []
    assert _messages(schema, {"a": 2}, {"a": 2}) == []
    assert _messages(schema, {"a": 2}, {"a": 1}) == [("spec", 'Invalid value: "object": immutable')]


def test_items_of_a_map_list_are_compared_by_their_key() -> None:
    item = {
        "type": "object",
        "properties": {"name": {"type": "string"}, "size": {"type": "integer"}},
        "x-kubernetes-validations": [{"rule": "self.size >= oldSelf.size", "message": "shrinks"}],
    }
    disks = {"type": "array", "items": item, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]}
    schema = {"type": "object", "properties": {"spec": {"type": "object", "properties": {"disks": disks}}}}
    old = {"disks": [{"name": "a", "size": 2}, {"name": "b", "size": 2}]}
    assert _messages(schema, {"disks": [{"name": "b", "size": 3}, {"name": "c", "size": 1}]}, old) == []
    found = _messages(schema, {"disks": [{"name": "b", "size": 2}, {"name": "a", "size": 1}]}, old)
    assert found == [("spec.disks[1]", 'Invalid value: "object": shrinks')]


def test_values_of_a_map_have_rules_of_their_own() -> None:
    value = {"type": "integer", "x-kubernetes-validations": [{"rule": "self > 0", "message": "not positive"}]}
    schema = {"type": "object", "properties": {"spec": {"type": "object", "additionalProperties": value}}}
    assert _messages(schema, {"a": 1, "b": 0}) == [("spec.b", 'Invalid value: "integer": not positive')]


def test_names_that_are_no_identifiers_are_escaped() -> None:
    schema = _with(
        {"rule": "self.__namespace__ == 'a' && self.a__dash__b == 1"},
        **{"namespace": {"type": "string"}, "a-b": {"type": "integer"}},
    )
    assert _messages(schema, {"namespace": "a", "a-b": 1}) == []


def test_times_are_timestamps() -> None:
    schema = _with(
        {"rule": "self.t > timestamp('2025-01-01T00:00:00Z')", "message": "too early"},
        t={"type": "string", "format": "date-time"},
    )
    assert _messages(schema, {"t": "2025-01-31T00:00:00Z"}) == []
    assert len(_messages(schema, {"t": "2024-12-31T00:00:00Z"})) == 1


@pytest.mark.parametrize(
    "rule",
    [{"rule": "self.a +"}, {"rule": "true", "messageExpression": "'x'"}, {"rule": "true", "optionalOldSelf": "1"}],
)
def test_a_rule_that_cannot_be_compiled_is_refused_at_once(rule: dict[str, str]) -> None:
    with pytest.raises(CelError):
        compile_rules(_with(rule, a={"type": "integer"}))
