"""When a pool's status is worth a write: at once when it tells something new, now and then when only figures moved.

Every write of a status is a request, an event on every watch, and up to 30 kB that whoever watches decodes again. The
figures of a decision differ from the last one's nearly always, and mean the same nearly always.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from controller.api.decision import figures_seconds
from controller.api.model import Model, drop_none, write
from controller.operator.objects import changed


def _without(*names: str) -> Callable[[Any], Any]:
    return lambda value: {k: v for k, v in (value or {}).items() if k not in names}


def _answer(answer: Mapping[str, Any] | None) -> Any:
    """Of why a pool does not grow or shrink: whether it does, and by which rule."""
    return (answer or {}).get("acts", False), (answer or {}).get("reason", "")


def _decision(decision: Mapping[str, Any] | None) -> Any:
    """Of a decision: what, why, and what stands in the way; not the arithmetic, nor when."""
    known = decision or {}
    told = [known.get(name) for name in ("action", "reason", "mode", "counts")]
    return (
        *told,
        _answer(known.get("growing")),
        _answer(known.get("shrinking")),
        (known.get("victim") or {}).get("name"),
    )


def _signals(signals: Any) -> Any:
    """Of the signals: which are known, from where, or why not and since when, and which ask for more servers."""
    state = [(s["state"] if s["state"] in _NOTED else "") for s in signals or ()]
    return state, [_without("value", "ageSeconds", "message", "state")(s) for s in signals or ()]


def _scale_up(known: Mapping[str, Any] | None) -> Any:
    """Of whether purchases help: what is suspended, and which servers are on trial; not when they were last idle."""
    told = known or {}
    return told.get("suspended"), [(t["server"], t["trigger"]) for t in told.get("onTrial", ())]


#: States of a signal that are told at once; whether load is low has a clock of its own, `lowLoadSince`.
_NOTED: Final = ("High", "Unknown")
#: What of a field is news, where not all of it is. A field that is not named here is written whenever it differs:
#: counters, the ledger and since-when times above all, since they must survive a crash in the next moment.
_NEWS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "message": lambda _: None,  # the decision's own words, with figures in them
    "signals": _signals,
    "lastDecision": _decision,
    "spend": _without("thisHour", "today", "thisMonth", "trafficThisMonth", "forecastThisMonth"),
    "traffic": _without("usedGB", "maxInstance", "maxInstanceGB", "checkedAt"),
    # Who was told what must survive a crash in the next moment; the figures of an alert need not.
    "alerts": lambda alerts: [_without("value", "message", "messageZh")(a) for a in alerts or ()],
    "scaleUp": _scale_up,
    "conditions": lambda conditions: [_without("message")(c) for c in conditions or ()],
}


def worth_telling(status: Model, fields: Mapping[str, Any], *, told_at: float | None, now: float, interval: int) -> Any:
    """The part of `fields` to write now: all that differs, or nothing while that is no news.

    Args:
        status: as last written.
        fields: as it should be, in JSON form.
        told_at: when this process last wrote it, seconds; None: never.
        now: seconds of the same clock.
        interval: seconds between two decisions.
    """
    differs = changed(status, fields)
    due = told_at is None or not 0.0 <= now - told_at < figures_seconds(interval)
    return differs if due or is_news(write(status), differs) else {}


def is_news(known: Mapping[str, Any], differs: Mapping[str, Any]) -> bool:
    """Whether people, or the next process, have to know of it at once."""
    return any(_news(name, value) != _news(name, known.get(name)) for name, value in differs.items())


def _news(name: str, value: Any) -> Any:
    told = drop_none(value)  # absent and None say the same
    return _NEWS[name](told) if name in _NEWS else told
