"""Which signals are missing, why, and since when."""

from collections.abc import Mapping, Sequence
from typing import Final

from controller.api.gpupool import SignalStatus
from controller.api.model import ConditionStatus
from controller.api.times import rfc3339
from controller.scaling.snapshot import Missing, Snapshot
from controller.scaling.triggers import Level, Trigger

#: After so long, what would have come by itself (Cloud Monitor lags, windows fill) has not, and someone should look.
UNSETTLED_SECONDS: Final = 600.0
#: What passes by itself, as a rule.
_PASSING: Final = frozenset({"CpuUnknown", "Unknown"})
#: Nothing is amiss: a pool without servers has no CPU.
_NO_MATTER: Final = "NoServer"
_UNTOLD: Final = Missing("Unknown", "it could not be read")


def signal_status(trigger: Trigger, unknown_since: Mapping[str, float], *, now: float) -> SignalStatus:
    """One signal as status shows it.

    Args:
        trigger: the signal.
        unknown_since: as the status before has it: while a signal stays unknown, the time stays, whatever the reason.
        now: Unix seconds.
    """
    signal = trigger.signal
    return SignalStatus(
        name=trigger.name,
        value=round(signal.value, 3) if signal else None,
        up_threshold=trigger.up,
        down_threshold=trigger.down,
        state=trigger.level.value,
        source=signal.source if signal else "",
        age_seconds=round(signal.age, 1) if signal else None,
        unknown_since=None if signal else rfc3339(unknown_since.get(trigger.name, now)),
        message="" if signal else _why(trigger).message,
    )


def available(snapshot: Snapshot, triggers: Sequence[Trigger], *, now: float) -> tuple[ConditionStatus, str, str]:
    """Status, reason and message of the condition `MetricsAvailable`."""
    missing = [t for t in triggers if t.level is Level.UNKNOWN and _why(t).reason != _NO_MATTER]
    if not missing:
        if snapshot.signals.problem:
            return "False", "ScrapeFailed", snapshot.signals.problem
        return "True", "Scraped", "all signals are read"
    since = snapshot.unknown_since
    settled = [t for t in missing if _why(t).reason not in _PASSING]
    late = [t for t in missing if now - since.get(t.name, now) > UNSETTLED_SECONDS]
    first = (settled or late or missing)[0]
    return "False" if settled or late else "Unknown", _why(first).reason, _told(missing, since, now=now)


def _told(missing: Sequence[Trigger], since: Mapping[str, float], *, now: float) -> str:
    """`mean response, queue length unknown since 2026-01-15T04:00:00.000Z: http://...: no answer within 3 s`."""
    groups: dict[tuple[str, float], list[str]] = {}
    for trigger in missing:
        groups.setdefault((_why(trigger).message, since.get(trigger.name, now)), []).append(trigger.name)
    return "; ".join(f"{', '.join(names)} unknown since {rfc3339(at)}: {why}" for (why, at), names in groups.items())


def _why(trigger: Trigger) -> Missing:
    return trigger.missing or _UNTOLD
