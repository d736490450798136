"""What the operator says and does, as anyone with kubectl could follow it: the pool, its servers, their events."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from controller.api.gpuinstance import GpuInstance
from controller.api.gpupool import GpuPool
from controller.api.model import read
from controller.api.names import GPU_INSTANCES, GPU_POOLS, GROUP, VERSION
from controller.api.times import unix
from controller.kube.client import KubeClient, Resource
from controller.kube.connect import from_kubeconfig
from controller.kube.watch import Kind, Reflector
from controller.sandbox.demo.beside import beside

POOLS: Final = Resource(GROUP, VERSION, GPU_POOLS)
INSTANCES: Final = Resource(GROUP, VERSION, GPU_INSTANCES)
EVENTS: Final = Resource("", "v1", "events")
#: Namespace of the demo: the kubeconfig's own.
NAMESPACE: Final = "default"


@dataclass(frozen=True, slots=True)
class Happening:
    """One Kubernetes Event."""

    #: Unix seconds.
    at: float
    #: `GpuInstance`, say, and its name.
    kind: str
    name: str
    reason: str
    message: str
    warning: bool


class ClusterWatch:
    """An up-to-date picture of one pool, and everything that ever happened to it."""

    def __init__(self, pool: str, on_happening: Callable[[Happening], None]) -> None:
        self._name = pool
        self._on_happening = on_happening
        self._changed = asyncio.Condition()
        self._told: set[str] = set()
        self.pool: GpuPool | None = None
        #: Servers whose objects exist, by name.
        self.instances: dict[str, GpuInstance] = {}
        #: The last that was seen of every server, those that are gone included, by UID.
        self.ever: dict[str, GpuInstance] = {}
        self.happenings: list[Happening] = []

    def ready(self) -> list[GpuInstance]:
        """Servers that take tasks now."""
        return [i for i in self.instances.values() if i.status.phase == "Ready" and not i.draining]

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until a change makes `holds` true."""
        async with self._changed:
            await self._changed.wait_for(holds)

    async def follow(self, client: KubeClient) -> None:
        """Watch for ever.

        Raises:
            InvalidObjectError: an object does not fit its kind.
        """
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow(Reflector(client, POOLS, namespace=NAMESPACE), self._take_pool))
            group.create_task(self._follow(Reflector(client, INSTANCES, namespace=NAMESPACE), self._take_instance))
            group.create_task(self._follow(Reflector(client, EVENTS, namespace=NAMESPACE), self._take_event))

    async def _follow(self, reflector: Reflector, take: Callable[[dict[str, Any], bool], None]) -> None:
        async for event in reflector.events():
            if event.kind in (Kind.PUT, Kind.DELETED):
                take(event.raw, event.kind is Kind.DELETED)
                async with self._changed:
                    self._changed.notify_all()

    def _take_pool(self, raw: dict[str, Any], deleted: bool) -> None:
        if raw["metadata"]["name"] == self._name:
            self.pool = None if deleted else read(GpuPool, raw)

    def _take_instance(self, raw: dict[str, Any], deleted: bool) -> None:
        instance = read(GpuInstance, raw)
        if instance.spec.pool != self._name:
            return
        self.ever[instance.metadata.uid] = instance
        if deleted:
            self.instances.pop(instance.metadata.name, None)
        else:
            self.instances[instance.metadata.name] = instance

    def _take_event(self, raw: dict[str, Any], deleted: bool) -> None:
        """Each event once: its count may rise later, which is no news here."""
        uid = raw["metadata"]["uid"]
        if deleted or uid in self._told:
            return
        self._told.add(uid)
        about = raw["involvedObject"]
        happening = Happening(
            at=unix(raw["firstTimestamp"]) or 0.0,
            kind=about["kind"],
            name=about["name"],
            reason=raw["reason"],
            message=raw["message"],
            warning=raw["type"] == "Warning",
        )
        self.happenings.append(happening)
        self._on_happening(happening)


@asynccontextmanager
async def watching(
    kubeconfig: Path, pool: str, on_happening: Callable[[Happening], None]
) -> AsyncIterator[ClusterWatch]:
    """A watch for the length of the block."""
    client = KubeClient(from_kubeconfig(kubeconfig))
    watch = ClusterWatch(pool, on_happening)
    try:
        async with beside(watch.follow(client)):
            yield watch
    finally:
        await client.close()
