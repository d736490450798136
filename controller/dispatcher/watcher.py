"""The pool and its servers, from the Kubernetes API or from a file."""

import asyncio
import logging
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
import yaml

from controller.api.gpuinstance import GpuInstance
from controller.api.gpupool import GpuPool, GpuPoolSpec
from controller.api.model import InvalidObjectError, Metadata, read
from controller.api.names import GPU_INSTANCES, GPU_POOLS, GROUP, POOL_LABEL, VERSION
from controller.dispatcher.servers import ServerSpec
from controller.dispatcher.state import State, View
from controller.kube.client import KubeClient, Resource
from controller.kube.watch import Event, Kind, Reflector

logger = logging.getLogger(__name__)

POOLS: Final = Resource(GROUP, VERSION, GPU_POOLS)
INSTANCES: Final = Resource(GROUP, VERSION, GPU_INSTANCES)
#: How often a servers file is looked at.
FILE_SECONDS: Final = 1.0

#: Phases in which a server has work or may get some; in the others its address means nothing.
_LIVE: Final = frozenset({"Ready", "Draining", "Unhealthy"})


def server_spec(instance: GpuInstance, spec: GpuPoolSpec) -> ServerSpec | None:
    """The server an instance stands for; None while, or once, it has no address."""
    status, kind = instance.status, spec.gpu_type(instance.spec.bundle)
    if not status.address or status.phase not in _LIVE or instance.orphaned:
        return None
    return ServerSpec(
        name=instance.metadata.name,
        uid=instance.metadata.uid,
        address=status.address,
        region=instance.spec.region,
        bundle=instance.spec.bundle,
        slots=kind.concurrency if kind else 1,
        speed=kind.speed if kind else 1.0,
        ready=status.phase == "Ready",
        draining=instance.draining or status.phase == "Draining",
    )


class PoolWatcher:
    """Keeps the state in line with one GpuPool and its GpuInstances."""

    def __init__(self, state: State, client: KubeClient, namespace: str) -> None:
        self._state = state
        self._pools = Reflector(client, POOLS, namespace=namespace, name=state.pool)
        labels = f"{POOL_LABEL}={state.pool}"
        self._watch = Reflector(client, INSTANCES, namespace=namespace, labels=labels)
        self._instances: dict[str, GpuInstance] = {}
        self._pool: GpuPool | None = None
        self._current = {"pool": False, "instances": False}

    async def run(self) -> None:
        """Watch for ever."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow_pool())
            group.create_task(self._follow_instances())

    async def _follow_pool(self) -> None:
        async for event in self._pools.events():
            if event.kind is Kind.PUT:
                self._take_pool(event.raw)
            elif event.kind is Kind.DELETED:
                logger.warning("GpuPool %s was deleted; serving on with its last spec", self._state.pool)
            self._mark("pool", event)

    def _take_pool(self, raw: dict[str, Any]) -> None:
        try:
            pool = read(GpuPool, raw)
            self._state.take(View.of(pool))
        except (InvalidObjectError, ValueError) as error:
            logger.error("the last good spec stays in force: %s", error)  # noqa: TRY400 - the sentence says it all
            return
        self._pool = pool
        self._apply()

    async def _follow_instances(self) -> None:
        async for event in self._watch.events():
            self._take_instance(event)
            self._mark("instances", event)
            if event.kind is not Kind.LOST and self._current["instances"]:
                self._apply()

    def _take_instance(self, event: Event) -> None:
        if event.kind is Kind.DELETED:
            self._instances.pop(event.raw["metadata"]["uid"], None)
        elif event.kind is Kind.PUT:
            try:
                instance = read(GpuInstance, event.raw)
            except InvalidObjectError as error:
                logger.error("ignored: %s", error)  # noqa: TRY400 - the sentence says it all
                return
            self._instances[instance.metadata.uid] = instance

    def _mark(self, what: str, event: Event) -> None:
        """The figures count as current only while both watches are."""
        if event.kind is Kind.SYNCED:
            self._current[what] = True
        elif event.kind is Kind.LOST:
            self._current[what] = False
        self._state.synced = all(self._current.values()) and self._state.view is not None

    def _apply(self) -> None:
        if self._pool is None:
            return
        mine = (i for i in self._instances.values() if self._pool and i.spec.pool_uid == self._pool.metadata.uid)
        specs = [spec for i in mine if (spec := server_spec(i, self._pool.spec)) is not None]
        self._state.scheduler.update_servers(specs)


class FileServer(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """One entry of a servers file."""

    name: Annotated[str, msgspec.Meta(min_length=1)]
    address: Annotated[str, msgspec.Meta(pattern=r"^https?://[^/?#@]+$")]
    slots: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 1
    speed: Annotated[float, msgspec.Meta(gt=0, le=1000)] = 1.0
    draining: bool = False


class ServersFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """A servers file: `servers`, and optionally `spec`, the spec of a GpuPool."""

    servers: tuple[FileServer, ...] = ()
    spec: GpuPoolSpec = msgspec.field(default_factory=GpuPoolSpec)


class FileWatcher:
    """Keeps the state in line with a file, for use without Kubernetes. It is read anew when it changes."""

    def __init__(self, state: State, path: Path) -> None:
        self._state = state
        self._path = path
        self._stamp: tuple[int, int] | None = None

    def load(self) -> None:
        """Read the file now.

        Raises:
            ValueError: it cannot be read or does not fit; the message names the field.
        """
        try:
            self._stamp = self._look()
            raw = yaml.safe_load(self._path.read_text(encoding="utf-8"))
            file = msgspec.convert(raw or {}, ServersFile)
            names = [server.name for server in file.servers]
            if double := {name for name in names if names.count(name) > 1}:
                raise ValueError(f"two servers are named {min(double)}")
            view = View.of(GpuPool(metadata=Metadata(name=self._state.pool), spec=file.spec))
        except (OSError, yaml.YAMLError, ValueError) as error:  # msgspec.ValidationError is a ValueError
            raise ValueError(f"servers file {self._path}: {error}") from error
        self._state.take(view)
        self._state.scheduler.update_servers(
            [ServerSpec(s.name, s.name, s.address, slots=s.slots, speed=s.speed, draining=s.draining)
             for s in file.servers]
        )  # fmt: skip
        self._state.synced = True

    def _look(self) -> tuple[int, int]:
        stat = self._path.stat()
        return stat.st_mtime_ns, stat.st_size

    async def run(self) -> None:
        """Look for changes for ever; a file that does not fit is reported once, and the last good one stays."""
        while True:
            await asyncio.sleep(FILE_SECONDS)
            try:
                if self._look() != self._stamp:
                    self.load()
            except FileNotFoundError:
                self._missing()
            except (OSError, ValueError) as error:
                logger.error("the last good servers stay in force: %s", error)  # noqa: TRY400 - the sentence says it all

    def _missing(self) -> None:
        if self._stamp is not None:
            logger.error("the last good servers stay in force: %s is gone", self._path)
        self._stamp = None
