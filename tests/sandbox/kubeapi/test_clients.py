"""The official Python client against the API. The same on a real API server."""

from collections.abc import Iterator
from typing import Any

import kubernetes
import pytest
from kubernetes.client.exceptions import ApiException

from controller.api.names import GPU_POOLS, GROUP, VERSION

Object = dict[str, Any]
#: Its models say that every field may be missing; these tests look at ones that are there.
KUBERNETES: Any = kubernetes


@pytest.fixture
def client(cluster: Any) -> Iterator[Any]:
    found = KUBERNETES.config.new_client_from_config(config_file=str(cluster.kubeconfig))
    yield found
    found.close()


@pytest.fixture
def pools(client: Any, namespace: str) -> tuple[Any, dict[str, str]]:
    """The API of custom objects, and what names the pools of the test in it."""
    where = {"group": GROUP, "version": VERSION, "namespace": namespace, "plural": GPU_POOLS}
    return KUBERNETES.client.CustomObjectsApi(client), where


def pool(name: str = "demo", **spec: Any) -> Object:
    return {"apiVersion": f"{GROUP}/{VERSION}", "kind": "GpuPool", "metadata": {"name": name}, "spec": spec}


def test_custom_objects_live_their_life(pools: tuple[Any, dict[str, str]]) -> None:
    api, where = pools
    made = api.create_namespaced_custom_object(body=pool(), **where)
    assert made["spec"]["replicas"] == {"min": 1}
    assert api.get_namespaced_custom_object(name="demo", **where) == made
    assert [item["metadata"]["name"] for item in api.list_namespaced_custom_object(**where)["items"]] == ["demo"]
    changed = api.patch_namespaced_custom_object(name="demo", body={"spec": {"mode": "Recommend"}}, **where)
    assert changed["spec"]["mode"] == "Recommend"
    status = api.patch_namespaced_custom_object_status(name="demo", body={"status": {"replicas": 2}}, **where)
    assert status["status"] == {"replicas": 2}
    replaced = api.replace_namespaced_custom_object(name="demo", body=status | {"spec": {"mode": "Act"}}, **where)
    assert (replaced["spec"]["mode"], replaced["status"]) == ("Act", {"replicas": 2})
    with pytest.raises(ApiException) as refused:
        api.replace_namespaced_custom_object(name="demo", body=made, **where)
    assert refused.value.status == 409
    api.delete_namespaced_custom_object(name="demo", **where)
    with pytest.raises(ApiException) as refused:
        api.get_namespaced_custom_object(name="demo", **where)
    assert refused.value.status == 404


def test_the_scale_of_a_pool(pools: tuple[Any, dict[str, str]]) -> None:
    api, where = pools
    api.create_namespaced_custom_object(body=pool(), **where)
    api.patch_namespaced_custom_object_scale(name="demo", body={"spec": {"replicas": 3}}, **where)
    assert api.get_namespaced_custom_object_scale(name="demo", **where)["spec"]["replicas"] == 3


def test_a_watch_delivers_events(pools: tuple[Any, dict[str, str]]) -> None:
    api, where = pools
    for name in ("a", "b"):
        api.create_namespaced_custom_object(body=pool(name), **where)
    watch, seen = KUBERNETES.watch.Watch(), list[tuple[str, str]]()
    for event in watch.stream(api.list_namespaced_custom_object, timeout_seconds=20, **where):
        seen.append((event["type"], event["object"]["metadata"]["name"]))
        if len(seen) == 2:
            api.delete_namespaced_custom_object(name="a", **where)
        if len(seen) == 3:
            watch.stop()
    assert seen == [("ADDED", "a"), ("ADDED", "b"), ("DELETED", "a")]


def test_built_in_kinds_come_back_as_models(client: Any, namespace: str) -> None:
    api = KUBERNETES.client.CoreV1Api(client)
    names = [item.metadata.name for item in api.list_namespace().items]
    assert {"default", "kube-system", namespace} <= set(names)
    body = {"metadata": {"name": "key"}, "stringData": {"token": "abc"}, "apiVersion": "v1", "kind": "Secret"}
    made = api.create_namespaced_secret(namespace, body)
    assert made.data == {"token": "YWJj"}
    assert api.read_namespaced_secret("key", namespace).metadata.uid == made.metadata.uid
    api.delete_namespaced_secret("key", namespace)


def test_events_are_posted_and_found(client: Any, namespace: str) -> None:
    api = KUBERNETES.client.CoreV1Api(client)
    about = {"apiVersion": f"{GROUP}/{VERSION}", "kind": "GpuPool", "name": "demo", "namespace": namespace}
    event = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"generateName": "demo-", "namespace": namespace},
        "involvedObject": about,
        "reason": "Bought",
        "message": "one XL",
        "type": "Normal",
    }
    assert api.create_namespaced_event(namespace, event).metadata.name.startswith("demo-")
    found = api.list_namespaced_event(namespace, field_selector="involvedObject.name=demo,reason=Bought").items
    assert [item.message for item in found] == ["one XL"]
    wrong = event | {"involvedObject": about | {"namespace": "elsewhere"}}
    with pytest.raises(ApiException) as refused:
        api.create_namespaced_event(namespace, wrong)
    assert refused.value.status in {400, 422}


def test_events_keep_the_micros_of_their_time_and_whole_seconds_of_the_older_fields(
    client: Any, namespace: str
) -> None:
    api = KUBERNETES.client.CoreV1Api(client)
    event = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"generateName": "demo-", "namespace": namespace},
        "involvedObject": {"kind": "GpuPool", "name": "demo", "namespace": namespace},
        "reason": "Bought",
        "eventTime": "2026-11-24T10:00:01.250000Z",
        "firstTimestamp": "2026-11-24T10:00:01.250Z",
        "lastTimestamp": "2026-11-24T10:00:01.250Z",
    }
    said = {"type": "Normal", "reportingComponent": "haipool", "reportingInstance": "haipool-1", "action": "Bought"}
    for missing in said.keys() - {"type"}:
        with pytest.raises(ApiException) as refused:
            api.create_namespaced_event(namespace, event | {k: v for k, v in said.items() if k != missing})
        assert refused.value.status == 422, missing
    made = api.create_namespaced_event(namespace, event | said)
    assert made.event_time.microsecond == 250_000
    assert made.last_timestamp.microsecond == made.first_timestamp.microsecond == 0


def test_a_lease_is_taken_by_one_of_two(client: Any, namespace: str) -> None:
    api = KUBERNETES.client.CoordinationV1Api(client)
    lease: Object = {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": "leader"},
        "spec": {"holderIdentity": "one", "leaseDurationSeconds": 15, "renewTime": "2025-01-31T00:00:00.000001Z"},
    }
    made = api.create_namespaced_lease(namespace, lease)
    assert made.spec.holder_identity == "one"
    version = {"name": "leader", "resourceVersion": made.metadata.resource_version}
    claims = [
        lease | {"metadata": version, "spec": lease["spec"] | {"holderIdentity": who}} for who in ("two", "three")
    ]
    assert api.replace_namespaced_lease("leader", namespace, claims[0]).spec.holder_identity == "two"
    with pytest.raises(ApiException) as refused:
        api.replace_namespaced_lease("leader", namespace, claims[1])
    assert refused.value.status == 409


@pytest.mark.parametrize("time", ["2025-01-31T00:00:00Z", "2025-01-31T00:00:00.5Z", "now"])
def test_the_times_of_a_lease_have_six_digits(cluster: Any, namespace: str, time: str) -> None:
    path = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
    status, answer = cluster.request("POST", path, {"metadata": {"name": "leader"}, "spec": {"renewTime": time}})
    assert (status, "parsing time" in answer["message"]) == (400, True)


def test_a_built_in_object_need_not_say_what_it_is(cluster: Any, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    status, item = cluster.request("POST", path, {"metadata": {"name": "a"}, "data": {"k": "v"}})
    assert (status, item["kind"], item["apiVersion"]) == (201, "ConfigMap", "v1")
    status, _ = cluster.request("POST", path, {"kind": "Secret", "apiVersion": "v1", "metadata": {"name": "b"}})
    assert status in {400, 422}
