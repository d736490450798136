"""The operator's figures: at rest over a steady time, and while pools begin to need servers."""

import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from statistics import median
from typing import Any, Final

from tests.bench.fleet.running import Fleet, Moment, percentile
from tests.bench.fleet.seed import Size
from tests.bench.processes import BenchError, Processes
from tests.bench.targets import start_dispatcher, start_origin

#: After the first decisions, before the measurement, in intervals: what a start asks for once is over.
SETTLE_INTERVALS: Final = 2.0
#: Longest wait for that to be so, and the time without a write about any instance by which it is seen, seconds.
SETTLE_SECONDS: Final = 60.0
QUIET_SECONDS: Final = 2.0
#: Time over which the triggers of all pools are spread, in intervals.
SPREAD_INTERVALS: Final = 3.0
#: A purchase must have come so long after its trigger, seconds over one interval, or it is not waited for any more.
LATE_SECONDS: Final = 20.0


@dataclass(frozen=True)
class Plan:
    """What to measure."""

    #: Numbers of pools; the last one gets the figures that have bars.
    pools: tuple[int, ...]
    instances: int
    #: `scaling.intervalSeconds`.
    interval: int
    #: Length of the steady time, seconds.
    steady: float


@dataclass(frozen=True)
class Steady:
    """What an operator took over a steady time."""

    cpu_cores: float
    api: dict[str, float]
    cloud: dict[str, float]
    rss_mb: float
    begin: Moment
    end: Moment

    def raw(self) -> dict[str, Any]:
        """For the JSON."""
        return {
            "cpu_cores": self.cpu_cores,
            "rss_mb": self.rss_mb,
            "api_calls_per_minute": self.api,
            "cloud_calls_per_minute": self.cloud,
        }


def measure(plan: Plan, tell: Callable[[str], None]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Measure: what each number of pools asks for, in the same minute, and then the last one alone.

    Raises:
        BenchError: something did not answer as it should.
    """
    *few, many = plan.pools
    tell("a dispatcher's metrics page")
    page = dispatcher_page()
    with Processes() as processes:
        (fleet,) = _fleets(processes, plan, [many], page, tell)
        with Processes() as others:
            fleets = [*_fleets(others, plan, few, page, tell), fleet]
            start(fleets, plan, tell)
            together = at_rest(fleets, plan, tell)
        alone = at_rest([fleet], plan, tell)[many]
        waits = triggered(fleet, plan, tell)
        last, peak = fleet.moment(), fleet.rss_mb()[1]
    decisions = _less(last, alone.begin)
    buying = (last.cpu - alone.end.cpu) / (last.at - alone.end.at)
    calls = {str(pools): sum(one.cloud.values()) for pools, one in together.items()}
    figures = {
        "cpu_cores": alone.cpu_cores,
        "cpu_cores_while_buying": buying,
        "rss_mb": peak,
        "rss_mb_steady": alone.rss_mb,
        "decision_p99_s": percentile(decisions, 0.99),
        "decision_p99_at_rest_s": percentile(_less(alone.end, alone.begin), 0.99),
        "decision_p99_while_buying_s": percentile(_less(last, alone.end), 0.99),
        "trigger_to_purchase_p99_s": _ranked(waits, 0.99),
        "trigger_to_purchase_p50_s": median(waits),
        "trigger_to_purchase_over_interval_s": _ranked(waits, 0.99) - plan.interval,
        "api_calls_per_minute": sum(alone.api.values()),
        "cloud_calls_per_minute": calls,
        "cloud_calls_growth": calls[str(many)] / max(calls[str(plan.pools[0])], 1.0),
        "interval_s": float(plan.interval),
    }
    raw = {
        "together": {str(pools): one.raw() for pools, one in together.items()},
        "alone": alone.raw(),
        "trigger_to_purchase_s": waits,
        "decisions_by_seconds": {f"{bound:g}": count for bound, count in decisions.items()},
    }
    return figures, raw


def dispatcher_page() -> str:
    """The metrics of a real dispatcher: how much text there is to read."""
    with Processes() as processes:
        return start_dispatcher(processes, start_origin(processes)).metrics()


def _fleets(
    processes: Processes, plan: Plan, pools: Sequence[int], page: str, tell: Callable[[str], None]
) -> list[Fleet]:
    template = Path(processes.folder / "page.txt")
    template.write_text(page)
    fleets = []
    for number in pools:
        tell(f"{number} pools with {plan.instances} instances: writing them")
        fleet = Fleet(processes, Size(number, plan.instances, plan.interval), template)
        fleet.plant()
        fleets.append(fleet)
    return fleets


def start(fleets: Sequence[Fleet], plan: Plan, tell: Callable[[str], None]) -> None:
    """Start the operators, one after another, and wait until what they ask for once is over."""
    for fleet in fleets:
        tell(f"{fleet.size.pools} pools: the operator starts")
        fleet.start_operator()
        fleet.await_decisions()
    time.sleep(SETTLE_INTERVALS * plan.interval)
    deadline = time.monotonic() + SETTLE_SECONDS
    while _instances_written(fleets) and time.monotonic() < deadline:
        tell("the first readings of traffic are still being written")


def _instances_written(fleets: Sequence[Fleet]) -> bool:
    """Whether something is written about single instances now, as after a start."""
    before = [fleet.moment().api for fleet in fleets]
    time.sleep(QUIET_SECONDS)
    after = [fleet.moment().api for fleet in fleets]
    return any((b - a)["PATCH gpuinstances/status"] for a, b in zip(before, after, strict=True))


def at_rest(fleets: Sequence[Fleet], plan: Plan, tell: Callable[[str], None]) -> dict[int, Steady]:
    """What the operators take while nothing happens, by number of pools; of all in the same time.

    Raises:
        BenchError: one bought a server.
    """
    tell(f"{_names(fleets)} pools: {plan.steady:.0f} s at rest")
    before = [fleet.moment() for fleet in fleets]
    resident: list[list[float]] = [[] for _ in fleets]
    until = time.monotonic() + plan.steady
    while (left := until - time.monotonic()) > 0:
        for fleet, sizes in zip(fleets, resident, strict=True):
            sizes.append(fleet.rss_mb()[0])
        time.sleep(min(1.0, left))
    after = [fleet.moment() for fleet in fleets]
    for fleet in fleets:
        if fleet.purchases():
            raise BenchError(f"{fleet.size.pools} pools: bought without a trigger\n{fleet.log.read_text()[-3000:]}")
    return {
        fleet.size.pools: _steady(begin, end, median(sizes))
        for fleet, begin, end, sizes in zip(fleets, before, after, resident, strict=True)
    }


def _names(fleets: Sequence[Fleet]) -> str:
    return " and ".join(str(fleet.size.pools) for fleet in fleets)


def _steady(begin: Moment, end: Moment, rss_mb: float) -> Steady:
    minutes = (end.at - begin.at) / 60.0

    def rates(before: Counter[str], after: Counter[str]) -> dict[str, float]:
        return {what: round(count / minutes, 2) for what, count in sorted((after - before).items())}

    cpu = (end.cpu - begin.cpu) / (end.at - begin.at)
    return Steady(cpu, rates(begin.api, end.api), rates(begin.cloud, end.cloud), rss_mb, begin, end)


def triggered(fleet: Fleet, plan: Plan, tell: Callable[[str], None]) -> list[float]:
    """Seconds from the moment at which each pool's queue becomes too long to its RunInstances.

    Raises:
        BenchError: a pool does not buy.
    """
    rng = random.Random(0)
    spread = SPREAD_INTERVALS * plan.interval
    begin = time.time() + 1.0
    # Long enough to be seen at the next look, and over before the new server runs: nobody buys twice.
    shown = plan.interval + LATE_SECONDS / 2.0
    at = {pool.page: begin + rng.uniform(0.0, spread) for pool in fleet.pools}
    fleet.pages.ask("schedule", times={page: (when, when + shown) for page, when in at.items()})
    tell(f"{fleet.size.pools} pools need a server, within {spread:.0f} s")
    deadline = begin + spread + plan.interval + LATE_SECONDS
    while len(bought := fleet.first_purchases()) < len(at):
        if time.time() > deadline:
            missing = f"{len(at) - len(bought)} of {len(at)} pools did not buy"
            raise BenchError(f"{missing}\n{fleet.log.read_text()[-3000:]}")
        time.sleep(0.5)
    return [round(bought[page] - when, 3) for page, when in at.items()]


def _less(last: Moment, first: Moment) -> dict[float, float]:
    """The decisions between two moments."""
    return {bound: count - first.decisions.get(bound, 0.0) for bound, count in last.decisions.items()}


def _ranked(values: Sequence[float], share: float) -> float:
    """The value that so large a share of them does not exceed."""
    return sorted(values)[max(0, ceil(len(values) * share) - 1)]
