"""The documents keep their word: links lead somewhere, twins say the same, reasons and defaults are the code's."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from controller.api.gpupool import GpuPoolSpec
from controller.api.model import write

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
TWINS = sorted(ROOT.glob("*.zh-CN.md")) + sorted(ROOT.glob("docs/**/*.zh-CN.md"))
RULES = ("docs/scaling-rules.md", "docs/scaling-rules.zh-CN.md")

LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
#: `Verdict("Hold", "X"`, `_hold("X"`, `Trigger(..., "X", ...`: the words that reach status.lastDecision.reason.
REASON = re.compile(r'(?:_hold\(\s*|Verdict\("[A-Za-z]+", |Wanted\([^"]*|reason = )"([A-Z][A-Za-z]+)"')
TRIGGER = re.compile(r'Trigger\(\s*"[^"]+", "([A-Z][A-Za-z]+)"')


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_to_a_file(document: Path) -> None:
    for target in LINK.findall(document.read_text(encoding="utf-8")):
        assert "://" not in target, target
        assert (document.parent / target).exists(), target


def shape(document: Path) -> list[str]:
    """What a translation keeps: headings, table columns, list items, and every command without its comment."""
    text = document.read_text(encoding="utf-8")
    kept = []
    for line in text.splitlines():
        if line.startswith("#"):
            kept.append(line.partition(" ")[0])
        elif line.startswith("|"):
            kept.append("|" * line.count("|"))
        elif line.startswith(("make ", "kubectl ", "docker ", "cp ")):
            kept.append(re.split(r"\s+#", line)[0])
        elif re.match(r"- |\d+\. ", line):
            kept.append("-")
    return kept


@pytest.mark.parametrize("chinese", TWINS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_translation_has_the_shape_and_the_commands_of_its_original(chinese: Path) -> None:
    english = chinese.with_name(chinese.name.replace(".zh-CN", ""))
    assert shape(chinese) == shape(english)


def reasons() -> Iterator[str]:
    for module in (ROOT / "controller/scaling").glob("*.py"):
        text = module.read_text(encoding="utf-8")
        yield from REASON.findall(text)
        yield from TRIGGER.findall(text)
        yield from re.findall(r'reason = "([A-Z][A-Za-z]+)" if .* else "[A-Z]', text)
        yield from re.findall(r'reason = "[A-Z][A-Za-z]+" if .* else "([A-Z][A-Za-z]+)"', text)


def test_the_reasons_of_decisions_are_found_in_the_code() -> None:
    assert {"SlowResponse", "BelowMinimum", "StepInFlight", "VictimTooYoung", "LowLoad", "Dead"} <= set(reasons())


@pytest.mark.parametrize("document", RULES)
def test_every_reason_of_a_decision_is_explained(document: str) -> None:
    table = [line.split("|")[1] for line in (ROOT / document).read_text().splitlines() if line.startswith("| `")]
    explained = set(re.findall(r"`([A-Za-z]+)`", " ".join(table)))
    assert set(reasons()) - explained == set()


@pytest.mark.parametrize("document", RULES)
def test_the_thresholds_in_the_tables_are_the_defaults(document: str) -> None:
    spec = write(GpuPoolSpec())
    rows = [line.split("|") for line in (ROOT / document).read_text().splitlines() if line.startswith("|")]
    checked = 0
    for row in rows:
        number, field = re.match(r"[\d.]+", row[2].strip()), row[3].strip(" `") if len(row) > 4 else ""
        if number and field:
            value: Any = spec
            for part in (field if "." in field else f"scaling.up.{field}").split("."):
                value = value[part]
            assert float(number[0]) == value, field
            checked += 1
    assert checked == 11


@pytest.mark.parametrize("readme", ["README.md", "README.zh-CN.md"])
def test_the_columns_explained_are_the_columns_shown(readme: str) -> None:
    columns = {
        column["name"]
        for path in (ROOT / "crds").glob("gpupools.yaml")
        for column in yaml.safe_load(path.read_text())["spec"]["versions"][0]["additionalPrinterColumns"]
    }
    row = next(line for line in (ROOT / readme).read_text(encoding="utf-8").splitlines() if line.startswith("| `gp`"))
    explained = set(re.findall(r"[(（]([A-Z][A-Za-z/]+)[)）]", row)) - {"GB"}
    assert explained == {"Desired", "Ready", "Deploying", "CNY/h", "Trigger"}
    assert explained <= columns
