"""What the API keeps: objects, one counter of revisions for all of them, and the log of changes watches read.

Objects are never changed in place: a write puts a new one, so that earlier ones stay what a watcher or a page of a
list was promised. Only one asyncio loop may use a store; every method runs to its end without giving way.
"""

import asyncio
import bisect
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from controller.sandbox.kubeapi.errors import expired, too_large_version

JsonObject = dict[str, Any]
#: Namespace ("" for cluster-wide kinds) and name.
Key = tuple[str, str]
Resource = tuple[str, str]

#: Changes kept for each resource. A watch that falls further behind is told to list again (410).
HISTORY: Final = 10_000


@dataclass(frozen=True)
class Change:
    """One entry of the log. `object` is the state after it (for DELETED the last one, with the revision of the end)."""

    revision: int
    type: Literal["ADDED", "MODIFIED", "DELETED"]
    key: Key
    object: JsonObject
    previous: JsonObject | None


@dataclass
class _Collection:
    compacted: int
    objects: dict[Key, JsonObject] = field(default_factory=dict)
    log: list[Change] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)


class Store:
    """Objects of all resources, with their history.

    Args:
        first_revision: the revision to start from. A later start with a greater one makes every resource version that
            a client kept from an earlier run "too old", so that it lists again instead of waiting for the past.
        history: changes kept for each resource.
    """

    def __init__(self, first_revision: int = 1, history: int = HISTORY) -> None:
        self._first = first_revision
        self._history = history
        self._collections: dict[Resource, _Collection] = {}
        self.revision = first_revision

    def _collection(self, resource: Resource) -> _Collection:
        return self._collections.setdefault(resource, _Collection(compacted=self._first))

    def get(self, resource: Resource, key: Key) -> JsonObject | None:
        """The object, None if there is none."""
        return self._collection(resource).objects.get(key)

    def put(self, resource: Resource, key: Key, item: JsonObject) -> JsonObject:
        """Keeps the object under the next revision, which becomes its resourceVersion.

        Returns:
            The object as it is kept.
        """
        collection = self._collection(resource)
        previous = collection.objects.get(key)
        stored = self._stamped(item)
        collection.objects[key] = stored
        self._record(collection, "ADDED" if previous is None else "MODIFIED", key, stored, previous)
        return stored

    def remove(self, resource: Resource, key: Key) -> JsonObject:
        """Forgets the object.

        Returns:
            Its last state, under the revision of its end.
        """
        collection = self._collection(resource)
        previous = collection.objects.pop(key)
        ended = self._stamped(previous)
        self._record(collection, "DELETED", key, ended, previous)
        return ended

    def replace_silently(self, resource: Resource, key: Key, item: JsonObject) -> None:
        """Shows the object in another form (new defaults of its schema) without a new revision or an event."""
        self._collection(resource).objects[key] = item

    def _stamped(self, item: JsonObject) -> JsonObject:
        self.revision += 1
        return item | {"metadata": item["metadata"] | {"resourceVersion": str(self.revision)}}

    def _record(
        self,
        collection: _Collection,
        kind: Literal["ADDED", "MODIFIED", "DELETED"],
        key: Key,
        item: JsonObject,
        previous: JsonObject | None,
    ) -> None:
        collection.log.append(Change(self.revision, kind, key, item, previous))
        if len(collection.log) >= 2 * self._history:
            # Cutting half at a time keeps the cost of a write constant on average.
            dropped = len(collection.log) - self._history
            collection.compacted = collection.log[dropped - 1].revision
            del collection.log[:dropped]
        waiting, collection.changed = collection.changed, asyncio.Event()
        waiting.set()

    def items(self, resource: Resource, namespace: str | None, revision: int | None = None) -> list[JsonObject]:
        """Objects in the order of namespace and name; of all namespaces if it is None.

        Args:
            resource: group and plural.
            namespace: the only namespace to look at.
            revision: the state to show; by default the present one.

        Raises:
            ApiError: 410, that state is no longer known; 504, it has not happened yet.
        """
        objects = self._at(resource, self.revision if revision is None else revision)
        return [objects[key] for key in sorted(objects) if namespace is None or key[0] == namespace]

    def _at(self, resource: Resource, revision: int) -> dict[Key, JsonObject]:
        self.check_kept(resource, revision)
        collection = self._collection(resource)
        if not collection.log or collection.log[-1].revision <= revision:
            return collection.objects
        objects = dict(collection.objects)
        for change in reversed(collection.log):
            if change.revision <= revision:
                break
            if change.previous is None:
                del objects[change.key]
            else:
                objects[change.key] = change.previous
        return objects

    def check_kept(self, resource: Resource, revision: int) -> None:
        """Whether the changes after that revision are all known.

        Raises:
            ApiError: 410, some are forgotten; 504, the revision has not happened yet.
        """
        if revision > self.revision:
            raise too_large_version(revision, self.revision)
        compacted = self._collection(resource).compacted
        if revision < compacted:
            raise expired(f"too old resource version: {revision} ({compacted})")

    def changes(self, resource: Resource, since: int) -> list[Change]:
        """Changes after revision `since`, oldest first.

        Raises:
            ApiError: 410, some of them are forgotten.
        """
        collection = self._collection(resource)
        if since < collection.compacted:
            raise expired(f"too old resource version: {since} ({collection.compacted})")
        start = bisect.bisect_right(collection.log, since, key=lambda change: change.revision)
        return collection.log[start:]

    def changed(self, resource: Resource) -> asyncio.Event:
        """An event that the next change of the resource sets. Take it before reading `changes`."""
        return self._collection(resource).changed

    def namespaced(self, namespace: str) -> Iterator[tuple[Resource, Key]]:
        """Everything that lives in the namespace."""
        for resource, collection in self._collections.items():
            for key in [key for key in collection.objects if key[0] == namespace]:
                yield resource, key

    def keys(self, resource: Resource) -> list[Key]:
        """Namespace and name of every object of the resource."""
        return list(self._collection(resource).objects)

    def wake(self) -> None:
        """Lets every watcher look around, though nothing has changed (the server is going down)."""
        for collection in self._collections.values():
            collection.changed.set()
