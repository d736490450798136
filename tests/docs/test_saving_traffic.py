"""The page about saving traffic on the way keeps its word: its pool is valid, its defaults and its metrics are real."""

import re
from pathlib import Path

import pytest
import yaml

from controller.api.gpupool import GpuPool
from controller.api.model import read
from controller.api.transfer import Compression, Reencoding
from controller.dispatcher.metrics import DispatcherMetrics

PAGES = [Path(__file__).parents[2] / "docs" / name for name in ("saving-traffic.md", "saving-traffic.zh-CN.md")]

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


@each_page
def test_its_pool_is_valid_and_shows_the_default_compression(page: Path) -> None:
    (text,) = re.findall(r"```yaml\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    shown = read(GpuPool, {"metadata": {"name": "p"}, **yaml.safe_load(text)}).spec.traffic.optimization
    assert shown.compression == Compression()
    assert shown.reencode == Reencoding(level="Critical", in_json=True)


@each_page
def test_its_table_has_every_field_and_its_default(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    table = text[text.index("| `level` |") : text.index("X-Haipool-Reencoded")]
    rows = dict(re.findall(r"^\| `(\w+)` \| `?(\w+)`? \|", table, re.MULTILINE))
    default = Reencoding()
    fields = dict(zip(default.__struct_encode_fields__, default.__struct_fields__, strict=True))
    assert rows == {shown: str(getattr(default, name)).replace("False", "false") for shown, name in fields.items()}


@each_page
def test_its_metrics_are_exported_with_these_labels(page: Path) -> None:
    metrics = DispatcherMetrics()
    text = page.read_text(encoding="utf-8")
    for counter, name in ((metrics.saved, "haipool_saved_bytes_total"),
                          (metrics.reencoded, "haipool_reencoded_answers_total")):  # fmt: skip
        row = next(line for line in text.splitlines() if line.startswith(f"| `{name}`"))
        (family,) = counter.collect()
        values = {value for s in family.samples if s.name == name for value in s.labels.values()}
        assert values == set(re.findall(r"`(\w+)`", row)) - {name, "by", "outcome"}
