"""Which servers go first, and whether they may."""

from collections.abc import Iterable, Sequence

from controller.api.scaling import Down, Scaling, Up
from controller.scaling.readings import has_outlived
from controller.scaling.snapshot import Peak, ServerState, ServerView, Signals


def rank(servers: Iterable[ServerView]) -> list[ServerView]:
    """Ready, unprotected servers, first victim first.

    The dearest goes first; among equals the one with the most traffic used, then the least busy, the oldest, by name.
    """
    candidates = (s for s in servers if s.state is ServerState.READY and not s.protected and not s.leaving)
    return sorted(
        candidates,
        key=lambda s: (-s.price_per_hour, -s.traffic_gb, s.in_flight, s.ready_at or s.created_at, s.name),
    )


def too_young(victim: ServerView, down: Down, *, now: float) -> bool:
    """The victim is still within its minimum lifetime. Then the pool waits for *it*.

    Destroying an older, cheaper server in its place could leave the dearest as the last one for ever.
    """
    return not has_outlived(victim.ready_at, now=now, min_lifetime_seconds=down.min_lifetime_seconds)


def unsafe_to_remove(victims: Sequence[ServerView], servers: Iterable[ServerView], signals: Signals, up: Up) -> str:
    """Why the load, spread over the remaining servers, would trip a trigger again; empty when it would not.

    Work in flight has to fit into the remaining slots, and CPU scales with the capacity that is left:
    `cpu x capacity now / capacity after` (the N/(N-1) check, weighted by slots and speed).
    """
    gone = {victim.name for victim in victims}
    ready = [s for s in servers if s.state is ServerState.READY and not s.leaving]
    rest = [s for s in ready if s.name not in gone]
    in_flight = sum(s.in_flight for s in ready)
    slots = sum(s.slots for s in rest)
    if in_flight > slots:
        return f"{in_flight:g} tasks in flight do not fit into the {slots} slots that would remain"
    after = sum(s.capacity for s in rest)
    if signals.cpu is None or after <= 0:
        return "" if in_flight == 0 else "what would remain cannot be judged without a CPU figure"
    cpu = signals.cpu.value * sum(s.capacity for s in ready) / after
    if cpu > up.cpu_percent:
        return f"CPU would rise from {signals.cpu.value:.3g} % to {cpu:.3g} % > {up.cpu_percent:g} %"
    return ""


def keeps_calm(victims: Sequence[ServerView], servers: Iterable[ServerView], peak: Peak, scaling: Scaling) -> bool:
    """Whether the busiest moment of the low load, spread over the rest, lies midway between the CPU thresholds at most.

    A step of many cannot be taken back cheaply, so one quiet moment is no ground for it; and a rest that is loaded
    close to the threshold for growing would buy back what was destroyed. Busy slots count as CPU: they stand in for it.
    """
    gone = {victim.name for victim in victims}
    rest = [s for s in servers if s.state is ServerState.READY and not s.leaving and s.name not in gone]
    calm = (scaling.up.cpu_percent + scaling.down.cpu_percent) / 2.0
    slots, capacity = sum(s.slots for s in rest), sum(s.capacity for s in rest)
    return 100.0 * peak.tasks <= calm * slots and peak.cpu <= calm * capacity
