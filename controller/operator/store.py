"""What the operator knows of its own objects: a cache fed by the watch and by the answers to its own writes."""

import logging
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, Generic, TypeVar

from controller.api.gpuinstance import GpuInstance
from controller.api.gpupool import GpuPool
from controller.api.model import InvalidObjectError, Model, read
from controller.api.regionpreset import RegionPreset

T = TypeVar("T", GpuPool, RegionPreset, GpuInstance)

logger = logging.getLogger(__name__)

#: Objects that are known to be gone, of each kind: far more than a late watch can bring back.
GONE_KEPT: Final = 10_000


class Shelf(Generic[T]):
    """All objects of one kind, by `namespace/name`, and in groups: what is asked for once per pool and interval.

    Args:
        kind: their type.
        group: which group an object is in.
    """

    def __init__(self, kind: type[T], group: Callable[[T], str]) -> None:
        self._kind: type[T] = kind
        self._group: Callable[[T], str] = group
        self._objects: dict[str, T] = {}
        self._groups: defaultdict[str, dict[str, T]] = defaultdict(dict)
        #: UIDs of objects that are gone. None ever comes back, whatever a watch that is behind may tell: it would be
        #: billed and booked once more.
        self._gone: dict[str, None] = {}

    def get(self, key: str) -> T | None:
        """The object, or None if it is not there (any more)."""
        return self._objects.get(key)

    def __iter__(self) -> Iterator[T]:
        return iter(tuple(self._objects.values()))

    def of(self, group: str) -> tuple[T, ...]:
        """The objects of one group, in the order in which they became known."""
        return tuple(self._groups[group].values()) if group in self._groups else ()

    def put(self, raw: Mapping[str, Any]) -> T | None:
        """Take an object in if it is newer than what is known.

        Answers to own writes arrive before the watch repeats them, so an older version must not replace a newer one.

        Returns:
            The object now known; None if `raw` does not fit its kind, which is logged (the last good one stays), or
            tells of an object that is gone.
        """
        if (raw.get("metadata") or {}).get("uid") in self._gone:
            return None
        try:
            new = read(self._kind, raw)
        except InvalidObjectError as error:
            logger.warning("ignoring an object that does not fit its kind: %s", error)
            return None
        old = self._objects.get(new.metadata.key)
        if old is not None and old.metadata.uid == new.metadata.uid and _version(old) > _version(new):
            return old
        if old is not None and (old.metadata.uid != new.metadata.uid or self._group(old) != self._group(new)):
            self._remove(old)
        self._objects[new.metadata.key] = self._groups[self._group(new)][new.metadata.key] = new
        return new

    def drop(self, key: str, uid: str) -> None:
        """Forget an object that is gone, unless another took its name."""
        if uid:
            self._gone[uid] = None
            if len(self._gone) > GONE_KEPT:
                del self._gone[next(iter(self._gone))]
        known = self._objects.get(key)
        if known is not None and (not uid or known.metadata.uid == uid):
            self._remove(known)

    def _remove(self, known: T) -> None:
        key, group = known.metadata.key, self._group(known)
        del self._objects[key], self._groups[group][key]
        if not self._groups[group]:
            del self._groups[group]


def _version(model: Model) -> int:
    """Resource versions are comparable integers (Kubernetes guarantees it for its own storage)."""
    text = model.metadata.resource_version  # type: ignore[attr-defined]
    return int(text) if text.isdigit() else 0


class Store:
    """The three kinds."""

    def __init__(self) -> None:
        self.pools: Shelf[GpuPool] = Shelf(GpuPool, lambda pool: pool.metadata.namespace)
        self.presets: Shelf[RegionPreset] = Shelf(RegionPreset, lambda preset: preset.metadata.namespace)
        self.instances: Shelf[GpuInstance] = Shelf(GpuInstance, lambda i: f"{i.metadata.namespace}/{i.spec.pool}")

    def instances_of(self, pool: GpuPool) -> list[GpuInstance]:
        """The pool's instances, orphaned ones left out."""
        return [
            i for i in self.instances.of(pool.metadata.key) if i.spec.pool_uid == pool.metadata.uid and not i.orphaned
        ]

    def presets_of(self, pool: GpuPool) -> list[RegionPreset]:
        """The presets the pool's selector matches in its namespace."""
        wanted = pool.spec.preset_selector.match_labels.items()
        return [p for p in self.presets.of(pool.metadata.namespace) if wanted <= p.metadata.labels.items()]

    def pool_of(self, instance: GpuInstance) -> GpuPool | None:
        """The pool an instance belongs to; None once another pool has its name."""
        pool = self.pools.get(f"{instance.metadata.namespace}/{instance.spec.pool}")
        return pool if pool is not None and pool.metadata.uid == instance.spec.pool_uid else None
