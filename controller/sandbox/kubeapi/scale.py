"""The `scale` subresource: a view of two fields of an object as `autoscaling/v1 Scale`."""

from typing import Any

from controller.sandbox.kubeapi.errors import bad_request, invalid, invalid_value, path_not_found
from controller.sandbox.kubeapi.jsonpath import compile_path
from controller.sandbox.kubeapi.kinds import Kind, ScalePaths

JsonObject = dict[str, Any]


def _paths(kind: Kind) -> ScalePaths:
    if kind.scale is None:
        raise path_not_found()
    return kind.scale


def _first(path: str, item: JsonObject) -> Any:
    return next(iter(compile_path(path)(item)), None) if path else None


def view(kind: Kind, item: JsonObject) -> JsonObject:
    """The object as a Scale.

    Raises:
        ApiError: 404, the kind has no such subresource.
    """
    paths = _paths(kind)
    kept = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    status: JsonObject = {"replicas": _first(paths.status, item) or 0}
    if selector := _first(paths.selector, item):
        status["selector"] = selector
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {key: item["metadata"][key] for key in kept if key in item["metadata"]},
        "spec": {"replicas": _first(paths.spec, item) or 0},
        "status": status,
    }


def applied(kind: Kind, item: JsonObject, scale: Any) -> JsonObject:
    """The object with the replicas that the Scale asks for, under the version the Scale names (if it names one).

    Raises:
        ApiError: 400, it is no Scale; 422, the replicas are negative.
    """
    if not isinstance(scale, dict) or scale.get("kind") != "Scale" or not isinstance(scale.get("metadata"), dict):
        raise bad_request("the object provided is unrecognized (must be of type Scale)")
    path = _paths(kind).spec
    replicas = (scale.get("spec") or {}).get("replicas", 0)
    if not isinstance(replicas, int) or isinstance(replicas, bool):
        raise bad_request("json: cannot unmarshal into Go struct field ScaleSpec.spec.replicas of type int32")
    if replicas < 0:
        cause = invalid_value(path, replicas, "should be a non-negative integer")
        raise invalid(kind.group, kind.kind, item["metadata"]["name"], [cause])
    changed = _replaced(item, path.strip(".").split("."), replicas)
    version = scale["metadata"].get("resourceVersion", item["metadata"]["resourceVersion"])
    return changed | {"metadata": item["metadata"] | {"resourceVersion": version}}


def _replaced(item: JsonObject, path: list[str], value: Any) -> JsonObject:
    below = value if len(path) == 1 else _replaced(item.get(path[0]) or {}, path[1:], value)
    return item | {path[0]: below}
