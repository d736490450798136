"""`make bench` measures what it says, and its JSON has the figures that people and scripts look for."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bench.__main__ import PARTS, main
from tests.bench.report import LINES

ROOT = Path(__file__).parents[1]


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.bench", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )


def test_a_small_run_measures_every_figure_that_has_a_bar(tmp_path: Path) -> None:
    file = tmp_path / "bench" / "dispatcher.json"
    size = ("--rounds", "2", "--requests", "40", "--tasks", "2000")
    run = bench(*size, "--output", "json", "--file", str(file))
    assert run.returncode == 0, run.stderr
    figures = json.loads(run.stdout)
    assert figures == json.loads(file.read_text())
    named = {name.replace("1000000", "2000") for name in LINES if not name.endswith("_to_nginx")}
    assert named <= figures.keys()
    for name in named:
        assert isinstance(figures[name], float), name
    # Differences of two latencies may be anything; all else is something.
    assert all(figures[name] > 0 for name in named if "latency" not in name)
    barred = {name for name, line in LINES.items() if line.bar and name in figures}
    assert figures["bars"].keys() == barred
    assert {"machine", "versions", "settings", "raw"} <= figures.keys()


@pytest.mark.parametrize("part", ["idle"])
def test_one_part_is_measured_alone_and_shown_with_its_bar(part: str, tmp_path: Path) -> None:
    run = bench("--only", part, "--file", str(tmp_path / "f.json"))
    assert run.returncode == 0, run.stderr
    assert "memory of an idle dispatcher" in run.stdout
    assert "<= 70" in run.stdout
    assert "tasks/s" not in run.stdout
    assert "\x1b[" not in run.stdout


def test_help_explains_every_part_and_gives_examples(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["--help"])
    assert end.value.code == 0
    text = capsys.readouterr().out
    for part in PARTS:
        assert f"\n  {part} " in text
    assert "make bench ARGS=" in text


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--rounds", "0"], "'0' is not a number from 1"),
        (["--requests", "many"], "'many' is not a number from 1"),
        (["--only", "throughput,speed"], "'speed' is none of throughput, latency"),
        (["--output", "xml"], "invalid choice: 'xml'"),
    ],
)
def test_a_wrong_option_is_named(arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2
    assert told in capsys.readouterr().err
