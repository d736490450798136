"""The readings of the rules: what each term of the scaling and queue rules means, one named function each.

Both sides of the metrics contract use them: the dispatcher to export a figure, the operator to judge it.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta, timezone
from math import floor
from typing import Final, Literal

#: Days and months of money and traffic are Beijing's; China has had no daylight saving since 1991.
BEIJING: Final = timezone(timedelta(hours=8), "Asia/Shanghai")
#: Cloud Monitor lags; a CPU point older than this says nothing about now.
CPU_POINT_MAX_AGE_SECONDS: Final = 600.0
#: Largest percentage that is taken for 100: agents round and divide, but not further than this.
PERCENT_LIMIT: Final = 110.0


def window_origin(created: datetime, configured: str | None) -> float:
    """Start of window 1: `queue.windowOrigin`, else the pool's creation cut to the hour.

    Neither changes when a process restarts or a replica joins.

    Returns:
        Unix seconds.

    Raises:
        ValueError: `configured` is not an RFC 3339 time with a zone.
    """
    if configured is None:
        return created.replace(minute=0, second=0, microsecond=0).timestamp()
    try:
        origin = datetime.fromisoformat(configured)
    except ValueError as error:
        raise ValueError(f"queue.windowOrigin: {error}; write 2026-01-01T00:00:00+08:00, say") from error
    if origin.tzinfo is None:
        raise ValueError(f"queue.windowOrigin {configured!r} has no time zone; write 2026-01-01T00:00:00+08:00, say")
    return origin.timestamp()


def window_number(t: float, *, origin: float, window_seconds: int) -> int:
    """Number of the user window that holds time t: `floor((t - origin) / window) + 1`, so numbered from 1."""
    return floor((t - origin) / window_seconds) + 1


def response_time(
    reading: Literal["Wait", "Total"], *, submitted: float, started: float | None, completed: float | None
) -> float | None:
    """Response time of one task in seconds, as `scaling.responseTime` reads it.

    `Wait`, the default, is the part that servers can change: submission until a server starts on the task. `Total`
    runs until completion; where one task alone takes longer than the threshold it grows a pool under any load.

    Returns:
        None while the task has not reached the moment that ends it.
    """
    end = started if reading == "Wait" else completed
    return None if end is None else max(0.0, end - submitted)


def mean_response(measured: Sequence[float], queued_ages: Sequence[float]) -> float:
    """Mean response in seconds over one window.

    Args:
        measured: response times of the tasks that started (`Wait`) or completed (`Total`) within the window.
        queued_ages: ages of the tasks queued now, which stand in when none has been measured.

    Returns:
        The mean of `measured`; without any, the mean of `queued_ages`; 0 when nothing is queued either. An idle pool
        was measured as idle: unknown is only what could not be read.
    """
    sample = measured or queued_ages
    return sum(sample) / len(sample) if sample else 0.0


def queue_length(waiting: int, running: int) -> int:
    """Queue length counts the tasks that wait now; running ones are not in the queue any more."""
    del running
    return waiting


def longest_wait(submitted: Iterable[float], now: float) -> float:
    """Age in seconds of the oldest task queued now; 0 when none is."""
    oldest = min(submitted, default=now)
    return max(0.0, now - oldest)


def cpu_from_monitor(points: Iterable[tuple[float, float]], *, servers: int, now: float) -> tuple[float, float] | None:
    """Mean CPU percent over Ready servers from Cloud Monitor.

    Args:
        points: (Unix seconds, percent), the newest point of each Ready server that has one.
        servers: how many are Ready. New ones have no point for minutes; but a mean speaks for at least half of them.
        now: Unix seconds.

    Returns:
        (percent, age of the oldest point used), or None when too few servers have a point that is at most 10 minutes
        old and can be a percentage.
    """
    fresh = [
        (at, min(percent, 100.0))
        for at, percent in points
        if abs(now - at) <= CPU_POINT_MAX_AGE_SECONDS and 0.0 <= percent <= PERCENT_LIMIT
    ]
    if not fresh or 2 * len(fresh) < servers:
        return None
    return sum(percent for _, percent in fresh) / len(fresh), max(0.0, now - min(at for at, _ in fresh))


def cpu_from_slots(busy: float, slots: float) -> float | None:
    """Share of busy task slots of the Ready servers, percent; None without a slot, where a share means nothing."""
    return None if slots <= 0 else 100.0 * min(busy, slots) / slots


def nothing_being_deployed(deploying: int) -> bool:
    """No instance is asked for and not yet Ready."""
    return deploying == 0


def has_outlived(ready_at: float | None, *, now: float, min_lifetime_seconds: float) -> bool:
    """The 1-hour rule: a server may go only when it has *run* for longer than the minimum lifetime.

    Its run starts when it was first Ready: the minutes of its deployment are not service, and counting from the later
    moment can only make the operator more careful.
    """
    return ready_at is not None and now - ready_at > min_lifetime_seconds


def daily_storage_cost(disk_gib: float, price_per_gib_day: float) -> float:
    """What keeping one preset costs, CNY per day: 50 GiB x 0.0048 = 0.24, so 1.44 for six regions."""
    return disk_gib * price_per_gib_day


def storage_this_month(per_day: float, *, since: float, now: float) -> float:
    """What storing one preset has cost this month in CNY, by the second.

    An image is stored, and paid for, whether anything is bought from it or not: a preset that is switched off costs the
    same until it is deleted.

    Args:
        per_day: CNY per day.
        since: Unix seconds at which the preset was made.
        now: Unix seconds.
    """
    return per_day * max(0.0, now - max(since, start_of_beijing_month(now))) / 86400.0


def beijing_day(t: float) -> str:
    """Calendar day in Beijing that holds t, `YYYY-MM-DD`: the day of money and traffic."""
    return datetime.fromtimestamp(t, BEIJING).strftime("%Y-%m-%d")


def beijing_month(t: float) -> str:
    """Calendar month in Beijing that holds t, `YYYY-MM`."""
    return datetime.fromtimestamp(t, BEIJING).strftime("%Y-%m")


def start_of_beijing_day(t: float) -> float:
    """Unix seconds at which the Beijing day of t began."""
    return datetime.fromtimestamp(t, BEIJING).replace(hour=0, minute=0, second=0, microsecond=0).timestamp()


def start_of_beijing_month(t: float) -> float:
    """Unix seconds at which the Beijing month of t began."""
    local = datetime.fromtimestamp(t, BEIJING)
    return local.replace(day=1, hour=0, minute=0, second=0, microsecond=0).timestamp()


def cost(price_per_hour: float, *, start: float, end: float, since: float = 0.0) -> float:
    """Cost in CNY of an instance that was billed from start to end, counted from `since` on."""
    return price_per_hour * max(0.0, end - max(start, since)) / 3600.0
