"""This dispatcher's own view of its servers: active probes, and what is said of a server whose health changed."""

import asyncio
import logging
from typing import Final

import aiohttp

from controller.api.server import Server as ServerSettings
from controller.dispatcher.servers import Change, Server
from controller.dispatcher.state import State

logger = logging.getLogger(__name__)

PROBE_TIMEOUT_SECONDS: Final = 5.0


class HealthChecks:
    """Probes every server with an address, each interval."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=PROBE_TIMEOUT_SECONDS))

    async def run(self) -> None:
        """Probe for ever."""
        while True:
            view = self._state.view
            settings = view.spec.server if view else ServerSettings()
            servers = [s for s in self._state.scheduler.servers if s.spec.address]
            await asyncio.gather(*(self._probe(server, settings.health_path) for server in servers))
            await asyncio.sleep(settings.probe_interval_seconds)

    async def _probe(self, server: Server, path: str) -> None:
        address = server.spec.address
        try:
            async with self._session.get(address + path, allow_redirects=False) as response:
                good = 200 <= response.status < 300
        except (aiohttp.ClientError, TimeoutError):
            good = False
        if server.spec.address == address:
            change = self._state.scheduler.probed(server, good=good)
            if change is not None:
                logger.warning("%s", told(server, change))

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()


def told(server: Server, change: Change) -> str:
    """A sentence for people about what changed for a server."""
    name = server.spec.name
    if change == "up":
        return f"server {name} is up again"
    if change == "down":
        return f"server {name} is down: {server.failures} probes or connections in a row failed"
    return f"server {name} gets no tasks for a while (ejection {server.health.ejections} in a row): it failed too many"
