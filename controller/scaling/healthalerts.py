"""Alerts from what a pool's conditions and its snapshot say: whether it can serve, buy, be seen and be trusted.

Most wait for a while before they fire: a condition that is False for one decision is often seen to by the next one.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from controller.api.model import ConditionModel
from controller.api.names import Condition
from controller.api.times import unix
from controller.scaling.alerts import Alert, AlertLevel
from controller.scaling.shrink import REPLACEABLE_SHARE, agreed_dead, too_many_dead
from controller.scaling.snapshot import Memory, ServerState, Snapshot

#: Seconds for which a condition has to be False before people hear of it.
PATIENCE: Final = {
    Condition.NO_LEAKS: 0.0,
    Condition.ACCOUNT_HEALTHY: 0.0,
    Condition.CAPACITY_AVAILABLE: 60.0,
    Condition.METRICS_AVAILABLE: 60.0,
    Condition.READY: 60.0,
    Condition.NOTIFICATIONS_DELIVERED: 60.0,
}
#: Rule of each condition, so that one that is Unknown leaves its alert as it is.
RULES: Final = {
    Condition.NO_LEAKS: "Leaks",
    Condition.ACCOUNT_HEALTHY: "Account",
    Condition.CAPACITY_AVAILABLE: "SoldOut",
    Condition.METRICS_AVAILABLE: "MetricsMissing",
    Condition.READY: "NotReady",
    Condition.NOTIFICATIONS_DELIVERED: "NotificationsFailing",
}
#: Metrics that are missing for longer than this are urgent: scaling has stood still all the time.
METRICS_CRITICAL_SECONDS: Final = 600.0
#: Failed launches in a row: a warning, and urgent.
LAUNCHES_WARNING: Final = 2
LAUNCHES_CRITICAL: Final = 5
#: Reasons of Ready=False that are no trouble, or told by a rule of their own.
_NOT_TOLD: Final = ("Deleting", "TooManyDead")


@dataclass(frozen=True, slots=True)
class Health:
    """What the rules look at."""

    snapshot: Snapshot
    #: With their transition times, this decision's included.
    conditions: Sequence[ConditionModel]
    #: CNY per hour of instances without an owner.
    leaked_per_hour: float
    #: A trigger asks for more servers.
    wants_more: bool
    now: float
    #: What the decision has left for the next.
    memory: Memory = field(default_factory=Memory)

    def lasting(self, kind: str) -> tuple[ConditionModel, float] | None:
        """The condition and the seconds since it became False, once that is long enough."""
        found = next((c for c in self.conditions if c.type == kind and c.status == "False"), None)
        if found is None:
            return None
        seconds = self.now - (unix(found.last_transition_time or None) or self.now)
        return (found, seconds) if seconds >= PATIENCE[kind] else None


def health_alerts(health: Health) -> list[Alert]:
    """All alerts of these rules that fire now; none for a pool that is being deleted."""
    if health.snapshot.deleting:
        return []
    found: Iterable[Alert | None] = (
        _leaks(health),
        _account(health),
        _sold_out(health),
        _metrics(health),
        _not_ready(health),
        _notifications(health),
        _launches(health.snapshot),
        _dead(health.snapshot, health.memory),
    )
    return [alert for alert in found if alert is not None]


def unknown_rules(conditions: Iterable[ConditionModel]) -> frozenset[str]:
    """Rules whose condition is Unknown: what fired goes on, and what did not does not begin."""
    return frozenset(RULES[c.type] for c in conditions if c.type in RULES and c.status == "Unknown")


def _leaks(health: Health) -> Alert | None:
    if (found := health.lasting(Condition.NO_LEAKS)) is None:
        return None
    per_hour = health.leaked_per_hour
    zh = f"有实例在计费，却没有对应的 GpuInstance，每小时约 {per_hour:g} 元；池需要服务器时会接管，否则请销毁"
    return Alert("Leaks", "Critical", per_hour, 0.0, "CNY/h", found[0].message, zh)


def _account(health: Health) -> Alert | None:
    if (found := health.lasting(Condition.ACCOUNT_HEALTHY)) is None:
        return None
    condition, seconds = found
    level: AlertLevel = "Emergency" if condition.reason == "Arrears" else "Critical"
    zh = {
        "Arrears": "账户欠费，任何地域都买不到服务器，请充值",
        "Unauthorized": "密钥无效或权限不足，请检查 Secret tencent-credentials 与 CAM 策略",
        "QuotaExceeded": "配额不足，请在腾讯云控制台提升配额",
    }.get(condition.reason, "云账户无法购买服务器")
    return Alert("Account", level, seconds, 0.0, "s", condition.message, f"{zh}（{condition.reason}）")


def _sold_out(health: Health) -> Alert | None:
    if (found := health.lasting(Condition.CAPACITY_AVAILABLE)) is None:
        return None
    condition, seconds = found
    needed = health.wants_more or _serving(health.snapshot) < health.snapshot.spec.replicas.min
    zh = "所有地域与机型都买不到" if condition.reason == "SoldOut" else "没有可以购买的报价"
    zh += "，而现在需要更多服务器" if needed else "，目前还不需要更多服务器"
    level: AlertLevel = "Critical" if needed else "Warning"
    return Alert("SoldOut", level, seconds, PATIENCE[Condition.CAPACITY_AVAILABLE], "s", condition.message, zh)


def _metrics(health: Health) -> Alert | None:
    if (found := health.lasting(Condition.METRICS_AVAILABLE)) is None:
        return None
    condition, seconds = found
    level: AlertLevel = "Critical" if seconds >= METRICS_CRITICAL_SECONDS else "Warning"
    zh = f"读不到调度器的指标（{condition.reason}），读到之前不会缩容，也看不到负载"
    return Alert("MetricsMissing", level, seconds, PATIENCE[Condition.METRICS_AVAILABLE], "s", condition.message, zh)


def _not_ready(health: Health) -> Alert | None:
    found = health.lasting(Condition.READY)
    if found is None or found[0].reason in _NOT_TOLD:
        return None
    ready, minimum = _serving(health.snapshot), health.snapshot.spec.replicas.min
    level: AlertLevel = "Critical" if ready == 0 else "Warning"
    zh = f"就绪的服务器有 {ready} 台，至少应有 {minimum} 台（{found[0].reason}）"
    return Alert("NotReady", level, float(ready), float(minimum), "servers", found[0].message, zh)


def _notifications(health: Health) -> Alert | None:
    if (found := health.lasting(Condition.NOTIFICATIONS_DELIVERED)) is None:
        return None
    condition, seconds = found
    threshold = PATIENCE[Condition.NOTIFICATIONS_DELIVERED]
    zh = f"有通知发不出去（{condition.reason}），原因见池的 NotificationsDelivered 状态"
    return Alert("NotificationsFailing", "Warning", seconds, threshold, "s", condition.message, zh)


def _launches(snapshot: Snapshot) -> Alert | None:
    failures = snapshot.launch_failures
    if len(failures) < LAUNCHES_WARNING:
        return None
    count = len(failures)
    level: AlertLevel = "Critical" if count >= LAUNCHES_CRITICAL else "Warning"
    message = f"the last {count} launches failed: {failures[-1][1]}"
    zh = f"最近 {count} 次启动都失败了，最后一次：{failures[-1][1]}"
    return Alert("LaunchesFailing", level, float(count), float(LAUNCHES_WARNING), "launches", message, zh)


def _dead(snapshot: Snapshot, memory: Memory) -> Alert | None:
    if (brake := too_many_dead(snapshot, memory)) is None:
        return None
    dead = len(agreed_dead(snapshot))
    served = sum(s.state in (ServerState.READY, ServerState.UNHEALTHY) for s in snapshot.servers)
    limit = max(1, int(served * REPLACEABLE_SHARE))
    zh = f"{served} 台服务器中有 {dead} 台同时失效，已停止自动替换，请先找出共同的原因"
    return Alert("TooManyDead", "Critical", float(dead), float(limit), "servers", brake.message, zh)


def _serving(snapshot: Snapshot) -> int:
    return sum(s.state is ServerState.READY and not s.leaving for s in snapshot.servers)
