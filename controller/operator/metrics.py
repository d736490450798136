"""The operator's own Prometheus metrics. Labels are bounded: pools, regions, bundles, never users or tasks."""

from collections.abc import Iterable
from math import nan

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from controller.api.gpupool import GpuPool
from controller.api.spend import Spend
from controller.operator.moneymetrics import MoneyMetrics
from controller.operator.trafficmetrics import TrafficMetrics
from controller.scaling.plan import Plan
from controller.scaling.snapshot import Block, ServerView

_POOL = ("namespace", "pool")


class OperatorMetrics:
    """All figures the operator exports."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self.money = MoneyMetrics(registry)
        self.servers = Gauge("haipool_pool_servers", "Servers by state.", [*_POOL, "state"], registry=registry)
        self.desired = Gauge(
            "haipool_pool_desired_servers", "Servers after the last decision.", _POOL, registry=registry
        )
        self.signal = Gauge(
            "haipool_pool_signal",
            "Signal of the last decision; NaN while unknown.",
            [*_POOL, "signal"],
            registry=registry,
        )
        self.suspended = Gauge(
            "haipool_pool_signal_suspended",
            "1 while a signal buys nothing since what was bought for it stood idle.",
            [*_POOL, "signal"],
            registry=registry,
        )
        self.spend_rate = Gauge("haipool_pool_cny_per_hour", "Cost of the servers now.", _POOL, registry=registry)
        self.spend_today = Gauge(
            "haipool_pool_today_cny", "Cost since midnight, Beijing time.", _POOL, registry=registry
        )
        self.spend_month = Gauge(
            "haipool_pool_month_cny", "Cost of this month, Beijing time.", _POOL, registry=registry
        )
        self.traffic = TrafficMetrics(registry)
        self.decisions = Counter(
            "haipool_decisions_total", "Decisions by what and why.", [*_POOL, "action", "reason"], registry=registry
        )
        self.decision_seconds = Histogram(
            "haipool_decision_seconds", "Time from observing to having acted.", registry=registry
        )
        self.launches = Counter(
            "haipool_launches_total", "Purchases tried, by outcome.", ["region", "bundle", "outcome"], registry=registry
        )
        self.terminations = Counter(
            "haipool_terminations_total", "Instances proven gone.", ["region", "bundle"], registry=registry
        )
        self.leaked_rate = Gauge(
            "haipool_leaked_cny_per_hour",
            "Cost of instances with our mark and no GpuInstance, at the prices known.",
            ["region"],
            registry=registry,
        )
        self.leaked = Gauge(
            "haipool_leaked_instances",
            "Instances with our mark and no GpuInstance, for certain.",
            ["region"],
            registry=registry,
        )
        self.ready_seconds = Histogram(
            "haipool_deploy_seconds",
            "Time from purchase to Ready.",
            ["region", "bundle"],
            buckets=(1, 5, 15, 30, 60, 120, 180, 240, 300, 480, 600, 900, 1800),
            registry=registry,
        )
        self.storage = Gauge(
            "haipool_preset_storage_cny_per_day",
            "Storage cost of a preset.",
            ["namespace", "preset"],
            registry=registry,
        )
        self.offer_price = Gauge(
            "haipool_offer_cny_per_hour", "Price of an offer.", ["region", "bundle"], registry=registry
        )
        self.blocked = Gauge(
            "haipool_purchases_blocked",
            "1 while the cloud refuses purchases; without a region: of the whole account.",
            ["region", "reason"],
            registry=registry,
        )
        self.alerts = Gauge(
            "haipool_alerts", "Alerts that fire, by rule and level.", [*_POOL, "rule", "level"], registry=registry
        )
        self.notifications = Counter(
            "haipool_notifications_total",
            "Attempts to notify a destination, by type and outcome.",
            ["type", "outcome"],
            registry=registry,
        )
        self.cloud_calls = Counter(
            "haipool_cloud_calls_total",
            "Calls of the cloud contract, by outcome.",
            ["call", "outcome"],
            registry=registry,
        )
        self.cloud_seconds = Histogram(
            "haipool_cloud_call_seconds", "Duration of calls of the cloud contract.", ["call"], registry=registry
        )
        self.errors = Counter(
            "haipool_reconcile_errors_total", "Runs that ended in an error.", ["kind"], registry=registry
        )

    def decided(self, pool: GpuPool, plan: Plan, servers: Iterable[ServerView], spend: Spend) -> None:
        """Export one decision."""
        labels = (pool.metadata.namespace, pool.metadata.name)
        states = {"Launching": 0, "Deploying": 0, "Ready": 0, "Unhealthy": 0, "Draining": 0, "Terminating": 0}
        for server in servers:
            states["Draining" if server.draining and server.state.value == "Ready" else server.state.value] += 1
        for state, count in states.items():
            self.servers.labels(*labels, state).set(count)
        self.desired.labels(*labels).set(plan.desired)
        for trigger in plan.triggers:
            name = trigger.name.replace(" ", "_").lower()
            self.signal.labels(*labels, name).set(trigger.signal.value if trigger.signal else nan)
            suspension = plan.memory.efficacy and plan.memory.efficacy.suspension(trigger.reason)
            self.suspended.labels(*labels, name).set(suspension is not None)
        self.spend_rate.labels(*labels).set(spend.per_hour)
        self.spend_today.labels(*labels).set(spend.today)
        self.spend_month.labels(*labels).set(spend.this_month)
        self.decisions.labels(*labels, plan.verdict.action, plan.verdict.reason).inc()

    def blocks(self, blocks: Iterable[Block]) -> None:
        """Export the blocks that stand, and no others."""
        self.blocked.clear()
        for block in blocks:
            self.blocked.labels(block.region or "", block.reason).set(1)

    def forget_pool(self, namespace: str, name: str) -> None:
        """Stop exporting a pool that is gone."""
        self.money.forget_pool(namespace, name)
        for gauge in (
            self.servers,
            self.desired,
            self.signal,
            self.suspended,
            self.spend_rate,
            self.spend_today,
            self.spend_month,
            *self.traffic.gauges,
        ):
            gauge.remove_by_labels({"namespace": namespace, "pool": name})
