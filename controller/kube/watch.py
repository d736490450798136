"""List and watch: everything once, then every change, for ever.

A watch that ends is resumed where it stopped; one that cannot be resumed is begun anew with a listing, from which
deletions that were missed are told as such. So the reader's picture is complete whenever it is told SYNCED.
"""

import asyncio
import json
import logging
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import aiohttp

from controller.kube.client import KubeClient, Resource, error_of
from controller.kube.errors import GoneError, KubeError, from_status

logger = logging.getLogger(__name__)

#: The server ends a watch after this time; it is resumed at once.
WATCH_SECONDS: Final = 290
#: A watch that says nothing for longer, not even a bookmark, is taken for dead (load balancers drop them silently).
SILENCE_SECONDS: Final = 320.0
BACKOFF_SECONDS: Final = 0.5
BACKOFF_MAX_SECONDS: Final = 30.0
#: Longest line of a watch: an object of 1.5 MiB, the most etcd takes, and its envelope.
LINE_LIMIT: Final = 4 * 1024 * 1024


class Kind(StrEnum):
    """What an event says."""

    PUT = "PUT"
    DELETED = "DELETED"
    SYNCED = "SYNCED"
    LOST = "LOST"


@dataclass(frozen=True, slots=True)
class Event:
    """One change. SYNCED (the picture is complete) and LOST (it may be out of date) carry no object."""

    kind: Kind
    raw: dict[str, Any]


class Reflector:
    """Keeps one reader up to date about one kind."""

    def __init__(
        self,
        client: KubeClient,
        resource: Resource,
        *,
        namespace: str | None = None,
        labels: str | None = None,
        name: str | None = None,
    ) -> None:
        self._client = client
        self._resource = resource
        self._namespace = namespace
        self._params = {
            **({"labelSelector": labels} if labels else {}),
            **({"fieldSelector": f"metadata.name={name}"} if name else {}),
        }
        self._labels = labels
        self._name = name
        self._known: dict[str, dict[str, Any]] = {}
        self._version: str | None = None

    async def events(self) -> AsyncIterator[Event]:
        """Changes for ever; ends only by cancellation. Trouble is logged, backed off from, and told as LOST."""
        failures = 0
        while True:
            try:
                if self._version is None:
                    async for event in self._list():
                        yield event
                async for event in self._watch(self._version or "0"):
                    failures = 0
                    yield event
            except GoneError:
                self._version = None
            except (KubeError, aiohttp.ClientError, TimeoutError, ValueError) as error:
                logger.warning("watch of %s: %s", self._resource.plural, error)
                yield Event(Kind.LOST, {})
                pause = min(BACKOFF_SECONDS * 2.0**failures, BACKOFF_MAX_SECONDS)
                failures = min(failures + 1, 10)
                await asyncio.sleep(pause * (0.5 + random.random() / 2))  # noqa: S311 - jitter
                # Whatever was missed meanwhile is in a listing.
                self._version = None

    async def _list(self) -> AsyncIterator[Event]:
        listing = await self._client.list(self._resource, namespace=self._namespace, labels=self._labels)
        items = [raw for raw in listing.items if self._name is None or raw["metadata"]["name"] == self._name]
        found = {_key(raw): raw for raw in items}
        for key in [k for k in self._known if k not in found]:
            yield Event(Kind.DELETED, self._known.pop(key))
        for key, raw in found.items():
            self._known[key] = raw
            yield Event(Kind.PUT, raw)
        self._version = listing.resource_version
        yield Event(Kind.SYNCED, {})

    async def _watch(self, version: str) -> AsyncIterator[Event]:
        params = {
            **self._params,
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": version,
            "timeoutSeconds": str(WATCH_SECONDS),
        }
        connection = self._client.connection
        async with self._client.session.get(
            connection.server + self._resource.path(self._namespace),
            params=params,
            headers=connection.headers(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=SILENCE_SECONDS),
            read_bufsize=LINE_LIMIT,
        ) as response:
            if response.status >= 400:
                raise await error_of(response)
            yield Event(Kind.SYNCED, {})
            async for line in response.content:
                event = self._take(json.loads(line))
                if event is not None:
                    yield event

    def _take(self, message: dict[str, Any]) -> Event | None:
        """One line of the watch, remembered; None for a bookmark."""
        raw = message["object"]
        if message["type"] == "ERROR":
            raise from_status(int(raw.get("code", 500)), raw, str(raw))
        self._version = raw["metadata"]["resourceVersion"]
        if message["type"] == "BOOKMARK":
            return None
        if message["type"] == "DELETED":
            self._known.pop(_key(raw), None)
            return Event(Kind.DELETED, raw)
        self._known[_key(raw)] = raw
        return Event(Kind.PUT, raw)


def _key(raw: dict[str, Any]) -> str:
    return str(raw["metadata"]["uid"])
