"""What is remembered of purchases, between a decision's memory and the pool's status."""

from collections.abc import Iterable
from typing import Final

from controller.api.gpuinstance import GpuInstance
from controller.api.gpupool import GpuPool
from controller.api.model import MESSAGE_LIMIT
from controller.api.names import Condition
from controller.api.scaleup import LaunchesStatus, Purchase, ScaleUpStatus, ServerOnTrial, SuspendedTrigger
from controller.api.times import rfc3339, unix
from controller.operator.context import PoolMemory
from controller.scaling.launches import FAILURES_KEPT, MINUTE, Launches
from controller.scaling.trials import Efficacy, Suspension, Trial

#: Servers on trial that the status keeps: one idle server is proof enough, and the object has to stay small.
TRIALS_KEPT: Final = 20


def efficacy_status(efficacy: Efficacy) -> ScaleUpStatus:
    """The status that stands for it. Servers that are being deployed are found again by themselves."""
    ready = [t for t in efficacy.trials if t.worked or t.idle_since is not None]
    return ScaleUpStatus(
        suspended=tuple(
            SuspendedTrigger(
                trigger=s.trigger, since=rfc3339(s.since), until_time=rfc3339(s.until), seen=s.seen[:MESSAGE_LIMIT]
            )
            for s in efficacy.suspensions
        ),
        on_trial=tuple(
            ServerOnTrial(
                server=t.server,
                trigger=t.trigger,
                worked=t.worked,
                idle_since=None if t.idle_since is None else rfc3339(t.idle_since),
            )
            for t in sorted(ready, key=lambda t: (t.worked, t.idle_since or 0.0, t.server))[:TRIALS_KEPT]
        ),
    )


def efficacy_of(status: ScaleUpStatus) -> Efficacy:
    """What a pool's status says of it. Of a time that cannot be read nothing is known, and nothing is suspended."""
    return Efficacy(
        trials=tuple(Trial(t.server, t.trigger, t.worked, unix(t.idle_since)) for t in status.on_trial),
        suspensions=tuple(Suspension(s.trigger, unix(s.since) or 0.0, s.seen) for s in status.suspended),
    )


def launches(memory: PoolMemory, pool: GpuPool | None) -> Launches:
    """How the last launches of a pool went; after a start, as its status has it."""
    if memory.launches is None and pool is not None:
        memory.launches = launches_of(pool.status.launches)
    return memory.launches or Launches()


def launches_of(status: LaunchesStatus) -> Launches:
    """What a pool's status says of its launches."""
    last = unix(status.last_failure_time) or 0.0, status.last_failure
    return Launches(
        failures=(last,) * min(status.failed_in_row, FAILURES_KEPT),
        outcomes=tuple(outcome == "Ready" for outcome in status.recent),
    )


def launches_status(
    known: Launches, old: LaunchesStatus, instances: Iterable[GpuInstance], *, now: float
) -> LaunchesStatus:
    """The status that stands for it, with the purchases of the last minute that have ended.

    An instance is kept by its finalizer until it was booked here, so none is forgotten.
    """
    gone = {p.server: p for p in old.gone}
    for instance in instances:
        bought = instance.status.launched_at
        if bought is not None and instance.status.ended_at is not None and is_purchase(instance):
            gone.setdefault(instance.metadata.name, Purchase(server=instance.metadata.name, time=bought))
    at, what = known.failures[-1] if known.failures else (None, "")
    return LaunchesStatus(
        failed_in_row=len(known.failures),
        last_failure_time=None if at is None else rfc3339(at),
        last_failure=what[:MESSAGE_LIMIT],
        recent=tuple("Ready" if good else "Failed" for good in known.outcomes),
        gone=tuple(p for p in gone.values() if now - (unix(p.time) or 0.0) < MINUTE),
    )


def gone_purchases(pool: GpuPool, instances: Iterable[GpuInstance]) -> tuple[float, ...]:
    """Unix seconds of the last minute's purchases whose objects are gone; the others are counted by themselves."""
    present = {i.metadata.name for i in instances}
    return tuple(unix(p.time) or 0.0 for p in pool.status.launches.gone if p.server not in present)


def is_purchase(instance: GpuInstance) -> bool:
    """It is, or may become, a purchase: neither refused by the cloud nor taken over."""
    refused = any(c.type == Condition.LAUNCHED and c.status == "False" for c in instance.status.conditions)
    return instance.spec.adopts is None and not refused
