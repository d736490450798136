"""Which server is next: least loaded for what it can do; and how a new server comes to its share. Pure."""

from collections.abc import Collection, Iterable
from math import floor
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from controller.dispatcher.servers import Server

#: Share of the work that a new server gets at first. Not nothing: what gets no work warms nothing up.
FIRST_SHARE: Final = 0.1


def choose(servers: "Iterable[Server]", exclude: Collection[str] = ()) -> "Server | None":
    """The server for the next task, of those with a free slot; None when there is none.

    Args:
        servers: all of them.
        exclude: names of servers that must not get it.
    """
    best: Server | None = None
    for server in servers:
        if server.free > 0 and server.spec.name not in exclude and (best is None or rank(server) < rank(best)):
            best = server
    return best


def rank(server: "Server") -> tuple[int, float, float, str]:
    """The smaller the sooner: what does not fail; least loaded with the task; quickest lately; by name.

    What fails at once is always idle and always quick, and would draw all tasks to itself: so it comes last until it
    has done something well, and failures say nothing about its speed.
    """
    spec = server.spec
    load = (server.tasks + 1) / (spec.slots * spec.speed * server.share)
    return server.suspicion, load, server.ewma, spec.name


def ramp(age: float, seconds: float) -> float:
    """Share of the full load that a server of this age gets, growing evenly from a tenth to 1 (slow start).

    Args:
        age: seconds since it became able to work.
        seconds: `server.slowStartSeconds`.
    """
    if age >= seconds:
        return 1.0
    return FIRST_SHARE + (1.0 - FIRST_SHARE) * max(0.0, age) / seconds


def open_slots(slots: int, share: float) -> int:
    """How many of its slots a server with this share may fill: one at least."""
    return max(1, floor(slots * share + 1e-9))


def next_slot_age(slots: int, share: float, seconds: float) -> float:
    """Age at which a server that now has this share opens its next slot, seconds; never above `seconds`."""
    wanted = (open_slots(slots, share) + 1) / slots
    return min(1.0, (wanted - FIRST_SHARE) / (1.0 - FIRST_SHARE)) * seconds
