"""Kubernetes Events, so that `kubectl describe` tells what happened.

The same event about the same object within two minutes is counted, not repeated: an outage must not bury the rest.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal

from controller.api.gpuinstance import GpuInstance
from controller.api.gpupool import GpuPool
from controller.api.model import MESSAGE_LIMIT
from controller.api.names import API_VERSION
from controller.api.regionpreset import RegionPreset
from controller.api.times import rfc3339
from controller.kube.client import KubeClient, KubeError, Resource

logger = logging.getLogger(__name__)

EVENTS: Final = Resource("", "v1", "events")
#: Same object, reason and message within this time raise the count of the last event.
DEDUPE_SECONDS: Final = 120.0
#: Entries kept to recognise a repetition.
DEDUPE_ENTRIES: Final = 4096
COMPONENT: Final = "haipool-operator"

Kind = Literal["Normal", "Warning"]


@dataclass(slots=True)
class _Seen:
    name: str
    at: float
    count: int


class Recorder:
    """Writes events; trouble with them is logged and never stops the work they tell of."""

    def __init__(self, kube: KubeClient, clock: Callable[[], float]) -> None:
        self._kube = kube
        self._clock = clock
        self._seen: dict[tuple[str, str, str], _Seen] = {}

    async def normal(self, about: GpuPool | RegionPreset | GpuInstance, reason: str, message: str) -> bool:
        """Something went as it should. Returns whether the event is written."""
        return await self._record(about, "Normal", reason, message)

    async def warning(self, about: GpuPool | RegionPreset | GpuInstance, reason: str, message: str) -> bool:
        """Something someone may want to look at. Returns whether the event is written."""
        return await self._record(about, "Warning", reason, message)

    async def _record(self, about: GpuPool | RegionPreset | GpuInstance, kind: Kind, reason: str, message: str) -> bool:
        message = message if len(message) <= MESSAGE_LIMIT else message[: MESSAGE_LIMIT - 1] + "…"
        now = self._clock()
        log = logger.info if kind == "Normal" else logger.warning
        log("%s %s: %s: %s", type(about).__name__, about.metadata.key, reason, message)
        key = (about.metadata.uid, reason, message)
        seen = self._seen.get(key)
        try:
            if seen is not None and now - seen.at < DEDUPE_SECONDS:
                await self._count(about, seen, now)
            else:
                await self._create(about, kind, reason, message, now)
        except KubeError as error:
            logger.warning("could not write event %s: %s", reason, error)
            return False
        return True

    async def _count(self, about: GpuPool | RegionPreset | GpuInstance, seen: _Seen, now: float) -> None:
        seen.count, seen.at = seen.count + 1, now
        body = {"count": seen.count, "lastTimestamp": rfc3339(now)}
        await self._kube.patch(EVENTS, seen.name, body, namespace=about.metadata.namespace)

    async def _create(
        self, about: GpuPool | RegionPreset | GpuInstance, kind: Kind, reason: str, message: str, now: float
    ) -> None:
        meta = about.metadata
        body: dict[str, Any] = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"generateName": f"{meta.name}.", "namespace": meta.namespace},
            "involvedObject": {
                "apiVersion": API_VERSION,
                "kind": type(about).__name__,
                "name": meta.name,
                "namespace": meta.namespace,
                "uid": meta.uid,
            },
            "type": kind,
            "reason": reason,
            "message": message,
            "source": {"component": COMPONENT},
            "reportingComponent": COMPONENT,
            "reportingInstance": COMPONENT,
            "action": reason,
            # With six digits; of the other two the API server keeps whole seconds, and the order would be lost.
            "eventTime": rfc3339(now)[:-1] + "000Z",
            "firstTimestamp": rfc3339(now),
            "lastTimestamp": rfc3339(now),
            "count": 1,
        }
        raw = await self._kube.create(EVENTS, body, namespace=meta.namespace)
        self._remember((meta.uid, reason, message), _Seen(raw["metadata"]["name"], now, 1))

    def _remember(self, key: tuple[str, str, str], seen: _Seen) -> None:
        self._seen.pop(key, None)
        self._seen[key] = seen
        while len(self._seen) > DEDUPE_ENTRIES:
            self._seen.pop(next(iter(self._seen)))
