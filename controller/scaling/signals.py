"""The signals of a pool, from all that was read: the dispatchers' replicas, Cloud Monitor, a Prometheus server.

Figures of the whole queue are the maximum over the replicas. A replica that could not be read makes what it may know
unknown: it can hold a scale-down back, but never hides a trigger that the others see. What is unknown says why.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Final

from controller.api.scaling import Scaling
from controller.scaling.readings import cpu_from_slots
from controller.scaling.replicas import Scrape
from controller.scaling.slots import SlotUse
from controller.scaling.snapshot import Missing, Signal, Signals

#: Failed replicas that are named; the others are counted.
NAMED: Final = 4
#: What the replicas call the signals that they measure themselves.
_FIGURES: Final = {"mean_response": "mean_response", "queue_length": "queue_length", "longest_wait": "oldest_age"}


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure that someone else measured, Prometheus say."""

    signal: Signal
    #: Whose figures it may lack; empty: nobody's. It is a lower bound then, as with a replica that cannot be read.
    lacks: str = ""


Asked = Mapping[str, Figure | Missing]


@dataclass(frozen=True, slots=True)
class Sources:
    """All that was read for the signals of one pool."""

    scrape: Scrape
    use: SlotUse
    #: CPU from Cloud Monitor, or why it has none.
    monitor: Signal | Missing
    #: What stands in for the dispatchers' own figures, by the signal's name in `Signals`.
    asked: Asked = field(default_factory=dict)


def signals(sources: Sources, scaling: Scaling, *, ready: Sequence[str], now: float) -> Signals:
    """The signals of a pool.

    Args:
        sources: what was read.
        scaling: thresholds, and which source CPU comes from.
        ready: names of the Ready servers.
        now: Unix seconds.
    """
    limits = {
        "mean_response": scaling.up.mean_response_seconds,
        "queue_length": float(scaling.up.queue_length),
        "cpu": scaling.up.cpu_percent,
        "longest_wait": scaling.up.max_wait_seconds,
    }
    found: dict[str, Signal | Missing] = {}
    for name, up in limits.items():
        if name in sources.asked:
            found[name] = _asked(sources.asked[name], up)
        elif name == "cpu":
            found[name] = _cpu(sources, scaling, ready=ready, now=now)
        else:
            found[name] = _highest(sources.scrape, _FIGURES[name], up, now=now)
    return Signals(
        **{name: value for name, value in found.items() if isinstance(value, Signal)},
        missing={name: value for name, value in found.items() if isinstance(value, Missing)},
        problem=problem(sources.scrape),
        dispatchers=frozenset(r.started for r in sources.scrape.replicas),
    )


def _asked(figure: Figure | Missing, up: float) -> Signal | Missing:
    if isinstance(figure, Missing):
        return figure
    if figure.lacks and figure.signal.value <= up:
        return Missing("PrometheusFailed", figure.lacks)
    return figure.signal


def _highest(scrape: Scrape, name: str, up: float, *, now: float) -> Signal | Missing:
    values = [attrgetter(name)(replica) for replica in scrape.replicas]
    if not values or (scrape.failed and max(values) <= up):
        return _unread(scrape)
    return Signal(max(values), _age(scrape, now), "dispatcher")


def _age(scrape: Scrape, now: float) -> float:
    return max(0.0, now - min(r.at for r in scrape.replicas))


def _unread(scrape: Scrape) -> Missing:
    return Missing("ScrapeFailed", problem(scrape))


def _cpu(sources: Sources, scaling: Scaling, *, ready: Sequence[str], now: float) -> Signal | Missing:
    if not ready:
        return Missing("NoServer", "no server is Ready")
    monitored = isinstance(sources.monitor, Signal)
    if scaling.cpu.source == "Monitor" or (scaling.cpu.source == "Auto" and monitored):
        return sources.monitor
    return _slots(sources.scrape, sources.use, scaling, now=now)


def _slots(scrape: Scrape, use: SlotUse, scaling: Scaling, *, now: float) -> Signal | Missing:
    """The share of busy slots over the window.

    Before a window was counted, a share above the threshold is no reason to buy: at one moment it means little.
    """
    up, window = scaling.up.cpu_percent, float(scaling.window_seconds)
    percent, sure = cpu_from_slots(use.busy, use.slots), cpu_from_slots(use.sure, use.slots)
    if percent is None or sure is None:
        return _unread(scrape) if scrape.failed or not scrape.replicas else Missing("CpuUnknown", NO_SLOTS)
    if percent <= up and scrape.failed:
        return _unread(scrape)
    if percent > up and sure <= up:
        message = f"busy slots were counted for {use.counted:.0f} s of {window:g} s (scaling.windowSeconds)"
        return Missing("CpuUnknown", message)
    return Signal(percent, _age(scrape, now), "slots")


#: Why there is no share of busy slots though all could be read.
NO_SLOTS: Final = "no dispatcher lists a slot of the Ready servers"


def problem(scrape: Scrape) -> str:
    """Which replicas could not be read, and why; empty when all were."""
    if scrape.failed:
        named = "; ".join(f"{url}: {why}" for url, why in scrape.failed[:NAMED])
        return named + (f"; and {len(scrape.failed) - NAMED} more" if len(scrape.failed) > NAMED else "")
    return "" if scrape.replicas else "the dispatcher's Service has no address"
