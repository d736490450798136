"""What people are told about a pool, derived anew from the facts at every decision.

An alert is firing or it is not; who is told of a change, once, is the business of the operator that compares with what
it has told before. Producers are pure functions that return the alerts firing now.
"""

from dataclasses import dataclass

from controller.api.alerts import AlertLevel

__all__ = ["Alert", "AlertLevel"]


@dataclass(frozen=True, slots=True)
class Alert:
    """One thing that someone should know while it lasts; rule and subject together identify it."""

    #: CamelCase, one word for each rule: `TrafficQuota`, `HourlyBudget`.
    rule: str
    level: AlertLevel
    value: float
    threshold: float
    #: Of value and threshold: `GB`, `CNY`.
    unit: str
    message: str
    #: The same sentence in Chinese.
    message_zh: str
    #: What of the pool it is about, such as the name of an instance; empty: all of it.
    subject: str = ""
