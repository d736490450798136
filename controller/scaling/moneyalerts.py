"""The alerts about money, from the facts as they are now."""

from collections.abc import Iterable
from typing import Final

from controller.api.budget import Budget
from controller.api.spend import Billing, Spend
from controller.scaling.alerts import Alert
from controller.scaling.budget import Name, Standing, is_hard, is_soft, standings

_ZH: Final = {"Hourly": "当前每小时", "Daily": "今日", "Monthly": "本月"}


def budget_alerts(budget: Budget, spend: Spend, *, reason: str) -> list[Alert]:
    """A budget that is used up or keeps the pool from a purchase (Critical), or is past its soft cap (Warning).

    Args:
        budget: the pool's.
        spend: its ledger.
        reason: of the last decision; a cap may refuse a purchase before it is used up.
    """
    month = spend.this_month + spend.traffic_this_month
    found = standings(budget, per_hour=spend.per_hour, today=spend.today, this_month=month)
    alerts = [alert for one in found if (alert := _of(one, refused_by(one.name, reason))) is not None]
    return [*alerts, *_forecast(budget, spend)]


def refused_by(name: Name, reason: str) -> str:
    """`hard`, `soft` or nothing: which cap of a period a decision's reason names."""
    if not reason.startswith(name):
        return ""
    return "hard" if is_hard(reason) else "soft" if is_soft(reason) else ""


def _of(one: Standing, refused: str) -> Alert | None:
    hard, soft = one.cap.hard, one.cap.soft
    if hard is not None and (one.hard or refused == "hard"):
        does, does_zh, level, cap = "nothing is bought", "不再购买任何服务器", "hard", hard
    elif soft is not None and (one.soft or refused == "soft"):
        does, does_zh, level, cap = "growth is slowed", "扩容放慢", "soft", soft
    else:
        return None
    name = {"hard": "硬上限", "soft": "软上限"}[level]
    unit = "元/小时" if one.name == "Hourly" else "元"
    return Alert(
        rule=f"{one.name}Budget",
        level="Critical" if level == "hard" else "Warning",
        value=one.spent,
        threshold=cap,
        unit=one.unit,
        message=f"{one}: {does}; servers that run are left alone",
        message_zh=f"{_ZH[one.name]}费用 {one.spent:.2f} {unit}，{name} {cap:g} {unit}：{does_zh}，"
        "运行中的服务器不受影响",
    )


def _forecast(budget: Budget, spend: Spend) -> Iterable[Alert]:
    soft = budget.monthly.soft if budget.monthly else None
    expected = spend.forecast_this_month + spend.traffic_this_month
    if soft is None or expected <= soft:
        return
    yield Alert(
        rule="MonthlyForecast",
        level="Warning",
        value=expected,
        threshold=soft,
        unit="CNY",
        message=f"this month is expected to cost {expected:.2f} CNY, budget.monthly.soft is {soft:g}",
        message_zh=f"预计本月费用 {expected:.2f} 元，超过每月软上限 {soft:g} 元",
    )


def billing_alerts(billing: Billing) -> list[Alert]:
    """A day on which the bill and the ledger differ: a Warning if more was billed than is known of, else an Info."""
    if billing.state != "Differs":
        return []
    more = billing.difference > 0 or bool(billing.strangers)
    return [
        Alert(
            rule="BillDiffers",
            level="Warning" if more else "Info",
            value=billing.billed + billing.strangers_cny,
            threshold=billing.ours,
            unit="CNY",
            message=f"{billing.day}: {billing.message}",
            message_zh=_billing_zh(billing),
            subject=billing.day,
        )
    ]


def _billing_zh(billing: Billing) -> str:
    parts = [f"{billing.day}：账单 {billing.billed:.2f} 元，按服务器运行时间计算为 {billing.ours:.2f} 元"]
    if billing.unbilled:
        parts.append(f"{billing.unbilled} 台服务器不在账单中")
    if billing.strangers:
        parts.append(f"账单中带有本资源池标记、却从未属于它的实例：{', '.join(billing.strangers)}")
    return "；".join(parts)
