"""The Lease that keeps two operators out of each other's way. It is a courtesy, not a fence.

A holder that is stopped and woken again may act once more before it notices that its Lease is over; what keeps that
harmless are the counters (`fence.py`), the names and the token. The times are client-go's. A Lease is over once its
record has not changed for so long by this process's own clock: the clocks of two machines may differ.
"""

import asyncio
import contextlib
import logging
import os
import socket
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from controller.api.times import microtime
from controller.kube.client import ConflictError, KubeClient, KubeError, NotFoundError, Resource

logger = logging.getLogger(__name__)

LEASES: Final = Resource("coordination.k8s.io", "v1", "leases")
LEASE_NAME: Final = "haipool-operator"
#: A Lease whose record has not changed for this long may be taken.
DURATION_SECONDS: Final = 15.0
#: Time between two renewals.
RENEW_SECONDS: Final = 5.0
#: A holder that could not renew for this long gives up, well before another may take over.
DEADLINE_SECONDS: Final = 10.0
#: Time between two attempts to take or to renew after a failed one.
RETRY_SECONDS: Final = 2.0


class Lease:
    """One candidate."""

    def __init__(self, kube: KubeClient, namespace: str, *, clock: Callable[[], float] = time.time) -> None:
        self._kube = kube
        self._namespace = namespace
        self._clock = clock
        self.identity = f"{socket.gethostname()}_{os.getpid()}_{os.urandom(4).hex()}"
        #: The record as last seen, and when (loop time) it was first seen like that.
        self._seen: tuple[Any, float] = (None, 0.0)
        self._version = ""
        self._told = ""

    async def acquire(self) -> None:
        """Return once this process holds the Lease, however long that takes."""
        while True:
            if await self._tried():
                break
            await asyncio.sleep(RETRY_SECONDS)
        logger.info("lease %s/%s: held by this operator, %s", self._namespace, LEASE_NAME, self.identity)

    async def hold(self) -> str:
        """Renew until that fails; returns why the Lease is lost."""
        loop = asyncio.get_running_loop()
        renewed = loop.time()
        while True:
            await asyncio.sleep(RENEW_SECONDS if loop.time() - renewed < RENEW_SECONDS else RETRY_SECONDS)
            try:
                async with asyncio.timeout(DEADLINE_SECONDS):
                    await self._write(self._version)
                renewed = loop.time()
            except ConflictError:
                holder = await self._holder()
                if holder != self.identity:
                    return f"it is held by {holder or 'nobody'} now"
            except (KubeError, TimeoutError) as error:
                logger.warning("lease %s/%s could not be renewed: %s", self._namespace, LEASE_NAME, error)
            if loop.time() - renewed > DEADLINE_SECONDS:
                return f"it could not be renewed for {loop.time() - renewed:.0f} s"

    async def release(self) -> None:
        """Let the next one have it at once; a Lease that cannot be released runs out."""
        body = {"metadata": {"resourceVersion": self._version}, "spec": {"holderIdentity": "", "renewTime": None}}
        with contextlib.suppress(KubeError):
            await self._kube.patch(LEASES, LEASE_NAME, body, namespace=self._namespace)

    async def _tried(self) -> bool:
        """One attempt to take the Lease."""
        try:
            found = await self._read()
            if found is None:
                self._version = _version(await self._create())
                return True
            if not self._over(found):
                self._tell(f"held by {_holder(found)}; this operator stands by and decides nothing")
                return False
            await self._write(_version(found))
        except ConflictError:
            return False
        except KubeError as error:
            self._tell(f"cannot be taken: {error}")
            return False
        return True

    def _over(self, found: Mapping[str, Any]) -> bool:
        now, spec = asyncio.get_running_loop().time(), found.get("spec") or {}
        if not _holder(found):
            return True
        if self._seen[0] != spec:
            self._seen = (spec, now)
        return now - self._seen[1] > DURATION_SECONDS

    async def _read(self) -> dict[str, Any] | None:
        try:
            return await self._kube.get(LEASES, LEASE_NAME, namespace=self._namespace)
        except NotFoundError:
            return None

    async def _holder(self) -> str:
        try:
            found = await self._read()
        except KubeError:
            return self.identity
        self._version = _version(found) if found else ""
        return _holder(found or {})

    async def _create(self) -> dict[str, Any]:
        body = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": LEASE_NAME},
            "spec": {**self._record(), "acquireTime": microtime(self._clock())},
        }
        return await self._kube.create(LEASES, body, namespace=self._namespace)

    async def _write(self, version: str) -> None:
        """Take or renew, if nobody else has written since `version`."""
        body = {"metadata": {"resourceVersion": version}, "spec": self._record()}
        try:
            self._version = _version(await self._kube.patch(LEASES, LEASE_NAME, body, namespace=self._namespace))
        except NotFoundError:
            self._version = _version(await self._create())

    def _record(self) -> dict[str, Any]:
        return {
            "holderIdentity": self.identity,
            "leaseDurationSeconds": int(DURATION_SECONDS),
            "renewTime": microtime(self._clock()),
        }

    def _tell(self, what: str) -> None:
        """Once for each thing there is to tell."""
        if what != self._told:
            logger.info("lease %s/%s: %s", self._namespace, LEASE_NAME, what)
        self._told = what


def _version(lease: Mapping[str, Any]) -> str:
    return str(lease["metadata"]["resourceVersion"])


def _holder(lease: Mapping[str, Any]) -> str:
    return str((lease.get("spec") or {}).get("holderIdentity") or "")
