"""Everything that fires at a pool now: the producers of alerts, and the facts they look at."""

from dataclasses import dataclass

from controller.api.gpupool import GpuPool
from controller.api.model import ConditionModel
from controller.api.spend import Spend
from controller.api.traffic import TrafficStatus
from controller.operator.context import Context
from controller.operator.traffic import shares
from controller.scaling.alerts import Alert
from controller.scaling.healthalerts import Health, health_alerts, unknown_rules
from controller.scaling.moneyalerts import billing_alerts, budget_alerts
from controller.scaling.plan import Plan
from controller.scaling.snapshot import Snapshot
from controller.scaling.trafficalerts import traffic_alerts
from controller.scaling.triggers import firing


@dataclass(frozen=True, slots=True)
class Facts:
    """What one decision has found out about a pool."""

    pool: GpuPool
    snapshot: Snapshot
    decided: Plan
    #: As they stand after the decision.
    conditions: tuple[ConditionModel, ...]
    spend: Spend
    traffic: TrafficStatus


def firing_alerts(ctx: Context, facts: Facts, *, now: float) -> list[Alert]:
    """All alerts that fire now; a new producer is called here."""
    pool = facts.pool
    leaked = sum(leak.price_per_hour or 0.0 for leak in ctx.leaks.of(pool) if leak.wasted)
    wants_more = bool(firing(facts.decided.triggers))
    return [
        *health_alerts(Health(facts.snapshot, facts.conditions, leaked, wants_more, now, facts.decided.memory)),
        *budget_alerts(pool.spec.budget, facts.spend, reason=facts.decided.verdict.reason),
        *billing_alerts(pool.status.billing),
        *traffic_alerts(facts.traffic, shares(ctx.store.instances_of(pool), now=now), pool.spec.traffic),
    ]


def unknown(facts: Facts) -> frozenset[str]:
    """Rules of which nothing can be said now: their alerts stay as they are."""
    return unknown_rules(facts.conditions)
