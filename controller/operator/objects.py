"""Every write the operator makes to its own kinds, and to the store what came back.

Status is written by merge patch, only what changed. Where a lost update would cost money (the launch counter), the
patch carries the resourceVersion, and the API server refuses it if anyone was faster.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from controller.api.gpuinstance import GpuInstance
from controller.api.gpupool import GpuPool
from controller.api.model import ConditionModel, Model, write
from controller.api.names import API_VERSION, GPU_INSTANCES, GPU_POOLS, GROUP, REGION_PRESETS, VERSION
from controller.api.regionpreset import RegionPreset
from controller.api.times import rfc3339
from controller.kube.client import KubeClient, NotFoundError, Resource
from controller.operator.store import Shelf, Store, T

POOLS = Resource(GROUP, VERSION, GPU_POOLS)
PRESETS = Resource(GROUP, VERSION, REGION_PRESETS)
INSTANCES = Resource(GROUP, VERSION, GPU_INSTANCES)


class Objects:
    """The operator's hands on the Kubernetes API."""

    def __init__(self, kube: KubeClient, store: Store) -> None:
        self._kube = kube
        self._store = store

    async def load(self, namespace: str | None) -> None:
        """Fill the store from complete listings: nothing is decided before everything is known."""
        for resource, shelf in (
            (PRESETS, self._store.presets),
            (POOLS, self._store.pools),
            (INSTANCES, self._store.instances),
        ):
            listing = await self._kube.list(resource, namespace=namespace)
            for raw in listing.items:
                shelf.put(raw)

    async def refresh_pool(self, pool: GpuPool) -> None:
        """Read a pool again after someone else was faster."""
        self._store.pools.put(await self._kube.get(POOLS, pool.metadata.name, namespace=pool.metadata.namespace))

    async def pool_status(self, pool: GpuPool, changes: Mapping[str, Any], *, if_unchanged: bool = False) -> None:
        """Patch a pool's status.

        Raises:
            ConflictError: `if_unchanged` and someone else wrote the pool since it was read.
        """
        await self._status(POOLS, self._store.pools, pool, changes, if_unchanged=if_unchanged)

    async def preset_status(
        self, preset: RegionPreset, changes: Mapping[str, Any], *, if_unchanged: bool = False
    ) -> None:
        """Patch a preset's status.

        Raises:
            ConflictError: `if_unchanged` and someone else wrote the preset since it was read.
        """
        try:
            await self._status(PRESETS, self._store.presets, preset, changes, if_unchanged=if_unchanged)
        except NotFoundError:
            self._store.presets.drop(preset.metadata.key, preset.metadata.uid)

    async def refresh_preset(self, preset: RegionPreset) -> None:
        """Read a preset again after someone else was faster."""
        meta = preset.metadata
        self._store.presets.put(await self._kube.get(PRESETS, meta.name, namespace=meta.namespace))

    async def instance_status(self, instance: GpuInstance, changes: Mapping[str, Any]) -> None:
        """Patch an instance's status."""
        await self._status(INSTANCES, self._store.instances, instance, changes)

    async def _status(
        self,
        resource: Resource,
        shelf: Shelf[T],
        model: T,
        changes: Mapping[str, Any],
        *,
        if_unchanged: bool = False,
    ) -> None:
        if not changes:
            return
        body: dict[str, Any] = {"status": dict(changes)}
        if if_unchanged:
            body["metadata"] = {"resourceVersion": model.metadata.resource_version}
        meta = model.metadata
        shelf.put(await self._kube.patch(resource, meta.name, body, namespace=meta.namespace, subresource="status"))

    async def create_instance(self, namespace: str, body: Mapping[str, Any]) -> GpuInstance | None:
        """Write the intent to buy.

        Raises:
            AlreadyExistsError: a second writer has taken this launch number.
        """
        return self._store.instances.put(await self._kube.create(INSTANCES, body, namespace=namespace))

    async def all_instances(self, namespace: str | None) -> tuple[Mapping[str, Any], ...]:
        """Every GpuInstance as the API server has it now; the cache may lag behind."""
        return (await self._kube.list(INSTANCES, namespace=namespace)).items

    async def set_drain(self, instance: GpuInstance, drain: bool, *, annotation: tuple[str, str]) -> None:
        """Set `spec.drain`, and mark (or unmark) who asked for it."""
        name, value = annotation
        body = {"metadata": {"annotations": {name: value if drain else None}}, "spec": {"drain": drain}}
        await self._patch(INSTANCES, self._store.instances, instance, body)

    async def delete_instance(self, instance: GpuInstance) -> None:
        """Ask for deletion; the finalizers keep the object until the cloud has let go."""
        meta = instance.metadata
        try:
            raw = await self._kube.delete(INSTANCES, meta.name, namespace=meta.namespace, uid=meta.uid)
        except NotFoundError:
            self._store.instances.drop(meta.key, meta.uid)
            return
        if raw.get("metadata", {}).get("deletionTimestamp"):
            # What is known of it from now on is that it goes: nothing may be bought for it any more.
            self._store.instances.put(raw)

    async def add_pool_finalizer(self, pool: GpuPool, finalizer: str) -> None:
        """Hold the pool before anything is bought for it."""
        body = {"metadata": {"finalizers": [*pool.metadata.finalizers, finalizer], **_version(pool)}}
        await self._patch(POOLS, self._store.pools, pool, body)

    async def remove_finalizers(self, model: GpuPool | GpuInstance, finalizers: Sequence[str]) -> None:
        """Let an object go, as far as these finalizers are concerned; the version guards the others' entries."""
        left = [f for f in model.metadata.finalizers if f not in finalizers]
        if len(left) == len(model.metadata.finalizers):
            return
        body = {"metadata": {"finalizers": left, **_version(model)}}
        if isinstance(model, GpuPool):
            await self._patch(POOLS, self._store.pools, model, body)
        else:
            await self._patch(INSTANCES, self._store.instances, model, body)

    async def orphan(self, instance: GpuInstance, annotation: str) -> None:
        """Let an instance go alive: marked, without owner and finalizers."""
        body = {
            "metadata": {
                "annotations": {annotation: "true"},
                "ownerReferences": [],
                "finalizers": [],
                **_version(instance),
            }
        }
        await self._patch(INSTANCES, self._store.instances, instance, body)

    async def _patch(self, resource: Resource, shelf: Shelf[T], model: T, body: Mapping[str, Any]) -> None:
        meta = model.metadata
        try:
            raw = await self._kube.patch(resource, meta.name, body, namespace=meta.namespace)
        except NotFoundError:
            shelf.drop(meta.key, meta.uid)
            return
        if raw["metadata"].get("deletionTimestamp") and not raw["metadata"].get("finalizers"):
            shelf.drop(meta.key, meta.uid)
        else:
            shelf.put(raw)


def _version(model: GpuPool | GpuInstance) -> dict[str, str]:
    return {"resourceVersion": model.metadata.resource_version}


def owner_reference(pool: GpuPool) -> dict[str, Any]:
    """The pool as owner of an instance."""
    return {
        "apiVersion": API_VERSION,
        "kind": "GpuPool",
        "name": pool.metadata.name,
        "uid": pool.metadata.uid,
        "controller": True,
    }


def merge_conditions(
    old: Sequence[ConditionModel], new: Sequence[ConditionModel], *, generation: int, now: float
) -> list[dict[str, Any]]:
    """Conditions as they should stand: a transition time changes only with the status."""
    known = {c.type: c for c in old}
    merged = dict(known)
    for condition in new:
        before = known.get(condition.type)
        kept = before is not None and before.status == condition.status
        merged[condition.type] = ConditionModel(
            type=condition.type,
            status=condition.status,
            reason=condition.reason,
            message=condition.message,
            last_transition_time=before.last_transition_time if kept and before else rfc3339(now),
            observed_generation=generation,
        )
    return [write(c) for c in merged.values()]


def changed(status: Model, changes: Mapping[str, Any]) -> dict[str, Any]:
    """The part of `changes` that differs from the status as known; an unchanged patch still costs a request.

    A status that was never written is written whole: its zeros are defaults of the model, not facts at the server.
    """
    current = write(status)
    if not current.get("observedGeneration"):
        return dict(changes)
    return {key: value for key, value in changes.items() if current.get(key) != value}
