"""The samples are valid, and say what they are said to say."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from controller.api.catalog import REGIONS
from controller.api.gpupool import GpuPool, GpuPoolSpec
from controller.api.model import Model, read
from controller.api.regionpreset import RegionPreset
from controller.scaling.readings import daily_storage_cost

Object = dict[str, Any]

KINDS: dict[str, type[Model]] = {"GpuPool": GpuPool, "RegionPreset": RegionPreset}


@pytest.fixture(scope="module")
def samples(root: Path) -> Callable[[str], list[Object]]:
    return lambda name: list(yaml.safe_load_all((root / "manifests/samples" / name).read_text(encoding="utf-8")))


@pytest.fixture(scope="module")
def schemas(root: Path) -> dict[str, Object]:
    crds = (yaml.safe_load(path.read_text()) for path in (root / "crds").glob("*.yaml"))
    return {
        crd["spec"]["names"]["kind"]: crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
        for crd in crds
        if crd["kind"] == "CustomResourceDefinition"
    }


def closed(schema: Object) -> Object:
    """The schema with unknown fields refused (the API server would drop them silently)."""
    result = {key: closed(value) if isinstance(value, dict) else value for key, value in schema.items()}
    if "properties" in schema:
        result["properties"] = {name: closed(inner) for name, inner in schema["properties"].items()}
        result["additionalProperties"] = False
    return result


@pytest.mark.parametrize("name", ["presets.yaml", "pool.yaml", "demo-pool.yaml"])
def test_every_sample_fits_its_kind_without_a_misspelt_field(
    name: str, samples: Callable[[str], list[Object]], schemas: dict[str, Object]
) -> None:
    for sample in samples(name):
        schema = closed(schemas[sample["kind"]])
        schema["properties"]["metadata"] = {"type": "object"}
        jsonschema.Draft4Validator(schema).validate(sample)
        read(KINDS[sample["kind"]], sample)


def test_a_misspelt_field_would_be_found(schemas: dict[str, Object]) -> None:
    wrong = {"spec": {"scaling": {"up": {"queueLenght": 15}}}}
    with pytest.raises(jsonschema.ValidationError, match="queueLenght"):
        jsonschema.Draft4Validator(closed(schemas["GpuPool"])).validate(wrong)


def test_the_presets_are_the_six_domestic_regions_in_the_rules_order(samples: Callable[[str], list[Object]]) -> None:
    presets = [read(RegionPreset, sample) for sample in samples("presets.yaml")]
    assert tuple(p.spec.region for p in presets) == REGIONS
    assert [p.spec.priority for p in presets] == [1, 2, 3, 4, 5, 6]


def test_keeping_the_six_presets_costs_1_44_cny_a_day(samples: Callable[[str], list[Object]]) -> None:
    specs = [read(RegionPreset, sample).spec for sample in samples("presets.yaml")]
    costs = [daily_storage_cost(s.disk_gib, s.storage_price_per_gib_day) for s in specs]
    assert costs == pytest.approx([0.24] * 6)
    assert sum(costs) == pytest.approx(1.44)


def test_the_sample_pool_spells_out_the_default_rules_and_changes_none(samples: Callable[[str], list[Object]]) -> None:
    (sample,) = samples("pool.yaml")
    assert read(GpuPool, sample).spec == GpuPoolSpec()


def test_the_demo_pool_keeps_the_rules_thresholds_and_only_shortens_times(
    samples: Callable[[str], list[Object]],
) -> None:
    (sample,) = samples("demo-pool.yaml")
    demo, rules = read(GpuPool, sample).spec.scaling, GpuPoolSpec().scaling
    for name in ("mean_response_seconds", "queue_length", "cpu_percent"):
        assert getattr(demo.up, name) == getattr(rules.up, name)
        assert getattr(demo.down, name) == getattr(rules.down, name)
    assert demo.up.max_wait_seconds == rules.up.max_wait_seconds
    assert demo.down.min_lifetime_seconds < rules.down.min_lifetime_seconds
    assert demo.down.stabilization_seconds < rules.down.stabilization_seconds


def test_traffic_levels_are_the_rules(samples: Callable[[str], list[Object]]) -> None:
    (sample,) = samples("pool.yaml")
    levels = list(sample["spec"]["traffic"]["thresholdsGB"].values())
    assert levels == [300, 400, 450, 480]
    assert all(low < high for low, high in pairwise(levels))


def test_the_credentials_example_names_the_secret_that_the_operator_reads_and_holds_no_key(
    samples: Callable[[str], list[Object]], workloads: dict[str, Object]
) -> None:
    (secret,) = samples("credentials.example.yaml")
    (container,) = workloads["operator"]["spec"]["template"]["spec"]["containers"]
    references = [entry["valueFrom"]["secretKeyRef"] for entry in container["env"]]
    assert {ref["name"] for ref in references} == {secret["metadata"]["name"]}
    assert {ref["key"] for ref in references} == set(secret["stringData"])
    assert secret["metadata"]["namespace"] == workloads["operator"]["metadata"]["namespace"]
    assert all(value.startswith("REPLACE-WITH-") for value in secret["stringData"].values())
