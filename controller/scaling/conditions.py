"""The pool's conditions: Unknown while unsettled, False only when someone should act."""

from typing import Final

from controller.api.model import MESSAGE_LIMIT, ConditionModel, ConditionStatus
from controller.api.names import Condition
from controller.api.times import rfc3339
from controller.scaling import budget
from controller.scaling.available import available
from controller.scaling.grow import next_try, nothing_on_offer, staying
from controller.scaling.launches import RING, UNHEALTHY
from controller.scaling.offers import buyable
from controller.scaling.plan import Plan
from controller.scaling.shrink import too_many_dead
from controller.scaling.snapshot import NOT_VERIFIED, ServerState, Snapshot
from controller.scaling.trials import Efficacy

#: A refusal of the account that no purchase has tried again for so long is no longer held against it.
UNTRIED_SECONDS: Final = 600.0


def pool_conditions(snapshot: Snapshot, plan: Plan, *, now: float) -> tuple[ConditionModel, ...]:
    """All conditions of a pool after a decision, without times: those are kept by whoever writes them."""
    return (
        _ready(snapshot, plan),
        _metrics(snapshot, plan, now=now),
        _capacity(snapshot, now=now),
        _launches(snapshot, now=now),
        _effective(snapshot, plan, now=now),
        _account(snapshot, now=now),
        _paused(snapshot),
        _budget(snapshot, plan),
    )


def condition(kind: str, status: ConditionStatus, reason: str, message: str) -> ConditionModel:
    """A condition whose message is cut to what people read."""
    short = message if len(message) <= MESSAGE_LIMIT else message[: MESSAGE_LIMIT - 1] + "…"
    return ConditionModel(type=kind, status=status, reason=reason, message=short)


def _ready(snapshot: Snapshot, plan: Plan) -> ConditionModel:
    ready = sum(s.state is ServerState.READY and not s.leaving for s in snapshot.servers)
    minimum = snapshot.spec.replicas.min
    if snapshot.deleting:
        return condition(Condition.READY, "False", "Deleting", f"{len(snapshot.servers)} servers left")
    brake = too_many_dead(snapshot, plan.memory)
    if brake:
        return condition(Condition.READY, "False", brake.reason, brake.message)
    if ready >= minimum:
        return condition(Condition.READY, "True", "MinimumReady", f"{ready} servers Ready, minimum {minimum}")
    waiting = sum(s.in_deployment for s in snapshot.servers)
    if waiting:
        message = f"{ready} of at least {minimum} servers Ready, {waiting} being deployed"
        return condition(Condition.READY, "Unknown", "Deploying", message)
    return _not_ready(snapshot, plan, f"{ready} of at least {minimum} servers Ready")


def _not_ready(snapshot: Snapshot, plan: Plan, message: str) -> ConditionModel:
    """Too few are Ready and none is being deployed: being seen to right now, or a case for a person."""
    acting = bool(plan.actions) and snapshot.spec.mode == "Act"
    if acting or plan.verdict.reason == "VerifyingPresets":
        return condition(Condition.READY, "Unknown", plan.verdict.reason, plan.verdict.message)
    unhealthy = [s.name for s in staying(snapshot) if s.state is ServerState.UNHEALTHY]
    if unhealthy:
        return condition(Condition.READY, "False", "Unhealthy", f"{message}; unhealthy: {', '.join(unhealthy[:5])}")
    return condition(Condition.READY, "False", plan.verdict.reason, plan.verdict.message)


def _metrics(snapshot: Snapshot, plan: Plan, *, now: float) -> ConditionModel:
    status, reason, message = available(snapshot, plan.triggers, now=now)
    return condition(Condition.METRICS_AVAILABLE, status, reason, message)


def _capacity(snapshot: Snapshot, *, now: float) -> ConditionModel:
    offers = buyable(snapshot.offers, snapshot.blocks, now=now)
    if offers:
        return condition(Condition.CAPACITY_AVAILABLE, "True", "OffersInStock", f"next: {offers[0]}")
    if not snapshot.offers and any(why == NOT_VERIFIED for _, why in snapshot.unusable_presets):
        return condition(
            Condition.CAPACITY_AVAILABLE, "Unknown", "VerifyingPresets", nothing_on_offer(snapshot, now=now)
        )
    if snapshot.offers and all(not o.in_stock(now) for o in snapshot.offers):
        return condition(Condition.CAPACITY_AVAILABLE, "False", "SoldOut", nothing_on_offer(snapshot, now=now))
    return condition(Condition.CAPACITY_AVAILABLE, "False", "NoOffer", nothing_on_offer(snapshot, now=now))


def _launches(snapshot: Snapshot, *, now: float) -> ConditionModel:
    """Half of the last four failed: someone should look. One alone, or a success after them, leaves it open."""
    kind, failures, outcomes = Condition.LAUNCH_HEALTHY, snapshot.launch_failures, snapshot.launch_outcomes
    failed = max(len(outcomes) - sum(outcomes), min(len(failures), RING))
    if not failures and failed < UNHEALTHY:
        return condition(kind, "True", "LaunchesSucceed", "launches become Ready")
    of = f"{failed} of the last {max(len(outcomes), failed)} launches failed"
    if not failures:
        return condition(kind, "Unknown", "Recovering", f"the last launch became Ready, {of}")
    wait = max(0.0, next_try(snapshot) - now)
    again = f"tried again in {wait:.0f} s by itself; the first server that becomes Ready ends the pause"
    if failed < UNHEALTHY:
        return condition(kind, "Unknown", "LaunchFailed", f"{failures[-1][1]}; {again}")
    row = f"{len(failures)} in a row: {failures[-1][1]}"
    return condition(kind, "False", "LaunchesFailing", f"{of}, {row}; {again}")


def _effective(snapshot: Snapshot, plan: Plan, *, now: float) -> ConditionModel:
    kind, efficacy = Condition.SCALE_UP_EFFECTIVE, plan.memory.efficacy or Efficacy()
    if not snapshot.spec.scaling.up.only_if_effective:
        return condition(kind, "True", "NotWatched", "scaling.up.onlyIfEffective is false")
    if not efficacy.suspensions:
        return condition(kind, "True", "NoObjection", "no signal is suspended: what is bought for them has work")
    names = {t.reason: t.name for t in plan.triggers}
    told = [f"{names[s.trigger]} since {rfc3339(s.since)}: {s.seen}" for s in efficacy.suspensions]
    if any(now < s.until for s in efficacy.suspensions):
        return condition(kind, "False", "ServersStayIdle", f"buys nothing: {'; '.join(told)}")
    return condition(kind, "Unknown", "HalfOpen", f"may buy one server to see whether it helps now: {'; '.join(told)}")


def _account(snapshot: Snapshot, *, now: float) -> ConditionModel:
    blocks = snapshot.blocks
    if not blocks:
        return condition(Condition.ACCOUNT_HEALTHY, "True", "NoObjection", "the cloud accepts this account's requests")
    message = "; ".join(f"{b.region}: {b.message}" if b.region else b.message for b in blocks)
    if all(now - block.until > UNTRIED_SECONDS for block in blocks):
        message = f"nothing was bought since; the next purchase finds out: {message}"
        return condition(Condition.ACCOUNT_HEALTHY, "Unknown", blocks[0].reason, message)
    return condition(Condition.ACCOUNT_HEALTHY, "False", blocks[0].reason, message)


def _paused(snapshot: Snapshot) -> ConditionModel:
    paused = snapshot.spec.paused
    if snapshot.spec.mode == "Recommend":
        return condition(Condition.PAUSED, "True", "Recommend", "spec.mode is Recommend: decisions are shown, not done")
    if paused == "None":
        return condition(Condition.PAUSED, "False", "Active", "decisions are acted on")
    extra = f"; {len(staying(snapshot))} servers, minimum {snapshot.spec.replicas.min}"
    return condition(Condition.PAUSED, "True", paused, f"spec.paused is {paused}{extra}")


def _budget(snapshot: Snapshot, plan: Plan) -> ConditionModel:
    """False when a hard cap keeps the pool from what it needs, or is used up; slower growth is nothing to act on."""
    standings = budget.standings_of(snapshot)
    if not standings:
        return condition(Condition.BUDGET_AVAILABLE, "True", "NoBudget", "spec.budget sets no cap")
    told = ", ".join(map(str, standings))
    if budget.is_hard(plan.verdict.reason):
        return condition(Condition.BUDGET_AVAILABLE, "False", plan.verdict.reason, plan.verdict.message)
    used_up = next((s for s in standings if s.hard), None)
    if used_up is not None:
        message = f"nothing more is bought: {told}"
        return condition(Condition.BUDGET_AVAILABLE, "False", f"{used_up.name}HardCap", message)
    slowed = next((f"{s.name}SoftCap" for s in standings if s.soft), None)
    if slowed is None and budget.is_soft(plan.verdict.reason):
        slowed = plan.verdict.reason
    if slowed is not None:
        return condition(Condition.BUDGET_AVAILABLE, "True", slowed, f"growth is slowed: {told}")
    return condition(Condition.BUDGET_AVAILABLE, "True", "WithinBudget", told)
