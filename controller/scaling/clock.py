"""The low-load clock, and what else one decision remembers for the next."""

from typing import Final

from controller.scaling.efficacy import watch
from controller.scaling.snapshot import Memory, Peak, ServerState, Snapshot
from controller.scaling.trials import Efficacy
from controller.scaling.triggers import Trigger, is_low_load

#: Servers that die within so long die at once: probes and scrapes do not find them in the same moment.
AT_ONCE_SECONDS: Final = 120.0


def advance(memory: Memory, snapshot: Snapshot, triggers: tuple[Trigger, ...], *, now: float) -> Memory:
    """The memory as this decision should see it.

    The low-load clock restarts when a load condition fails or is unknown, and when a dispatcher restarted or joined;
    that it restarts with the operator follows from living in memory only. A destruction does not restart it, but its
    end is noted, since the next one waits for a fresh window.
    """
    replaced = memory.dispatchers != snapshot.signals.dispatchers and bool(memory.dispatchers)
    since = memory.low_load_since
    if not is_low_load(triggers) or replaced:
        since = None
    if since is not None and since > now:
        since = now  # the clock was set back: what is certain begins now
    if since is None and is_low_load(triggers):
        since = now
    peak = None if since is None else _higher(memory.peak if since == memory.low_load_since else None, snapshot)
    # A purchase that was refused leaves too, but it never served: no drain ends with it.
    leaving = frozenset(s.name for s in snapshot.servers if s.leaving and s.ready_at is not None)
    ended = now if memory.leaving - leaving else memory.last_drain_ended
    ended = None if ended is None else min(ended, now)
    return Memory(
        low_load_since=since,
        last_drain_ended=ended,
        leaving=leaving,
        dispatchers=snapshot.signals.dispatchers or memory.dispatchers,
        replaced=tuple((name, at) for name, at in memory.replaced if now - at < AT_ONCE_SECONDS),
        peak=peak,
        efficacy=watch(memory.efficacy or Efficacy(), snapshot, triggers, now=now),
    )


def _higher(peak: Peak | None, snapshot: Snapshot) -> Peak:
    """The busiest moment so far, this one included."""
    before, cpu = peak or Peak(), snapshot.signals.cpu
    ready = [s for s in snapshot.servers if s.state is ServerState.READY]
    tasks = sum(s.in_flight for s in ready)
    load = 0.0 if cpu is None else cpu.value * sum(s.capacity for s in ready if not s.leaving)
    return Peak(max(before.tasks, tasks), max(before.cpu, load))


def low_load_lasted(memory: Memory, *, now: float) -> float:
    """Seconds for which all load conditions have held; 0 while they do not."""
    return 0.0 if memory.low_load_since is None else now - memory.low_load_since
