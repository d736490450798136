"""What the dispatcher replicas report, put together: signals, drained, dead.

Queue-wide figures are the maximum over replicas, per-server figures the sum. A replica that could not be read makes
what it may know unknown: it can hold a scale-down back, but never hides a trigger that the others see.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite

from controller.api.scaling import Scaling
from controller.scaling.readings import cpu_from_slots
from controller.scaling.snapshot import Signal, Signals


@dataclass(frozen=True, slots=True)
class ServerReading:
    """One server as one replica sees it."""

    in_flight: float
    tasks: float
    slots: float
    up: bool
    draining: bool


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


def signals(scrape: Scrape, scaling: Scaling, *, ready: Sequence[str], monitor: Signal | None, now: float) -> Signals:
    """The signals of a pool.

    Args:
        scrape: what the replicas said.
        scaling: thresholds, and which source CPU comes from.
        ready: names of the Ready servers.
        monitor: CPU from Cloud Monitor; None where it has no metric or no fresh point.
        now: Unix seconds.
    """
    up = scaling.up
    return Signals(
        mean_response=_highest(scrape, [r.mean_response for r in scrape.replicas], up.mean_response_seconds, now=now),
        queue_length=_highest(scrape, [r.queue_length for r in scrape.replicas], up.queue_length, now=now),
        cpu=_cpu(scrape, scaling, ready=ready, monitor=monitor, now=now),
        longest_wait=_highest(scrape, [r.oldest_age for r in scrape.replicas], up.max_wait_seconds, now=now),
        problem=_problem(scrape),
        dispatchers=frozenset(r.started for r in scrape.replicas),
    )


def _highest(scrape: Scrape, values: Sequence[float], up: float, *, now: float) -> Signal | None:
    if not values:
        return None
    value = max(values)
    if scrape.failed and value <= up:
        return None
    return Signal(value, now - min(r.at for r in scrape.replicas), "dispatcher")


def _cpu(
    scrape: Scrape, scaling: Scaling, *, ready: Sequence[str], monitor: Signal | None, now: float
) -> Signal | None:
    if scaling.cpu.source == "Monitor":
        return monitor
    if scaling.cpu.source == "Auto" and monitor is not None:
        return monitor
    busy = sum(r.servers[name].tasks for r in scrape.replicas for name in ready if name in r.servers)
    slots = sum(max((r.servers[n].slots for r in scrape.replicas if n in r.servers), default=0.0) for n in ready)
    percent = cpu_from_slots(busy, slots)
    if percent is None or (scrape.failed and percent <= scaling.up.cpu_percent):
        return None
    return Signal(percent, now - min(r.at for r in scrape.replicas), "slots")


def _problem(scrape: Scrape) -> str:
    if scrape.failed:
        return "; ".join(f"{url}: {why}" for url, why in scrape.failed[:4])
    return "" if scrape.replicas else "the dispatcher's Service has no address"


def tasks(scrape: Scrape, server: str) -> float:
    """Tasks in flight at a server, all replicas together."""
    return sum(r.servers[server].tasks for r in scrape.replicas if server in r.servers)


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


def plausible(value: float) -> bool:
    """A figure that can be a measurement: finite and not negative."""
    return isfinite(value) and value >= 0.0
