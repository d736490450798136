"""What a cluster makes of the manifests: samples accepted, roles granted and refused."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest

SAMPLES = ("presets.yaml", "pool.yaml", "demo-pool.yaml")


class Deed(NamedTuple):
    """Something an account may or may not do."""

    account: str
    verb: str
    resource: str
    #: "" is all namespaces.
    namespace: str
    #: "" is any object.
    name: str = ""


ALLOWED = [
    Deed("operator", "list", "gpupools.haipool.io", ""),
    Deed("operator", "watch", "gpuinstances.haipool.io", ""),
    Deed("operator", "watch", "regionpresets.haipool.io", ""),
    Deed("operator", "patch", "gpupools.haipool.io", "elsewhere"),
    Deed("operator", "patch", "gpupools.haipool.io/status", "elsewhere"),
    Deed("operator", "patch", "regionpresets.haipool.io/status", "elsewhere"),
    Deed("operator", "patch", "gpuinstances.haipool.io/status", "elsewhere"),
    Deed("operator", "create", "gpuinstances.haipool.io", "elsewhere"),
    Deed("operator", "delete", "gpuinstances.haipool.io", "elsewhere"),
    Deed("operator", "create", "events", "elsewhere"),
    Deed("operator", "patch", "events", "elsewhere"),
    Deed("operator", "get", "namespaces", "", "kube-system"),
    Deed("dispatcher", "get", "gpupools.haipool.io", "haipool-system"),
    Deed("dispatcher", "watch", "gpupools.haipool.io", "haipool-system"),
    Deed("dispatcher", "watch", "gpuinstances.haipool.io", "haipool-system"),
]
REFUSED = [
    Deed("operator", "get", "secrets", "haipool-system", "tencent-credentials"),
    Deed("operator", "list", "secrets", ""),
    Deed("operator", "create", "gpupools.haipool.io", "haipool-system"),
    Deed("operator", "delete", "gpupools.haipool.io", "haipool-system"),
    Deed("operator", "patch", "regionpresets.haipool.io", "haipool-system"),
    Deed("operator", "get", "namespaces", "", "default"),
    Deed("operator", "list", "namespaces", ""),
    Deed("operator", "list", "pods", "haipool-system"),
    Deed("operator", "list", "customresourcedefinitions.apiextensions.k8s.io", ""),
    Deed("dispatcher", "get", "gpupools.haipool.io", "elsewhere"),
    Deed("dispatcher", "list", "gpuinstances.haipool.io", ""),
    Deed("dispatcher", "patch", "gpuinstances.haipool.io", "haipool-system"),
    Deed("dispatcher", "patch", "gpuinstances.haipool.io/status", "haipool-system"),
    Deed("dispatcher", "list", "regionpresets.haipool.io", "haipool-system"),
    Deed("dispatcher", "create", "events", "haipool-system"),
    Deed("dispatcher", "get", "secrets", "haipool-system", "tencent-credentials"),
]


def may(cluster: Any, kubeconfig: Path, deed: Deed) -> bool:
    """Whether the API server lets the account of this kubeconfig do it."""
    full, _, subresource = deed.resource.partition("/")
    plural, _, group = full.partition(".")
    attributes = {"verb": deed.verb, "group": group, "resource": plural, "subresource": subresource}
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": attributes | {"namespace": deed.namespace, "name": deed.name}},
    }
    answer = cluster.kubectl(
        f"--kubeconfig={kubeconfig}", "create", "--validate=false", "-f", "-", "-o", "json", input=json.dumps(review)
    ).stdout
    return bool(json.loads(answer)["status"]["allowed"])


@pytest.mark.parametrize("sample", SAMPLES)
def test_the_api_server_accepts_every_sample(cluster: Any, namespace: str, root: Path, sample: str) -> None:
    path = root / "manifests/samples" / sample
    done = cluster.kubectl("apply", "--dry-run=server", "--validate=strict", "-n", namespace, "-f", str(path))
    assert "created (server dry run)" in done.stdout


@pytest.mark.parametrize("deed", ALLOWED, ids=" ".join)
def test_an_account_may_do_what_its_process_does(cluster: Any, accounts: Any, deed: Deed) -> None:
    assert may(cluster, getattr(accounts, deed.account), deed)


@pytest.mark.parametrize("deed", REFUSED, ids=" ".join)
def test_an_account_may_do_nothing_else(cluster: Any, accounts: Any, deed: Deed) -> None:
    assert not may(cluster, getattr(accounts, deed.account), deed)


def test_the_api_server_really_refuses_the_dispatcher_a_write(cluster: Any, accounts: Any, root: Path) -> None:
    pool = root / "manifests/samples/pool.yaml"
    done = cluster.kubectl(
        f"--kubeconfig={accounts.dispatcher}", "create", "--validate=false", "-f", str(pool), check=False
    )
    assert done.returncode == 1
    assert 'cannot create resource "gpupools"' in done.stderr


def test_applying_the_base_again_changes_no_spec(cluster: Any, accounts: Any, root: Path) -> None:
    """The StatefulSet among it, most of whose fields are immutable."""
    generation = ["get", "sts,deployment", "-n", accounts.namespace, "-o", "jsonpath={.items[*].metadata.generation}"]
    before = cluster.kubectl(*generation).stdout
    cluster.kubectl("apply", "-k", str(root / "manifests/base"))
    cluster.kubectl("apply", "-k", str(root / "manifests/pools/default"))
    assert cluster.kubectl(*generation).stdout == before == "1 1"
