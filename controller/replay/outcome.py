"""What came of a replay: the bill, the servers, the waits."""

from array import array
from collections.abc import Sequence
from itertools import pairwise
from math import ceil, isnan, nan

from msgspec import Struct

from controller.replay.engine import Replay
from controller.replay.machines import Machine


class Waits(Struct, frozen=True):
    """Seconds from submission until a server starts; NaN when no task was served."""

    mean: float
    p50: float
    p95: float
    p99: float
    max: float
    #: The mean over users of each user's mean: everybody counts once, however much they send.
    user_mean: float


class Outcome(Struct, frozen=True):
    """The figures of one run."""

    tasks: int
    users: int
    #: Tasks that were served to their end.
    served: int
    #: Tasks that were refused (429: `queue.maxTasks`, `queue.maxTasksPerUser`).
    refused: int
    #: Tasks that waited longer than `queue.maxWaitSeconds` (503).
    expired: int
    wait_seconds: Waits
    #: Mean seconds from submission to the end.
    mean_response_seconds: float
    cost_cny: float
    server_hours: float
    #: Share of the server-hours in which slots were busy.
    utilization: float
    launches: int
    launches_by_bundle: dict[str, int]
    #: Purchases that were refused since the bundle was sold out.
    sold_out: int
    destroys: int
    peak_servers: int
    #: How often growing gave way to shrinking or the other way round.
    direction_changes: int
    decisions: int
    #: From the start until the last task came or ended.
    seconds: float


def outcome(replay: Replay) -> Outcome:
    """The figures of a run that is over.

    Servers that were destroyed are billed until they were gone. The minimum that remains is billed until the last task
    ended, so that a pool that shrinks more slowly pays for what it keeps, and not for being watched.
    """
    trace, desk = replay.trace, replay.desk
    served = [i for i, end in enumerate(desk.ends) if not isnan(end)]
    waits = array("d", (desk.starts[i] - trace.arrivals[i] for i in served))
    ends = _billed_until(replay)
    seconds = sum(m.billed(until=ends[m.number]) for m in replay.machines)
    busy = sum(trace.services[i] for i in served)
    bought = replay.machines[replay.spec.replicas.min :]
    bundles = [m.offer.bundle for m in bought]
    return Outcome(
        tasks=len(trace),
        users=len(trace.names),
        served=len(served),
        refused=desk.refused,
        expired=desk.expired,
        wait_seconds=_waits(waits, [trace.users[i] for i in served]),
        mean_response_seconds=_mean([desk.ends[i] - trace.arrivals[i] for i in served]),
        cost_cny=sum(m.cost(until=ends[m.number]) for m in replay.machines),
        server_hours=seconds / 3600.0,
        utilization=busy / _capacity(replay.machines, ends),
        launches=len(bought),
        launches_by_bundle={bundle: bundles.count(bundle) for bundle in dict.fromkeys(bundles)},
        sold_out=replay.sold_out,
        destroys=sum(m.gone_at is not None for m in replay.machines),
        peak_servers=replay.peak,
        direction_changes=direction_changes([turn.action for turn in replay.turns]),
        decisions=replay.decisions,
        seconds=replay.last_task,
    )


def direction_changes(actions: Sequence[str]) -> int:
    """How often the direction changes in a row of ScaleUp, Undrain (both up) and ScaleDown."""
    return sum((a == "ScaleDown") != (b == "ScaleDown") for a, b in pairwise(actions))


def percentile(ordered: Sequence[float], share: float) -> float:
    """The smallest value that at least this share of the values do not exceed (nearest rank); NaN without any."""
    return ordered[max(0, ceil(share * len(ordered)) - 1)] if ordered else nan


def _billed_until(replay: Replay) -> dict[int, float]:
    """When the bill of each server ends at the latest."""
    left = sorted((m for m in replay.machines if m.gone_at is None), key=lambda m: (m.offer.price_per_hour, m.number))
    kept = {m.number for m in left[: replay.spec.replicas.min]}
    return {m.number: replay.last_task if m.number in kept else replay.end for m in replay.machines}


def _capacity(machines: Sequence[Machine], ends: dict[int, float]) -> float:
    """Server-seconds of speed 1 that were paid for, at least a little."""
    return max(1e-9, sum(m.billed(until=ends[m.number]) * m.slots * m.speed for m in machines))


def _waits(waits: "array[float]", users: Sequence[int]) -> Waits:
    sums: dict[int, float] = {}
    counts: dict[int, int] = {}
    for user, wait in zip(users, waits, strict=True):
        sums[user] = sums.get(user, 0.0) + wait
        counts[user] = counts.get(user, 0) + 1
    ordered = sorted(waits)
    return Waits(
        mean=_mean(ordered),
        p50=percentile(ordered, 0.5),
        p95=percentile(ordered, 0.95),
        p99=percentile(ordered, 0.99),
        max=ordered[-1] if ordered else nan,
        user_mean=_mean([sums[user] / counts[user] for user in sums]),
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else nan
