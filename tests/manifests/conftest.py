"""The manifests as `kubectl kustomize` renders them."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]

Object = dict[str, Any]
Find = Callable[[str, str], Object]


def kubectl() -> str:
    """The kubectl of this environment, else the one on PATH."""
    found = shutil.which("kubectl", path=str(Path(sys.executable).parent)) or shutil.which("kubectl")
    assert found, "no kubectl: make test installs one"
    return found


@pytest.fixture(scope="session")
def root() -> Path:
    """The root of the repository."""
    return ROOT


@pytest.fixture(scope="session")
def render() -> Callable[[Path], list[Object]]:
    """`kubectl kustomize FOLDER`, as objects."""

    def run(folder: Path) -> list[Object]:
        done = subprocess.run([kubectl(), "kustomize", str(folder)], capture_output=True, text=True, check=False)
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
