"""Everything an explanation needs, read from the Kubernetes API in a handful of requests."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from controller.api.gpuinstance import GpuInstance
from controller.api.gpupool import GpuPool
from controller.api.model import read
from controller.api.names import GPU_INSTANCES, GPU_POOLS, GROUP, REGION_PRESETS, VERSION
from controller.api.regionpreset import RegionPreset
from controller.kube.client import ForbiddenError, KubeClient, NotFoundError, Resource
from controller.kube.connect import Connection

POOLS: Final = Resource(GROUP, VERSION, GPU_POOLS)
PRESETS: Final = Resource(GROUP, VERSION, REGION_PRESETS)
INSTANCES: Final = Resource(GROUP, VERSION, GPU_INSTANCES)
EVENTS: Final = Resource("", "v1", "events")


class NoSuchPoolError(Exception):
    """There is no pool of that name; the text names those that are there."""


@dataclass(frozen=True, slots=True)
class Facts:
    """One pool and what belongs to it, as the API server has it."""

    pool: GpuPool
    instances: tuple[GpuInstance, ...]
    presets: tuple[RegionPreset, ...]
    #: Events about the pool, its instances and its presets, as the API sends them; None: not allowed to read them.
    events: tuple[Mapping[str, Any], ...] | None


async def gather(connection: Connection, name: str, namespace: str | None) -> Facts:
    """Read the pool, its instances, the presets its selector matches, and their events.

    Args:
        connection: how to reach the API server.
        name: name of the pool.
        namespace: None for that of the connection.

    Raises:
        NoSuchPoolError: there is none of that name, or haipool's kinds are not installed.
        InvalidObjectError: an object does not fit its kind.
        KubeError: the API cannot be read.
    """
    namespace = namespace or connection.namespace
    kube = KubeClient(connection)
    try:
        pool = await _pool(kube, name, namespace)
        instances = [read(GpuInstance, raw) for raw in (await kube.list(INSTANCES, namespace=namespace)).items]
        presets = [read(RegionPreset, raw) for raw in (await kube.list(PRESETS, namespace=namespace)).items]
        mine = tuple(i for i in instances if i.spec.pool == name and i.spec.pool_uid == pool.metadata.uid)
        wanted = pool.spec.preset_selector.match_labels.items()
        matching = tuple(p for p in presets if wanted <= p.metadata.labels.items())
        return Facts(pool, mine, matching, await _events(kube, pool, matching))
    finally:
        await kube.close()


async def _pool(kube: KubeClient, name: str, namespace: str) -> GpuPool:
    try:
        return read(GpuPool, await kube.get(POOLS, name, namespace=namespace))
    except NotFoundError:
        raise NoSuchPoolError(await _others(kube, name, namespace)) from None


async def _others(kube: KubeClient, name: str, namespace: str) -> str:
    """What there is instead."""
    try:
        found = [raw["metadata"]["name"] for raw in (await kube.list(POOLS, namespace=namespace)).items]
    except NotFoundError:
        return "the cluster does not know the kind GpuPool; are the CRDs installed (make install)?"
    there = f"there are {', '.join(sorted(found))}" if found else "there is none; try another --namespace"
    return f"no GpuPool {name} in the namespace {namespace}; {there}"


async def _events(
    kube: KubeClient, pool: GpuPool, presets: tuple[RegionPreset, ...]
) -> tuple[Mapping[str, Any], ...] | None:
    """Events about objects of these names. Those of servers that are gone count: their names begin with the pool's."""
    try:
        listing = await kube.list(EVENTS, namespace=pool.metadata.namespace)
    except ForbiddenError:
        return None
    named = {p.metadata.name for p in presets}

    def ours(about: Mapping[str, Any]) -> bool:
        kind, name = about.get("kind"), str(about.get("name"))
        if kind == "GpuPool":
            return name == pool.metadata.name
        server = kind == "GpuInstance" and re.fullmatch(rf"{re.escape(pool.metadata.name)}-(\d+|hai-\w+)", name)
        return bool(server) or (kind == "RegionPreset" and name in named)

    return tuple(raw for raw in listing.items if ours(raw.get("involvedObject") or {}))
