"""A task as the scheduler knows it, and what whoever waits for its turn may be told."""

import asyncio
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from msgspec import Struct

from controller.dispatcher.identity import Identity
from controller.dispatcher.servers import Server, ServerSpec

#: What almost all tasks have tried.
_NOTHING: Final[Mapping[str, float]] = MappingProxyType({})


class ExpiredError(Exception):
    """The task waited longer than `queue.maxWaitSeconds`."""


class NoServerError(Exception):
    """There was no server at all for `queue.noServerWaitSeconds`."""


class ClosingError(Exception):
    """The dispatcher is shutting down and takes this task no further."""


class Task(Struct, eq=False):
    """One task from admission to its end. Times are seconds of the scheduler's clock."""

    task_id: str
    identity: Identity
    #: Number of this task among its user's, from 1.
    number: int
    submitted: float
    #: The slot, once there is one.
    grant: "asyncio.Future[Server]"
    #: Name of its route, and the turns it counts for.
    route: str = ""
    cost: float = 1.0
    #: Told of the first slot, where nobody waits. Such a task is in a store, and outlives this process.
    on_grant: "Callable[[Task], None] | None" = None
    #: Whether it is in a store: it can wait without anybody, and for longer.
    stored: bool = False
    started: float | None = None
    #: Number of this start among all, from 1.
    start_number: int = 0
    #: When it got the slot it has now, or had last.
    occupied: float = 0.0
    #: Seconds it kept servers busy, all attempts together.
    used: float = 0.0
    #: Servers it was given to, and the last of them.
    attempts: int = 0
    place: ServerSpec | None = None
    #: When its wait began as scaling counts it: see `signals`. None until then.
    counted: float | None = None
    #: Servers that failed it, and when. Never changed in place: almost all tasks share the empty one.
    tried: Mapping[str, float] = _NOTHING
    #: What the queue charged it when its turn came: turns, or server-seconds.
    charge: float = 0.0
    #: Servers that died with it.
    deaths: int = 0
    #: With affinity: what its server is chosen by.
    home: str | None = None

    @property
    def counted_since(self) -> float:
        """When its wait began as scaling counts it."""
        return self.submitted if self.counted is None else self.counted
