"""Which alerts have crossed a line, and who still has to hear of it: pure comparisons with what was told before.

Everything is level-triggered. What fires now is compared with what `status.alerts` says; what a destination should have
heard is compared with what it has heard. A crash between any two steps therefore loses nothing: the comparison comes
out the same, and at worst something is told once more.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from msgspec.structs import replace

from controller.api.alerts import AlertLevel, AlertStatus
from controller.api.times import rfc3339, unix
from controller.scaling.alerts import Alert

LEVELS: Final[tuple[AlertLevel, ...]] = ("Info", "Warning", "Critical", "Emergency")
#: What has stopped firing, or fires at a lower level, has to stay so for this long before it is believed. So the same
#: rule is never told twice within that time, however often it flaps.
QUIET_SECONDS: Final = 300.0
#: Alerts that fire at a time; of more, only their number is told.
MAX_FIRING: Final = 32
#: All entries, resolved ones that somebody has not heard of included.
MAX_ENTRIES: Final = 64

#: The log and the events of the pool are told like everybody else. Destinations have lower-case names.
RECORD: Final = "Record"
EVENT: Final = "Event"
RESOLVED: Final = "Resolved"

Key = tuple[str, str]
#: What was delivered and may not stand in status yet: (rule, subject, destination) -> what it heard.
Heard = Mapping[tuple[str, str, str], str]


@dataclass(frozen=True, slots=True)
class Destination:
    """Somebody who is told."""

    name: str
    min_level: AlertLevel = "Info"
    #: Wants to hear of ends, and of levels that fall.
    resolved: bool = True


def rank(level: str) -> int:
    """Place of a level among the levels; what was never told, or is over, is below all of them."""
    return LEVELS.index(level) if level in LEVELS else -1


def due(alert: AlertStatus, destination: Destination) -> str:
    """What this destination should hear of the alert now: a level, `Resolved`, or nothing (empty)."""
    news, heard, wanted = alert.news, alert.told.get(destination.name, ""), rank(destination.min_level)
    if news == heard:
        return ""
    if news == RESOLVED and rank(heard) < 0:
        # It began and ended, and this one heard of neither: that is news as well.
        return news if rank(alert.peak) >= wanted else ""
    if rank(news) > rank(heard) and news != RESOLVED:
        return news if rank(news) >= wanted else ""
    return news if destination.resolved else ""


def advance(
    known: Sequence[AlertStatus],
    firing: Iterable[Alert],
    *,
    destinations: Collection[Destination],
    heard: Heard,
    unknown: Collection[str] = (),
    now: float,
) -> tuple[AlertStatus, ...]:
    """The alerts as they stand after a decision.

    Args:
        known: as `status.alerts` has them.
        firing: everything that fires now.
        destinations: who is told; what others heard is forgotten.
        heard: what was delivered since.
        unknown: rules of which nothing can be said now; they neither fire nor end.
        now: Unix seconds.

    Returns:
        What fires, and what has ended without everybody having heard of it; at most `MAX_ENTRIES`.
    """
    entries = {entry.key: _told(entry, destinations, heard) for entry in known}
    now_firing = {(alert.rule, alert.subject): alert for alert in _bounded(firing, entries)}
    moved = []
    for key in entries.keys() | now_firing.keys():
        entry, alert = entries.get(key), now_firing.get(key)
        if alert is not None:
            moved.append(_fire(entry, alert, now=now))
        elif entry is not None:
            moved.append(replace(entry, quiet_since=None) if key[0] in unknown else _rest(entry, now=now))
    kept = [e for e in moved if e.state == "Firing" or any(due(e, one) for one in destinations)]
    return tuple(sorted(_newest(kept), key=lambda e: e.key))


def _told(entry: AlertStatus, destinations: Collection[Destination], heard: Heard) -> AlertStatus:
    """The entry with what was heard since. Who does not want to hear of the end needs no more; a new start is news."""
    told = {}
    for one in destinations:
        what = heard.get((*entry.key, one.name)) or entry.told.get(one.name)
        if what is not None:
            told[one.name] = RESOLVED if entry.state == "Resolved" and not one.resolved else what
    return replace(entry, told=told)


def _fire(entry: AlertStatus | None, alert: Alert, *, now: float) -> AlertStatus:
    if entry is None or entry.state == "Resolved":
        begun = AlertStatus(
            rule=alert.rule, subject=alert.subject, state="Firing", level=alert.level, peak=alert.level,
            since=rfc3339(now), changed_at=rfc3339(now), told=entry.told if entry else {},
        )  # fmt: skip
        return _showing(begun, alert)
    if rank(alert.level) < rank(entry.level):
        since = unix(entry.quiet_since)
        if since is None or now - since < QUIET_SECONDS:
            return replace(entry, quiet_since=entry.quiet_since or rfc3339(now))
    peak = max(entry.peak, alert.level, key=rank)
    changed_at = entry.changed_at if alert.level == entry.level else rfc3339(now)
    moved = replace(entry, level=alert.level, peak=peak, changed_at=changed_at, quiet_since=None)
    return _showing(moved, alert)


def _rest(entry: AlertStatus, *, now: float) -> AlertStatus:
    if entry.state == "Resolved":
        return entry
    since = unix(entry.quiet_since)
    if since is None or now - since < QUIET_SECONDS:
        return replace(entry, quiet_since=entry.quiet_since or rfc3339(now))
    return replace(entry, state="Resolved", changed_at=rfc3339(now), quiet_since=None)


def _showing(entry: AlertStatus, alert: Alert) -> AlertStatus:
    """The entry with the figures and words of now."""
    return replace(
        entry,
        value=round(alert.value, 6),
        threshold=round(alert.threshold, 6),
        unit=alert.unit,
        message=alert.message,
        message_zh=alert.message_zh,
    )


def _bounded(firing: Iterable[Alert], entries: Mapping[Key, AlertStatus]) -> list[Alert]:
    """What fires; of too many, the worst ones and how many there are. Those known already keep their place."""
    found = list({(a.rule, a.subject): a for a in firing}.values())
    if len(found) <= MAX_FIRING:
        return found

    def place(alert: Alert) -> tuple[int, bool, Key]:
        key = (alert.rule, alert.subject)
        return -rank(alert.level), key not in entries, key

    kept = sorted(found, key=place)[: MAX_FIRING - 1]
    count, more = len(found), len(found) - len(kept)
    return [
        *kept,
        Alert(
            rule="ManyAlerts",
            level="Critical",
            value=float(count),
            threshold=float(MAX_FIRING),
            unit="alerts",
            message=f"{count} alerts fire; the {more} least urgent are not told one by one, see kubectl describe",
            message_zh=f"共有 {count} 条告警；其中最不紧急的 {more} 条不再逐条通知，请用 kubectl describe 查看",
        ),
    ]


def _newest(entries: list[AlertStatus]) -> list[AlertStatus]:
    """At most `MAX_ENTRIES`: what fires, and of what is over the newest."""
    if len(entries) <= MAX_ENTRIES:
        return entries
    return sorted(entries, key=lambda e: (e.state == "Firing", e.changed_at), reverse=True)[:MAX_ENTRIES]
