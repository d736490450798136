"""The traffic of a pool against its thresholds: month to date, level, condition. Months are Beijing's."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from msgspec.structs import replace

from controller.api.model import ConditionModel
from controller.api.names import Condition
from controller.api.optimization import Stage
from controller.api.traffic import Thresholds, Traffic, TrafficLevel, TrafficStatus
from controller.scaling.conditions import condition
from controller.scaling.readings import beijing_month
from controller.scaling.usage import GB_DECIMALS

#: From the lowest on.
LEVELS: Final[tuple[TrafficLevel, ...]] = ("Normal", "Optimize", "Warning", "Critical", "Emergency")
#: A level is left within a month only when the figure is this share below its threshold: edges do not flutter.
CLEARLY_BELOW: Final = 0.01
#: After so many intervals without a good reading the figure is not known to be current.
STALE_INTERVALS: Final = 3


@dataclass(frozen=True, slots=True)
class Share:
    """What one instance of the pool has used this month."""

    name: str
    uid: str
    used_gb: float
    ended: bool = False
    #: Hooks are in effect at it.
    optimized: bool = False


def threshold(level: TrafficLevel, thresholds: Thresholds) -> float:
    """GB at which a level begins; 0 for Normal."""
    return {
        "Normal": 0.0,
        "Optimize": thresholds.optimize,
        "Warning": thresholds.warning,
        "Critical": thresholds.critical,
        "Emergency": thresholds.emergency,
    }[level]


def level_of(used_gb: float, thresholds: Thresholds) -> TrafficLevel:
    """The level that a month-to-date figure has reached."""
    return [name for name in LEVELS if used_gb >= threshold(name, thresholds)][-1]


def next_level(before: TrafficLevel, used_gb: float, thresholds: Thresholds) -> TrafficLevel:
    """The level after one that holds: reached at its threshold, left only clearly below it."""
    held = LEVELS[: LEVELS.index(before) + 1]
    kept = [name for name in held if used_gb >= (1 - CLEARLY_BELOW) * threshold(name, thresholds)]
    return max(kept[-1], level_of(used_gb, thresholds), key=LEVELS.index)


def stage_of(level: TrafficLevel) -> Stage:
    """How strongly traffic is to be saved at a level."""
    return "Normal" if level == "Normal" else "Optimize" if level in ("Optimize", "Warning") else "Critical"


def month_to_date(
    status: TrafficStatus, shares: Iterable[Share], booked: Iterable[str], spec: Traffic, *, now: float
) -> TrafficStatus:
    """The traffic of the pool, destroyed instances included, and its level.

    Args:
        status: as last written.
        shares: every instance whose object still exists, ended or not.
        booked: UIDs whose traffic is already in `ended_gb`.
        spec: thresholds and scope.
        now: Unix seconds. In a new month everything begins at nothing, the level included.
    """
    shares, month, known = list(shares), beijing_month(now), set(booked)
    live = [s for s in shares if not s.ended]
    ended = status.ended_gb if status.month == month else 0.0
    ended += sum(s.used_gb for s in shares if s.ended and s.uid not in known)
    used = round(ended + sum(s.used_gb for s in live), GB_DECIMALS)
    worst = min(live, key=lambda s: (-s.used_gb, s.name), default=Share("", "", 0.0))
    holds = status.month == month and status.scope == spec.scope
    figure = used if spec.scope == "Pool" else worst.used_gb
    return replace(
        status,
        month=month,
        used_gb=used,
        ended_gb=round(ended, GB_DECIMALS),
        level=next_level(status.level if holds else "Normal", figure, spec.thresholds_gb),
        scope=spec.scope,
        max_instance=worst.name,
        max_instance_gb=worst.used_gb,
        optimized_servers=sum(s.optimized for s in live),
    )


def month_over(status: TrafficStatus, shares: Iterable[Share], booked: Iterable[str]) -> TrafficStatus:
    """The status with what its month came to, for those who speak of it when it is over.

    Args:
        status: as last written in that month. Figures that only moved are written now and then, so it may be behind.
        shares: what every instance whose object still exists used in that month. One that has been read in the next
            month already says 0, so this sum may be behind too; no sum ever falls within a month, so the larger holds.
        booked: UIDs whose traffic is already in `ended_gb`.
    """
    known = set(booked)
    summed = status.ended_gb + sum(s.used_gb for s in shares if not (s.ended and s.uid in known))
    return replace(status, last_month=status.month, last_month_gb=round(max(status.used_gb, summed), GB_DECIMALS))


def server_stage(traffic: TrafficStatus, spec: Traffic, used_gb: float, *, now: float) -> Stage:
    """How strongly one server is to save traffic.

    Args:
        traffic: the pool's; a level of a month that is over holds no more.
        spec: thresholds and scope.
        used_gb: what the server itself has used this month, which decides under `scope: Instance`.
        now: Unix seconds.
    """
    if spec.scope == "Instance":
        return stage_of(level_of(used_gb, spec.thresholds_gb))
    return stage_of(traffic.level) if traffic.month == beijing_month(now) else "Normal"


def quota_condition(
    traffic: TrafficStatus, spec: Traffic, *, reads: bool, checked_at: float | None, now: float
) -> ConditionModel:
    """`TrafficWithinQuota`.

    Args:
        traffic: the figures.
        spec: interval and scope.
        reads: whether there is a server to read; without one the figures cannot be out of date.
        checked_at: Unix seconds of the last good reading; None if there was none.
        now: Unix seconds.
    """
    message = f"{traffic.used_gb:.1f} GB this month"
    if spec.scope == "Instance" and traffic.max_instance:
        message += f"; {traffic.max_instance} has used most, {traffic.max_instance_gb:.1f} GB"
    if traffic.level not in ("Normal", "Optimize"):
        message += "; the free quota ends at 500 GB per server"
        return condition(Condition.TRAFFIC_WITHIN_QUOTA, "False", traffic.level, message)
    if not reads:
        return condition(Condition.TRAFFIC_WITHIN_QUOTA, "True", traffic.level, message)
    if checked_at is None:
        return condition(Condition.TRAFFIC_WITHIN_QUOTA, "Unknown", "NotRead", "no server's traffic has been read yet")
    if (age := now - checked_at) > STALE_INTERVALS * spec.interval_seconds:
        message += f", as read {age:.0f} s ago; the cloud has not told since"
        return condition(Condition.TRAFFIC_WITHIN_QUOTA, "Unknown", "Stale", message)
    return condition(Condition.TRAFFIC_WITHIN_QUOTA, "True", traffic.level, message)
