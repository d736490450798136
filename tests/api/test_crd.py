"""The CRDs in `crds/` are what the models say, and keep the rules' defaults."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from controller.api import crd
from controller.api.gpupool import GpuPool, GpuPoolSpec
from controller.api.model import read, write

CRDS = Path(__file__).parents[2] / "crds"


def _schemas(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    yield path, schema
    for key, value in schema.get("properties", {}).items():
        yield from _schemas(value, f"{path}.{key}")
    for key in ("items", "additionalProperties"):
        if key in schema:
            yield from _schemas(schema[key], f"{path}[]")


def _defaults(schema: dict[str, Any]) -> Any:
    """What the API server makes of an empty value: defaults applied from the top down."""
    value = schema.get("default")
    if not isinstance(value, dict):
        return value
    nested = {key: _defaults(part) for key, part in schema.get("properties", {}).items() if "default" in part}
    return nested or value


def _root(entry: crd.Definition) -> dict[str, Any]:
    document = yaml.safe_load((CRDS / f"{entry.plural}.yaml").read_text(encoding="utf-8"))
    (version,) = document["spec"]["versions"]
    root: dict[str, Any] = version["schema"]["openAPIV3Schema"]
    return root


@pytest.fixture(params=crd.DEFINITIONS, ids=lambda entry: entry.plural)
def definition(request: pytest.FixtureRequest) -> crd.Definition:
    entry: crd.Definition = request.param
    return entry


def test_the_files_are_what_the_models_generate() -> None:
    assert {path.name: path.read_text(encoding="utf-8") for path in CRDS.iterdir()} == crd.files()


def test_check_passes_on_fresh_files_and_names_the_stale_one(tmp_path: Path) -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "controller.api.crd", "--directory", str(tmp_path), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    assert run().returncode == 0
    assert run("--check").returncode == 0
    (tmp_path / "gpupools.yaml").write_text("kind: Other\n", encoding="utf-8")
    stale = run("--check")
    assert (stale.returncode, stale.stderr.count("\n")) == (1, 1)
    assert "gpupools.yaml" in stale.stderr
    assert yaml.safe_load((tmp_path / "gpupools.yaml").read_text(encoding="utf-8")) == {"kind": "Other"}


def test_the_default_spec_of_a_pool_is_the_models_default() -> None:
    """So an empty GpuPool on the API server has the rules' thresholds, and the same ones as in Python."""
    assert _defaults(_root(crd.DEFINITIONS[0])["properties"]["spec"]) == write(GpuPoolSpec())


def test_every_object_that_has_defaults_inside_has_one_itself(definition: crd.Definition) -> None:
    spec = _root(definition)["properties"]["spec"]
    optional = 0
    for path, schema in _schemas(spec, "spec"):
        for key, part in schema.get("properties", {}).items():
            if part.get("type") != "object" or key in schema.get("required", []) or not _has_defaults(part):
                continue
            # T | None: absent means "none", so nothing may appear by default.
            optional += "default" not in part
            assert "default" in part or f"{path}.{key}" in {
                "spec.metrics.prometheus",
                "spec.metrics.prometheus.tokenSecret",
                "spec.metrics.tokenSecret",
                "spec.traffic.optimization.cdn",
                "spec.queue.routes[].poll",
                "spec.server.warmUp",
                "spec.server.systemDisk",
                "spec.systemDisk",
                "spec.traffic.optimization.reencode",
            }
    assert optional == {"gpupools": 8, "gpuinstances": 1, "regionpresets": 0}[definition.plural]


def _has_defaults(schema: dict[str, Any]) -> bool:
    return any("default" in part for _, part in _schemas(schema))


def test_the_schema_is_structural(definition: crd.Definition) -> None:
    for path, schema in _schemas(_root(definition)):
        either = {"anyOf"} if schema.get("x-kubernetes-int-or-string") else set()
        if not either:
            assert schema["type"] in {"object", "array", "string", "integer", "number", "boolean"}, path
        assert not {"$ref", "$defs", "anyOf", "title"} - either & schema.keys(), path
        assert isinstance(schema.get("exclusiveMinimum", True), bool), path


def test_a_number_or_a_word_is_the_union_that_kubernetes_knows() -> None:
    step = _root(crd.DEFINITIONS[0])["properties"]["spec"]["properties"]["scaling"]["properties"]["up"]["properties"][
        "step"
    ]
    assert step.pop("description").startswith("Servers bought at a time")
    assert step == {
        "x-kubernetes-int-or-string": True,
        "anyOf": [{"type": "integer"}, {"type": "string"}],
        "minimum": 1,
        "maximum": 100,
        "pattern": "^(Auto)$",
        "default": 1,
    }


def test_status_has_no_defaults(definition: crd.Definition) -> None:
    assert not _has_defaults(_root(definition)["properties"]["status"])


def test_conditions_merge_by_type(definition: crd.Definition) -> None:
    conditions = _root(definition)["properties"]["status"]["properties"]["conditions"]
    assert (conditions["x-kubernetes-list-type"], conditions["x-kubernetes-list-map-keys"]) == ("map", ["type"])


def test_only_a_pool_may_leave_its_spec_out() -> None:
    assert [_root(entry).get("required") for entry in crd.DEFINITIONS] == [None, ["spec"], ["spec"]]


def test_rules_stand_at_the_object_they_bind() -> None:
    spec = _root(crd.DEFINITIONS[0])["properties"]["spec"]["properties"]
    (rule,) = spec["replicas"]["x-kubernetes-validations"]
    assert rule == {
        "rule": "!has(self.max) || self.min <= self.max",
        "message": "replicas.min must not exceed replicas.max",
        "fieldPath": ".min",
    }
    assert len(spec["scaling"]["x-kubernetes-validations"]) == 3


def test_times_have_a_format_and_texts_do_not() -> None:
    status = _root(crd.DEFINITIONS[2])["properties"]["status"]["properties"]
    assert status["launchedAt"]["format"] == "date-time"
    assert "format" not in status["message"]
    condition = status["conditions"]["items"]["properties"]
    assert "format" not in condition["lastTransitionTime"]  # "" is allowed there


def test_the_models_read_what_the_schema_calls_a_default_pool() -> None:
    spec = _defaults(_root(crd.DEFINITIONS[0])["properties"]["spec"])
    pool = {"metadata": {"name": "demo"}, "spec": spec}
    assert read(GpuPool, pool).spec == GpuPoolSpec()
