"""The traffic of one instance, counted from the cloud's quota counter: month to date, whatever the counter does.

HAI tells how much of the free quota is left, and nothing else: no month, no date of its reset. So growth is added up,
and a counter that falls is believed only when a second reading says the same. A sum never falls within its month.
"""

import math
from dataclasses import dataclass
from typing import Final

from msgspec.structs import replace

from controller.api.times import rfc3339, unix
from controller.api.traffic import InstanceTraffic
from controller.scaling.readings import beijing_month, start_of_beijing_month

#: Decimals of a figure in GB: to the byte.
GB_DECIMALS: Final = 9
#: The cloud's counter starts anew about when the month turns in Beijing; this much earlier or later is near enough.
TURN_SECONDS: Final = 6 * 3600.0
#: Away from a turn, a counter that stays lower for so long was set back: from there on its growth counts again.
SET_BACK_SECONDS: Final = 3600.0
#: No line fills so much in a month (1 Gbit/s carries 335 000 GB): a counter beyond it is no counter.
ABSURD_GB: Final = 1_000_000.0
#: A counter that starts anew is less than this share of what it was; a smaller fall is a flutter of the figure.
RESET_SHARE: Final = 0.5


@dataclass(frozen=True, slots=True)
class Reading:
    """What the cloud said of one instance's free quota."""

    total_gb: float
    remaining_gb: float
    #: Unix seconds.
    at: float


def counter(reading: Reading) -> float | None:
    """GB used of the quota; None if the figures cannot be meant.

    More left than there was at all counts as nothing used, and less than nothing left as use beyond the quota.
    """
    total, left = reading.total_gb, reading.remaining_gb
    if not (math.isfinite(total) and math.isfinite(left)) or not 0 < total < ABSURD_GB or abs(left) > ABSURD_GB:
        return None
    return max(0.0, total - left)


def used_this_month(traffic: InstanceTraffic, *, now: float) -> float:
    """GB of the month that holds `now`; 0 until it was first read in it."""
    return traffic.used_gb if traffic.month == beijing_month(now) else 0.0


def count(before: InstanceTraffic, reading: Reading) -> InstanceTraffic:
    """The traffic of an instance after one more reading.

    Args:
        before: as last written; the default for an instance that was never read.
        reading: not older than the last one. An absurd one changes nothing.
    """
    value = counter(reading)
    if value is None:
        return before
    month = beijing_month(reading.at)
    if not before.month or (before.month != month and not near_turn(reading.at)):
        # Never read, or last read in another month that ended long ago: the counter has certainly started anew.
        return InstanceTraffic(month=month, used_gb=_gb(value), counter_gb=_gb(value), total_gb=reading.total_gb)
    if reading.total_gb != before.total_gb:
        # Total and remainder may not change in the same moment: their difference is believed at the next reading.
        return replace(before, total_gb=reading.total_gb)
    current = before if before.month == month else replace(before, month=month, used_gb=0.0)
    return _grown(current, value) if value >= current.counter_gb else _fallen(current, value, reading.at)


def near_turn(at: float) -> bool:
    """Whether a month in Beijing begins within `TURN_SECONDS` before or after this time."""
    return at - start_of_beijing_month(at) <= TURN_SECONDS or beijing_month(at + TURN_SECONDS) != beijing_month(at)


def _grown(traffic: InstanceTraffic, value: float, *, since: float | None = None) -> InstanceTraffic:
    """The counter stands at `value`, and what it gained since it stood at `since` is counted."""
    gained = value - (traffic.counter_gb if since is None else since)
    return replace(
        traffic,
        used_gb=_gb(traffic.used_gb + gained),
        counter_gb=_gb(value),
        lower_gb=None,
        lower_since=None,
    )


def _fallen(traffic: InstanceTraffic, value: float, at: float) -> InstanceTraffic:
    """The counter shows less than was counted: noted at first, believed when it is still so."""
    since = unix(traffic.lower_since)
    if traffic.lower_gb is None or since is None:
        return replace(traffic, lower_gb=_gb(value), lower_since=rfc3339(at))
    lowest = min(traffic.lower_gb, value)
    started_anew = lowest < RESET_SHARE * traffic.counter_gb and (near_turn(at) or near_turn(since))
    if started_anew and at > since:
        return _grown(traffic, value, since=0.0)
    if at - since >= SET_BACK_SECONDS:
        return _grown(traffic, value, since=lowest)
    return replace(traffic, lower_gb=_gb(lowest))


def _gb(value: float) -> float:
    return round(value, GB_DECIMALS)
