"""Changes of the manifests that the documents show, tried."""

import argparse
import re
import shutil
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

import kubernetes.client.models as official
import pytest

from controller.dispatcher.main import add_arguments

Object = dict[str, Any]


@pytest.mark.parametrize("page", ["docs/dispatcher.md", "docs/dispatcher.zh-CN.md"])
def test_api_keys_are_mounted_from_a_secret_where_the_dispatcher_reads_them(
    page: str, root: Path, render: Callable[[Path], list[Object]], tmp_path: Path
) -> None:
    (patch,) = re.findall(r"```yaml\n(# manifests/pools/default.*?)```", (root / page).read_text("utf-8"), re.DOTALL)
    shutil.copytree(root / "manifests", tmp_path / "manifests")
    kustomization = tmp_path / "manifests/pools/default/kustomization.yaml"
    kustomization.write_text(kustomization.read_text("utf-8") + patch, "utf-8")

    stateful = next(o for o in render(kustomization.parent) if o["kind"] == "StatefulSet")

    official.V1StatefulSet.model_validate(stateful)
    pod = stateful["spec"]["template"]["spec"]
    container = pod["containers"][0]
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    file = PurePosixPath(parser.parse_args(container["args"][1:]).api_keys)
    mount = next(m for m in container["volumeMounts"] if PurePosixPath(m["mountPath"]) == file.parent)
    assert "subPath" not in mount, "such a mount does not follow changes of the Secret"
    volume = next(v for v in pod["volumes"] if v["name"] == mount["name"])
    command = re.search(r"create secret generic (\S+)\n--from-file=(\S+)`", (root / page).read_text("utf-8"))
    assert command is not None
    assert (volume["secret"]["secretName"], file.name) == command.groups()
