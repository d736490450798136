"""The pool of a replay: read as the API server would take it, with changes for the occasion."""

from pathlib import Path

import pytest

from controller.replay.poolfile import PoolFileError, load_pool, offers_of

SAMPLE = Path(__file__).parents[2] / "manifests" / "samples" / "pool.yaml"
POOL = "kind: GpuPool\nmetadata: {name: demo}\n"


def test_the_sample_pool_is_a_pool() -> None:
    pool = load_pool(SAMPLE.read_text())
    assert pool.metadata.name == "default"
    assert pool.spec.scaling.up.step == 1


def test_other_objects_in_the_file_do_not_matter() -> None:
    assert load_pool(f"kind: Secret\n---\n{POOL}---\n").metadata.name == "demo"


def test_settings_are_changed_where_they_stand_or_would_stand() -> None:
    text = POOL + "spec: {scaling: {up: {step: 2, queueLength: 20}}}\n"
    changes = [("scaling.up.step", "3"), ("spec.replicas.max", "7"), ("gpuTypes", "[{bundle: XL, concurrency: 4}]")]
    spec = load_pool(text, changes).spec
    assert (spec.scaling.up.step, spec.scaling.up.queue_length, spec.replicas.max) == (3, 20, 7)
    assert [(kind.bundle, kind.concurrency) for kind in spec.gpu_types] == [("XL", 4)]


@pytest.mark.parametrize(
    ("text", "changes", "told"),
    [
        ("kind: Pod", [], "one object of kind GpuPool is wanted, found 0"),
        (f"{POOL}---\n{POOL}", [], "one object of kind GpuPool is wanted, found 2"),
        ("a: [", [], "not YAML"),
        (f"{POOL}spec: []", [], None),
        (f"{POOL}spec: 7", [], "spec: must be a mapping"),
        (f"{POOL}spec: {{scalling: {{}}}}", [], "spec.scalling: no such field"),
        (POOL, [("scaling.up.stepp", "2")], "spec.scaling.up.stepp: no such field"),
        (POOL, [("gpuTypes", "[{bundle: XL, cores: 4}]")], "spec.gpuTypes[0].cores: no such field"),
        (POOL, [("scaling.up.step", "0")], "$.spec.scaling.up.step"),
        (POOL, [("scaling.up.step", "many")], "$.spec.scaling.up.step"),
        (POOL, [("scaling.up.step", "[")], "spec.scaling.up.step: '[' is not a value in YAML"),
        (POOL, [("replicas.min", "1"), ("replicas.min.x", "1")], "spec.replicas.min.x: min has no fields"),
        (POOL, [("replicas.min", "4"), ("replicas.max", "3")], "replicas.min must not exceed replicas.max"),
        (POOL, [("budget.daily", "{soft: 3, hard: 2}")], "budget.daily.soft must not exceed budget.daily.hard"),
        (POOL, [("budget.hourly", "{}")], "budget.hourly: a budget needs soft, hard, or both"),
        (POOL, [("scaling.up.queueLength", "3")], "scaling.down.queueLength must be below scaling.up.queueLength"),
        (POOL, [("scaling.up.cpuPercent", "30")], "scaling.down.cpuPercent must be below scaling.up.cpuPercent"),
        (POOL, [("scaling.up.meanResponseSeconds", "1")], "scaling.down.meanResponseSeconds must be below"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_name(text: str, changes: list[tuple[str, str]], told: str | None) -> None:
    if told is None:
        assert load_pool(text, changes).spec.replicas.min == 1
        return
    with pytest.raises(PoolFileError) as error:
        load_pool(text, changes)
    assert told in str(error.value)
    assert "\n" not in str(error.value)


def test_a_price_is_the_pools_own_or_the_one_given_or_a_sample() -> None:
    types = "[{bundle: XL, pricePerHour: 0.5}, {bundle: 4XL}, {bundle: 3XL}]"
    spec = load_pool(POOL, [("gpuTypes", types)]).spec
    found = {offer.bundle: offer.price_per_hour for offer in offers_of(spec, {"XL": 9.0, "4XL": 7.0})}
    assert found == {"XL": 0.5, "4XL": 7.0, "3XL": 2.41}


def test_a_pool_that_names_no_types_takes_all() -> None:
    assert len(offers_of(load_pool(POOL).spec, {})) == 6
