"""Validation of an object against its CRD's schema, with the API server's wording of each fault."""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any, Final

from jsonschema import Draft4Validator, FormatChecker
from jsonschema.exceptions import ValidationError
from jsonschema.protocols import Validator
from jsonschema.validators import extend

from controller.sandbox.kubeapi.errors import Cause, invalid_value, required, unsupported_value
from controller.sandbox.kubeapi.schema import ROOT_FIELDS, Schema

_FORMATS: Final = FormatChecker(formats=())


@_FORMATS.checks("date-time", raises=ValueError)
def _is_time(value: object) -> bool:
    return not isinstance(value, str) or (len(value) > 10 and datetime.fromisoformat(value).tzinfo is not None)


def type_name(value: Any) -> str:
    """The schema's name for the type of a JSON value."""
    names = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array", dict: "object"}
    return names.get(type(value), "null")


def _is(value: Any, wanted: str) -> bool:
    found = type_name(value)
    if found == "number" and wanted == "integer":
        return bool(float(value).is_integer())
    return found == wanted or (found == "integer" and wanted == "number")


def _type(_: Validator, wanted: str, value: Any, schema: Schema) -> Iterator[ValidationError]:
    if value is None and schema.get("nullable"):
        return
    if not _is(value, wanted):
        yield ValidationError(type_name(value))


def _required(_: Validator, names: list[str], value: Any, __: Schema) -> Iterator[ValidationError]:
    if isinstance(value, dict):
        yield from (ValidationError("missing", path=(name,)) for name in names if name not in value)


def _int_or_string(_: Validator, wanted: bool, value: Any, __: Schema) -> Iterator[ValidationError]:
    if wanted and not (_is(value, "integer") or _is(value, "string")):
        yield ValidationError(type_name(value))


def _list_type(_: Validator, kind: str, value: Any, schema: Schema) -> Iterator[ValidationError]:
    if kind not in {"map", "set"} or not isinstance(value, list):
        return
    names = schema.get("x-kubernetes-list-map-keys", [])
    seen: Counter[str] = Counter()
    for index, item in enumerate(value):
        key = {name: item.get(name) for name in names} if kind == "map" and isinstance(item, dict) else item
        text = json.dumps(key, sort_keys=True)
        seen[text] += 1
        if seen[text] > 1:
            yield ValidationError(text, path=(index,))


_Validator: Final = extend(  # type: ignore[no-untyped-call]
    Draft4Validator,
    {
        "type": _type,
        "required": _required,
        "x-kubernetes-int-or-string": _int_or_string,
        "x-kubernetes-list-type": _list_type,
    },
)


def compile_schema(schema: Schema) -> Callable[[dict[str, Any]], list[Cause]]:
    """A function that lists the faults of an object under `schema`; an empty list means it is valid."""
    nested = {key: part for key, part in schema.get("properties", {}).items() if key not in ROOT_FIELDS}
    validator = _Validator(schema | {"properties": nested}, format_checker=_FORMATS)

    def validate(value: dict[str, Any]) -> list[Cause]:
        return [_cause(error) for error in validator.iter_errors(value)]

    return validate


def field_path(parts: Iterator[str | int] | list[str | int]) -> str:
    """`spec.gpuTypes[0].bundle` from its parts."""
    text = ""
    for part in parts:
        text += f"[{part}]" if isinstance(part, int) else (f".{part}" if text else part)
    return text


def _cause(error: ValidationError) -> Cause:
    field = field_path(list(error.absolute_path))
    limit: Any = error.validator_value
    value: Any = error.instance
    match error.validator:
        case "required":
            cause = required(field)
        case "type" | "format":
            shown = json.dumps(error.message if error.validator == "type" else value)
            message = f"Invalid value: {shown}: {field} in body must be of type {limit}: {shown}"
            cause = Cause("FieldValueTypeInvalid", field, message)
        case "enum":
            cause = unsupported_value(field, value, limit)
        case "maxLength":
            cause = Cause("FieldValueTooLong", field, f"Too long: may not be more than {limit} bytes")
        case "maxItems":
            cause = Cause("FieldValueTooMany", field, f"Too many: {len(value)}: must have at most {limit} items")
        case "x-kubernetes-list-type":
            cause = Cause("FieldValueDuplicate", field, f"Duplicate value: {error.message}")
        case _:
            cause = invalid_value(field, value, f"{field} in body {_limit(error)}")
    return cause


def _limit(error: ValidationError) -> str:
    keyword = str(error.validator)
    schema: Any = error.schema
    if keyword in {"minimum", "maximum"}:
        side = "greater" if keyword == "minimum" else "less"
        exclusive = schema.get(f"exclusive{keyword.capitalize()}")
        return f"should be {side} than {'' if exclusive else 'or equal to '}{error.validator_value}"
    return _LIMITS.get(keyword, "does not satisfy {keyword}: {message}").format(
        limit=error.validator_value, keyword=keyword, message=error.message
    )


_LIMITS: Final = {
    "minLength": "should be at least {limit} chars long",
    "minItems": "should have at least {limit} items",
    "pattern": "should match '{limit}'",
    "x-kubernetes-int-or-string": "must be an integer or a string",
}
