"""Whether, why and what to destroy."""

from typing import Final

from controller.scaling import victims
from controller.scaling.actions import Action, Destroy, Drain, Verdict
from controller.scaling.clock import low_load_lasted
from controller.scaling.grow import staying
from controller.scaling.readings import nothing_being_deployed
from controller.scaling.snapshot import Memory, ServerState, ServerView, Snapshot
from controller.scaling.triggers import Trigger, blocking_scale_down

#: One dead server is always replaced; beyond it, at most this share of a pool at once.
#: When more fail together the cause is rarely the servers, and buying new ones would only cost money.
REPLACEABLE_SHARE: Final = 0.2


def finish_drains(snapshot: Snapshot) -> list[Action]:
    """Destroy what is drained; nothing here is a new decision, so only a pause stops it."""
    if snapshot.spec.paused in ("All", "ScaleDown"):
        return []
    return [
        Destroy(s.name, "Drained", f"{s.name} is drained")
        for s in snapshot.servers
        if s.draining and s.drained and s.state is not ServerState.TERMINATING
    ]


def refusal(snapshot: Snapshot, memory: Memory, triggers: tuple[Trigger, ...], *, now: float) -> Verdict | None:
    """The first rule that forbids scaling down now, or None. Its order is the order of the explanation."""
    down = snapshot.spec.scaling.down
    for trigger in blocking_scale_down(triggers):
        return _hold("LoadNotLow", trigger.not_below())
    have, minimum = len(staying(snapshot)), snapshot.spec.replicas.min
    if have <= minimum:
        return _hold("AtMinimum", f"{have} servers, minimum {minimum}")
    if snapshot.spec.paused in ("All", "ScaleDown"):
        return _hold("ScaleDownPaused", f"spec.paused is {snapshot.spec.paused}")
    deploying = sum(s.in_deployment for s in snapshot.servers)
    if not nothing_being_deployed(deploying):
        return _hold("Deploying", f"{deploying} servers are being deployed")
    lasted = low_load_lasted(memory, now=now)
    if lasted <= down.stabilization_seconds:
        return _hold("LowLoadTooShort", f"low load for {lasted:.0f} s, needs more than {down.stabilization_seconds} s")
    return _still_settling(snapshot, memory, now=now)


def _still_settling(snapshot: Snapshot, memory: Memory, *, now: float) -> Verdict | None:
    leaving = [s.name for s in snapshot.servers if s.leaving]
    if leaving:
        return _hold("DrainInProgress", f"waiting until {', '.join(leaving[:5])} is gone")
    ended, window = memory.last_drain_ended, snapshot.spec.scaling.window_seconds
    if ended is not None and now - ended < window:
        return _hold("FreshWindow", f"last drain ended {now - ended:.0f} s ago, needs a fresh window of {window} s")
    return None


def shrink(
    snapshot: Snapshot, memory: Memory, triggers: tuple[Trigger, ...], *, now: float
) -> tuple[list[Action], Verdict]:
    """Drain the dearest servers if every rule allows it; else the first rule that does not."""
    down = snapshot.spec.scaling.down
    hold = refusal(snapshot, memory, triggers, now=now)
    if hold:
        return [], hold
    surplus = len(staying(snapshot)) - snapshot.spec.replicas.min
    chosen = victims.rank(snapshot.servers)[: min(down.step, surplus)]
    if not chosen:
        return [], _hold("NoVictim", "every Ready server is protected by the annotation haipool.io/protect")
    for victim in chosen:
        if victims.too_young(victim, down, now=now):
            age = now - (victim.ready_at or now)
            ran = f"the dearest server {victim.name} has run for {age:.0f} s"
            return [], _hold("VictimTooYoung", f"{ran}, needs more than {down.min_lifetime_seconds} s")
    if down.safety_check:
        unsafe = victims.unsafe_to_remove(chosen, snapshot.servers, snapshot.signals, snapshot.spec.scaling.up)
        if unsafe:
            return [], _hold("UnsafeToShrink", unsafe)
    return _drain(chosen, memory, now=now)


def _drain(chosen: list[ServerView], memory: Memory, *, now: float) -> tuple[list[Action], Verdict]:
    lasted = low_load_lasted(memory, now=now)
    names = ", ".join(f"{v.name} ({v.bundle} in {v.region}, {v.price_per_hour:g} CNY/h)" for v in chosen)
    message = f"low load for {lasted:.0f} s -> destroy the dearest: {names}"
    return [Drain(v.name, "LowLoad", message) for v in chosen], Verdict("ScaleDown", "LowLoad", message)


def replace_dead(snapshot: Snapshot) -> tuple[list[Action], Verdict | None]:
    """Destroy servers that all observers agree are dead, unless too many died at once.

    What replaces them follows from the minimum and the triggers, as for any missing server: under low load a dead
    server that nobody misses is not bought again.
    """
    dead = [s for s in snapshot.servers if s.agreed_dead and s.state is ServerState.UNHEALTHY]
    if not dead:
        return [], None
    limit = max(1, int(len(snapshot.servers) * REPLACEABLE_SHARE))
    if len(dead) > limit:
        many = f"{len(dead)} of {len(snapshot.servers)} servers are dead"
        return [], _hold("TooManyDead", f"{many}, at most {limit} are replaced at once; look for a common cause")
    actions: list[Action] = [
        Destroy(s.name, "Dead", f"{s.name} is dead: neither the operator nor any dispatcher reaches it") for s in dead
    ]
    return actions, Verdict("Replace", "Dead", "; ".join(a.message for a in actions))


def _hold(reason: str, message: str) -> Verdict:
    return Verdict("Hold", reason, message)
