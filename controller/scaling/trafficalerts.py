"""The alerts about traffic: one for the pool, or, under `scope: Instance`, one for each server that is concerned."""

from collections.abc import Iterable
from typing import Final

from controller.api.traffic import Traffic, TrafficLevel, TrafficStatus
from controller.scaling.alerts import Alert, AlertLevel
from controller.scaling.quota import Share, level_of, threshold

RULE: Final = "TrafficQuota"
_ALERT_LEVELS: Final[dict[TrafficLevel, AlertLevel]] = {
    "Optimize": "Info",
    "Warning": "Warning",
    "Critical": "Critical",
    "Emergency": "Emergency",
}
_WHAT: Final[dict[TrafficLevel, tuple[str, str]]] = {
    "Optimize": ("traffic is being saved from now on", "已开始节省流量"),
    "Warning": ("the free quota is running out", "免费额度即将用尽"),
    "Critical": ("traffic is being saved more strongly; act now", "已加强节省流量，请立即处理"),
    "Emergency": ("the free quota is all but used up; what follows is paid for", "免费额度几乎用尽，超出部分将计费"),
}


def traffic_alerts(traffic: TrafficStatus, shares: Iterable[Share], spec: Traffic) -> list[Alert]:
    """The alerts that fire now.

    Args:
        traffic: the pool's figures and level, hysteresis included.
        shares: the pool's instances; ended ones raise no alert of their own.
        spec: thresholds and scope.
    """
    if spec.scope == "Pool":
        return _alert(traffic.level, traffic.used_gb, spec, subject="")
    live = sorted((s for s in shares if not s.ended), key=lambda s: s.name)
    return [
        alert
        for share in live
        for alert in _alert(level_of(share.used_gb, spec.thresholds_gb), share.used_gb, spec, subject=share.name)
    ]


def _alert(level: TrafficLevel, used_gb: float, spec: Traffic, *, subject: str) -> list[Alert]:
    if level == "Normal":
        return []
    at = threshold(level, spec.thresholds_gb)
    what, what_zh = _WHAT[level]
    whose, whose_zh = (f"{subject} has", f"{subject} ") if subject else ("the pool has", "资源池")
    return [
        Alert(
            rule=RULE,
            level=_ALERT_LEVELS[level],
            value=used_gb,
            threshold=at,
            unit="GB",
            message=f"{whose} used {used_gb:.1f} GB of traffic this month, level {level} ({at:g} GB): {what}",
            message_zh=f"{whose_zh}本月已用流量 {used_gb:.1f} GB，达到 {level} 级别（{at:g} GB）：{what_zh}",
            subject=subject,
        )
    ]
