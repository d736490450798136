"""The three patch formats: JSON merge patch, JSON patch, and strategic merge for the built-in kinds."""

import copy
from collections.abc import Callable
from typing import Any, Final

import jsonpatch
import jsonpointer

from controller.sandbox.kubeapi.errors import ApiError, bad_request

MERGE: Final = "application/merge-patch+json"
JSON: Final = "application/json-patch+json"
STRATEGIC: Final = "application/strategic-merge-patch+json"

#: Lists of built-in kinds that merge by a key instead of being replaced (the field is the list's name).
_MERGE_KEYS: Final = {
    "conditions": "type",
    "imagePullSecrets": "name",
    "ownerReferences": "uid",
    "ports": "port",
    "secrets": "name",
}
#: Lists of plain values that merge as sets.
_SETS: Final = frozenset({"finalizers"})
_DIRECTIVE: Final = "$patch"


def merge(target: Any, patch: Any) -> Any:
    """The target after a JSON merge patch (RFC 7396): null removes, objects merge, everything else replaces."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    merged = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge(merged.get(key), value)
    return merged


def apply_json(target: dict[str, Any], operations: Any) -> dict[str, Any]:
    """The target after a JSON patch (RFC 6902).

    Raises:
        ApiError: 400 if the patch is no list of operations, 422 if one of them cannot be done or its test fails.
    """
    if not isinstance(operations, list) or not all(isinstance(operation, dict) for operation in operations):
        raise bad_request("error decoding patch: a JSON patch is a list of operations")
    try:
        patched = jsonpatch.JsonPatch(operations).apply(target)
    except (jsonpatch.JsonPatchException, jsonpointer.JsonPointerException, KeyError, TypeError) as error:
        message = f"the server rejected our request due to an error in our request: {error}"
        raise ApiError(422, "Invalid", message, {}) from error
    if not isinstance(patched, dict):
        raise bad_request("error decoding patch: the patched document is not an object")
    return patched


def strategic(target: Any, patch: Any) -> Any:
    """The target after a strategic merge patch, for the lists the built-in kinds have."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    if patch.get(_DIRECTIVE) == "replace":
        return {key: copy.deepcopy(value) for key, value in patch.items() if key != _DIRECTIVE}
    merged = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if key.startswith("$deleteFromPrimitiveList/"):
            name = key.partition("/")[2]
            merged[name] = [item for item in merged.get(name, []) if item not in value]
        elif not key.startswith("$"):
            _strategic_field(merged, key, value)
    return merged


def _strategic_field(merged: dict[str, Any], key: str, value: Any) -> None:
    if value is None or (isinstance(value, dict) and value.get(_DIRECTIVE) == "delete"):
        merged.pop(key, None)
    elif isinstance(value, list) and key in _MERGE_KEYS:
        merged[key] = _merge_list(merged.get(key) or [], value, _MERGE_KEYS[key])
    elif isinstance(value, list) and key in _SETS:
        before = merged.get(key) or []
        merged[key] = before + [item for item in value if item not in before]
    else:
        merged[key] = strategic(merged.get(key), value)


def _merge_list(target: list[Any], patch: list[Any], name: str) -> list[Any]:
    if any(item.get(_DIRECTIVE) == "replace" for item in patch):
        return [copy.deepcopy(item) for item in patch if _DIRECTIVE not in item]
    merged = {item.get(name): item for item in target}
    for item in patch:
        if item.get(_DIRECTIVE) == "delete":
            merged.pop(item.get(name), None)
        else:
            merged[item.get(name)] = strategic(merged.get(item.get(name)), item)
    return list(merged.values())


def patcher(content_type: str, patch: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """The patch as a function of the current object.

    Raises:
        ApiError: 400, the patch has the wrong form for its content type.
    """
    if content_type == JSON:
        return lambda target: apply_json(target, patch)
    if not isinstance(patch, dict):
        raise bad_request("error decoding patch: a merge patch is an object")
    apply = strategic if content_type == STRATEGIC else merge
    return lambda target: apply(target, patch)
