"""The outcome of replays as a table for people and as JSON for programs."""

from collections.abc import Callable, Mapping, Sequence
from math import isfinite
from typing import Any, Final

import msgspec

from controller.replay.outcome import Outcome


def _hours(outcome: Outcome) -> str:
    return f"{outcome.seconds / 3600.0:,.1f} h"


def _tasks(outcome: Outcome) -> str:
    return f"{outcome.tasks:,} of {outcome.users:,} users"


def _unserved(outcome: Outcome) -> str:
    unserved = outcome.tasks - outcome.served
    return f"{unserved:,} ({outcome.refused:,} refused, {outcome.expired:,} expired)" if unserved else "0"


def _bundles(outcome: Outcome) -> str:
    kinds = ", ".join(f"{count} {bundle}" for bundle, count in outcome.launches_by_bundle.items())
    return f"{outcome.launches:,}" + (f" ({kinds})" if len(outcome.launches_by_bundle) > 1 else "")


def _seconds(read: Callable[[Outcome], float]) -> Callable[[Outcome], str]:
    return lambda outcome: f"{read(outcome):,.2f} s" if isfinite(read(outcome)) else "-"


ROWS: Final[tuple[tuple[str, Callable[[Outcome], str]], ...]] = (
    ("time", _hours),
    ("tasks", _tasks),
    ("unserved", _unserved),
    ("cost", lambda o: f"{o.cost_cny:,.2f} CNY"),
    ("server-hours", lambda o: f"{o.server_hours:,.2f}"),
    ("busy", lambda o: f"{100 * o.utilization:.1f} %"),
    ("wait, mean", _seconds(lambda o: o.wait_seconds.mean)),
    ("wait, half of the tasks", _seconds(lambda o: o.wait_seconds.p50)),
    ("wait, 95 %", _seconds(lambda o: o.wait_seconds.p95)),
    ("wait, 99 %", _seconds(lambda o: o.wait_seconds.p99)),
    ("wait, longest", _seconds(lambda o: o.wait_seconds.max)),
    ("wait, mean over users", _seconds(lambda o: o.wait_seconds.user_mean)),
    ("from submission to end, mean", _seconds(lambda o: o.mean_response_seconds)),
    ("launches", _bundles),
    ("refused as sold out", lambda o: f"{o.sold_out:,}"),
    ("destroyed", lambda o: f"{o.destroys:,}"),
    ("most servers at a time", lambda o: f"{o.peak_servers:,}"),
    ("changes of direction", lambda o: f"{o.direction_changes:,}"),
)


def table(runs: Sequence[tuple[str, Outcome]]) -> str:
    """A column for each run, under its name."""
    cells = [["", *(name for name, _ in runs)]]
    cells += [[label, *(say(outcome) for _, outcome in runs)] for label, say in ROWS]
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
    return "\n".join(_line(row, widths) for row in cells)


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    first = row[0].ljust(widths[0])
    return "  ".join([first, *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]).rstrip()


def as_json(settings: Mapping[str, Any], runs: Sequence[tuple[str, Outcome]]) -> str:
    """One object: what was replayed, and the figures of each run. What has no value is null."""
    document = {**settings, "runs": [{"name": name, **msgspec.to_builtins(outcome)} for name, outcome in runs]}
    return msgspec.json.format(msgspec.json.encode(document), indent=2).decode()
