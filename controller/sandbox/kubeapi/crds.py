"""CustomResourceDefinitions: what is accepted of one, and the kind it defines."""

from collections.abc import Iterator
from typing import Any, Final

from controller.sandbox.kubeapi.celrules import CelError, compile_rules
from controller.sandbox.kubeapi.errors import Cause, forbidden_value, invalid_value, required
from controller.sandbox.kubeapi.jsonpath import JsonPathError, compile_path
from controller.sandbox.kubeapi.kinds import Column, Kind, ScalePaths, Validation
from controller.sandbox.kubeapi.schema import Schema, walk
from controller.sandbox.kubeapi.validation import compile_schema

JsonObject = dict[str, Any]

_TYPES: Final = frozenset({"object", "array", "string", "integer", "number", "boolean"})
_NOT_STRUCTURAL: Final = (
    "$ref",
    "definitions",
    "dependencies",
    "deprecated",
    "discriminator",
    "id",
    "patternProperties",
)
_AGE: Final = Column("Age", "date", "", "", 0, ".metadata.creationTimestamp")
_NAME: Final = Column("Name", "string", "name", "Name of the object", 0, ".metadata.name")


def completed(crd: JsonObject) -> JsonObject:
    """The CRD with the fields the API server fills in: list kind, singular and conversion."""
    spec = crd.get("spec") or {}
    names = dict(spec.get("names") or {})
    if "kind" in names:
        names.setdefault("listKind", f"{names['kind']}List")
        names.setdefault("singular", names["kind"].lower())
    return crd | {"spec": {"conversion": {"strategy": "None"}} | spec | {"names": names}}


def faults(crd: JsonObject) -> Iterator[Cause]:
    """Why the local API does not take a CRD. It serves one version of each kind and converts none."""
    spec, name = crd["spec"], crd["metadata"]["name"]
    missing = [field for field in ("group", "scope", "versions") if not spec.get(field)]
    missing += [f"names.{field}" for field in ("plural", "kind") if not spec["names"].get(field)]
    yield from (required(f"spec.{field}") for field in missing)
    if missing:
        return
    if name != f"{spec['names']['plural']}.{spec['group']}":
        yield invalid_value("metadata.name", name, 'must be spec.names.plural+"."+spec.group')
    if spec["scope"] not in {"Namespaced", "Cluster"}:
        yield invalid_value("spec.scope", spec["scope"], "must be Namespaced or Cluster")
    if spec["conversion"].get("strategy") != "None":
        yield forbidden_value("spec.conversion.strategy", "the local API converts between no versions")
    if len(spec["versions"]) != 1:
        yield forbidden_value("spec.versions", "the local API serves exactly one version of a kind")
        return
    yield from _version_faults(spec["versions"][0])


def _version_faults(version: JsonObject) -> Iterator[Cause]:
    schema = version.get("schema", {}).get("openAPIV3Schema")
    if not schema:
        yield required("spec.versions[0].schema.openAPIV3Schema", "schemas are required")
        return
    path = "spec.validation.openAPIV3Schema"
    for where, node in walk(schema):
        yield from _node_faults(f"{path}.{where}" if where else path, node)
    try:
        compile_rules(schema)
    except CelError as error:
        yield invalid_value(f"{path}.x-kubernetes-validations", "rule", str(error))
    for column in version.get("additionalPrinterColumns", []):
        try:
            compile_path(column["jsonPath"])
        except JsonPathError as error:
            yield invalid_value("spec.additionalPrinterColumns.jsonPath", column["jsonPath"], str(error))


def _node_faults(path: str, node: Schema) -> Iterator[Cause]:
    free = node.get("x-kubernetes-int-or-string") or node.get("x-kubernetes-preserve-unknown-fields")
    if "type" not in node and not free:
        yield required(f"{path}.type", "must not be empty for specified object fields")
    elif "type" in node and node["type"] not in _TYPES:
        yield invalid_value(f"{path}.type", node["type"], f"must be one of {', '.join(sorted(_TYPES))}")
    for keyword in _NOT_STRUCTURAL:
        if keyword in node:
            yield forbidden_value(f"{path}.{keyword}", "must not be set in a structural schema")
    for bound in ("exclusiveMinimum", "exclusiveMaximum"):
        if not isinstance(node.get(bound, False), bool):
            yield invalid_value(f"{path}.{bound}", node[bound], "must be of type boolean")


def kind(crd: JsonObject) -> Kind:
    """The kind a valid CRD defines."""
    spec = crd["spec"]
    names, (version,) = spec["names"], spec["versions"]
    schema = version["schema"]["openAPIV3Schema"]
    subresources, columns = version.get("subresources") or {}, version.get("additionalPrinterColumns")
    return Kind(
        group=spec["group"],
        version=version["name"],
        kind=names["kind"],
        plural=names["plural"],
        singular=names["singular"],
        namespaced=spec["scope"] == "Namespaced",
        short_names=tuple(names.get("shortNames", ())),
        categories=tuple(names.get("categories", ())),
        list_kind=names["listKind"],
        has_generation=True,
        has_status="status" in subresources,
        scale=_scale(subresources.get("scale")),
        columns=(_NAME, *(map(_column, columns) if columns else (_AGE,))),
        validation=Validation(schema, compile_schema(schema), compile_rules(schema)),
    )


def _scale(paths: JsonObject | None) -> ScalePaths | None:
    if paths is None:
        return None
    return ScalePaths(paths["specReplicasPath"], paths["statusReplicasPath"], paths.get("labelSelectorPath", ""))


def _column(column: JsonObject) -> Column:
    path = column["jsonPath"]
    described = column.get("description") or f"Custom resource definition column (in JSONPath format): {path}"
    return Column(column["name"], column["type"], column.get("format", ""), described, column.get("priority", 0), path)


def established(crd: JsonObject, now: str) -> JsonObject:
    """The CRD with the status that says it is served; times of conditions that hold already stay."""
    status = crd.get("status") or {}
    since = {entry["type"]: entry["lastTransitionTime"] for entry in status.get("conditions", [])}
    conditions = [
        ("NamesAccepted", "NoConflicts", "no conflicts found"),
        ("Established", "InitialNamesAccepted", "the initial names have been accepted"),
    ]
    written = [
        {
            "type": name,
            "status": "True",
            "lastTransitionTime": since.get(name, now),
            "reason": reason,
            "message": message,
        }
        for name, reason, message in conditions
    ]
    versions = [version["name"] for version in crd["spec"]["versions"]]
    return crd | {"status": {"conditions": written, "acceptedNames": crd["spec"]["names"], "storedVersions": versions}}
