"""Follows tasks to their end after their answers, and knows where they ran."""

import asyncio
import logging
from collections.abc import Mapping

from multidict import CIMultiDict

from controller.api.queue import Poll
from controller.dispatcher.completion import ABOUT_WHO, End, Places, Watch, task_id
from controller.dispatcher.connections import Connections
from controller.dispatcher.deadlines import Deadlines
from controller.dispatcher.servers import Server
from controller.dispatcher.state import State

logger = logging.getLogger(__name__)


class Follower:
    """Waits for the ends of polled tasks. One per process."""

    def __init__(self, state: State, connections: Connections, deadlines: Deadlines) -> None:
        self._state = state
        self._deadlines = deadlines
        self._connections = connections
        self.places = Places()

    async def await_end(
        self, server: Server, poll: Poll, answer: bytes, *, headers: Mapping[str, str], seconds: float
    ) -> End:
        """Wait until a server's account of a task shows its end.

        Args:
            server: took the task.
            poll: how to see the end.
            answer: of the server to the task.
            headers: of the task's request.
            seconds: how long this may take.
        """
        name = task_id(poll, answer)
        if name is None:
            logger.warning("%s gave no id at %s: the task counts as over", server.spec.name, poll.id_pointer)
            return End("success")
        self.places.put(name, server)
        asks = CIMultiDict((key, headers[key]) for key in ABOUT_WHO if key in headers)
        watch = Watch(self._connections, server, poll, name, asks, self._patience())
        return await self._limited(watch, seconds)

    async def _limited(self, watch: Watch, seconds: float) -> End:
        server = watch.server
        if not self._state.scheduler.has(server):
            return End("failed", f"{server.spec.name} was withdrawn")
        running = self._deadlines.begin(server, seconds)
        try:
            return await watch.end(asyncio.get_running_loop().time)
        except asyncio.CancelledError:
            if not running.is_ours():
                raise
            return End("failed", f"{server.spec.name} " + ("was withdrawn" if running.withdrawn else "took too long"))
        finally:
            self._deadlines.end(running)

    def _patience(self) -> float:
        """A server that cannot be asked for as long as it takes to be found dead by probes has lost the task."""
        if self._state.view is None:
            return 0.0
        settings = self._state.view.spec.server
        return float(settings.failure_threshold * settings.probe_interval_seconds)
