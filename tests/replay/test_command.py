"""`haipool replay`: the table, the JSON, and errors in one line."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from controller import cli
from controller.replay.command import _progress

POOL = "kind: GpuPool\nmetadata: {name: demo}\nspec: {scaling: {up: {cpuPercent: 100}}}\n"
TASKS = "arrival_s,user,service_s\n0,ann,1000\n0,bob,100\n"
Files = tuple[str, str]


@pytest.fixture
def files(tmp_path: Path) -> Files:
    (tmp_path / "pool.yaml").write_text(POOL)
    (tmp_path / "tasks.csv").write_text(TASKS)
    return str(tmp_path / "pool.yaml"), str(tmp_path / "tasks.csv")


@pytest.fixture
def shown(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    def run(*arguments: str) -> str:
        assert cli.main(["replay", *arguments]) == 0
        return capsys.readouterr().out

    return run


def test_the_table_shows_what_it_cost_and_how_long_people_waited(files: Files, shown: Callable[..., str]) -> None:
    pool, tasks = files
    lines = shown(pool, "--trace", tasks).splitlines()
    assert lines[0] == f"pool demo, tasks: {tasks}"
    rows = {line[:30].strip(): line[30:].strip() for line in lines[3:]}
    assert rows["tasks"] == "2 of 2 users"
    assert rows["unserved"] == "0"
    assert rows["wait, longest"] == "200.00 s"
    assert rows["cost"].endswith(" CNY")


def test_json_has_every_figure_and_what_was_asked(files: Files, shown: Callable[..., str]) -> None:
    pool, tasks = files
    text = shown(pool, "--trace", tasks, "--set", "scaling.up.step=2", "--deploy-seconds", "60", "-o", "json")
    document = json.loads(text)
    assert document["set"] == ["scaling.up.step=2"]
    assert document["deploy_seconds"] == 60
    [run] = document["runs"]
    assert run["name"] == "demo"
    assert run["wait_seconds"]["max"] == 80.0
    assert {"cost_cny", "server_hours", "launches", "destroys", "direction_changes", "peak_servers"} <= set(run)


def test_variants_stand_beside_each_other(files: Files, shown: Callable[..., str]) -> None:
    pool, tasks = files
    arguments = [pool, "--trace", tasks, "--versus", "replicas.min=2", "--versus", "scaling.up.maxWaitSeconds=500"]
    document = json.loads(shown(*arguments, "-o", "json"))
    assert [run["name"] for run in document["runs"]] == ["demo", "replicas.min=2", "scaling.up.maxWaitSeconds=500"]
    assert document["runs"][1]["wait_seconds"]["max"] == 0.0
    header = shown(*arguments).splitlines()[2]
    assert header.split() == ["demo", "replicas.min=2", "scaling.up.maxWaitSeconds=500"]


def test_what_has_no_value_is_null(files: Files, tmp_path: Path, shown: Callable[..., str]) -> None:
    (tmp_path / "tasks.csv").write_text("arrival_s,user,service_s\n0,a,1\n")
    arguments = [*files[:1], "--trace", files[1], "--set", "replicas.min=0", "--set", "paused=All"]
    run: dict[str, Any] = json.loads(shown(*arguments, "-o", "json"))["runs"][0]
    assert (run["served"], run["expired"], run["wait_seconds"]["mean"]) == (0, 1, None)
    assert "-" in shown(*arguments)


def test_tasks_made_up_are_the_same_for_the_same_seed(files: Files, shown: Callable[..., str]) -> None:
    arguments = [files[0], "--generate", "poisson", "--hours", "2", "--rate", "0.05", "--load", "2"]
    assert shown(*arguments) == shown(*arguments) != shown(*arguments, "--seed", "2")


def test_a_trace_of_tokens_can_be_multiplied(files: Files, tmp_path: Path, shown: Callable[..., str]) -> None:
    trace = tmp_path / "tokens.csv"
    trace.write_text("TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:17:03.9799600,100,50\n")
    arguments = [files[0], "--trace", str(trace), "--format", "azure", "--load", "3", "-o", "json"]
    run = json.loads(shown(*arguments, "--seconds-per-context-token", "0", "--users", "5"))["runs"][0]
    assert (run["tasks"], run["users"]) == (3, 3)
    assert run["mean_response_seconds"] >= 1.0


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["no.yaml", "--trace", "TASKS"], "haipool: no.yaml: No such file or directory"),
        (["POOL", "--trace", "no.csv"], "haipool: no.csv: No such file or directory"),
        (["TASKS", "--trace", "TASKS"], "one object of kind GpuPool is wanted, found 0"),
        (["POOL", "--trace", "POOL"], "line 1: the header must name arrival_s, user, service_s"),
        (["POOL", "--trace", "EMPTY"], "no tasks"),
        (["POOL", "--trace", "TASKS", "--set", "scaling.up.steps=1"], "spec.scaling.up.steps: no such field"),
        (["POOL", "--trace", "TASKS", "--versus", "replicas.min=-1"], "$.spec.replicas.min"),
        (["POOL", "--trace", "TASKS", "--deploy-seconds", "1000"], "server.startupTimeoutSeconds, 900"),
        (["POOL", "--generate", "poisson", "--rate", "1e-9", "--hours", "1"], "poisson: no tasks"),
    ],
)
def test_an_error_is_one_line_on_stderr(
    arguments: list[str], told: str, files: Files, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty.csv").write_text("arrival_s,user,service_s\n")
    places = {"POOL": files[0], "TASKS": files[1], "EMPTY": str(tmp_path / "empty.csv")}
    assert cli.main(["replay", *(places.get(word, word) for word in arguments)]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert told in said.err
    assert len(said.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["pool.yaml"], "one of the arguments --trace --generate is required"),
        (["pool.yaml", "--trace", "x", "--generate", "poisson"], "not allowed with argument"),
        (["pool.yaml", "--trace", "x", "--load", "0"], "0 is not above 0"),
        (["pool.yaml", "--trace", "x", "--load", "nan"], "nan is not a number that can be meant"),
        (["pool.yaml", "--trace", "x", "--deploy-seconds", "-1"], "-1 is below 0"),
        (["pool.yaml", "--trace", "x", "--users", "1.5"], "1.5 is not a whole number above 0"),
        (["pool.yaml", "--trace", "x", "--set", "step"], "write PATH=VALUE"),
        (["pool.yaml", "--trace", "x", "--price", "T4=2"], "'T4' is none of XL"),
        (["pool.yaml", "--trace", "x", "--stock", "XL=few"], "'few' is not a number"),
    ],
)
def test_a_wrong_command_line_is_told_without_a_traceback(
    arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main(["replay", *arguments])
    assert end.value.code == 2
    assert told in capsys.readouterr().err


def test_only_a_long_run_tells_how_far_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    now = iter([0.0, 1.0, 2.5, 2.5, 3.0])
    say = _progress(200, "demo", clock=lambda: next(now))
    say(10, 60.0)
    say(50, 7200.0)
    say(60, 7300.0)
    assert capsys.readouterr().err == "demo: 25 % of 200 tasks, hour 2.0\n"


def test_it_runs_as_a_program(files: Files) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "controller.cli", "replay", files[0], "--trace", files[1], "-o", "json"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert json.loads(done.stdout)["runs"][0]["served"] == 2
    assert done.stderr == ""
