"""Whether, why and what to destroy."""

from collections.abc import Collection, Iterator, Sequence
from itertools import takewhile
from typing import Final

from controller.scaling import victims
from controller.scaling.actions import Action, Destroy, Drain, Undrain, Verdict
from controller.scaling.clock import low_load_lasted
from controller.scaling.grow import returnable, serving
from controller.scaling.readings import nothing_being_deployed
from controller.scaling.snapshot import Memory, Peak, ServerState, ServerView, Snapshot
from controller.scaling.triggers import Trigger, blocking_scale_down

#: One dead server is always replaced; beyond it, at most this share of the servers in service at once.
#: When more fail together the cause is rarely the servers, and buying new ones would only cost money.
REPLACEABLE_SHARE: Final = 0.2


def finish_drains(snapshot: Snapshot, *, spare: Collection[str] = ()) -> list[Action]:
    """Destroy what is drained, except `spare`; nothing here is a new decision, so only a pause stops it."""
    if snapshot.spec.paused in ("All", "ScaleDown"):
        return []
    return [
        Destroy(s.name, "Drained", f"{s.name} is drained")
        for s in snapshot.servers
        if s.draining and s.drained and s.state is not ServerState.TERMINATING and s.name not in spare
    ]


def revoke_drains(snapshot: Snapshot) -> tuple[list[Action], Verdict | None]:
    """Take back the pool's own drains that may not go on: a server that must stay should work.

    A pause of scale-down revokes all of them, the protect annotation that of its server. A person's drain stands.
    """
    paused = snapshot.spec.paused in ("All", "ScaleDown")
    kept = [s for s in returnable(snapshot) if paused or s.protected]
    if not kept:
        return [], None
    reason = "ScaleDownPaused" if paused else "Protected"
    why = f"spec.paused is {snapshot.spec.paused}" if paused else "the annotation haipool.io/protect was set"
    actions: list[Action] = [Undrain(s.name, reason, f"{s.name}: {why}") for s in kept]
    return actions, Verdict("Undrain", reason, "; ".join(a.message for a in actions))


def refusals(snapshot: Snapshot, memory: Memory, triggers: tuple[Trigger, ...], *, now: float) -> Iterator[Verdict]:
    """Every rule that forbids scaling down now; their order is the order of the explanation."""
    down = snapshot.spec.scaling.down
    for trigger in blocking_scale_down(triggers):
        yield _hold("LoadNotLow", trigger.not_below())
    deploying = sum(s.in_deployment for s in snapshot.servers)
    if not nothing_being_deployed(deploying):
        yield _hold("Deploying", f"{deploying} servers are being deployed")
    have, minimum = len(serving(snapshot)), snapshot.spec.replicas.min
    if have <= minimum:
        yield _hold("AtMinimum", f"{have} Ready servers, minimum {minimum}")
    if snapshot.spec.paused in ("All", "ScaleDown"):
        yield _hold("ScaleDownPaused", f"spec.paused is {snapshot.spec.paused}")
    lasted = low_load_lasted(memory, now=now)
    if lasted <= down.stabilization_seconds:
        yield _hold("LowLoadTooShort", f"low load for {lasted:.0f} s, needs more than {down.stabilization_seconds} s")
    yield from _still_settling(snapshot, memory, now=now)


def refusal(snapshot: Snapshot, memory: Memory, triggers: tuple[Trigger, ...], *, now: float) -> Verdict | None:
    """The first rule that forbids scaling down now, or None."""
    return next(refusals(snapshot, memory, triggers, now=now), None)


def _still_settling(snapshot: Snapshot, memory: Memory, *, now: float) -> Iterator[Verdict]:
    leaving = [s.name for s in snapshot.servers if s.leaving]
    if leaving:
        yield _hold("DrainInProgress", f"waiting until {', '.join(leaving[:5])} is gone")
    ended, window = memory.last_drain_ended, snapshot.spec.scaling.window_seconds
    if ended is not None and now - ended < window:
        yield _hold("FreshWindow", f"last drain ended {now - ended:.0f} s ago, needs a fresh window of {window} s")


def shrink(
    snapshot: Snapshot, memory: Memory, triggers: tuple[Trigger, ...], *, now: float
) -> tuple[list[Action], Verdict]:
    """Drain the dearest servers if every rule allows it; else the first rule that does not."""
    down = snapshot.spec.scaling.down
    hold = refusal(snapshot, memory, triggers, now=now)
    if hold:
        return [], hold
    surplus = len(serving(snapshot)) - snapshot.spec.replicas.min
    step = surplus if down.step == "Auto" else min(down.step, surplus)
    ranked = victims.rank(snapshot.servers)[:step]
    if not ranked:
        return [], _hold("NoVictim", "every Ready server is protected by the annotation haipool.io/protect")
    chosen = list(takewhile(lambda victim: not victims.too_young(victim, down, now=now), ranked))
    if not chosen:
        age = now - (ranked[0].ready_at or now)
        ran = f"the dearest server {ranked[0].name} has run for {age:.0f} s"
        return [], _hold("VictimTooYoung", f"{ran}, needs more than {down.min_lifetime_seconds} s")
    if down.step == "Auto":
        chosen = chosen[: spare(snapshot, memory, chosen)]
    while down.safety_check and (unsafe := _unsafe(chosen, snapshot)):
        chosen.pop()
        if not chosen:
            return [], _hold("UnsafeToShrink", unsafe)
    return _drain(chosen, memory, now=now)


def spare(snapshot: Snapshot, memory: Memory, ranked: Sequence[ServerView]) -> int:
    """How many of these, first victim first, a step of `Auto` lets go: one at least, as a step of one would."""
    peak, scaling = memory.peak or Peak(), snapshot.spec.scaling
    fit = (n for n in range(len(ranked), 1, -1) if victims.keeps_calm(ranked[:n], snapshot.servers, peak, scaling))
    return next(fit, 1)


def _unsafe(chosen: list[ServerView], snapshot: Snapshot) -> str:
    return victims.unsafe_to_remove(chosen, snapshot.servers, snapshot.signals, snapshot.spec.scaling.up)


def _drain(chosen: list[ServerView], memory: Memory, *, now: float) -> tuple[list[Action], Verdict]:
    lasted = low_load_lasted(memory, now=now)
    names = ", ".join(f"{v.name} ({v.bundle} in {v.region}, {v.price_per_hour:g} CNY/h)" for v in chosen)
    message = f"low load for {lasted:.0f} s -> destroy the dearest: {names}"
    return [Drain(v.name, "LowLoad", message) for v in chosen], Verdict("ScaleDown", "LowLoad", message)


def agreed_dead(snapshot: Snapshot) -> list[ServerView]:
    """The servers that the operator and every reporting dispatcher find dead."""
    return [s for s in snapshot.servers if s.agreed_dead and s.state is ServerState.UNHEALTHY]


def too_many_dead(snapshot: Snapshot, memory: Memory) -> Verdict | None:
    """The brake on replacing: more than a fifth of the servers in service is dead at once.

    Those still being deployed or already being destroyed are no evidence that the rest is well, and do not count; but
    the dead that were destroyed moments ago do, or a pool whose servers are found dead one by one would lose them all.
    """
    lately = {name for name, _ in memory.replaced}
    dead = lately | {s.name for s in agreed_dead(snapshot)}
    serve = {s.name for s in snapshot.servers if s.state in (ServerState.READY, ServerState.UNHEALTHY)}
    in_service = len(serve | lately)
    limit = max(1, int(in_service * REPLACEABLE_SHARE))
    if len(dead) <= limit or not dead - lately:
        return None
    many = f"{len(dead)} of {in_service} servers are dead"
    return _hold("TooManyDead", f"{many}, at most {limit} are replaced at once; look for a common cause")


def replace_dead(snapshot: Snapshot, memory: Memory) -> tuple[list[Action], Verdict | None]:
    """Destroy servers that all observers agree are dead, unless too many died at once.

    What replaces them follows from the minimum and the triggers, as for any missing server: under low load a dead
    server that nobody misses is not bought again. `paused: All` leaves them where they are.
    """
    brake = too_many_dead(snapshot, memory)
    if brake:
        return [], brake
    dead = agreed_dead(snapshot)
    if not dead or snapshot.spec.paused == "All":
        return [], None
    actions: list[Action] = [
        Destroy(s.name, "Dead", f"{s.name} is dead: neither the operator nor any dispatcher reaches it") for s in dead
    ]
    return actions, Verdict("Replace", "Dead", "; ".join(a.message for a in actions))


def _hold(reason: str, message: str) -> Verdict:
    return Verdict("Hold", reason, message)
