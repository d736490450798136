"""OpenAPI v3, one document for each group and version: what `kubectl explain` shows and kubectl's checks look at.

kubectl reads from it that the server validates fields itself (`fieldValidation`) and knows dry runs (`dryRun`), and
then leaves both to the server. Built-in kinds appear as plain objects: their fields are not described here.
"""

from typing import Any, Final

from controller.sandbox.kubeapi.kinds import Kind, Kinds
from controller.sandbox.kubeapi.patch import JSON, MERGE

JsonObject = dict[str, Any]

_META: Final = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
_WRITE_PARAMETERS: Final = [
    {"name": name, "in": "query", "schema": {"type": "string", "uniqueItems": True}}
    for name in ("dryRun", "fieldManager", "fieldValidation")
]
_ACTIONS: Final = {"get": "get", "put": "put", "patch": "patch", "delete": "delete", "post": "post"}
_METADATA_SCHEMA: Final = {
    "type": "object",
    "description": "ObjectMeta is metadata that all persisted resources must have.",
    "properties": {
        "name": {"type": "string", "description": "Name, unique within a namespace."},
        "generateName": {"type": "string", "description": "Prefix of a name the server completes."},
        "namespace": {"type": "string", "description": "Namespace of the object."},
        "uid": {"type": "string", "description": "Unique in time and space. Set by the server."},
        "resourceVersion": {"type": "string", "description": "Version of the object. Set by the server."},
        "generation": {"type": "integer", "format": "int64", "description": "Version of the desired state."},
        "creationTimestamp": {"type": "string", "format": "date-time", "description": "Time of creation."},
        "deletionTimestamp": {"type": "string", "format": "date-time", "description": "Time of the deletion request."},
        "labels": {"type": "object", "additionalProperties": {"type": "string"}, "description": "Labels."},
        "annotations": {"type": "object", "additionalProperties": {"type": "string"}, "description": "Annotations."},
        "finalizers": {"type": "array", "items": {"type": "string"}, "description": "Who has to agree to the end."},
        "ownerReferences": {"type": "array", "items": {"type": "object"}, "description": "Owners of the object."},
    },
}


def _path(group: str, version: str) -> str:
    return f"apis/{group}/{version}" if group else f"api/{version}"


def index(kinds: Kinds) -> JsonObject:
    """The answer at `/openapi/v3`: where the documents are."""
    paths = [_path(*key) for key in kinds.by_version()]
    return {"paths": {path: {"serverRelativeURL": f"/openapi/v3/{path}"} for path in paths}}


def document(kinds: Kinds, path: str) -> JsonObject | None:
    """The document for `api/v1` or `apis/{group}/{version}`, None if that is not served."""
    for (group, version), served in kinds.by_version().items():
        if _path(group, version) == path:
            schemas = {_component(kind): _schema(kind) for kind in served} | {_META: _METADATA_SCHEMA}
            return {
                "openapi": "3.0.0",
                "info": {"title": "Kubernetes (haipool sandbox)", "version": "v1.32.0"},
                "paths": {key: value for kind in served for key, value in _paths(kind).items()},
                "components": {"schemas": schemas},
            }
    return None


def _component(kind: Kind) -> str:
    domain = ".".join(reversed(kind.group.split("."))) if kind.group else "io.k8s.api.core"
    return f"{domain}.{kind.version}.{kind.kind}"


def _gvk(kind: Kind) -> JsonObject:
    return {"group": kind.group, "version": kind.version, "kind": kind.kind}


def _schema(kind: Kind) -> JsonObject:
    base: JsonObject = dict(kind.validation.schema) if kind.validation is not None else {"type": "object"}
    metadata = {"allOf": [{"$ref": f"#/components/schemas/{_META}"}], "description": "Standard object's metadata."}
    head = {
        "apiVersion": {"type": "string", "description": "Version of the schema of this object."},
        "kind": {"type": "string", "description": "Kind of this object."},
        "metadata": metadata,
    }
    properties = {key: value for key, value in base.get("properties", {}).items() if key not in head}
    return base | {"properties": head | properties, "x-kubernetes-group-version-kind": [_gvk(kind)]}


def _paths(kind: Kind) -> JsonObject:
    root = f"/{_path(kind.group, kind.version)}"
    collection = f"{root}/namespaces/{{namespace}}/{kind.plural}" if kind.namespaced else f"{root}/{kind.plural}"
    parts = {"": True} | ({"/status": True} if kind.has_status else {})
    paths = {collection: _operations(kind, "get", "post", "delete")}
    for part in parts:
        paths[f"{collection}/{{name}}{part}"] = _operations(kind, "get", "put", "patch", "delete")
    return paths


def _operations(kind: Kind, *methods: str) -> JsonObject:
    return {method: _operation(kind, method) for method in methods}


def _operation(kind: Kind, method: str) -> JsonObject:
    reference = {"schema": {"$ref": f"#/components/schemas/{_component(kind)}"}}
    operation: JsonObject = {
        "x-kubernetes-action": _ACTIONS[method],
        "x-kubernetes-group-version-kind": _gvk(kind),
        "responses": {"200": {"description": "OK", "content": {"application/json": reference}}},
    }
    if method in {"put", "post", "patch"}:
        accepted = (JSON, MERGE) if method == "patch" else ("application/json", "application/yaml")
        operation["parameters"] = _WRITE_PARAMETERS
        operation["requestBody"] = {"required": True, "content": dict.fromkeys(accepted, reference)}
    return operation
