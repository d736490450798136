"""One decision: a pure function from what is seen to what is done, with its reasons."""

from dataclasses import dataclass

from controller.scaling.actions import Action, Destroy, Launch, Undrain, Verdict
from controller.scaling.clock import advance
from controller.scaling.grow import grow, staying, wanted
from controller.scaling.shrink import finish_drains, replace_dead, shrink
from controller.scaling.snapshot import Memory, ServerState, Snapshot
from controller.scaling.triggers import Trigger, evaluate


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do now, why, and what to remember."""

    actions: tuple[Action, ...]
    verdict: Verdict
    triggers: tuple[Trigger, ...]
    memory: Memory
    #: Servers the pool should have after this decision.
    desired: int


def plan(snapshot: Snapshot, memory: Memory, *, now: float) -> Plan:
    """Decide.

    Order: a pool that is being deleted lets everything go; drains that ended are finished; the dead are replaced; more
    servers come before fewer; scaling down is last and needs every rule to allow it.

    Args:
        snapshot: everything the decision may look at.
        memory: what the last decision returned; a fresh `Memory()` after a start.
        now: Unix seconds, of the same clock as the snapshot's times.
    """
    triggers = evaluate(snapshot.signals, snapshot.spec.scaling)
    memory = advance(memory, snapshot, triggers, now=now)
    if snapshot.deleting:
        actions, verdict = _let_go(snapshot)
    else:
        actions, verdict = _decide(snapshot, memory, triggers, now=now)
    return Plan(tuple(actions), verdict, triggers, memory, _desired(snapshot, actions))


def _let_go(snapshot: Snapshot) -> tuple[list[Action], Verdict]:
    message = f"the pool is being deleted, deletionPolicy {snapshot.spec.deletion_policy}"
    if snapshot.spec.deletion_policy == "Orphan":
        return [], Verdict("Orphan", "PoolDeleted", message)
    left = [s for s in snapshot.servers if s.state is not ServerState.TERMINATING]
    return [Destroy(s.name, "PoolDeleted", message) for s in left], Verdict("Terminate", "PoolDeleted", message)


def _decide(
    snapshot: Snapshot, memory: Memory, triggers: tuple[Trigger, ...], *, now: float
) -> tuple[list[Action], Verdict]:
    dead, replacing = replace_dead(snapshot)
    if dead and replacing:
        return dead, replacing
    want = wanted(snapshot, triggers)
    if want:
        actions, verdict = grow(snapshot, want, now=now)
        kept = {action.server for action in actions if isinstance(action, Undrain)}
        return [a for a in finish_drains(snapshot) if _server(a) not in kept] + actions, verdict
    if snapshot.spec.paused in ("All", "ScaleDown"):
        returning = _resume_serving(snapshot)
        if returning:
            return returning, Verdict("Undrain", "ScaleDownPaused", "; ".join(a.message for a in returning))
    actions, verdict = shrink(snapshot, memory, triggers, now=now)
    return finish_drains(snapshot) + actions, replacing or verdict


def _resume_serving(snapshot: Snapshot) -> list[Action]:
    """A pause of scale-down takes the pool's own drains back: a server that must stay should work."""
    message = f"spec.paused is {snapshot.spec.paused}"
    return [
        Undrain(s.name, "ScaleDownPaused", f"{s.name}: {message}")
        for s in snapshot.servers
        if s.draining and s.drained_by_pool and s.state is ServerState.READY
    ]


def _server(action: Action) -> str | None:
    return None if isinstance(action, Launch) else action.server


def _desired(snapshot: Snapshot, actions: list[Action]) -> int:
    """Servers that stay once the actions are done."""
    leaving_now = {_server(a) for a in actions if not isinstance(a, Launch | Undrain)}
    stay = sum(s.name not in leaving_now for s in staying(snapshot))
    return stay + sum(isinstance(a, Launch | Undrain) for a in actions)
