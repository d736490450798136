"""`haipool explain` against a cluster in which no operator runs: what it reads, and its errors in one line."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.processes

POOLS = "/apis/haipool.io/v1alpha1/namespaces/{}/gpupools"


def explain(cluster: Any, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "controller.cli", "explain", *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=60, env={**cluster.environment, "COLUMNS": "100"}
    )


@pytest.fixture
def pool(cluster: Any, namespace: str) -> str:
    body = {"apiVersion": "haipool.io/v1alpha1", "kind": "GpuPool", "metadata": {"name": "sd"}, "spec": {}}
    status, answer = cluster.request("POST", POOLS.format(namespace), body)
    assert status == 201, answer
    entry = {
        "time": "2026-01-15T04:00:00.000Z",
        "action": "ScaleUp",
        "reason": "LongQueue",
        "message": "queue length 42 > 15",
        "mode": "Act",
        "ready": 1,
        "desired": 2,
        "perHour": 0.88,
    }
    decision = {**{key: entry[key] for key in ("time", "action", "reason", "message")}, "counts": {"serving": 1}}
    patch = {"status": {"lastDecision": decision, "journal": [entry], "observedGeneration": 1}}
    path = f"{POOLS.format(namespace)}/sd/status"
    status, answer = cluster.request("PATCH", path, patch, "application/merge-patch+json")
    assert status == 200, answer
    assert answer["status"]["journal"] == [entry], "the CRD keeps all fields of an entry"
    return "sd"


def test_text_and_json_come_from_the_api_alone(cluster: Any, namespace: str, pool: str) -> None:
    done = explain(cluster, pool, "-n", namespace, "--since", "9999d")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"pool {namespace}/sd: mode Act" in done.stdout
    assert "the operator does not run" in " ".join(done.stdout.split())
    assert "* ScaleUp LongQueue: queue length 42 > 15 [1 Ready, 2 wanted]" in done.stdout
    done = explain(cluster, pool, "-n", namespace, "--since", "1h", "--output", "json")
    told = json.loads(done.stdout)
    assert (told["pool"], told["decision"]["reason"], told["history"]) == ("sd", "LongQueue", [])


def test_a_pool_that_is_not_there_is_answered_with_those_that_are(cluster: Any, namespace: str, pool: str) -> None:
    done = explain(cluster, "nope", "-n", namespace)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"haipool: no GpuPool nope in the namespace {namespace}; there are sd\n"
    done = explain(cluster, "nope", "-n", "nowhere")
    assert done.stderr.endswith("there is none; try another --namespace\n")


def test_a_kubeconfig_that_leads_nowhere_is_one_line(cluster: Any, tmp_path: Path) -> None:
    done = explain(cluster, "sd", "--kubeconfig", str(tmp_path / "missing"))
    assert done.returncode == 1
    assert done.stderr.startswith("haipool: kubeconfig ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("since", ["1", "h", "1w", "-1h"])
def test_a_length_of_time_that_is_none_is_told(cluster: Any, since: str) -> None:
    done = explain(cluster, "sd", f"--since={since}")
    assert done.returncode == 2
    assert "is no length of time; write 90s, 30m, 1h or 2d" in done.stderr
