"""CEL rules of a CRD (`x-kubernetes-validations`), compiled once and evaluated on every write.

Only the standard functions of CEL are there: the extension library of Kubernetes (`isURL`, `indexOf`, quantities ...)
is not, and neither is the type check at compile time. A rule that needs them fails on use, saying so.
"""

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any, Final, NamedTuple

import cel

from controller.sandbox.kubeapi.errors import Cause
from controller.sandbox.kubeapi.schema import ROOT_FIELDS, Schema
from controller.sandbox.kubeapi.validation import type_name

_KEYWORDS: Final = frozenset(
    ("true", "false", "null", "in", "as", "break", "const", "continue", "else", "for", "function", "if", "import",
     "let", "loop", "package", "namespace", "return", "var", "void", "while")
)  # fmt: skip
#: How CEL writes characters that a field name may have and an identifier may not.
_ESCAPES: Final = (("__", "__underscores__"), (".", "__dot__"), ("-", "__dash__"), ("/", "__slash__"))


class CelError(ValueError):
    """A rule that cannot be compiled; the text says which and why."""


class _Compiled(NamedTuple):
    source: str
    execute: Callable[[dict[str, Any]], Any]
    transition: bool
    message: str
    reason: str
    field_path: str


class _Node:
    """The rules of one schema node and of the nodes below it."""

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        self.rules = [_compile(rule) for rule in schema.get("x-kubernetes-validations", [])]
        properties = {key: _Node(part) for key, part in schema.get("properties", {}).items() if key not in ROOT_FIELDS}
        self.properties = {key: node for key, node in properties.items() if node.has_rules}
        self.values = _below(schema.get("additionalProperties"))
        self.items = _below(schema.get("items"))
        self.has_rules: bool = bool(self.rules or self.properties or self.values or self.items)

    def check(self, value: Any, old: Any, path: str) -> Iterator[Cause]:
        """Faults of the value; `old` is what stood here before, None where nothing comparable did."""
        if self.rules:
            variables = {"self": _to_cel(value, self.schema)}
            if old is not None:
                variables["oldSelf"] = _to_cel(old, self.schema)
            for rule in self.rules:
                if old is not None or not rule.transition:
                    yield from _evaluate(rule, variables, value, path)
        if isinstance(value, dict):
            yield from self._check_object(value, old if isinstance(old, dict) else {}, path)
        elif isinstance(value, list) and self.items is not None:
            before = self._by_key(old)
            for index, item in enumerate(value):
                yield from self.items.check(item, before.get(self._key(item)), f"{path}[{index}]")

    def _check_object(self, value: dict[str, Any], old: dict[str, Any], path: str) -> Iterator[Cause]:
        for key, part in value.items():
            node = self.properties.get(key, self.values if key not in self.schema.get("properties", {}) else None)
            if node is not None:
                yield from node.check(part, old.get(key), f"{path}.{key}" if path else key)

    def _key(self, item: Any) -> tuple[Any, ...] | None:
        """What an item of a list of type `map` is recognised by; items of other lists have no earlier self."""
        names = self.schema.get("x-kubernetes-list-map-keys", [])
        return tuple(item.get(name) for name in names) if names and isinstance(item, dict) else None

    def _by_key(self, old: Any) -> dict[tuple[Any, ...] | None, Any]:
        keyed = {self._key(item): item for item in old} if isinstance(old, list) else {}
        keyed.pop(None, None)
        return keyed


def _below(schema: Any) -> _Node | None:
    node = _Node(schema) if isinstance(schema, dict) else None
    return node if node is not None and node.has_rules else None


def _compile(rule: Mapping[str, Any]) -> _Compiled:
    source = rule.get("rule", "")
    for unsupported in ("messageExpression", "optionalOldSelf"):
        if unsupported in rule:
            raise CelError(f"{unsupported} is not supported by the local API (rule: {source})")
    try:
        program = cel.compile(source)
    except ValueError as error:
        raise CelError(f"compilation failed: {error}") from error
    return _Compiled(
        source=source,
        execute=program.execute,
        transition="oldSelf" in program.variables(),
        message=rule.get("message") or f"failed rule: {source}",
        reason=rule.get("reason", "FieldValueInvalid"),
        field_path=rule.get("fieldPath", ""),
    )


def _evaluate(rule: _Compiled, variables: dict[str, Any], value: Any, path: str) -> Iterator[Cause]:
    try:
        holds, message = rule.execute(variables), rule.message
    except KeyError as error:
        holds, message = False, f"no such key: {error.args[0]} evaluating rule: {rule.message}"
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        holds, message = False, f"{error} evaluating rule: {rule.message}"
    if holds is not True:
        yield Cause(rule.reason, f"{path}{rule.field_path}", f'Invalid value: "{type_name(value)}": {message}')


def _identifier(key: str) -> str:
    if key in _KEYWORDS:
        return f"__{key}__"
    for found, written in _ESCAPES:
        key = key.replace(found, written)
    return key


def _to_cel(value: Any, schema: Schema) -> Any:
    """The value with the types its schema declares: `number` is a double even where JSON shows 3."""
    if isinstance(value, dict):
        properties, values = schema.get("properties", {}), schema.get("additionalProperties")
        fallback = values if isinstance(values, dict) else {}
        return {
            (_identifier(key) if key in properties else key): _to_cel(part, properties.get(key, fallback))
            for key, part in value.items()
        }
    if isinstance(value, list):
        return [_to_cel(item, schema.get("items", {})) for item in value]
    if schema.get("type") == "number" and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if schema.get("format") == "date-time" and isinstance(value, str):
        return datetime.fromisoformat(value)
    return value


def compile_rules(schema: Schema) -> Callable[[dict[str, Any], dict[str, Any] | None], list[Cause]]:
    """A function of the new and the old object that lists the rules the new one breaks.

    Raises:
        CelError: a rule cannot be compiled.
    """
    root = _Node(schema)

    def check(value: dict[str, Any], old: dict[str, Any] | None) -> list[Cause]:
        return list(root.check(value, old, "")) if root.has_rules else []

    return check
