"""The demo's view of the cluster: pool, servers and events, from a real API."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest_asyncio

from controller.api.names import API_VERSION
from controller.kube.client import KubeClient
from controller.kube.connect import from_kubeconfig
from controller.sandbox import shipped
from controller.sandbox.demo.collect import owner
from controller.sandbox.demo.watch import EVENTS, INSTANCES, NAMESPACE, POOLS, ClusterWatch, Happening, watching
from controller.sandbox.kubeapi.server import LocalKubernetes


@pytest_asyncio.fixture
async def kubeconfig(tmp_path: Path) -> AsyncIterator[Path]:
    kubernetes = LocalKubernetes()
    kubernetes.install(shipped.definitions())
    await kubernetes.start()
    kubernetes.write_kubeconfig(tmp_path / "kubeconfig")
    yield tmp_path / "kubeconfig"
    await kubernetes.stop()


@pytest_asyncio.fixture
async def client(kubeconfig: Path) -> AsyncIterator[KubeClient]:
    client = KubeClient(from_kubeconfig(kubeconfig))
    yield client
    await client.close()


def instance(name: str, pool: str = "demo") -> dict[str, Any]:
    spec = {
        "pool": pool,
        "poolUID": "u",
        "region": "ap-beijing",
        "bundle": "XL",
        "applicationId": "app-1",
        "pricePerHour": 0.88,
        "launchNumber": 1,
    }
    return {"apiVersion": API_VERSION, "kind": "GpuInstance", "metadata": {"name": name}, "spec": spec}


def event(name: str, reason: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{name}.{reason.lower()}"},
        "involvedObject": {"kind": "GpuInstance", "name": name, "namespace": NAMESPACE},
        "type": "Warning",
        "reason": reason,
        "message": f"{reason} it is",
        "firstTimestamp": "2026-01-01T00:00:01Z",
        "lastTimestamp": "2026-01-01T00:00:01Z",
        "count": 1,
    }


async def until(watch: ClusterWatch, holds: Any) -> None:
    async with asyncio.timeout(20):
        await watch.until(holds)


async def test_the_picture_follows_the_pool_and_its_servers_only(kubeconfig: Path, client: KubeClient) -> None:
    async with watching(kubeconfig, "demo", lambda _happening: None) as watch:
        for name in ("other", "demo"):
            pool = {"apiVersion": API_VERSION, "kind": "GpuPool", "metadata": {"name": name}, "spec": {}}
            await client.create(POOLS, pool, namespace=NAMESPACE)
        await client.create(INSTANCES, instance("other-1", "other"), namespace=NAMESPACE)
        await client.create(INSTANCES, instance("demo-1"), namespace=NAMESPACE)
        await until(watch, lambda: watch.pool is not None and watch.instances)
        assert watch.pool is not None
        assert watch.pool.metadata.name == "demo"
        assert set(watch.instances) == {"demo-1"}
        assert watch.ready() == []
        status = {"status": {"phase": "Ready", "instanceId": "hai-1"}}
        await client.patch(INSTANCES, "demo-1", status, namespace=NAMESPACE, subresource="status")
        await until(watch, watch.ready)


async def test_a_server_that_is_gone_is_remembered(kubeconfig: Path, client: KubeClient) -> None:
    """Its object is evidence: it owns a line of the bill."""
    async with watching(kubeconfig, "demo", lambda _happening: None) as watch:
        made = await client.create(INSTANCES, instance("demo-1"), namespace=NAMESPACE)
        await until(watch, lambda: watch.instances)
        await client.delete(INSTANCES, "demo-1", namespace=NAMESPACE)
        await until(watch, lambda: not watch.instances)
        uid = made["metadata"]["uid"]
        owned = owner(f"hp1-12345678-12345678-{uid}-XL", watch.ever.values())
        assert owned is not None
        assert owned.metadata.name == "demo-1"
        assert owner("hp1-12345678-12345678-another-XL", watch.ever.values()) is None


async def test_every_event_is_told_once_also_when_it_is_counted_up(kubeconfig: Path, client: KubeClient) -> None:
    told: list[Happening] = []
    async with watching(kubeconfig, "demo", told.append) as watch:
        await client.create(EVENTS, event("demo-1", "SoldOut"), namespace=NAMESPACE)
        await client.patch(EVENTS, "demo-1.soldout", {"count": 2}, namespace=NAMESPACE)
        await client.create(EVENTS, event("demo-1", "Gone"), namespace=NAMESPACE)
        await until(watch, lambda: any(happening.reason == "Gone" for happening in watch.happenings))
    assert [(one.name, one.reason, one.message, one.warning) for one in told] == [
        ("demo-1", "SoldOut", "SoldOut it is", True),
        ("demo-1", "Gone", "Gone it is", True),
    ]
    assert told[0].at == 1767225601.0
