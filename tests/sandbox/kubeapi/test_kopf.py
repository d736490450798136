"""A kopf operator, as a process of its own, against the API. The same on a real API server."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

OPERATOR = """
import kopf

@kopf.on.startup()
def configure(settings, **_):
    settings.persistence.finalizer = "haipool.io/test"
    settings.posting.enabled = True

@kopf.on.create("haipool.io", "v1alpha1", "gpupools")
@kopf.on.update("haipool.io", "v1alpha1", "gpupools", field="spec")
def reconcile(spec, patch, body, **_):
    patch.status["desiredReplicas"] = spec["replicas"]["min"]
    patch.status["message"] = "seen"
    kopf.event(body, type="Warning", reason="Reconciled", message=f"wants {spec['replicas']['min']}")

@kopf.on.delete("haipool.io", "v1alpha1", "gpupools")
def ended(body, **_):
    kopf.event(body, type="Warning", reason="Ended", message="let go")

@kopf.timer("haipool.io", "v1alpha1", "gpupools", interval=0.2)
def tick(patch, status, **_):
    if status.get("replicas", 0) < 3:
        patch.status["replicas"] = status.get("replicas", 0) + 1
"""


@pytest.fixture
def operator(cluster: Any, namespace: str, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The operator, running; its log comes with a failure."""
    file, log = tmp_path / "operator_under_test.py", tmp_path / "operator.log"
    file.write_text(OPERATOR, encoding="utf-8")
    command = [sys.executable, "-m", "kopf", "run", "--standalone", "-n", namespace, str(file)]
    with (
        log.open("wb") as output,
        subprocess.Popen(command, env=cluster.environment, stdout=output, stderr=subprocess.STDOUT) as process,
    ):
        try:
            yield process
            assert process.poll() is None, log.read_text(encoding="utf-8")
        finally:
            process.terminate()
            process.wait(timeout=30)
        text = log.read_text(encoding="utf-8")
    assert "Traceback" not in text, text
    assert "Patching failed with inconsistencies" not in text, text


def _events(cluster: Any, namespace: str, until: str) -> list[dict[str, Any]]:
    """The events of the namespace, once one with the reason `until` is there: kopf posts them in the background."""
    deadline = time.monotonic() + 40
    while time.monotonic() < deadline:
        _, found = cluster.request("GET", f"/api/v1/namespaces/{namespace}/events")
        if any(event["reason"] == until for event in found["items"]):
            return list(found["items"])
        time.sleep(0.05)
    raise AssertionError(f"no event with reason {until}")


def test_an_operator_sees_changes_writes_status_and_lets_go(
    cluster: Any, namespace: str, operator: subprocess.Popen[bytes]
) -> None:
    def kubectl(*arguments: str, **options: Any) -> str:
        return str(cluster.kubectl("-n", namespace, *arguments, **options).stdout)

    pool = {"apiVersion": "haipool.io/v1alpha1", "kind": "GpuPool", "metadata": {"name": "demo"}}
    kubectl("apply", "-f", "-", input=json.dumps(pool))
    kubectl("wait", "gp/demo", "--for=jsonpath={.status.desiredReplicas}=1", "--timeout=40s")
    kubectl("scale", "gp/demo", "--replicas=5")
    kubectl("wait", "gp/demo", "--for=jsonpath={.status.desiredReplicas}=5", "--timeout=40s")
    kubectl("wait", "gp/demo", "--for=jsonpath={.status.replicas}=3", "--timeout=40s")
    found = json.loads(kubectl("get", "gp/demo", "-o", "json"))
    assert found["metadata"]["finalizers"] == ["haipool.io/test"]
    kubectl("delete", "gp/demo", "--timeout=40s")
    events = _events(cluster, namespace, until="Ended")
    assert {(event["reason"], event["message"]) for event in events if event["type"] == "Warning"} == {
        ("Reconciled", "wants 1"),
        ("Reconciled", "wants 5"),
        ("Ended", "let go"),
    }
    assert {event["involvedObject"]["uid"] for event in events} == {found["metadata"]["uid"]}
