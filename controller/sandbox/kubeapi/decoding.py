"""From what a client sent to an object of a kind: JSON, field validation, kind checks, pruning and defaults."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import yaml

from controller.sandbox.kubeapi import errors, metadata
from controller.sandbox.kubeapi.kinds import Kind
from controller.sandbox.kubeapi.schema import fit
from controller.sandbox.kubeapi.validation import field_path

JsonObject = dict[str, Any]


@dataclass(frozen=True)
class WriteOptions:
    """How a write is to be done: whether it is kept, and what unknown and duplicate fields lead to."""

    dry_run: bool = False
    field_validation: Literal["Ignore", "Warn", "Strict"] = "Warn"
    duplicates: tuple[str, ...] = ()


class StrictDecodingError(errors.ApiError):
    """400: a field is unknown or stands twice, and the client asked for that to be refused."""

    def __init__(self, kind: Kind, problems: Sequence[str]) -> None:
        self.problems = f"strict decoding error: {', '.join(problems)}"
        where = f'{kind.kind} in version "{kind.version}" cannot be handled as a {kind.kind}'
        super().__init__(400, "BadRequest", f"{where}: {self.problems}")


class Decoded(NamedTuple):
    """An object as its kind knows it, and what the client should be told about the rest."""

    object: JsonObject
    warnings: list[str]


def parse(content_type: str, body: bytes) -> tuple[Any, tuple[str, ...]]:
    """The document in a request body, JSON unless the content type says YAML.

    Returns:
        The document, and the paths of fields that stand in it twice (the last one wins).

    Raises:
        ApiError: 400, the body is not well-formed.
    """
    repeated: dict[int, list[str]] = {}

    def collect(pairs: list[tuple[str, Any]]) -> JsonObject:
        found = dict(pairs)
        if len(found) < len(pairs):
            keys = [key for key, _ in pairs]
            repeated[id(found)] = [key for key in found if keys.count(key) > 1]
        return found

    try:
        if content_type.endswith("yaml"):
            return yaml.safe_load(body), ()
        document = json.loads(body, object_pairs_hook=collect)
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        message = f"the object provided is unrecognized: couldn't get version/kind; parse error: {error}"
        raise errors.bad_request(message) from error
    return document, tuple(_paths(document, [], repeated)) if repeated else ()


def _paths(node: Any, path: list[str | int], repeated: dict[int, list[str]]) -> Iterator[str]:
    if isinstance(node, dict):
        yield from (field_path([*path, key]) for key in repeated.get(id(node), ()))
    entries: Any = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in entries:
        yield from _paths(value, [*path, key], repeated)


def decoded(kind: Kind, body: Any, options: WriteOptions) -> Decoded:
    """The object with known metadata, and for a CRD's kind pruned and with defaults.

    Raises:
        ApiError: 400 malformed, unknown fields under Strict; 422 another kind.
    """
    if not isinstance(body, dict):
        raise errors.bad_request(f"the object provided is unrecognized (must be of type {kind.kind}): not an object")
    if not kind.custom:
        # The path says what a built-in object is; kopf, for one, leaves it out of the body.
        body = {"apiVersion": kind.api_version, "kind": kind.kind} | body
    _check_kind(kind, body)
    cleaned, unknown = metadata.cleaned(body)
    item = body
    if kind.validation is not None:
        item, dropped = fit(body, kind.validation.schema)
        unknown = unknown + dropped
    problems = sorted(
        [f'unknown field "{path}"' for path in unknown] + [f'duplicate field "{path}"' for path in options.duplicates]
    )
    if problems and options.field_validation == "Strict":
        raise StrictDecodingError(kind, problems)
    head = {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": cleaned}
    rest = {key: value for key, value in item.items() if key not in head}
    return Decoded(head | rest, problems if options.field_validation == "Warn" else [])


def _check_kind(kind: Kind, body: JsonObject) -> None:
    if not body.get("kind"):
        message = f"the object provided is unrecognized (must be of type {kind.kind}): Object 'Kind' is missing"
        raise errors.bad_request(message)
    if body.get("apiVersion") != kind.api_version:
        raise errors.bad_request(
            f"the API version in the data ({body.get('apiVersion', '')}) does not match the expected API version"
            f" ({kind.api_version})"
        )
    if body["kind"] != kind.kind:
        cause = errors.invalid_value("kind", body["kind"], f"must be {kind.kind}")
        found = body.get("metadata")
        name = str(found.get("name", "")) if isinstance(found, dict) else ""
        raise errors.invalid(kind.group, str(body["kind"]), name, [cause])
