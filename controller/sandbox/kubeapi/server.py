"""Start and stop of the local Kubernetes API."""

import os
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import yaml
from aiohttp import web

from controller.sandbox.kubeapi.http import Api
from controller.sandbox.kubeapi.kinds import CRDS, Kinds
from controller.sandbox.kubeapi.objects import Objects
from controller.sandbox.kubeapi.store import HISTORY, Store

JsonObject = dict[str, Any]

#: Name of the cluster, user and context in the kubeconfig.
CONTEXT: Final = "haipool-sandbox"


def kubeconfig(url: str) -> str:
    """A kubeconfig for the API at `url`. There are no credentials: over plain HTTP clients would not send any."""
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": CONTEXT, "cluster": {"server": url}}],
        "users": [{"name": CONTEXT, "user": {}}],
        "contexts": [{"name": CONTEXT, "context": {"cluster": CONTEXT, "user": CONTEXT, "namespace": "default"}}],
        "current-context": CONTEXT,
    }
    return yaml.safe_dump(document, sort_keys=False)


class LocalKubernetes:
    """A Kubernetes API in memory, on a loopback address. Use from one asyncio loop.

    Args:
        clock: the present time; replaced in tests.
        history: changes kept for each resource before a watch from further back is answered with 410.
    """

    def __init__(self, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC), history: int = HISTORY) -> None:
        # Revisions begin at the present second, so that whatever version a client kept from an earlier run is too old
        # here and it lists again.
        store = Store(first_revision=int(time.time()), history=history)
        self.objects = Objects(store, Kinds(), clock)
        self._api = Api(self.objects, clock)
        self._runner: web.AppRunner | None = None
        self._url = ""

    @property
    def url(self) -> str:
        """Base URL, empty before the start."""
        return self._url

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> str:
        """Listens; port 0 takes a free one.

        Returns:
            The base URL.

        Raises:
            OSError: the address is in use or not on this machine.
        """
        runner = web.AppRunner(
            self._api.application(), handler_cancellation=True, shutdown_timeout=2.0, access_log=None
        )
        await runner.setup()
        try:
            await web.TCPSite(runner, host, port, backlog=1024).start()
        except OSError:
            await runner.cleanup()
            raise
        self._runner = runner
        self._url = f"http://{host}:{runner.addresses[0][1]}"
        return self._url

    async def stop(self) -> None:
        """Ends the watches and stops listening; nothing is kept."""
        self._api.close()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def counts(self) -> dict[tuple[str, str], int]:
        """Requests so far by method and plural, `gpupools/status` and the like; a watch is one GET."""
        return dict(self._api.counts)

    def install(self, definitions: Iterable[JsonObject]) -> None:
        """Creates CRDs from their documents; possible before the start.

        Raises:
            ApiError: one is invalid or exists.
        """
        for definition in definitions:
            self.objects.create(CRDS, "", definition)

    def write_kubeconfig(self, path: Path) -> None:
        """Writes a kubeconfig for this API, readable by its owner only (tools warn otherwise)."""
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(kubeconfig(self._url))
