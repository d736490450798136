"""The status of one pool: what a decision saw, did and cost, in status, events and metrics, in the same words."""

from typing import Any

import msgspec

from controller.api.decision import JournalEntry
from controller.api.gpupool import GpuPool
from controller.api.model import MESSAGE_LIMIT, ConditionModel, write, write_over
from controller.api.names import POOL_LABEL, Condition
from controller.api.spend import Spend
from controller.api.times import rfc3339
from controller.operator.cdn import cdn_condition
from controller.operator.context import Context
from controller.operator.costlog import log_costs
from controller.operator.facts import Facts, firing_alerts, unknown
from controller.operator.fence import settled
from controller.operator.leaks import leak_condition
from controller.operator.money import bills_of, keep_books
from controller.operator.objects import merge_conditions
from controller.operator.remembered import efficacy_status, launches, launches_status
from controller.operator.sampling import sample_servers
from controller.operator.telling import worth_telling
from controller.operator.traffic import pool_traffic
from controller.scaling.account import account
from controller.scaling.available import signal_status
from controller.scaling.conditions import pool_conditions
from controller.scaling.journal import IDLE_ACTIONS, Journal, remember, started
from controller.scaling.plan import Plan
from controller.scaling.snapshot import ServerState, Snapshot
from controller.scaling.trials import Efficacy
from controller.scaling.triggers import firing


async def write_down(ctx: Context, key: str, snapshot: Snapshot, decided: Plan) -> None:
    """Status, conditions, events and metrics of one decision: the same words everywhere."""
    pool = ctx.store.pools.get(key)
    if pool is None:
        return
    now = ctx.clock()
    instances = ctx.store.instances_of(pool)
    spend, money = keep_books(pool, bills_of(ctx, pool), now=now)
    traffic, about_traffic = pool_traffic(ctx.traffic, pool, instances, now=now)
    conditions = [*pool_conditions(snapshot, decided, now=now), about_traffic]
    conditions.append(leak_condition(ctx.leaks, ctx.store, pool, now=ctx.view.now()))
    conditions += [told for told in (cdn_condition(pool),) if told is not None]
    conditions.append(ctx.alerting.condition(pool))
    known = launches(ctx.pool_memory(pool.metadata.uid), pool)
    await _announce(ctx, pool, conditions)
    merged = merge_conditions(pool.status.conditions, conditions, generation=pool.metadata.generation, now=now)
    facts = Facts(pool, snapshot, decided, msgspec.convert(merged, tuple[ConditionModel, ...]), spend, traffic)
    alerts = ctx.alerting.advance(pool, firing_alerts(ctx, facts, now=now), unknown=unknown(facts), now=now)
    sample_servers(ctx, pool, now=now)
    fields: dict[str, Any] = {
        **_counts(snapshot, decided),
        **_decision(pool, snapshot, decided, now=now),
        "launchSettled": settled(ctx, pool),
        "lastDecision": write_over(account(snapshot, decided, now=now)),
        "journal": [write(entry) for entry in _journal(ctx, pool, snapshot, decided, spend)],
        **money,
        "launches": write_over(launches_status(known, pool.status.launches, instances, now=now)),
        "scaleUp": write(efficacy_status(decided.memory.efficacy or Efficacy())),
        "traffic": write(traffic),
        "alerts": [write(alert) for alert in alerts],
        "costLog": write(log_costs(ctx, pool, spend, traffic, alerts)),
        "conditions": merged,
        "observedGeneration": pool.metadata.generation,
        "selector": f"{POOL_LABEL}={pool.metadata.name}",
    }
    await _tell(ctx, pool, fields)
    await ctx.alerting.tell(pool, alerts)
    ctx.metrics.decided(pool, decided, snapshot.servers, spend)
    ctx.metrics.traffic.told(pool, traffic, instances)
    ctx.metrics.money.told(pool, spend, reason=decided.verdict.reason)


async def _tell(ctx: Context, pool: GpuPool, fields: dict[str, Any]) -> None:
    """Write the status if that tells something new, or is due."""
    memory, now, interval = ctx.pool_memory(pool.metadata.uid), ctx.clock(), pool.spec.scaling.interval_seconds
    told = worth_telling(pool.status, fields, told_at=memory.told_at, now=now, interval=interval)
    if told:
        await ctx.objects.pool_status(pool, told)
        memory.told_at = now


def _counts(snapshot: Snapshot, decided: Plan) -> dict[str, Any]:
    servers = snapshot.servers
    return {
        "replicas": sum(s.state is not ServerState.TERMINATING for s in servers),
        "readyReplicas": sum(s.state is ServerState.READY and not s.draining for s in servers),
        "deployingReplicas": sum(s.in_deployment for s in servers),
        "drainingReplicas": sum(s.leaving for s in servers),
        "desiredReplicas": decided.desired,
    }


def _decision(pool: GpuPool, snapshot: Snapshot, decided: Plan, *, now: float) -> dict[str, Any]:
    verdict, memory = decided.verdict, decided.memory
    prefix = "would " if pool.spec.mode == "Recommend" and decided.actions else ""
    since, ended = memory.low_load_since, memory.last_drain_ended
    return {
        "signals": [write(signal_status(t, snapshot.unknown_since, now=now)) for t in decided.triggers],
        "trigger": ",".join(t.reason for t in firing(decided.triggers)),
        "message": f"{prefix}{verdict.action}: {verdict.message}"[:MESSAGE_LIMIT],
        "lowLoadSince": rfc3339(since) if since is not None else None,
        "lastDrainEnded": rfc3339(ended) if ended is not None else None,
    }


def _journal(ctx: Context, pool: GpuPool, snapshot: Snapshot, decided: Plan, spend: Spend) -> Journal:
    """The journal with this decision, and before it, once, that the operator has started."""
    now, memory, journal = ctx.clock(), ctx.pool_memory(pool.metadata.uid), pool.status.journal
    ready = sum(s.state is ServerState.READY and not s.leaving for s in snapshot.servers)
    if not memory.journaled and pool.status.last_decision is not None:
        journal = started(journal, now=now, ready=ready, per_hour=spend.per_hour)
    memory.journaled = True
    acts = bool(decided.actions) and (pool.spec.mode == "Act" or snapshot.deleting)
    entry = JournalEntry(
        time=rfc3339(now),
        action=decided.verdict.action,
        reason=decided.verdict.reason,
        message=decided.verdict.message,
        mode=pool.spec.mode,
        ready=ready,
        desired=decided.desired,
        per_hour=spend.per_hour,
    )
    return remember(journal, entry, acted=acts and decided.verdict.action not in IDLE_ACTIONS)


async def _announce(ctx: Context, pool: GpuPool, conditions: list[Any]) -> None:
    """An event for every condition that has become False (or, for Paused, True) or is well again."""
    before = {c.type: (c.status, c.reason) for c in pool.status.conditions}
    for new in conditions:
        old = before.get(new.type)
        if old is not None and old[0] == new.status and (new.status != "False" or old[1] == new.reason):
            continue
        if new.status == "False" and new.type not in (Condition.PAUSED, Condition.READY):
            await ctx.events.warning(pool, new.reason, f"{new.type}: {new.message}")
        elif new.status == "True" and old is not None and old[0] == "False":
            await ctx.events.normal(pool, new.reason, f"{new.type}: {new.message}")
