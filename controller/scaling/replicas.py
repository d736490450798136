"""What the dispatcher replicas report of the servers, put together: drained, withdrawn, dead. Figures add up.

A replica that could not be read may have work anywhere. What they say of the queue is put together in `signals`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf, isfinite
from typing import Final

#: A reading is stale when it is older than this many intervals, and than this many seconds.
STALE_INTERVALS: Final = 3
STALE_SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True)
class ServerReading:
    """One server as one replica sees it."""

    in_flight: float
    tasks: float
    slots: float
    up: bool
    draining: bool
    #: Counter: seconds that its slots were taken, summed over slots, since this process knows it. None: not counted.
    busy_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class ReplicaReading:
    """One successful scrape of one dispatcher replica."""

    url: str
    #: Unix seconds of the scrape.
    at: float
    queue_length: float
    oldest_age: float
    mean_response: float
    started: float
    servers: Mapping[str, ServerReading] = field(default_factory=dict)
    #: Counters since it started: tasks that came, tasks that left their slot, seconds they had kept it. None: it has
    #: none.
    totals: tuple[float, float, float] | None = None

    @property
    def process(self) -> tuple[str, float]:
        """Which process it is: one that restarted counts from zero and is another one."""
        return self.url, self.started


@dataclass(frozen=True, slots=True)
class Scrape:
    """All replicas of one pool's dispatcher at one time."""

    replicas: tuple[ReplicaReading, ...] = ()
    #: (url, what went wrong) of every replica that could not be read.
    failed: tuple[tuple[str, str], ...] = ()

    @property
    def complete(self) -> bool:
        """At least one replica answered and none failed."""
        return bool(self.replicas) and not self.failed


def fresh(scrape: Scrape, *, max_age: float, now: float) -> Scrape:
    """The scrape without what is too old to say anything about now; a reading that is counts as failed.

    Args:
        scrape: what the replicas said.
        max_age: seconds.
        now: Unix seconds. A clock that was set back makes readings come from the future: they are as worthless.
    """
    old = [r for r in scrape.replicas if abs(now - r.at) > max_age]
    if not old:
        return scrape
    failed = tuple((r.url, f"was read {now - r.at:.0f} s ago") for r in old)
    return Scrape(tuple(r for r in scrape.replicas if r not in old), scrape.failed + failed)


def max_age(interval_seconds: float) -> float:
    """Seconds after which a reading is stale: some decisions may fail, and the last one still stands."""
    return max(STALE_SECONDS, STALE_INTERVALS * interval_seconds)


def tasks(scrape: Scrape, server: str) -> float:
    """Tasks in flight at a server, all replicas together."""
    return sum(r.servers[server].tasks for r in scrape.replicas if server in r.servers)


def worked(scrape: Scrape, server: str) -> float:
    """Seconds that a server's slots were ever taken, all replicas together, as far as they count them."""
    return sum(r.servers[server].busy_seconds or 0.0 for r in scrape.replicas if server in r.servers)


def drained(scrape: Scrape, server: str, *, since: float | None, timeout_seconds: float, now: float) -> bool:
    """Every replica reports the server draining (or does not know it) with nothing in flight, or time is over.

    Args:
        scrape: what the replicas said; one that could not be read may still have work there.
        server: name of the GpuInstance.
        since: Unix seconds at which the drain began; None before it did.
        timeout_seconds: `scaling.down.drainTimeoutSeconds`.
        now: Unix seconds.
    """
    if since is None:
        return False
    if now - since >= timeout_seconds:
        return True
    readings = [r.servers[server] for r in scrape.replicas if server in r.servers]
    fresh = all(r.at > since for r in scrape.replicas)
    return scrape.complete and fresh and all(s.draining and s.in_flight == 0 for s in readings)


def withdrawn(scrape: Scrape, server: str) -> bool:
    """No replica that answers knows the server any more, so its address may be given to someone else."""
    return scrape.complete and all(server not in r.servers for r in scrape.replicas)


def agreed_dead(scrape: Scrape, server: str) -> bool:
    """At least one replica reports, and none that does finds the server alive.

    With no dispatcher reporting the operator stands alone with its view, and the fault may be its own network.
    """
    return bool(scrape.replicas) and not any(r.servers[server].up for r in scrape.replicas if server in r.servers)


def plausible(value: float, limit: float = inf) -> bool:
    """A figure that can be a measurement: finite, not negative, and no larger than such a figure can be."""
    return isfinite(value) and 0.0 <= value <= limit
