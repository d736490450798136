"""The dispatcher's queue as its admin port shows it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp

from controller.command import CommandError
from controller.sandbox.demo.beside import beside

#: Time between two looks. Short, so that the demo goes on at once when all tasks of a user are admitted.
LOOK_SECONDS: Final = 0.1


@dataclass(frozen=True, slots=True)
class QueueState:
    """The queue at one moment."""

    waiting: int = 0
    #: Tasks that a server has started on since the dispatcher began.
    started: int = 0
    #: Waiting tasks by client address.
    by_address: dict[str, int] = field(default_factory=dict)

    @property
    def admitted(self) -> int:
        """Tasks that were admitted since the dispatcher began."""
        return self.started + self.waiting

    @classmethod
    def read(cls, body: dict[str, Any]) -> "QueueState":
        """From the answer of `/-/queue`; a user is `user_{ip}_{window}`."""
        users = {entry["user"].split("_")[1]: int(entry["waiting"]) for entry in body["users"]}
        return cls(waiting=int(body["waiting"]), started=int(body["started"]), by_address=users)


class QueueView:
    """The latest state of the queue, and waiting for a certain one."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session
        self._changed = asyncio.Condition()
        self.state = QueueState()

    async def until(self, holds: Callable[[QueueState], bool]) -> None:
        """Wait until the queue is as asked."""
        async with self._changed:
            await self._changed.wait_for(lambda: holds(self.state))

    async def follow(self) -> None:
        """Look again and again.

        Raises:
            CommandError: the dispatcher does not answer.
        """
        while True:
            try:
                state = await self._look()
            except (aiohttp.ClientError, TimeoutError) as error:
                raise CommandError(f"the dispatcher's admin port does not answer: {error!r}") from error
            async with self._changed:
                self.state = state
                self._changed.notify_all()
            await asyncio.sleep(LOOK_SECONDS)

    async def _look(self) -> QueueState:
        async with self._session.get("/-/queue", raise_for_status=True) as response:
            return QueueState.read(await response.json())


@asynccontextmanager
async def queue_view(url: str) -> AsyncIterator[QueueView]:
    """A view that is kept up to date for the length of the block.

    Args:
        url: the dispatcher's admin port.
    """
    async with aiohttp.ClientSession(url, timeout=aiohttp.ClientTimeout(total=10)) as session:
        view = QueueView(session)
        async with beside(view.follow()):
            yield view
