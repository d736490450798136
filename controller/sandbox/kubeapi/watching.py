"""Watches: the change log of one resource as a stream of events."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Final, NamedTuple

from controller.sandbox.kubeapi.errors import ApiError
from controller.sandbox.kubeapi.kinds import Kind
from controller.sandbox.kubeapi.listing import ListOptions
from controller.sandbox.kubeapi.store import Change, Store

JsonObject = dict[str, Any]

#: Longest watch where the client names no limit, seconds.
DEFAULT_TIMEOUT: Final = 3600
#: Time between two bookmarks on a quiet watch, seconds.
BOOKMARK_INTERVAL: Final = 60.0


class Event(NamedTuple):
    """One event of a watch: ADDED, MODIFIED, DELETED, BOOKMARK or ERROR (then `object` is a Status)."""

    type: str
    object: JsonObject


class Watch:
    """One client's watch of a resource.

    Args:
        store: where the objects are.
        kind: what is watched.
        namespace: the only namespace to report on, None for all.
        options: of the request.
        closing: whether the server is going down; asked whenever the store wakes its watchers.
    """

    def __init__(
        self, store: Store, kind: Kind, namespace: str | None, options: ListOptions, closing: Callable[[], bool]
    ) -> None:
        self._store = store
        self._kind = kind
        self._namespace = namespace
        self._options = options
        self._closing = closing
        self._since = 0

    async def batches(self) -> AsyncIterator[list[Event]]:
        """Events in the order of their revisions, as many at a time as there are. Ends with the timeout.

        What the client missed comes first: everything that exists if it names no version (or 0, or asks for initial
        events), the changes since the version otherwise. Too old a version ends the watch with one ERROR event.
        """
        loop = asyncio.get_running_loop()
        timeout = self._options.timeout_seconds
        deadline = loop.time() + (DEFAULT_TIMEOUT if timeout is None else timeout)
        if initial := list(self._initial()):
            yield initial
        while not self._closing():
            changed = self._store.changed(self._kind.key)
            try:
                changes = self._store.changes(self._kind.key, self._since)
            except ApiError as error:
                yield [Event("ERROR", error.status())]
                return
            if changes:
                self._since = changes[-1].revision
                if events := [event for change in changes for event in self._seen(change)]:
                    yield events
                continue
            remaining = deadline - loop.time()
            if remaining > 0 and await _wait(changed, min(remaining, BOOKMARK_INTERVAL)):
                continue
            if self._options.bookmarks and not changed.is_set():
                yield [self._bookmark()]
            if remaining <= BOOKMARK_INTERVAL:
                return

    def _initial(self) -> Iterator[Event]:
        options = self._options
        wanted = options.initial_events
        if wanted is None:
            wanted = not options.revision
        self._since = self._store.revision if wanted or options.revision is None else options.revision
        if not wanted:
            return
        for item in self._store.items(self._kind.key, self._namespace):
            if options.selector(item):
                yield Event("ADDED", item)
        if options.bookmarks and options.initial_events:
            yield self._bookmark({"k8s.io/initial-events-end": "true"})

    def _bookmark(self, annotations: JsonObject | None = None) -> Event:
        """Tells the client how far it has read; nothing of the resource has changed since `_since`."""
        self._since = max(self._since, self._store.revision)
        metadata = {"resourceVersion": str(self._since)} | ({"annotations": annotations} if annotations else {})
        return Event("BOOKMARK", {"kind": self._kind.kind, "apiVersion": self._kind.api_version, "metadata": metadata})

    def _seen(self, change: Change) -> Iterator[Event]:
        """The change as this watch sees it: an object that begins or ceases to match appears or disappears."""
        if self._namespace is not None and change.key[0] != self._namespace:
            return
        now = change.type != "DELETED" and self._options.selector(change.object)
        previous = change.previous
        before = previous is not None and self._options.selector(previous)
        if now:
            yield Event("MODIFIED" if before else "ADDED", change.object)
        elif previous is not None and before:
            metadata = previous["metadata"] | {"resourceVersion": str(change.revision)}
            yield Event("DELETED", previous | {"metadata": metadata})


async def _wait(event: asyncio.Event, timeout: float) -> bool:  # noqa: ASYNC109 - the waiting is the point
    try:
        await asyncio.wait_for(event.wait(), timeout)
    except TimeoutError:
        return False
    return True
