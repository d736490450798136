"""Does buying help? The breaker of scale-up, `scaling.up.onlyIfEffective`.

There is no upper limit on servers, so a trigger that servers cannot fix (a figure from elsewhere that is always high, a
reading that counts what servers cannot shorten, slots that the dispatcher does not use) would empty an account. What
tells such a trigger from real load: a server that was bought for it has nothing to do for a whole window, and the
trigger holds all the same. Tasks wait only while no slot is free, so a free server is proof that more would not help.

Only servers that are Ready count as evidence: what was sold out or failed says nothing about the trigger.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from controller.scaling.snapshot import ServerState, ServerView, Snapshot
from controller.scaling.trials import FORGOTTEN_SECONDS, Efficacy, Suspension, Trial
from controller.scaling.triggers import Level, Trigger


def watch(before: Efficacy, snapshot: Snapshot, triggers: tuple[Trigger, ...], *, now: float) -> Efficacy:
    """What is known after one more look.

    Args:
        before: what the last decision left.
        snapshot: what is seen now.
        triggers: the triggers of this decision.
        now: Unix seconds.
    """
    if not snapshot.spec.scaling.up.only_if_effective:
        return Efficacy()
    found = {t.reason: t for t in triggers}
    suspended = tuple(s for s in before.suspensions if _stands(s, snapshot, found, now=now))
    quiet = {s.trigger for s in suspended if now < s.until}
    kept: list[Trial] = []
    for trial, server in _on_trial(before, snapshot, found, now=now):
        if trial.trigger not in quiet:
            kept += _looked_at(trial, server, found[trial.trigger], snapshot, now=now)
    new = tuple(_suspension(t, found[t.trigger], now=now) for t in _failed(kept, snapshot, now=now))
    opened = {s.trigger for s in new}
    return Efficacy(
        trials=tuple(t for t in kept if t.trigger not in opened),
        suspensions=(*(s for s in suspended if s.trigger not in opened), *new),
        worked_at=_worked_at(before, snapshot, now=now),
        worked_seconds=sum(s.worked_seconds for s in snapshot.servers),
    )


def cured_by_idle_servers(trigger: Trigger) -> bool:
    """CPU as the share of busy slots falls with every server, idle or not: it cannot run away."""
    return trigger.signal is not None and trigger.signal.source == "slots"


def _stands(suspension: Suspension, snapshot: Snapshot, triggers: dict[str, Trigger], *, now: float) -> bool:
    """Whether a suspension goes on.

    Where no server is free, its ground is gone. One whose time is over stays as half-open for an hour, and on until the
    trigger is quiet: a figure that comes and goes is no better than one that is always high.
    """
    trigger = triggers.get(suspension.trigger)
    if trigger is None or not _any_free(snapshot):
        return False
    return now - suspension.since < FORGOTTEN_SECONDS or not _satisfied(trigger)


def _satisfied(trigger: Trigger) -> bool:
    return trigger.level in (Level.LOW, Level.NORMAL)


def _worked_at(before: Efficacy, snapshot: Snapshot, *, now: float) -> float | None:
    before_seconds = before.worked_seconds
    given = before_seconds and sum(s.worked_seconds for s in snapshot.servers) > before_seconds
    return now if given or any(s.in_flight > 0 for s in snapshot.servers) else before.worked_at


def _any_free(snapshot: Snapshot) -> bool:
    return any(_serves(s) and s.in_flight < s.slots for s in snapshot.servers)


def _serves(server: ServerView) -> bool:
    return server.state is ServerState.READY and not server.leaving


def _on_trial(
    before: Efficacy, snapshot: Snapshot, triggers: Mapping[str, Trigger], *, now: float
) -> Iterator[tuple[Trial, ServerView]]:
    """Yield the trials that go on, and new ones.

    A server that was just bought for a trigger is on trial for that one, and for all that hold while it comes: it would
    have been bought for them too. A quick deployment may be over between two looks.
    """
    servers = {s.name: s for s in snapshot.servers if not s.leaving}
    yield from ((t, servers[t.server]) for t in before.trials if t.server in servers and t.trigger in triggers)
    known = {(t.server, t.trigger) for t in before.trials}
    high = [t.reason for t in triggers.values() if t.level is Level.HIGH]
    for server in servers.values():
        if server.bought_for in triggers and _is_new(server, snapshot, now=now):
            for reason in dict.fromkeys((server.bought_for, *high)):
                if (server.name, reason) not in known:
                    yield Trial(server.name, reason), server


def _is_new(server: ServerView, snapshot: Snapshot, *, now: float) -> bool:
    if server.in_deployment:
        return True
    unused = server.worked_seconds == 0.0 and server.in_flight == 0.0
    return unused and server.ready_at is not None and now - server.ready_at <= _enough(snapshot)


def _enough(snapshot: Snapshot) -> float:
    """Seconds of idleness that are proof: the mean of a window lies wholly within, also if it is an interval old."""
    return float(snapshot.spec.scaling.window_seconds + snapshot.spec.scaling.interval_seconds)


def _looked_at(
    trial: Trial, server: ServerView, trigger: Trigger, snapshot: Snapshot, *, now: float
) -> tuple[Trial, ...]:
    """The trial after this look; nothing once the trigger is satisfied and the server has had its part in it."""
    holds = trigger.level is Level.HIGH and not cured_by_idle_servers(trigger)
    works = server.in_flight > 0 or server.worked_seconds > (trial.worked_seconds or 0.0)
    worked = trial.worked or works
    if worked and _satisfied(trigger):
        return ()
    # What a replica that cannot be read has given the server is not known, so that is no idleness.
    idle = _serves(server) and not works and holds and not snapshot.signals.problem
    since = (now if trial.idle_since is None else trial.idle_since) if idle else None
    return (replace(trial, worked=worked, idle_since=since, worked_seconds=server.worked_seconds),)


def _failed(trials: Sequence[Trial], snapshot: Snapshot, *, now: float) -> tuple[Trial, ...]:
    """The first trial of each trigger that shows that servers do not help it."""
    enough = _enough(snapshot)
    failed = {t.trigger: t for t in reversed(trials) if t.idle_since is not None and now - t.idle_since > enough}
    return tuple(failed.values())


def _suspension(trial: Trial, trigger: Trigger, *, now: float) -> Suspension:
    idle = now - (trial.idle_since or now)
    seen = f"{trial.server}, bought for it, had nothing to do for {idle:.0f} s while {trigger.above()}"
    return Suspension(trial.trigger, now, seen)
