"""What becomes of a task as it happens: server-sent events (the HTML standard, 9.2).

`event: status` carries the task as JSON: at once, when its state, server or attempts change, and when its position
changes, at most once a second. The stream ends with the task's end, whose event has the id `end`; a browser that then
connects again by itself is told by 204 to leave it.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Callable
from typing import Any, Final

from aiohttp import web

from controller.dispatcher.problems import problem
from controller.dispatcher.stores.base import StoredTask, TaskState
from controller.dispatcher.tasks.lifecycle import AsyncTasks

#: How often a position is looked at.
POSITION_SECONDS: Final = 1.0
#: Without an event for so long, a comment is sent: proxies end connections on which nothing moves.
HEARTBEAT_SECONDS: Final = 15.0
#: A client that takes nothing for so long is gone.
WRITE_SECONDS: Final = 30.0
#: Streams at the same time, in all and for the tasks of one user.
MAX_STREAMS: Final = 4096
MAX_STREAMS_PER_USER: Final = 64
#: Milliseconds after which a browser whose stream broke connects again.
RECONNECT: Final = 3000
#: Id of a task's last event.
END: Final = "end"

_HEADERS: Final = {
    "Content-Type": "text/event-stream",
    "Cache-Control": "no-store",
    # nginx would hold events back until it has a buffer full of them.
    "X-Accel-Buffering": "no",
}

#: A task as JSON, and what else is known of its place.
Describe = Callable[[StoredTask], tuple[dict[str, Any], object]]


class EventStreams:
    """All streams of this process."""

    def __init__(self, tasks: AsyncTasks, describe: Describe) -> None:
        self._tasks = tasks
        self._describe = describe
        self._users: Counter[str] = Counter()

    async def serve(self, request: web.BaseRequest, task: StoredTask) -> web.StreamResponse:
        """Stream a task's events until it has ended, or the client has gone."""
        if task.state.ended and request.headers.get("Last-Event-ID") == END:
            return web.Response(status=204)
        user = task.identity.user
        if self._users.total() >= MAX_STREAMS or self._users[user] >= MAX_STREAMS_PER_USER:
            return problem(503, "Too many event streams", "poll the task, or come again later", retry_after=30)
        self._users[user] += 1
        try:
            return await self._stream(request, task)
        finally:
            self._users[user] -= 1
            if not self._users[user]:
                del self._users[user]

    async def _stream(self, request: web.BaseRequest, task: StoredTask) -> web.StreamResponse:
        response = web.StreamResponse(headers=_HEADERS)
        await response.prepare(request)
        await _write(request, response, f"retry: {RECONNECT}\n\n")
        with self._tasks.board.watch(task.task_id) as changed:
            await self._follow(request, response, task, changed)
        await response.write_eof()
        return response

    async def _follow(
        self, request: web.BaseRequest, response: web.StreamResponse, task: StoredTask, changed: asyncio.Event
    ) -> None:
        clock, number, told = asyncio.get_running_loop().time, 0, ()
        spoke = clock()
        while not self._tasks.over.is_set():
            document, _ = self._describe(task)
            news = tuple(document[name] for name in ("state", "attempts", "server", "position", "result"))
            if news != told:
                number, told, spoke = number + 1, news, clock()
                event_id = END if task.state.ended else str(number)
                data = json.dumps(document)
                await _write(request, response, f"event: status\nid: {event_id}\ndata: {data}\n\n")
            elif clock() - spoke >= HEARTBEAT_SECONDS:
                spoke = clock()
                await _write(request, response, ":\n\n")
            if task.state.ended:
                return
            if await _happens(changed, POSITION_SECONDS if task.state is TaskState.QUEUED else HEARTBEAT_SECONDS):
                changed.clear()
                found = await self._tasks.store.get(task.task_id)
                if found is None:
                    return
                task = found


async def _happens(event: asyncio.Event, within: float) -> bool:
    try:
        async with asyncio.timeout(within):
            return await event.wait()
    except TimeoutError:
        return False


async def _write(request: web.BaseRequest, response: web.StreamResponse, text: str) -> None:
    """Send this.

    Raises:
        ConnectionResetError: the client takes nothing.
    """
    try:
        async with asyncio.timeout(WRITE_SECONDS):
            await response.write(text.encode())
    except TimeoutError:
        if request.transport is not None:
            request.transport.abort()
        raise ConnectionResetError("the client takes no events") from None
