"""Least privilege, literally: the whole of what each process and person may do."""

from collections.abc import Callable
from typing import Any

Object = dict[str, Any]
Find = Callable[[str, str], Object]

Grant = tuple[str, str, str]


def grants(role: Object) -> set[Grant]:
    """(resource, verb, resource name or "") for each grant of a role."""
    return {
        (resource, verb, name)
        for rule in role["rules"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
        for name in rule.get("resourceNames", [""])
    }


def of(resource: str, *verbs: str) -> set[Grant]:
    return {(resource, verb, "") for verb in verbs}


def test_the_operator_may_do_this_and_nothing_else(find: Find) -> None:
    assert grants(find("ClusterRole", "haipool-operator")) == (
        of("gpupools", "get", "list", "watch", "patch")
        | of("gpupools/status", "patch")
        | of("regionpresets", "get", "list", "watch")
        | of("regionpresets/status", "patch")
        | of("gpuinstances", "get", "list", "watch", "create", "patch", "delete")
        | of("gpuinstances/status", "patch")
        | of("events", "create", "patch")
        | {("namespaces", "get", "kube-system")}
    )
    lease = {("leases", verb, "haipool-operator") for verb in ("get", "patch")}
    assert grants(find("Role", "haipool-operator")) == lease | of("leases", "create")


def test_the_dispatcher_only_reads_its_own_kinds(find: Find) -> None:
    read = ("get", "list", "watch")
    assert grants(find("Role", "default-dispatcher")) == of("gpupools", *read) | of("gpuinstances", *read)


def test_viewers_only_read(find: Find) -> None:
    role = find("ClusterRole", "haipool-viewer")
    assert {verb for _, verb, _ in grants(role)} == {"get", "list", "watch"}
    assert role["metadata"]["labels"]["rbac.authorization.k8s.io/aggregate-to-view"] == "true"


def test_editors_cannot_create_an_instance_and_so_buy_past_the_rules(find: Find) -> None:
    role = find("ClusterRole", "haipool-editor")
    assert ("gpuinstances", "create", "") not in grants(role)
    assert ("gpuinstances", "delete", "") in grants(role)
    assert role["metadata"]["labels"]["rbac.authorization.k8s.io/aggregate-to-edit"] == "true"


def test_no_role_uses_a_wildcard_or_touches_a_secret(base: list[Object]) -> None:
    for role in (o for o in base if o["kind"] in {"Role", "ClusterRole"}):
        for rule in role["rules"]:
            assert "*" not in rule["apiGroups"] + rule["resources"] + rule["verbs"], role["metadata"]["name"]
            assert "secrets" not in rule["resources"], role["metadata"]["name"]


def test_each_process_is_bound_to_its_own_account_and_role(find: Find) -> None:
    for binding, role, account in (
        (find("ClusterRoleBinding", "haipool-operator"), "haipool-operator", "haipool-operator"),
        (find("RoleBinding", "default-dispatcher"), "default-dispatcher", "default-dispatcher"),
    ):
        assert binding["roleRef"]["name"] == role
        assert binding["subjects"] == [{"kind": "ServiceAccount", "name": account, "namespace": "haipool-system"}]


def test_the_tokens_are_mounted_where_they_are_used_and_nowhere_by_default(find: Find, pod: Object) -> None:
    account = find("ServiceAccount", pod["serviceAccountName"])
    assert account["automountServiceAccountToken"] is False
    assert pod["automountServiceAccountToken"] is True
