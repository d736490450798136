"""One decision: a pure function from what is seen to what is done, with its reasons."""

from dataclasses import dataclass, replace

from controller.scaling.actions import Action, Adopt, Destroy, Launch, Undrain, Verdict
from controller.scaling.clock import advance
from controller.scaling.grow import grow, returnable, staying, wanted
from controller.scaling.shrink import finish_drains, replace_dead, revoke_drains, shrink
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

    Order: a pool that is being deleted lets everything go; the dead are replaced; drains that may not go on are taken
    back and those that ended are finished; more servers come before fewer; scaling down is last and needs every rule
    to allow it.

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
    return Plan(tuple(actions), verdict, triggers, _remembering(memory, actions, now=now), _desired(snapshot, actions))


def _let_go(snapshot: Snapshot) -> tuple[list[Action], Verdict]:
    message = f"the pool is being deleted, deletionPolicy {snapshot.spec.deletion_policy}"
    if snapshot.spec.deletion_policy == "Orphan":
        return [], Verdict("Orphan", "PoolDeleted", message)
    left = [s for s in snapshot.servers if s.state is not ServerState.TERMINATING]
    return [Destroy(s.name, "PoolDeleted", message) for s in left], Verdict("Terminate", "PoolDeleted", message)


def _decide(
    snapshot: Snapshot, memory: Memory, triggers: tuple[Trigger, ...], *, now: float
) -> tuple[list[Action], Verdict]:
    dead, replacing = replace_dead(snapshot, memory)
    if dead and replacing:
        return dead, replacing
    revoked, revocation = revoke_drains(snapshot)
    if revocation:
        return revoked + finish_drains(snapshot, spare=_names(revoked)), revocation
    want = wanted(snapshot, triggers, memory, now=now)
    if want:
        actions, verdict = grow(snapshot, want, now=now)
        taking_back = any(isinstance(action, Undrain) for action in actions)
        spare = {s.name for s in returnable(snapshot)} if taking_back else set()
        return finish_drains(snapshot, spare=spare) + actions, verdict
    if replacing:
        return finish_drains(snapshot), replacing
    actions, verdict = shrink(snapshot, memory, triggers, now=now)
    return finish_drains(snapshot) + actions, verdict


def _remembering(memory: Memory, actions: list[Action], *, now: float) -> Memory:
    """The memory with the dead that are destroyed now."""
    known = {name for name, _ in memory.replaced}
    dead = [a.server for a in actions if isinstance(a, Destroy) and a.reason == "Dead" and a.server not in known]
    return replace(memory, replaced=(*memory.replaced, *((name, now) for name in dead))) if dead else memory


def _server(action: Action) -> str | None:
    return None if isinstance(action, Launch) else action.server


def _names(actions: list[Action]) -> set[str]:
    return {action.server for action in actions if not isinstance(action, Launch)}


def _desired(snapshot: Snapshot, actions: list[Action]) -> int:
    """Servers that stay once the actions are done."""
    leaving_now = {_server(a) for a in actions if not isinstance(a, Launch | Adopt | Undrain)}
    stay = sum(s.name not in leaving_now for s in staying(snapshot))
    return stay + sum(isinstance(a, Launch | Adopt | Undrain) for a in actions)
