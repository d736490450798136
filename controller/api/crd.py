"""The CustomResourceDefinitions, generated from the typed models: `python -m controller.api.crd [--check]`.

The models are the only source. This module turns their JSON schema into the structural schema that Kubernetes
accepts (no `$ref`, no null, numbers of draft 4), and adds what a schema cannot say: columns, names, subresources.
"""

import argparse
import inspect
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
import yaml

from controller.api.gpuinstance import GpuInstance
from controller.api.gpupool import GpuPool
from controller.api.model import Model, Rule
from controller.api.names import GPU_INSTANCES, GPU_POOLS, GROUP, REGION_PRESETS, VERSION
from controller.api.regionpreset import RegionPreset

Schema = dict[str, Any]

#: Lists of these are maps by that field: two entries with one key are refused, and patches merge by it.
LIST_MAP_KEYS: Final = {"ConditionModel": "type", "SignalStatus": "name", "OfferStatus": "bundle"}
#: Names of time fields. A field whose default is "" is left a plain string, since "" is no time.
TIME_SUFFIXES: Final = ("At", "Since", "Until", "Ended", "Time", "time")
#: Keywords of the models' JSON schema that mean the same in a structural schema.
_KEPT: Final = ("type", "format", "pattern", "minLength", "maxLength", "minItems", "maxItems", "minimum", "maximum",
    "x-kubernetes-list-type", "x-kubernetes-list-map-keys")  # fmt: skip
_HEADER: Final = "# Generated from controller/api by `python -m controller.api.crd`. Do not edit.\n"


class Column(NamedTuple):
    """A column of `kubectl get`; `wide` ones show with `-o wide` only."""

    name: str
    path: str
    type: str = "string"
    wide: bool = False


class Definition(NamedTuple):
    """What a kind's CRD says beside the schema."""

    model: type[Model]
    plural: str
    short: str
    columns: tuple[Column, ...]
    scale: Mapping[str, str] | None = None


def _ready(field: str) -> str:
    return f'.status.conditions[?(@.type=="Ready")].{field}'


_AGE: Final = Column("Age", ".metadata.creationTimestamp", "date")

DEFINITIONS: Final = (
    Definition(
        GpuPool,
        GPU_POOLS,
        "gp",
        (
            Column("Desired", ".status.desiredReplicas", "integer"),
            Column("Ready", ".status.readyReplicas", "integer"),
            Column("Deploying", ".status.deployingReplicas", "integer"),
            Column("CNY/h", ".status.spend.perHour", "number"),
            Column("Trigger", ".status.trigger"),
            _AGE,
            Column("Traffic", ".status.traffic.usedGB", "number", wide=True),
            Column("Spend today", ".status.spend.today", "number", wide=True),
            Column("Message", ".status.message", wide=True),
        ),
        {
            "specReplicasPath": ".spec.replicas.min",
            "statusReplicasPath": ".status.replicas",
            "labelSelectorPath": ".status.selector",
        },
    ),
    Definition(
        RegionPreset,
        REGION_PRESETS,
        "rp",
        (
            Column("Region", ".spec.region"),
            Column("Priority", ".spec.priority", "integer"),
            Column("Ready", _ready("status")),
            Column("Application", ".status.applicationId"),
            Column("State", ".status.applicationState"),
            Column("Cheapest", ".status.cheapest"),
            Column("CNY/day", ".status.dailyStorageCost", "number"),
            _AGE,
            Column("Checked", ".status.verifiedAt", "date", wide=True),
            Column("Blocked", ".status.blocked.reason", wide=True),
            Column("Deploys in", ".status.deployTimes", wide=True),
            Column("Message", _ready("message"), wide=True),
        ),
    ),
    Definition(
        GpuInstance,
        GPU_INSTANCES,
        "gi",
        (
            Column("Pool", ".spec.pool"),
            Column("Region", ".spec.region"),
            Column("Bundle", ".spec.bundle"),
            Column("CNY/h", ".spec.pricePerHour", "number"),
            Column("Phase", ".status.phase"),
            Column("Instance", ".status.instanceId"),
            _AGE,
            Column("Address", ".status.address", wide=True),
            Column("Reason", ".spec.reason", wide=True),
            Column("Message", ".status.message", wide=True),
        ),
    ),
)


def _models(kind: type[Model]) -> Iterator[type[Model]]:
    """The kind and every model below it."""
    pending, seen = [msgspec.inspect.type_info(kind)], set()
    while pending:
        node = pending.pop()
        if isinstance(node, msgspec.inspect.StructType):
            if node.cls in seen:
                continue
            seen.add(node.cls)
            yield node.cls  # type: ignore[misc]
            pending += [field.type for field in node.fields]
        elif isinstance(node, msgspec.inspect.UnionType):
            pending += node.types
        elif isinstance(node, msgspec.inspect.Metadata):
            pending.append(node.type)
        elif isinstance(node, msgspec.inspect.VarTupleType):
            pending.append(node.item_type)


class _Converter:
    """Turns one kind's JSON schema, with its definitions, into a structural schema."""

    def __init__(self, kind: type[Model]) -> None:
        self._definitions: dict[str, Schema] = msgspec.json.schema(kind)["$defs"]
        self._rules: dict[str, tuple[Rule, ...]] = {model.__name__: model.cel for model in _models(kind)}

    def model(self, name: str, *, defaults: bool) -> Schema:
        """The structural schema of the model with that name; `defaults` says whether fields keep theirs."""
        definition = self._definitions[name]
        required = definition.get("required", [])
        schema: Schema = {"type": "object", "description": inspect.cleandoc(definition["description"])}
        schema["properties"] = {
            key: self._property(key, value, required=key in required, defaults=defaults)
            for key, value in definition["properties"].items()
        }
        if required:
            schema["required"] = list(required)
        if rules := self._rules[name]:
            schema["x-kubernetes-validations"] = [_rule(rule) for rule in rules]
        return schema

    def _property(self, key: str, source: Schema, *, required: bool, defaults: bool) -> Schema:
        optional = _without_null(source)
        if optional is not None:
            return _timed(key, self._value(optional, defaults=defaults))
        schema = self._value(source, defaults=defaults)
        default = source.get("default")
        if required:
            return _timed(key, schema)
        if defaults:
            schema["default"] = _object_default(schema) if default is None else default
        return schema if default == "" else _timed(key, schema)

    def _value(self, source: Schema, *, defaults: bool) -> Schema:
        if (either := _int_or_word(source)) is not None:
            return either
        if "$ref" in source:
            schema = self.model(source["$ref"].rpartition("/")[2], defaults=defaults)
            return schema | ({"description": source["description"]} if "description" in source else {})
        schema = {"type": "string"} if "enum" in source else {}
        schema |= {key: source[key] for key in ("description", *_KEPT) if key in source}
        if "enum" in source:
            schema["enum"] = source["enum"]
        for exclusive, bound in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
            if exclusive in source:
                schema |= {bound: source[exclusive], exclusive: True}
        if "items" in source:
            schema |= self._list(source["items"], defaults=defaults)
        if isinstance(source.get("additionalProperties"), dict):
            schema["additionalProperties"] = self._value(source["additionalProperties"], defaults=defaults)
        return schema

    def _list(self, items: Schema, *, defaults: bool) -> Schema:
        schema: Schema = {"items": self._value(items, defaults=defaults)}
        key = LIST_MAP_KEYS.get(items.get("$ref", "").rpartition("/")[2])
        if key is not None:
            schema |= {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [key]}
        return schema


def _object_default(schema: Schema) -> Schema:
    """The default of an object that may be left out: nested defaults apply only where their parent exists.

    `{}` is enough, except under CEL rules: the API server evaluates those on the default as it is written, before
    nested defaults, and refuses the CRD with "no such key". There the default is written out.
    """
    return _filled(schema) if "x-kubernetes-validations" in schema else {}


def _filled(schema: Schema) -> Schema:
    nested = {key: value for key, value in schema.get("properties", {}).items() if "default" in value}
    return {
        key: _filled(value) if value.get("type") == "object" and "properties" in value else value["default"]
        for key, value in nested.items()
    }


def _without_null(source: Schema) -> Schema | None:
    """The type T of `T | None`; None if the source is no such union."""
    options = source.get("anyOf", [])
    others = [option for option in options if option != {"type": "null"}]
    return others[0] if len(others) == 1 and len(options) == 2 else None


def _int_or_word(source: Schema) -> Schema | None:
    """The schema of `int | Literal["Word"]`, the one union that structural schemas know; None if the source is none.

    Bounds hold for numbers only, and the pattern for strings only, so both may stand beside each other.
    """
    options = source.get("anyOf", [])
    numbers = [option for option in options if option.get("type") == "integer"]
    words = [option["enum"] for option in options if "enum" in option]
    if len(options) != 2 or not numbers or not words:
        return None
    described = {key: source[key] for key in ("description",) if key in source}
    bounds = {key: numbers[0][key] for key in ("minimum", "maximum") if key in numbers[0]}
    return {
        **described,
        "x-kubernetes-int-or-string": True,
        "anyOf": [{"type": "integer"}, {"type": "string"}],
        **bounds,
        "pattern": f"^({'|'.join(words[0])})$",
    }


def _timed(key: str, schema: Schema) -> Schema:
    is_time = schema.get("type") == "string" and "enum" not in schema and key.endswith(TIME_SUFFIXES)
    return schema | {"format": "date-time"} if is_time else schema


def _rule(rule: Rule) -> Schema:
    written = {"rule": rule.rule, "message": rule.message}
    return written | ({"fieldPath": rule.field_path} if rule.field_path is not None else {})


def schema(kind: type[Model]) -> Schema:
    """The structural schema of a kind.

    Fields of `spec` keep their defaults. Those of `status` have none: what the operator has not observed is absent,
    so a column stays empty rather than showing a zero nobody measured.
    """
    definitions = msgspec.json.schema(kind)["$defs"]
    root = definitions[kind.__name__]
    converter = _Converter(kind)
    spec = converter.model(root["properties"]["spec"]["$ref"].rpartition("/")[2], defaults=True)
    status = converter.model(root["properties"]["status"]["$ref"].rpartition("/")[2], defaults=False)
    needed = [name for name in root["required"] if name != "metadata"]
    if "spec" not in needed:
        spec["default"] = {}
    written: Schema = {
        "type": "object",
        "description": inspect.cleandoc(root["description"]),
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": spec,
            "status": status,
        },
    }
    return written | ({"required": needed} if needed else {})


def _column(column: Column) -> Schema:
    written = {"name": column.name, "type": column.type, "jsonPath": column.path}
    return written | ({"priority": 1} if column.wide else {})


def definition(entry: Definition) -> Schema:
    """The whole CustomResourceDefinition of a kind, as Kubernetes takes it."""
    kind = entry.model.__name__
    subresources: Schema = {"status": {}} | ({"scale": dict(entry.scale)} if entry.scale else {})
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{entry.plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": kind,
                "listKind": f"{kind}List",
                "plural": entry.plural,
                "singular": kind.lower(),
                "shortNames": [entry.short],
                "categories": ["haipool"],
            },
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": schema(entry.model)},
                    "subresources": subresources,
                    "additionalPrinterColumns": [_column(column) for column in entry.columns],
                }
            ],
        },
    }


class _PlainDumper(yaml.SafeDumper):
    """YAML without anchors: a schema that occurs twice is written twice."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def render(document: Schema) -> str:
    """The YAML text of a document, with the header that says where it comes from."""
    return _HEADER + yaml.dump(document, Dumper=_PlainDumper, sort_keys=False, allow_unicode=True, width=118)


def files() -> dict[str, str]:
    """Name and content of every file of `crds/`."""
    written = {f"{entry.plural}.yaml": render(definition(entry)) for entry in DEFINITIONS}
    kustomization = {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization", "resources": [*written]}
    return written | {"kustomization.yaml": render(kustomization)}


def _read(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.is_file() else None


def main(arguments: list[str] | None = None) -> int:
    """Writes `crds/`, or with `--check` says which files differ from the models (exit status 1)."""
    parser = argparse.ArgumentParser(prog="python -m controller.api.crd", description="Generate crds/.")
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a file is not up to date")
    default = Path(__file__).resolve().parents[2] / "crds"
    parser.add_argument("--directory", type=Path, default=default, help="folder to write to (default: crds/)")
    options = parser.parse_args(arguments)
    stale = {name: text for name, text in files().items() if _read(options.directory / name) != text}
    if options.check:
        for name in stale:
            print(f"{options.directory / name} is not what the models say: run python -m controller.api.crd",
                file=sys.stderr)  # fmt: skip
        return 1 if stale else 0
    options.directory.mkdir(parents=True, exist_ok=True)
    for name, text in stale.items():
        (options.directory / name).write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
