"""docs/dispatcher.md keeps its word: every refusal, header, option and default on it is the code's."""

import argparse
import re
from pathlib import Path

import msgspec
import yaml

from controller.api.gpupool import GpuPool, GpuPoolSpec
from controller.api.model import Metadata
from controller.dispatcher.main import add_arguments
from controller.dispatcher.state import View
from controller.dispatcher.watcher import ServersFile

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "dispatcher.md").read_text(encoding="utf-8")
ASYNC_PAGE = (ROOT / "docs" / "async-tasks.md").read_text(encoding="utf-8")
CODE = "\n".join(
    path.read_text(encoding="utf-8") for path in sorted((ROOT / "controller" / "dispatcher").rglob("*.py"))
)


def test_every_refusal_is_in_a_table_with_its_status() -> None:
    written = {(status, title) for status, title in re.findall(r'(?:problem|Failure)\(\s*(\d{3}),\s*"([^"]+)"', CODE)}
    table = set(re.findall(r"^\| (\d{3}) \| ([^|]+) \|", PAGE + ASYNC_PAGE, re.MULTILINE))
    assert len(written) >= 12
    assert written == table


def test_every_header_that_answers_get_is_explained() -> None:
    assert set(re.findall(r'"(X-Haipool-[A-Za-z-]+)"', CODE)) == set(re.findall(r"`(X-Haipool-[A-Za-z-]+)`", PAGE))


def test_every_setting_it_names_exists() -> None:
    names = re.findall(r"`(queue|server|scaling)\.(\w+)`", PAGE + ASYNC_PAGE)
    spec = GpuPoolSpec()
    assert len(names) >= 10
    for part, name in names:
        assert name in {field.encode_name for field in msgspec.structs.fields(getattr(spec, part))}, f"{part}.{name}"


def test_the_defaults_it_gives_are_those_of_the_code() -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    defaults = parser.parse_args(["--pool", "demo"])
    assert f"| data, {defaults.port} |" in PAGE
    assert f"| admin, {defaults.admin_port} |" in PAGE
    assert f"`--grace` seconds ({defaults.grace:g})" in PAGE
    assert f"`server.failureThreshold` ({GpuPoolSpec().server.failure_threshold})" in PAGE


def test_its_examples_are_valid() -> None:
    examples = [yaml.safe_load(text) for text in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)]
    assert len(examples) == 6
    for example in examples:
        if "servers" in example:
            assert len(msgspec.convert(example, ServersFile).servers) == 2
        elif "patches" not in example:  # how manifests are changed is tried in tests/manifests
            View.of(GpuPool(metadata=Metadata(name="demo"), spec=msgspec.convert(example, GpuPoolSpec)))
