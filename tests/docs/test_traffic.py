"""The page about traffic keeps its word: its pools are valid, its levels the defaults, its metrics those exported."""

import re
from pathlib import Path

import pytest
import yaml
from prometheus_client import CollectorRegistry

from controller.api.gpupool import GpuPool, GpuPoolSpec
from controller.api.model import read
from controller.api.optimization import Cdn
from controller.operator.trafficmetrics import TrafficMetrics
from controller.scaling.optimization import HOOK_SETS
from controller.scaling.quota import LEVELS, threshold

PAGES = [Path(__file__).parents[2] / "docs" / name for name in ("traffic.md", "traffic.zh-CN.md")]

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


@each_page
def test_its_pools_are_valid_and_the_first_one_is_the_default_but_for_the_hook_set(page: Path) -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    first, second, third = (
        read(GpuPool, {"metadata": {"name": "p"}, **yaml.safe_load(text)}).spec.traffic for text in blocks
    )
    default = GpuPoolSpec().traffic
    assert (first.interval_seconds, first.thresholds_gb, first.scope) == (
        default.interval_seconds, default.thresholds_gb, default.scope,
    )  # fmt: skip
    assert first.optimization.hooks.hook_set in HOOK_SETS
    assert second.optimization.hooks.optimize.on_enter[0].restore
    assert third.optimization.cdn == Cdn(domain="cdn.example.com")


@each_page
def test_its_levels_are_the_defaults(page: Path) -> None:
    rows = re.findall(r"^\| ([A-Z][a-z]+) \| (\d+) \|", page.read_text(encoding="utf-8"), re.MULTILINE)
    thresholds = GpuPoolSpec().traffic.thresholds_gb
    assert [(name, float(at)) for name, at in rows] == [(name, threshold(name, thresholds)) for name in LEVELS]


@each_page
def test_its_metrics_are_those_exported(page: Path) -> None:
    registry = CollectorRegistry()
    TrafficMetrics(registry)
    exported = {f"{m.name}_total" if m.type == "counter" else m.name for m in registry.collect()}
    assert set(re.findall(r"^\| `(haipool_\w+)`", page.read_text(encoding="utf-8"), re.MULTILINE)) == exported


@each_page
def test_its_ready_settings_are_those_sent(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for stage, hooks in HOOK_SETS["StableDiffusionWebUI"].items():
        row = next(line for line in text.splitlines() if line.startswith(f"| {stage} | `samples_format"))
        sent = yaml.safe_load(hooks.on_enter[0].body)
        assert {k: yaml.safe_load(v) for k, v in re.findall(r"`(\w+): (\w+)`", row)} == sent
