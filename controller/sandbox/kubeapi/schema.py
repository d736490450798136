"""Structural schemas: dropping unknown fields and filling defaults, in one walk over the value.

A schema is the `openAPIV3Schema` of a CRD as plain data. All functions are pure: they build new values.
"""

import copy
from collections.abc import Iterator
from typing import Any, Final

Schema = dict[str, Any]

#: Fields of the root that the API server itself owns; a CRD's schema does not prune or default them.
ROOT_FIELDS: Final = ("apiVersion", "kind", "metadata")
_PRESERVE: Final = "x-kubernetes-preserve-unknown-fields"


def fit(value: dict[str, Any], schema: Schema) -> tuple[dict[str, Any], list[str]]:
    """An object as the API server would store it under `schema`.

    Nulls of fields that are not nullable go first, then unknown fields, then defaults come in from the top down, so
    that the defaults of a defaulted parent apply as well.

    Returns:
        The new object, and the paths of the unknown fields that were dropped (`spec.queue.foo`).
    """
    unknown: list[str] = []
    body = {key: part for key, part in value.items() if key not in ROOT_FIELDS}
    nested = {key: part for key, part in schema.get("properties", {}).items() if key not in ROOT_FIELDS}
    fitted = _object(body, schema | {"properties": nested}, "", unknown)
    return {key: value[key] for key in ROOT_FIELDS if key in value} | fitted, sorted(unknown)


def _fit(value: Any, schema: Schema, path: str, unknown: list[str]) -> Any:
    if isinstance(value, dict):
        return _object(value, schema, path, unknown)
    if isinstance(value, list):
        items = schema.get("items")
        if items is None:
            return copy.deepcopy(value)
        return [_fit(item, items, f"{path}[{index}]", unknown) for index, item in enumerate(value)]
    if isinstance(value, float) and schema.get("type") == "integer" and value.is_integer():
        return int(value)
    return value


def _object(value: dict[str, Any], schema: Schema, path: str, unknown: list[str]) -> dict[str, Any]:
    properties = schema.get("properties", {})
    fitted = {}
    for key, part in value.items():
        below = f"{path}.{key}" if path else key
        known = properties.get(key, schema.get("additionalProperties"))
        if isinstance(known, dict):
            if part is not None or known.get("nullable"):
                fitted[key] = _fit(part, known, below, unknown)
        elif known is True or schema.get(_PRESERVE) or not _closed(schema):
            fitted[key] = copy.deepcopy(part)
        else:
            unknown.append(below)
    for key, part in properties.items():
        if key not in fitted and "default" in part:
            below = f"{path}.{key}" if path else key
            fitted[key] = _fit(copy.deepcopy(part["default"]), part, below, unknown)
    return fitted


def _closed(schema: Schema) -> bool:
    """Whether the schema says what the object may hold (a value of another declared type is left to validation)."""
    return bool(schema.get("type", "object") == "object")


def walk(schema: Schema, path: str = "") -> Iterator[tuple[str, Schema]]:
    """Every schema node with its path, from the root down."""
    yield path, schema
    for key, part in schema.get("properties", {}).items():
        yield from walk(part, f"{path}.{key}" if path else key)
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            yield from walk(schema[key], f"{path}[{key}]")
