"""Label and field selectors, as the `labelSelector` and `fieldSelector` parameters write them."""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from controller.sandbox.kubeapi.errors import bad_request

Predicate = Callable[[Mapping[str, Any]], bool]

_KEY: Final = r"(?P<key>[A-Za-z0-9]([A-Za-z0-9._/-]*[A-Za-z0-9])?)"
_SET: Final = re.compile(rf"^{_KEY}\s+(?P<op>in|notin)\s*\((?P<values>[^()]*)\)$")
_EQUAL: Final = re.compile(rf"^{_KEY}\s*(?P<op>==|=|!=)\s*(?P<values>[A-Za-z0-9._-]*)$")
_EXISTS: Final = re.compile(rf"^(?P<op>!?)\s*{_KEY}$")


def label_selector(text: str) -> Predicate:
    """Whether an object has the labels: `a=b`, `a!=b`, `a in (b, c)`, `a notin (b)`, `a`, `!a`, joined by commas.

    Raises:
        ApiError: 400, the selector is malformed.
    """
    tests = [_requirement(part.strip()) for part in re.split(r",(?![^()]*\))", text) if part.strip()]

    def matches(item: Mapping[str, Any]) -> bool:
        labels = item["metadata"].get("labels") or {}
        return all(test(labels) for test in tests)

    return matches


def _requirement(text: str) -> Callable[[Mapping[str, str]], bool]:
    if (match := _SET.match(text)) or (match := _EQUAL.match(text)):
        key, negative = match["key"], match["op"] in {"!=", "notin"}
        values = {value.strip() for value in match["values"].split(",")}
        return lambda labels: (
            (key not in labels or labels[key] not in values) if negative else (labels.get(key) in values)
        )
    if match := _EXISTS.match(text):
        key, absent = match["key"], bool(match["op"])
        return lambda labels: (key in labels) is not absent
    raise bad_request(f"unable to parse requirement: {text!r} is not a label selector")


def field_selector(text: str, supported: frozenset[str]) -> Predicate:
    """Whether an object has the field values: `metadata.name=a`, `metadata.name!=a`, joined by commas.

    Raises:
        ApiError: 400, the selector is malformed or asks for a field that is not `supported`.
    """
    tests = [_field(part.strip(), supported) for part in text.split(",") if part.strip()]
    return lambda item: all(test(item) for test in tests)


def _field(text: str, supported: frozenset[str]) -> Predicate:
    path, operator, wanted = (part.strip() for part in re.match(r"([^=!]*)(==|=|!=|$)(.*)", text, re.DOTALL).groups())  # type: ignore[union-attr]
    if not operator:
        raise bad_request(f"invalid selector: {text!r}; can't understand {text!r}")
    if path not in supported:
        raise bad_request(f"field label not supported: {path}")
    keys = path.split(".")

    def matches(item: Mapping[str, Any]) -> bool:
        value: Any = item
        for key in keys:
            value = value.get(key) if isinstance(value, Mapping) else None
        return (("" if value is None else str(value)) == wanted) is (operator != "!=")

    return matches
