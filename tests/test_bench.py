"""`make bench` measures what it says, and its JSON has the figures that people and scripts look for."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bench.__main__ import PARTS, main
from tests.bench.report import LINES, OPERATOR_LINES

ROOT = Path(__file__).parents[1]


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.bench", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )


def test_a_small_run_measures_every_figure_that_has_a_bar(tmp_path: Path) -> None:
    file = tmp_path / "bench" / "dispatcher.json"
    size = ("--rounds", "2", "--requests", "40", "--tasks", "2000", "--only", ",".join(PARTS[:-1]))
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


def test_the_operators_part_has_a_file_of_its_own(tmp_path: Path) -> None:
    file, other = tmp_path / "operator.json", tmp_path / "dispatcher.json"
    size = ("--pools", "1,2", "--instances", "2", "--interval", "1", "--seconds", "1")
    run = bench("--only", "operator", *size, "--operator-file", str(file), "--file", str(other))
    assert run.returncode == 0, run.stderr
    figures = json.loads(file.read_text())
    assert OPERATOR_LINES.keys() <= figures.keys()
    assert figures["cloud_calls_per_minute"].keys() == {"1", "2"}
    assert figures["interval_s"] == 1
    assert figures["bars"].keys() == {name for name, line in OPERATOR_LINES.items() if line.bar}
    assert "1: " in run.stdout
    assert "<= 256" in run.stdout
    assert not other.exists()


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
        (["--pools", "1,none"], "'none' is not a number from 1"),
    ],
)
def test_a_wrong_option_is_named(arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2
    assert told in capsys.readouterr().err
