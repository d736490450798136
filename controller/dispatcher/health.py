"""This dispatcher's own view of its servers: active probes, and failed requests counted like failed probes."""

import asyncio
import logging
from typing import Final

import aiohttp

from controller.api.gpupool import Server as ServerSettings
from controller.dispatcher.servers import Server
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
            await asyncio.gather(*(self._probe(server, settings) for server in servers))
            await asyncio.sleep(settings.probe_interval_seconds)

    async def _probe(self, server: Server, settings: ServerSettings) -> None:
        address = server.spec.address
        try:
            async with self._session.get(address + settings.health_path, allow_redirects=False) as response:
                good = 200 <= response.status < 300
        except (aiohttp.ClientError, TimeoutError):
            good = False
        if server.spec.address == address:
            self._note(server, settings, good=good)

    def _note(self, server: Server, settings: ServerSettings, *, good: bool) -> None:
        if server.noted(good=good, threshold=settings.failure_threshold):
            logger.warning("server %s is down: %d failures in a row", server.spec.name, server.failures)
        elif good and not server.up:
            server.up = True
            logger.warning("server %s is up again", server.spec.name)
            self._state.scheduler.pump()

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()
