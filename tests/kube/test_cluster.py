"""Client and watch against a Kubernetes API: the sandbox's, or a real control plane."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from controller.api.names import API_VERSION, GPU_INSTANCES, GPU_POOLS, GROUP, VERSION
from controller.kube.client import (
    AlreadyExistsError,
    ConflictError,
    InvalidError,
    KubeClient,
    NotFoundError,
    Resource,
)
from controller.kube.connect import load
from controller.kube.watch import Event, Kind, Reflector

POOLS = Resource(GROUP, VERSION, GPU_POOLS)
INSTANCES = Resource(GROUP, VERSION, GPU_INSTANCES)
CONFIG_MAPS = Resource("", "v1", "configmaps")
LEASES = Resource("coordination.k8s.io", "v1", "leases")


def pool(name: str, **spec: Any) -> dict[str, Any]:
    return {"apiVersion": API_VERSION, "kind": "GpuPool", "metadata": {"name": name}, "spec": spec}


def instance(name: str, of: str) -> dict[str, Any]:
    return {
        "apiVersion": API_VERSION,
        "kind": "GpuInstance",
        "metadata": {"name": name, "labels": {"haipool.io/pool": of}},
        "spec": {
            "pool": of,
            "poolUID": "uid",
            "region": "ap-nanjing",
            "bundle": "XL",
            "applicationId": "app-1",
            "pricePerHour": 1.2,
            "launchNumber": 1,
        },
    }


@pytest.fixture
async def client(cluster: Any) -> AsyncIterator[KubeClient]:
    client = KubeClient(load(str(cluster.kubeconfig)))
    yield client
    await client.close()


async def test_an_object_lives_through_all_verbs(client: KubeClient, namespace: str) -> None:
    made = await client.create(POOLS, pool("a"), namespace=namespace)
    assert made["spec"]["replicas"]["min"] == 1, "the server fills in defaults"
    with pytest.raises(AlreadyExistsError):
        await client.create(POOLS, pool("a"), namespace=namespace)
    patched = await client.patch(POOLS, "a", {"spec": {"replicas": {"min": 2}}}, namespace=namespace)
    assert (patched["spec"]["replicas"]["min"], patched["metadata"]["generation"]) == (2, 2)
    status = {"status": {"launchCounter": 7}}
    patched = await client.patch(POOLS, "a", status, namespace=namespace, subresource="status")
    assert (patched["status"]["launchCounter"], patched["metadata"]["generation"]) == (7, 2)
    assert (await client.get(POOLS, "a", namespace=namespace))["status"]["launchCounter"] == 7
    with pytest.raises(ConflictError):
        await client.delete(POOLS, "a", namespace=namespace, uid="another")
    await client.delete(POOLS, "a", namespace=namespace, uid=made["metadata"]["uid"])
    with pytest.raises(NotFoundError):
        await client.get(POOLS, "a", namespace=namespace)


async def test_a_patch_bound_to_a_version_is_refused_once_the_object_changed(
    client: KubeClient, namespace: str
) -> None:
    made = await client.create(POOLS, pool("a"), namespace=namespace)
    version = {"metadata": {"resourceVersion": made["metadata"]["resourceVersion"]}}
    counter = {**version, "status": {"launchCounter": 1}}
    await client.patch(POOLS, "a", counter, namespace=namespace, subresource="status")
    with pytest.raises(ConflictError):
        await client.patch(POOLS, "a", counter, namespace=namespace, subresource="status")


async def test_what_breaks_a_rule_is_refused_with_field_and_rule(client: KubeClient, namespace: str) -> None:
    with pytest.raises(InvalidError, match=r"replicas\.min must not exceed replicas\.max"):
        await client.create(POOLS, pool("a", replicas={"min": 3, "max": 2}), namespace=namespace)


async def test_listings_follow_pages_labels_and_names(client: KubeClient, namespace: str) -> None:
    for number in range(5):
        await client.create(INSTANCES, instance(f"i{number}", "one" if number < 3 else "two"), namespace=namespace)
    listing = await client.list(INSTANCES, namespace=namespace, labels="haipool.io/pool=one")
    assert [item["metadata"]["name"] for item in listing.items] == ["i0", "i1", "i2"]
    named = await client.list(INSTANCES, namespace=namespace, name="i4")
    assert [item["metadata"]["name"] for item in named.items] == ["i4"]
    assert int(listing.resource_version) > 0


async def test_leases_can_be_taken_once(client: KubeClient, namespace: str) -> None:
    lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "l"}, "spec": {}}
    await client.create(LEASES, lease, namespace=namespace)
    with pytest.raises(AlreadyExistsError):
        await client.create(LEASES, lease, namespace=namespace)


async def test_a_kind_that_is_not_there_is_not_found(client: KubeClient, namespace: str) -> None:
    with pytest.raises(NotFoundError):
        await client.list(Resource("example.com", "v1", "nothings"), namespace=namespace)


async def _next(events: AsyncIterator[Event], kind: Kind) -> dict[str, Any]:
    """The object of the next event of this kind; SYNCED ones before it do not count, others do."""
    async with asyncio.timeout(30):
        while True:
            event = await anext(events)
            if event.kind is kind:
                return event.raw
            assert event.kind is Kind.SYNCED, event


async def test_a_watch_tells_what_is_there_and_every_change_in_order(client: KubeClient, namespace: str) -> None:
    await client.create(INSTANCES, instance("there", "one"), namespace=namespace)
    events = Reflector(client, INSTANCES, namespace=namespace, labels="haipool.io/pool=one").events()
    assert (await _next(events, Kind.PUT))["metadata"]["name"] == "there"
    await _next(events, Kind.SYNCED)
    await client.create(INSTANCES, instance("other", "two"), namespace=namespace)
    await client.create(INSTANCES, instance("new", "one"), namespace=namespace)
    assert (await _next(events, Kind.PUT))["metadata"]["name"] == "new"
    await client.patch(INSTANCES, "new", {"spec": {"drain": True}}, namespace=namespace)
    assert (await _next(events, Kind.PUT))["spec"]["drain"] is True
    status = {"status": {"phase": "Ready", "address": "http://127.0.0.1:7860"}}
    await client.patch(INSTANCES, "there", status, namespace=namespace, subresource="status")
    assert (await _next(events, Kind.PUT))["status"]["address"] == "http://127.0.0.1:7860"
    await client.delete(INSTANCES, "new", namespace=namespace)
    assert (await _next(events, Kind.DELETED))["metadata"]["name"] == "new"


async def test_an_object_that_loses_the_label_is_gone_for_the_watch(client: KubeClient, namespace: str) -> None:
    await client.create(INSTANCES, instance("a", "one"), namespace=namespace)
    events = Reflector(client, INSTANCES, namespace=namespace, labels="haipool.io/pool=one").events()
    await _next(events, Kind.PUT)
    await _next(events, Kind.SYNCED)
    await client.patch(INSTANCES, "a", {"metadata": {"labels": {"haipool.io/pool": None}}}, namespace=namespace)
    assert (await _next(events, Kind.DELETED))["metadata"]["name"] == "a"


async def test_a_silent_watch_misses_nothing_while_it_changes_connections(client: KubeClient, namespace: str) -> None:
    events = Reflector(client, POOLS, namespace=namespace, name="wanted", silence_seconds=0.2).events()
    await _next(events, Kind.SYNCED)
    told: list[str] = []

    async def read() -> None:
        while len(told) < 5:
            event = await anext(events)
            assert event.kind is not Kind.LOST
            if event.kind is Kind.PUT:
                told.append(str(event.raw["spec"]["replicas"]["min"]))

    reader = asyncio.create_task(read())
    await client.create(POOLS, pool("wanted", replicas={"min": 1}), namespace=namespace)
    await client.create(POOLS, pool("unwanted"), namespace=namespace)
    for number in range(2, 6):
        await asyncio.sleep(0.3)  # Longer than the silence that is borne, so that each change meets another connection.
        await client.patch(POOLS, "wanted", {"spec": {"replicas": {"min": number}}}, namespace=namespace)
    await asyncio.wait_for(reader, 30)
    assert told == ["1", "2", "3", "4", "5"]
