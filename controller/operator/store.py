"""What the operator knows of its own objects: a cache fed by the watch and by the answers to its own writes."""

import logging
from collections.abc import Iterator, Mapping
from typing import Any, Generic, TypeVar

from controller.api.gpuinstance import GpuInstance
from controller.api.gpupool import GpuPool
from controller.api.model import InvalidObjectError, Model, read
from controller.api.regionpreset import RegionPreset

T = TypeVar("T", GpuPool, RegionPreset, GpuInstance)

logger = logging.getLogger(__name__)


class Shelf(Generic[T]):
    """All objects of one kind, by `namespace/name`."""

    def __init__(self, kind: type[T]) -> None:
        self._kind: type[T] = kind
        self._objects: dict[str, T] = {}

    def get(self, key: str) -> T | None:
        """The object, or None if it is not there (any more)."""
        return self._objects.get(key)

    def __iter__(self) -> Iterator[T]:
        return iter(tuple(self._objects.values()))

    def put(self, raw: Mapping[str, Any]) -> T | None:
        """Take an object in if it is newer than what is known.

        Answers to own writes arrive before the watch repeats them, so an older version must not replace a newer one.

        Returns:
            The object now known; None if `raw` does not fit its kind, which is logged; the last good one stays.
        """
        try:
            new = read(self._kind, raw)
        except InvalidObjectError as error:
            logger.warning("ignoring an object that does not fit its kind: %s", error)
            return None
        old = self._objects.get(new.metadata.key)
        if old is not None and old.metadata.uid == new.metadata.uid and _version(old) > _version(new):
            return old
        self._objects[new.metadata.key] = new
        return new

    def drop(self, key: str, uid: str) -> None:
        """Forget an object that is gone, unless another took its name."""
        known = self._objects.get(key)
        if known is not None and (not uid or known.metadata.uid == uid):
            del self._objects[key]


def _version(model: Model) -> int:
    """Resource versions are comparable integers (Kubernetes guarantees it for its own storage)."""
    text = model.metadata.resource_version  # type: ignore[attr-defined]
    return int(text) if text.isdigit() else 0


class Store:
    """The three kinds."""

    def __init__(self) -> None:
        self.pools: Shelf[GpuPool] = Shelf(GpuPool)
        self.presets: Shelf[RegionPreset] = Shelf(RegionPreset)
        self.instances: Shelf[GpuInstance] = Shelf(GpuInstance)

    def instances_of(self, pool: GpuPool) -> list[GpuInstance]:
        """The pool's instances, orphaned ones left out."""
        return [
            i
            for i in self.instances
            if i.spec.pool == pool.metadata.name
            and i.metadata.namespace == pool.metadata.namespace
            and i.spec.pool_uid == pool.metadata.uid
            and not i.orphaned
        ]

    def presets_of(self, pool: GpuPool) -> list[RegionPreset]:
        """The presets the pool's selector matches in its namespace."""
        wanted = pool.spec.preset_selector.match_labels.items()
        return [
            p
            for p in self.presets
            if p.metadata.namespace == pool.metadata.namespace and wanted <= p.metadata.labels.items()
        ]

    def pool_of(self, instance: GpuInstance) -> GpuPool | None:
        """The pool an instance belongs to; None once another pool has its name."""
        pool = self.pools.get(f"{instance.metadata.namespace}/{instance.spec.pool}")
        return pool if pool is not None and pool.metadata.uid == instance.spec.pool_uid else None
