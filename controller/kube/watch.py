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

from controller.kube.client import KubeClient, Resource, error_of, selectors
from controller.kube.errors import GoneError, KubeError, from_status

logger = logging.getLogger(__name__)

#: The server ends a watch after this time; it is resumed at once.
WATCH_SECONDS: Final = 290
#: A watch that says nothing for longer is resumed on another connection: load balancers drop idle ones without a word.
#: API servers send a bookmark about every 60 s, so a live one is rarely cut.
SILENCE_SECONDS: Final = 75.0
#: A watch that lasted at least this long had nothing wrong with it, however it ended.
STEADY_SECONDS: Final = 5.0
BACKOFF_SECONDS: Final = 0.5
BACKOFF_MAX_SECONDS: Final = 30.0
#: Longest line of a watch: an object of 1.5 MiB, the most etcd takes, and its envelope.
LINE_LIMIT: Final = 4 * 1024 * 1024
#: What an API server, or the way to it, can do to a watch: refuse, break off, or send what is no event.
_TROUBLE: Final = (KubeError, aiohttp.ClientError, OSError, ValueError, LookupError, TypeError, AttributeError)


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
        silence_seconds: float = SILENCE_SECONDS,
        backoff_seconds: float = BACKOFF_SECONDS,
    ) -> None:
        self._client = client
        self._resource = resource
        self._namespace = namespace
        self._labels = labels
        self._name = name
        self._silence = silence_seconds
        self._backoff = backoff_seconds
        self._known: dict[str, dict[str, Any]] = {}
        self._version: str | None = None
        #: Whether this attempt got as far as an open watch.
        self._open = False

    async def events(self) -> AsyncIterator[Event]:
        """Changes for ever; ends only by cancellation. What cannot be mended at once is told as LOST, and logged."""
        clock, fruitless = asyncio.get_running_loop().time, 0
        while True:
            began, self._open = clock(), False
            trouble: Exception | None = None
            try:
                async for event in self._attempt():
                    yield event
            except _TROUBLE as error:
                trouble = error
            fruitless = 0 if self._open and clock() - began >= STEADY_SECONDS else fruitless + 1
            if trouble is not None:
                # Whatever was missed is in a listing; the picture is out of date only if that fails too.
                self._version = None
                logger.warning("watch of %s: %s", self._resource.plural, trouble or repr(trouble))
                if not self._open and not isinstance(trouble, GoneError):
                    yield Event(Kind.LOST, {})
            await asyncio.sleep(self._pause(fruitless))

    def _pause(self, fruitless: int) -> float:
        """Seconds before the next attempt, after so many in a row that came to nothing; the first one is free."""
        if fruitless <= 1:
            return 0.0
        longest = min(self._backoff * 2.0 ** min(fruitless - 2, 10), BACKOFF_MAX_SECONDS)
        return longest * (0.5 + random.random() / 2)  # noqa: S311 - jitter

    async def _attempt(self) -> AsyncIterator[Event]:
        """One listing, where one is needed, and one watch, until that ends or fails."""
        if self._version is None:
            async for event in self._list():
                yield event
        try:
            async for event in self._watch():
                yield event
        except aiohttp.SocketTimeoutError:
            if not self._open:
                raise

    async def _list(self) -> AsyncIterator[Event]:
        listing = await self._client.list(
            self._resource, namespace=self._namespace, labels=self._labels, name=self._name
        )
        found = {_key(raw): raw for raw in listing.items}
        for key in [k for k in self._known if k not in found]:
            yield Event(Kind.DELETED, self._known.pop(key))
        for key, raw in found.items():
            known = self._known.get(key)
            self._known[key] = raw
            if known is None or known["metadata"]["resourceVersion"] != raw["metadata"]["resourceVersion"]:
                yield Event(Kind.PUT, raw)
        self._version = listing.resource_version
        yield Event(Kind.SYNCED, {})

    async def _watch(self) -> AsyncIterator[Event]:
        params = {
            **selectors(self._labels, self._name),
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": self._version or "0",
            "timeoutSeconds": str(WATCH_SECONDS),
        }
        connection = self._client.connection
        async with self._client.session.get(
            connection.server + self._resource.path(self._namespace),
            params=params,
            headers=await self._client.headers(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=self._silence),
            read_bufsize=LINE_LIMIT,
        ) as response:
            if response.status >= 400:
                raise await error_of(response)
            self._open = True
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
