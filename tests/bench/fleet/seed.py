"""A fleet that has run for long: pools, presets and Ready instances as the operator would have left them.

Every pool has a namespace of its own with all six presets, the case in which most could be asked for anew for each
pool: one team, one namespace.
"""

import asyncio
import itertools
import random
from collections.abc import Awaitable, Iterable
from dataclasses import dataclass
from typing import Any, Final

from controller.api.catalog import BUNDLES, REGIONS, SAMPLE_PRICES
from controller.api.decision import JOURNAL_ENTRIES
from controller.api.names import (
    API_VERSION,
    INSTANCE_FINALIZER,
    LEDGER_FINALIZER,
    POOL_FINALIZER,
    POOL_LABEL,
    instance_name,
)
from controller.api.times import rfc3339
from controller.kube.client import KubeClient, Resource
from controller.kube.connect import Connection
from controller.operator.objects import INSTANCES, POOLS, PRESETS
from controller.operator.presets import REFRESH_SECONDS
from controller.sandbox.cloudsim import CloudConfig
from tests.bench.fleet.orders import Asked
from tests.bench.processes import BenchError

NAMESPACES: Final = Resource("", "v1", "namespaces")
#: What every instance of the fleet is; the cheapest there is, so that new ones are of the same kind.
BUNDLE: Final = "XL"
#: Age of the instances, seconds.
AGE_SECONDS: Final = 7200.0
#: Requests to the API at a time.
AT_ONCE: Final = 16


@dataclass(frozen=True)
class Size:
    """How big a fleet is."""

    pools: int
    instances: int
    interval: int
    #: Whether the presets were looked at before, each at another time in the last ten minutes.
    verified: bool = True


@dataclass(frozen=True)
class Pool:
    """One pool of the fleet."""

    namespace: str
    uid: str
    servers: tuple[str, ...]

    @property
    def page(self) -> str:
        """Path of its dispatcher's metrics."""
        return f"/{self.namespace}/metrics"


class Seed:
    """Writes a fleet."""

    def __init__(self, kube: KubeClient, account: Asked, pages: Asked, now: float) -> None:
        self._kube, self._account, self._pages, self._now = kube, account, pages, now
        self._application = CloudConfig().applications[0]
        self._random = random.Random(0)

    async def plant(self, size: Size) -> list[Pool]:
        """Everything; returns the pools."""
        cluster = (await self._kube.get(NAMESPACES, "kube-system"))["metadata"]["uid"]
        shares = [len(range(n, size.instances, size.pools)) for n in range(size.pools)]
        pools = await _all(self._pool(f"team-{n}", share, size) for n, share in enumerate(shares))
        presets = [(pool.namespace, n, region) for pool in pools for n, region in enumerate(REGIONS)]
        made = await _all(self._preset(*preset) for preset in presets)
        if size.verified:
            await _all(self._verified(raw) for raw in made)
        await self._instances(pools, cluster)
        return pools

    async def _pool(self, namespace: str, share: int, size: Size) -> Pool:
        servers = tuple(f"pool-{n}" for n in range(1, share + 1))
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}
        await self._kube.create(NAMESPACES, body)
        page = f"/{namespace}/metrics"
        spec = {
            "replicas": {"min": share},
            "metrics": {"urls": [f"http://127.0.0.1:{self._pages.hello['port']}{page}"]},
            "server": {"port": self._account.hello["port"]},
            "scaling": {"intervalSeconds": size.interval},
            "gpuTypes": [{"bundle": BUNDLE, "concurrency": 2}],
        }
        made = await self._create(POOLS, "GpuPool", namespace, "pool", spec, finalizers=[POOL_FINALIZER])
        status = {"launchCounter": share, "journal": [self._entry(n, share) for n in range(JOURNAL_ENTRIES)]}
        await self._status(POOLS, namespace, "pool", status)
        return Pool(namespace, made["metadata"]["uid"], servers)

    def _entry(self, number: int, share: int) -> dict[str, Any]:
        """A line of a journal that is full."""
        acts = number % 3 == 0
        return {
            "time": rfc3339(self._now - 60.0 * (JOURNAL_ENTRIES - number)),
            "action": "ScaleUp" if acts else "Hold",
            "reason": "QueueLength" if acts else ("LoadNotLow", "LowLoadTooShort")[number % 2],
            "message": "queue length 17 is above 15; buying 1 of XL in ap-beijing at 0.88 CNY/h, 9 servers before" * 2,
            "mode": "Act",
            "ready": share,
            "desired": share + acts,
            "perHour": round(share * SAMPLE_PRICES[BUNDLE], 6),
        }

    async def _preset(self, namespace: str, priority: int, region: str) -> dict[str, Any]:
        spec = {"region": region, "priority": priority, "application": {"name": self._application.name}}
        return await self._create(PRESETS, "RegionPreset", namespace, region.removeprefix("ap-"), spec)

    async def _verified(self, preset: dict[str, Any]) -> None:
        """What the operator wrote of a preset when it last looked."""
        meta, region = preset["metadata"], preset["spec"]["region"]
        at = self._now - self._random.uniform(0.0, REFRESH_SECONDS)
        status = {
            "observedGeneration": meta["generation"],
            "applicationId": self._application.id_in(region),
            "applicationState": "ONLINE",
            "minDiskGiB": self._application.min_disk_gib,
            "dailyStorageCost": 0.24,
            "cheapest": f"{BUNDLE} at {SAMPLE_PRICES[BUNDLE]} CNY/h",
            "verifiedAt": rfc3339(at),
            "offers": [
                {"bundle": b, "pricePerHour": SAMPLE_PRICES[b], "state": "Available", "checkedAt": rfc3339(at)}
                for b in BUNDLES
            ],
            "conditions": [
                _condition("RegionAvailable", "RegionOpen", f"HAI sells in {region}", at),
                _condition("Ready", "ApplicationOnline", f"{self._application.name} is ONLINE in {region}", at),
            ],
        }
        await self._status(PRESETS, meta["namespace"], meta["name"], status)

    async def _instances(self, pools: list[Pool], cluster: str) -> None:
        """All instances: the objects first, for the names in the cloud follow from them, then what became of them."""
        regions = itertools.cycle(REGIONS)
        wanted = [(pool, server, next(regions)) for pool in pools for server in pool.servers]
        made = await _all(self._instance(*one) for one in wanted)
        names = [
            instance_name(cluster_uid=cluster, pool_uid=pool.uid, instance_uid=raw["metadata"]["uid"], bundle=BUNDLE)
            for (pool, _, _), raw in zip(wanted, made, strict=True)
        ]
        ids = self._account.ask(
            "add", instances=[(region, BUNDLE, name) for (_, _, region), name in zip(wanted, names, strict=True)]
        )
        addresses = await self._addresses(len(ids))
        port = self._account.hello["port"]
        await _all(
            self._ready(pool, server, instance_id, name, f"http://{addresses[instance_id]}:{port}")
            for (pool, server, _), instance_id, name in zip(wanted, ids, names, strict=True)
        )
        for pool in pools:
            self._pages.ask("add", path=pool.page, servers=pool.servers)

    async def _addresses(self, count: int) -> dict[str, str]:
        for _ in range(200):
            found: dict[str, str] = self._account.ask("addresses")
            if len(found) >= count:
                return found
            await asyncio.sleep(0.1)
        raise BenchError("the instances' servers do not start")

    async def _instance(self, pool: Pool, server: str, region: str) -> dict[str, Any]:
        spec = {
            "pool": "pool",
            "poolUID": pool.uid,
            "region": region,
            "bundle": BUNDLE,
            "applicationId": self._application.id_in(region),
            "pricePerHour": SAMPLE_PRICES[BUNDLE],
            "launchNumber": int(server.rpartition("-")[2]),
            "reason": "BelowMinimum",
        }
        finalizers = [INSTANCE_FINALIZER, LEDGER_FINALIZER]
        return await self._create(INSTANCES, "GpuInstance", pool.namespace, server, spec, finalizers=finalizers)

    async def _ready(self, pool: Pool, server: str, instance_id: str, name: str, address: str) -> None:
        began = self._now - AGE_SECONDS
        conditions = [
            _condition("Launched", "Bought", f"{BUNDLE} is {instance_id}", began),
            _condition("Running", "Running", f"the cloud reports RUNNING at {address}", began),
            _condition("Serving", "Healthy", f"{address} answers", began),
        ]
        status = {
            "observedGeneration": 1,
            "phase": "Ready",
            "instanceId": instance_id,
            "instanceName": name,
            "address": address,
            **{field: rfc3339(began) for field in ("attemptedAt", "launchedAt", "runningAt", "readyAt")},
            "conditions": conditions,
        }
        await self._status(INSTANCES, pool.namespace, server, status)

    async def _create(
        self, resource: Resource, kind: str, namespace: str, name: str, spec: Any, *, finalizers: Iterable[str] = ()
    ) -> dict[str, Any]:
        metadata: dict[str, Any] = {"name": name, "namespace": namespace, "finalizers": list(finalizers)}
        if kind == "GpuInstance":
            metadata["labels"] = {POOL_LABEL: "pool"}
        body = {"apiVersion": API_VERSION, "kind": kind, "metadata": metadata, "spec": spec}
        return await self._kube.create(resource, body, namespace=namespace)

    async def _status(self, resource: Resource, namespace: str, name: str, status: dict[str, Any]) -> None:
        await self._kube.patch(resource, name, {"status": status}, namespace=namespace, subresource="status")


def _condition(kind: str, reason: str, message: str, at: float) -> dict[str, Any]:
    return {"type": kind, "status": "True", "reason": reason, "message": message, "lastTransitionTime": rfc3339(at)}


async def _all(work: Iterable[Awaitable[Any]]) -> list[Any]:
    """Do it all, some at a time, in order."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(item: Awaitable[Any]) -> Any:
        async with gate:
            return await item

    return list(await asyncio.gather(*map(one, work)))


async def plant(url: str, account: Asked, pages: Asked, size: Size, now: float) -> list[Pool]:
    """Write a fleet of this size into the cluster at `url`."""
    kube = KubeClient(Connection(server=url))
    try:
        return await Seed(kube, account, pages, now).plant(size)
    finally:
        await kube.close()
