"""`haipool demo`: what it exits with and prints; once from end to end, with every process real."""

import argparse
import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from controller.api.catalog import BUNDLES, REGIONS
from controller.command import CommandError
from controller.sandbox.demo import run, script
from controller.sandbox.demo.evidence import Evidence
from controller.sandbox.demo.order import round_robin
from controller.sandbox.demo.story import _within
from controller.sandbox.kubectl import KubectlMissingError


def told(monkeypatch: pytest.MonkeyPatch, evidence: Evidence, output: str) -> int:
    """Run the demo with this evidence in place of a sandbox."""

    @asynccontextmanager
    async def no_sandbox(*_: object, **__: object) -> AsyncIterator[None]:
        yield None

    async def tell(*_: object) -> Evidence:
        return evidence

    monkeypatch.setattr(run, "running_sandbox", no_sandbox)
    monkeypatch.setattr(run, "_tell", tell)
    return run.run_demo(argparse.Namespace(output=output, keep=False, seed=1, dir=None))


@pytest.mark.parametrize("output", ["text", "json"])
def test_the_exit_status_is_0_only_if_all_rules_held(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], good: Evidence, output: str
) -> None:
    assert told(monkeypatch, good, output) == 0
    assert told(monkeypatch, replace(good, unowned=("hp1-x",)), output) == 1
    assert "hp1-x" in capsys.readouterr().out


def test_json_is_all_that_goes_to_stdout(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], good: Evidence
) -> None:
    told(monkeypatch, good, "json")
    assert json.loads(capsys.readouterr().out)["tasks_ok"] == 7


def test_without_a_kubectl_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch, good: Evidence) -> None:
    def missing() -> None:
        raise KubectlMissingError("no kubectl found: install one")

    monkeypatch.setattr(run, "find_kubectl", missing)
    with pytest.raises(CommandError, match="install one"):
        told(monkeypatch, good, "text")


async def test_a_part_that_does_not_happen_is_named() -> None:
    with pytest.raises(CommandError, match=r"waited 0\.01 s for the first server to be Ready, in vain"):
        await _within(0.01, "the first server to be Ready", asyncio.Event().wait())


def test_the_script_is_the_example_of_the_rules() -> None:
    assert [(one.name, one.tasks) for one in script.SENDERS] == [("A", 100), ("B", 10), ("C", 20)]
    assert len({one.address for one in script.SENDERS}) == 3


def test_the_cloud_names_the_stock_of_everything_it_sells() -> None:
    """Nothing is unlimited by omission: the story depends on what runs out."""
    assert set(script.cloud().stock) == {(region, bundle) for region in REGIONS for bundle in BUNDLES}


@pytest.mark.processes
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_demo_that_is_interrupted_leaves_nothing_behind(tmp_path: Path, number: signal.Signals, status: int) -> None:
    command = [sys.executable, "-m", "controller.cli", "demo", "--output", "json"]
    env = os.environ | {"TMPDIR": str(tmp_path)}
    # A shell that runs the tests in the background has them ignore SIGINT, and their children with them.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)
    finally:
        signal.signal(signal.SIGINT, before)
    with process:
        assert process.stderr is not None
        assert process.stdout is not None
        assert any("kubectl apply" in line for line in process.stderr)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        assert len(children) >= 2
        process.send_signal(number)
        told = process.stderr.read()
        assert process.wait(30) == status
        assert "Traceback" not in told
        assert process.stdout.read() == ""
    assert list(tmp_path.iterdir()) == []
    assert not any(Path(f"/proc/{pid}/exe").exists() for pid in children)


@pytest.fixture(scope="module")
def demo() -> dict[str, Any]:
    """One whole run. It takes about a minute and a half, so its figures are shared by the tests below."""
    command = [sys.executable, "-m", "controller.cli", "demo", "--output", "json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=200)
    assert done.returncode == 0, f"{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    assert "Traceback" not in done.stderr
    summary: dict[str, Any] = json.loads(done.stdout)
    return summary


@pytest.mark.processes
@pytest.mark.timeout(240)
def test_a_whole_demo_serves_the_literal_order(demo: dict[str, Any]) -> None:
    order = demo["served_order"]
    assert order == round_robin({"A": 100, "B": 10, "C": 20})
    assert order[:7] == ["A1", "B1", "C1", "A2", "B2", "C2", "A3"]
    assert order[27:34] == ["A10", "B10", "C10", "A11", "C11", "A12", "C12"]
    assert (demo["tasks_ok"], demo["tasks_failed"]) == (130, 0)
    assert demo["mean_wait_s"]["B"] < demo["mean_wait_s"]["C"] < demo["mean_wait_s"]["A"]


@pytest.mark.processes
@pytest.mark.timeout(240)
def test_a_whole_demo_buys_cheap_first_and_destroys_dear_first(demo: dict[str, Any]) -> None:
    bought = [one["price_per_hour"] for one in demo["launches"]]
    gone = [one["price_per_hour"] for one in demo["terminations"]]
    assert bought == sorted(bought)
    assert gone == sorted(gone, reverse=True)
    assert len(bought) - len(gone) == demo["final_servers"] == 1
    assert demo["peak_servers"] > 2
    assert all(one["reason"] for one in demo["launches"] + demo["terminations"])
    assert demo["launches"][0]["region"] == "ap-beijing"
    assert sum(one["region"] == script.DROUGHT_REGION for one in demo["launches"]) == 1
    assert 0 < demo["cost_cny"] < demo["cost_if_dearest_cny"]
    assert all(rule["ok"] for rule in demo["rules"])
