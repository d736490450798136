"""The manifests as `kubectl kustomize` renders them, and as a real API server grants them."""

import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from controller.sandbox.kubectl import find_kubectl

ROOT = Path(__file__).parents[2]

Object = dict[str, Any]
Find = Callable[[str, str], Object]


@pytest.fixture(scope="session")
def root() -> Path:
    """The root of the repository."""
    return ROOT


@pytest.fixture(scope="session")
def render() -> Callable[[Path], list[Object]]:
    """`kubectl kustomize FOLDER`, as objects."""

    def run(folder: Path) -> list[Object]:
        done = subprocess.run(
            [str(find_kubectl()), "kustomize", str(folder)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert not done.stderr, done.stderr
        return list(yaml.safe_load_all(done.stdout))

    return run


@pytest.fixture(scope="session")
def base(render: Callable[[Path], list[Object]]) -> list[Object]:
    """All objects of manifests/base."""
    return render(ROOT / "manifests/base")


@pytest.fixture(scope="session")
def find(base: list[Object]) -> Find:
    """One object of manifests/base by kind and name."""

    def one(kind: str, name: str) -> Object:
        found = [o for o in base if o["kind"] == kind and o["metadata"]["name"] == name]
        assert len(found) == 1, f"{len(found)} objects {kind}/{name}"
        return found[0]

    return one


@pytest.fixture(scope="session")
def workloads(find: Find) -> dict[str, Object]:
    """Operator and dispatcher."""
    return {
        "operator": find("Deployment", "haipool-operator"),
        "dispatcher": find("StatefulSet", "default-dispatcher"),
    }


@pytest.fixture(params=["operator", "dispatcher"])
def pod(request: pytest.FixtureRequest, workloads: dict[str, Object]) -> Object:
    """The pod spec of either process."""
    spec: Object = workloads[request.param]["spec"]["template"]["spec"]
    return spec


@pytest.fixture
def container(pod: Object) -> Object:
    """Its only container."""
    (only,) = pod["containers"]
    return only  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Accounts:
    """manifests/base in a real cluster: its namespace, and a kubeconfig of each process's ServiceAccount."""

    namespace: str
    operator: Path
    dispatcher: Path


@pytest.fixture(scope="session")
def accounts(cluster: Any, tmp_path_factory: pytest.TempPathFactory) -> Accounts:
    """manifests/base applied, and the two processes' accounts with exactly the rights that it gives them.

    The dispatcher's is that of the pool `default`. Only a real API server has roles; a Deployment or a StatefulSet
    makes no pod there, since there are no controllers, so a test starts the processes itself.
    """
    if cluster.local:
        pytest.skip("the local API has no roles: set KUBEBUILDER_ASSETS to a folder with etcd and kube-apiserver")
    cluster.kubectl("apply", "-k", str(ROOT / "manifests/base"))
    folder = tmp_path_factory.mktemp("accounts")

    def kubeconfig(account: str) -> Path:
        token = cluster.kubectl("create", "token", account, "--namespace=haipool-system").stdout.strip()
        context = {"cluster": "real", "user": account, "namespace": "haipool-system"}
        server = {"server": cluster.url, "certificate-authority": str(cluster.ca)}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "real", "cluster": server}],
            "users": [{"name": account, "user": {"token": token}}],
            "contexts": [{"name": account, "context": context}],
            "current-context": account,
        }
        path = folder / f"{account}.kubeconfig"
        path.write_text(yaml.safe_dump(config))
        return path

    return Accounts("haipool-system", kubeconfig("haipool-operator"), kubeconfig("default-dispatcher"))
