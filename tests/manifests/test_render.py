"""`kubectl apply -k manifests/base`: what it renders, and that another pool is a copied folder away."""

import argparse
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import kubernetes.client.models as official
import pydantic
import pytest

from controller import __version__
from controller.operator import main as operator_command

Object = dict[str, Any]

CLUSTER_SCOPED = {"Namespace", "CustomResourceDefinition", "ClusterRole", "ClusterRoleBinding"}


def checked(item: Object) -> pydantic.BaseModel:
    """The object as the official client's strict model of its kind takes it: no unknown field, no wrong type."""
    model: type[pydantic.BaseModel] = getattr(official, f"V1{item['kind']}")
    return model.model_validate(item)


def test_every_object_fits_the_kubernetes_api(base: list[Object]) -> None:
    for item in base:
        assert item["apiVersion"].split("/")[-1] == "v1", item["metadata"]["name"]
        checked(item)


def test_the_check_refuses_a_misspelt_field(workloads: dict[str, Object]) -> None:
    pod = workloads["operator"]["spec"]["template"]["spec"]
    wrong = {**pod, "terminationGracePeriodSecond": 1}
    with pytest.raises(pydantic.ValidationError, match="terminationGracePeriodSecond"):
        official.V1PodSpec.model_validate(wrong)


def test_it_holds_what_a_cluster_needs_and_no_secret(base: list[Object]) -> None:
    assert sorted((o["kind"], o["metadata"]["name"]) for o in base) == [
        ("ClusterRole", "haipool-editor"),
        ("ClusterRole", "haipool-operator"),
        ("ClusterRole", "haipool-viewer"),
        ("ClusterRoleBinding", "haipool-operator"),
        ("CustomResourceDefinition", "gpuinstances.haipool.io"),
        ("CustomResourceDefinition", "gpupools.haipool.io"),
        ("CustomResourceDefinition", "regionpresets.haipool.io"),
        ("Deployment", "haipool-operator"),
        ("Namespace", "haipool-system"),
        ("Role", "default-dispatcher"),
        ("Role", "haipool-operator"),
        ("RoleBinding", "default-dispatcher"),
        ("RoleBinding", "haipool-operator"),
        ("Service", "default-dispatcher"),
        ("Service", "default-dispatcher-headless"),
        ("ServiceAccount", "default-dispatcher"),
        ("ServiceAccount", "haipool-operator"),
        ("StatefulSet", "default-dispatcher"),
    ]


def test_every_namespaced_object_is_in_one_namespace(base: list[Object]) -> None:
    spaces = {o["metadata"].get("namespace") for o in base if o["kind"] not in CLUSTER_SCOPED}
    assert spaces == {"haipool-system"}


def test_the_namespace_admits_only_restricted_pods(find: Callable[[str, str], Object]) -> None:
    labels = find("Namespace", "haipool-system")["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"


def test_the_crds_are_the_generated_ones(
    base: list[Object], root: Path, render: Callable[[Path], list[Object]]
) -> None:
    generated = {o["metadata"]["name"]: o["spec"] for o in render(root / "crds")}
    assert {o["metadata"]["name"]: o["spec"] for o in base if o["kind"] == "CustomResourceDefinition"} == generated


def test_a_pools_folder_by_itself_renders_the_same_as_within_the_base(
    base: list[Object], root: Path, render: Callable[[Path], list[Object]]
) -> None:
    """Else applying the one after the other would change immutable fields of the StatefulSet."""
    alone = render(root / "manifests/pools/default")
    assert len(alone) == 6
    assert all(o in base for o in alone)


def test_a_dispatcher_for_another_pool_is_a_copied_folder_with_the_name_changed(
    root: Path, render: Callable[[Path], list[Object]], tmp_path: Path
) -> None:
    shutil.copytree(root / "manifests", tmp_path / "manifests")
    other = tmp_path / "manifests/pools/sdxl"
    shutil.copytree(tmp_path / "manifests/pools/default", other)
    text = (other / "kustomization.yaml").read_text()
    text = text.replace("namePrefix: default-", "namePrefix: sdxl-").replace("pool: default", "pool: sdxl")
    (other / "kustomization.yaml").write_text(text)

    objects = render(other)

    assert {o["metadata"]["name"] for o in objects} == {"sdxl-dispatcher", "sdxl-dispatcher-headless"}
    stateful = next(o for o in objects if o["kind"] == "StatefulSet")
    assert stateful["spec"]["serviceName"] == "sdxl-dispatcher-headless"
    assert stateful["spec"]["template"]["spec"]["serviceAccountName"] == "sdxl-dispatcher"
    assert stateful["spec"]["template"]["metadata"]["labels"]["haipool.io/pool"] == "sdxl"
    for service in (o for o in objects if o["kind"] == "Service"):
        assert service["spec"]["selector"]["haipool.io/pool"] == "sdxl"


def test_the_image_is_this_version(container: Object) -> None:
    assert container["image"] == f"haipool:{__version__}"


def test_the_admin_token_is_a_component_away_and_opens_one_secret_to_the_operator(
    root: Path, render: Callable[[Path], list[Object]], tmp_path: Path
) -> None:
    shutil.copytree(root / "manifests", tmp_path / "manifests")
    path = tmp_path / "manifests/pools/default/kustomization.yaml"
    path.write_text(path.read_text().replace("components:\n", "components:\n  - ../../admin-token\n"))

    objects = render(path.parent)

    for item in objects:
        checked(item)
    pod = next(o for o in objects if o["kind"] == "StatefulSet")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    option = next(a for a in container["args"] if a.startswith("--admin-token-file="))
    mount = next(m for m in container["volumeMounts"] if m["name"] == "admin-token")
    volume = next(v for v in pod["volumes"] if v["name"] == "admin-token")
    assert option.partition("=")[2].startswith(mount["mountPath"] + "/")
    role = next(o for o in objects if o["kind"] == "Role" and o["metadata"]["name"].endswith("admin-token"))
    assert role["rules"] == [
        {
            "apiGroups": [""],
            "resources": ["secrets"],
            "resourceNames": [volume["secret"]["secretName"]],
            "verbs": ["get"],
        }
    ]
    bound = next(o for o in objects if o["kind"] == "RoleBinding" and o["metadata"]["name"].endswith("admin-token"))
    assert bound["roleRef"]["name"] == role["metadata"]["name"]
    assert bound["subjects"] == [{"kind": "ServiceAccount", "name": "haipool-operator", "namespace": "haipool-system"}]


def test_shipping_to_cls_is_a_component_away_in_a_container_of_its_own(
    root: Path, render: Callable[[Path], list[Object]], tmp_path: Path
) -> None:
    shutil.copytree(root / "manifests", tmp_path / "manifests")
    path = tmp_path / "manifests/pools/default/kustomization.yaml"
    path.write_text(path.read_text().replace("components:\n", "components:\n  - ../../cls\n"))

    objects = render(path.parent)

    for item in objects:
        checked(item)
    pod = next(o for o in objects if o["kind"] == "StatefulSet")["spec"]["template"]["spec"]
    (dispatcher,), (shipper,) = pod["containers"], pod["initContainers"]
    assert shipper["restartPolicy"] == "Always"
    assert shipper["image"] == dispatcher["image"] == f"haipool:{__version__}"
    logs = [next(m for m in c["volumeMounts"] if m["mountPath"] == "/logs") for c in (dispatcher, shipper)]
    assert logs[0] == logs[1]
    assert not any("TENCENTCLOUD" in e["name"] for e in dispatcher.get("env", []))
    options = shipper["args"][1:]
    assert {o.partition("=")[0] for o in options} == {"--logs", "--region", "--topic", "--pod"}
    assert {f"$({e['name']})" for e in shipper["env"]} >= {o.partition("=")[2] for o in options[1:]}


def test_notifications_are_a_component_away_and_open_one_secret_to_the_operator(
    root: Path, render: Callable[[Path], list[Object]], tmp_path: Path
) -> None:
    shutil.copytree(root / "manifests", tmp_path / "manifests")
    path = tmp_path / "manifests/pools/default/kustomization.yaml"
    both = "components:\n  - ../../admin-token\n  - ../../notifications\n"
    path.write_text(path.read_text().replace("components:\n", both))

    objects = render(path.parent)

    for item in objects:
        checked(item)
    role = next(o for o in objects if o["kind"] == "Role" and o["metadata"]["name"].endswith("notifications"))
    assert role["rules"] == [
        {"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["haipool-notifications"], "verbs": ["get"]}
    ]
    bound = next(o for o in objects if o["kind"] == "RoleBinding" and o["metadata"]["name"].endswith("notifications"))
    assert bound["roleRef"]["name"] == role["metadata"]["name"]
    assert bound["subjects"] == [{"kind": "ServiceAccount", "name": "haipool-operator", "namespace": "haipool-system"}]


def test_the_operators_records_are_a_component_away(
    root: Path, render: Callable[[Path], list[Object]], tmp_path: Path
) -> None:
    for name in ("manifests", "crds"):
        shutil.copytree(root / name, tmp_path / name)
    path = tmp_path / "manifests/base/kustomization.yaml"
    path.write_text(path.read_text().replace("components:\n", "components:\n  - ../operator-logs\n"))

    objects = render(path.parent)

    for item in objects:
        checked(item)
    pod = next(o for o in objects if o["kind"] == "Deployment")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    parser = argparse.ArgumentParser()
    operator_command.add_arguments(parser)
    assert parser.parse_args(container["args"][1:]).logs == "/logs"
    mount = next(m for m in container["volumeMounts"] if m["mountPath"] == "/logs")
    volume = next(v for v in pod["volumes"] if v["name"] == mount["name"])
    (claim,) = (o for o in objects if o["kind"] == "PersistentVolumeClaim")
    assert volume["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
    assert claim["metadata"]["namespace"] == "haipool-system"
    assert pod["securityContext"]["fsGroup"] == pod["securityContext"]["runAsUser"]


def test_the_operators_records_are_shipped_by_a_container_that_sees_the_same_files(
    root: Path, render: Callable[[Path], list[Object]], tmp_path: Path
) -> None:
    shutil.copytree(root / "manifests", tmp_path / "manifests")
    shutil.copytree(root / "crds", tmp_path / "crds")
    path = tmp_path / "manifests/base/kustomization.yaml"
    both = "components:\n  - ../operator-logs\n  - ../operator-cls\n"
    path.write_text(path.read_text().replace("components:\n", both))

    objects = render(path.parent)

    for item in objects:
        checked(item)
    pod = next(o for o in objects if o["kind"] == "Deployment")["spec"]["template"]["spec"]
    (operator,), (shipper,) = pod["containers"], pod["initContainers"]
    logs = [next(m for m in c["volumeMounts"] if m["mountPath"] == "/logs") for c in (operator, shipper)]
    assert logs[0] == logs[1]
    assert shipper["image"] == operator["image"]
