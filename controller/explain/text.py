"""An explanation in words, for someone who has never seen the code."""

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Final

from controller.api.decision import Answer, Decision
from controller.api.gpupool import SignalStatus
from controller.api.times import unix
from controller.explain.explanation import Explanation, Happening

#: Lines are never longer than this, however wide the terminal: long ones are hard to read.
MAX_WIDTH: Final = 118
MIN_WIDTH: Final = 60
_LABEL: Final = 9
_UNITS: Final = {"mean response": " s", "longest wait": " s", "CPU": " %"}


def render(told: Explanation, *, width: int = MAX_WIDTH) -> str:
    """The whole text, without a newline at the end."""
    width = max(MIN_WIDTH, min(width, MAX_WIDTH))
    now = unix(told.time) or 0.0
    parts: list[Iterable[str]] = [_head(told, width)]
    if told.decision is not None:
        parts += [
            _summary(told, told.decision, now, width),
            _signals(told.signals, now, width),
            _why("MORE SERVERS", told.decision.growing, "if nothing else changes", now, width),
            _why("FEWER SERVERS", told.decision.shrinking, "if load is low from now on", now, width),
            _offers(told, told.decision, now),
        ]
    parts += [_servers(told, now, width), _conditions(told, width), _history(told, now, width)]
    return "\n\n".join(text for part in parts if (text := "\n".join(part)))


def _head(told: Explanation, width: int) -> Iterator[str]:
    state = "is being deleted" if told.deleting else f"mode {told.mode}, paused {told.paused}"
    when = f"all times are UTC, now {_day(told.time)} {_clock(told.time)}"
    yield from _wrapped(f"pool {told.namespace}/{told.pool}: {state}; {when}", width, "")
    if told.mode == "Recommend":
        yield from _wrapped("mode Recommend: decisions are shown here and not carried out", width, "  ")
    for note in told.notes:
        yield from _wrapped(f"! {note}", width, "  ")


def _summary(told: Explanation, decision: Decision, now: float, width: int) -> Iterator[str]:
    counts = decision.counts
    others = {"being deployed": counts.deploying, "unhealthy": counts.unhealthy, "leaving": counts.leaving}
    having = [f"{counts.serving} serving", *(f"{n} {what}" for what, n in others.items() if n)]
    limit = "no maximum" if counts.maximum is None else f"maximum {counts.maximum}"
    yield from _labelled("HAS", f"{', '.join(having)} (minimum {counts.minimum}, {limit})", width)
    yield from _labelled("WANTS", f"{_servers_word(counts.desired)}", width)
    would = "would " if told.mode == "Recommend" and decision.action != "Hold" else ""
    lasting = f", for {_span(now - (unix(told.decision_since) or now))} now" if told.decision_since else ""
    yield from _labelled("DOES", f"{would}{decision.action}, {decision.reason}{lasting}: {decision.message}", width)
    money = told.money
    expected = money.forecast_this_month
    until = "" if expected is None else f", {expected:.2f} expected by its end"
    yield from _labelled(
        "COSTS",
        f"{money.per_hour:.2f} CNY/h now, {money.today:.2f} CNY today, {money.this_month:.2f} CNY this month{until} "
        f"(Beijing time), and {money.storage_per_day:.2f} CNY/day for the stored presets",
        width,
    )
    yield from _labelled("DECIDED", f"{_span(told.decision_age_seconds or 0.0)} ago; {_terms(decision)}", width)


def _terms(decision: Decision) -> str:
    return ", ".join(f"{t.name} {t.value:g}{' ' + t.unit if t.unit else ''}" for t in decision.terms)


def _signals(signals: Sequence[SignalStatus], now: float, width: int) -> Iterator[str]:
    if not signals:
        return
    rows = [("SIGNAL", "NOW", "GROWS ABOVE", "SHRINKS BELOW", "STATE", "AGE", "FROM")]
    for s in signals:
        unit = _UNITS.get(s.name, "")
        value, up, down = (_figure(v, unit) for v in (s.value, s.up_threshold, s.down_threshold))
        known = s.value is not None
        age = _span(s.age_seconds or 0.0) if known else "-"
        rows.append((s.name, value if known else "unknown", up, down, s.state, age, s.source or "-"))
    yield from _table(rows)
    groups: dict[tuple[str | None, str], list[str]] = {}
    for s in signals:
        if s.value is None and (s.unknown_since or s.message):
            groups.setdefault((s.unknown_since, s.message), []).append(s.name)
    for (since, why), names in groups.items():
        at = unix(since)
        lasting = "" if at is None else f" since {_day(since)} {_clock(since)} ({_span(max(0.0, now - at))})"
        yield from _wrapped(f"{', '.join(names)} unknown{lasting}{': ' if why else ''}{why}", width, "  ")


def _figure(value: float | None, unit: str) -> str:
    return "-" if value is None else f"{value:.4g}{unit}"


def _why(what: str, answer: Answer, provided: str, now: float, width: int) -> Iterator[str]:
    if not answer.reason:
        return
    question = f"WHY {what}" if answer.acts else f"WHY NOT {what}"
    yield from _wrapped(f"{question}  {answer.reason}: {answer.message}", width, "")
    if answer.needs:
        yield from _wrapped(f"it takes: {answer.needs}", width, "  ")
    if answer.earliest_time is not None:
        left = max(0.0, (unix(answer.earliest_time) or now) - now)
        when = f"{_clock(answer.earliest_time)} (in {_span(left)})" if left else "now"
        yield from _wrapped(f"at the earliest: {when}, {provided}", width, "  ")
    if answer.also:
        yield from _wrapped(f"these rules fail too: {', '.join(answer.also)}", width, "  ")


def _offers(told: Explanation, decision: Decision, now: float) -> Iterator[str]:
    rows: list[tuple[str, ...]] = []
    for o in decision.offers:
        until = unix(o.until_time)
        wait = "" if until is None else f", tried again {'now' if until <= now else f'in {_span(until - now)}'}"
        what = "NEXT TO BUY" if o.state == "First" else "PASSED OVER"
        rows.append((what, f"{o.bundle} in {o.region}", f"{o.price_per_hour:g} CNY/h", f"{o.why}{wait}"))
    if decision.victim is not None:
        v = decision.victim
        ran = f"{v.name}, the dearest, has run for {_span(v.ran_seconds)}"
        rows.append(("FIRST TO GO", f"{v.bundle} in {v.region}", f"{v.price_per_hour:g} CNY/h", ran))
    yield from _table(rows)
    if decision.offers_left:
        yield f"  and {decision.offers_left} more offers"
    for why in told.unusable_presets:
        yield f"  sells nothing: {why}"


def _servers(told: Explanation, now: float, width: int) -> Iterator[str]:
    if not told.servers:
        yield "no servers"
        return
    rows = [("SERVER", "PHASE", "FOR", "BUNDLE", "REGION", "CNY/H", "CNY SO FAR", "WHY IT WAS BOUGHT")]
    for s in told.servers:
        since = unix(s.phase_since)
        phase = f"{s.phase}, protected" if s.protected else s.phase
        lasting = "-" if since is None else _span(now - since)
        why = s.reason.partition(" -> ")[0]
        price, spent = f"{s.price_per_hour:g}", f"{s.cost_cny:.2f}"
        rows.append((s.name, phase, lasting, s.bundle, s.region, price, spent, why))
    yield from (line if len(line) <= width else line[: width - 1] + "…" for line in _table(rows))
    for s in told.servers:
        if s.message:
            yield from _wrapped(f"{s.name}: {s.message}", width, "  ")


def _conditions(told: Explanation, width: int) -> Iterator[str]:
    for c in told.conditions:
        yield from _wrapped(f"condition {c.type} is {c.status}, {c.reason}: {c.message}", width, "")


def _history(told: Explanation, now: float, width: int) -> Iterator[str]:
    yield f"HISTORY of the last {_span(told.history_seconds)}" + ("" if told.history else ": nothing is recorded")
    day = ""
    for line in told.history:
        if _day(line.time) != day:
            day = _day(line.time)
            yield day
        yield from _happening(line, now, width)


def _happening(line: Happening, now: float, width: int) -> Iterator[str]:
    age = _span(max(0.0, now - (unix(line.time) or now)))
    start = f"{_clock(line.time)}  {age + ' ago':<14}"
    what = f"{line.action} {line.reason}" if line.kind == "decision" else f"{line.about} {line.reason}"
    servers = f" [{line.ready} Ready, {line.desired} wanted]" if line.ready is not None else ""
    times = f" ({line.count} times)" if line.count > 1 else ""
    mark = {"decision": "*", "warning": "!"}.get(line.kind, " ")
    text = f"{start} {mark} {what}: {line.message}{times}{servers}"
    yield from _fill(text, width, initial_indent="  ", subsequent_indent=" " * 30)


def _fill(text: str, width: int, *, initial_indent: str, subsequent_indent: str) -> list[str]:
    """Lines of at most `width`; names with hyphens in them stay whole."""
    return textwrap.wrap(
        text, width, initial_indent=initial_indent, subsequent_indent=subsequent_indent, break_on_hyphens=False
    )


def _labelled(label: str, text: str, width: int) -> list[str]:
    return _fill(text, width, initial_indent=f"{label:<{_LABEL}}", subsequent_indent=" " * _LABEL)


def _wrapped(text: str, width: int, indent: str) -> list[str]:
    return _fill(text, width, initial_indent=indent, subsequent_indent=f"{indent}  ")


def _table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Columns as wide as their widest cell."""
    if not rows:
        return
    widths = [max(len(row[n]) for row in rows) for n in range(len(rows[0]))]
    for row in rows:
        yield "  ".join(f"{cell:<{size}}" for cell, size in zip(row, widths, strict=True)).rstrip()


def _servers_word(count: int) -> str:
    return "1 server" if count == 1 else f"{count} servers"


def _span(seconds: float) -> str:
    """`45 s`, `12 min`, `1 h 5 min`, `3 d 2 h`."""
    whole = round(seconds)
    if whole < 120:
        return f"{whole} s"
    minutes = whole // 60
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h" if hours else f"{days} d"


def _clock(time: str | None) -> str:
    return datetime.fromtimestamp(unix(time) or 0.0, UTC).strftime("%H:%M:%S")


def _day(time: str | None) -> str:
    return datetime.fromtimestamp(unix(time) or 0.0, UTC).strftime("%Y-%m-%d")
