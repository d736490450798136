"""Throughput and latency of tasks and of pass-through, of all proxies in one run.

Short rounds that take turns, in an order that turns round itself: what slows the machine down for a while then falls on
all of them. Ratios are taken within a round, and their median counts.
"""

import re
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from statistics import median, quantiles
from typing import Any, Final

from tests.bench.processes import BenchError, Processes, cpu_seconds
from tests.bench.targets import Dispatcher, Load, Target, start_bare, start_dispatcher, start_nginx, start_origin

KINDS: Final = ("task", "pass")
#: Connections that are busy all the time: enough that the proxy never waits for work.
CONNECTIONS: Final = 32
#: Records are written behind the answers; all must be there after so many seconds.
RECORD_SECONDS: Final = 15.0


@dataclass(frozen=True)
class Plan:
    """How much is measured."""

    rounds: int
    #: Requests of one round and kind to one proxy: for throughput, and at one connection.
    requests: int
    latency_requests: int


@dataclass(frozen=True)
class Sample:
    """One round of one kind at one target."""

    per_second: float
    p50_ms: float
    p99_ms: float
    #: CPU time of the target per request, microseconds.
    cpu_us: float
    #: Share of the time in which the load generator was busy.
    load_busy: float


Samples = dict[tuple[str, str], list[Sample]]


class Field:
    """Everything that runs: origin, proxies, load."""

    def __init__(self, processes: Processes) -> None:
        self.origin = start_origin(processes)
        self.dispatcher: Dispatcher = start_dispatcher(processes, self.origin)
        self.nginx = start_nginx(processes, self.origin)
        self.proxies: list[Target] = [start_bare(processes, self.origin), self.dispatcher]
        if self.nginx is not None:
            self.proxies.append(self.nginx)
        self.load = Load(processes)
        #: Tasks that the dispatcher must have done.
        self.tasks = 0

    def sample(self, target: Target, kind: str, *, connections: int, requests: int) -> Sample:
        """One round of one kind at one target."""
        warmup, before = 2 * connections, cpu_seconds(target.pid)
        outcome = self.load.drive(target, kind, connections=connections, requests=requests, warmup=warmup)
        cpu = cpu_seconds(target.pid) - before
        if target is self.dispatcher and kind == "task":
            self.tasks += requests + warmup
        return Sample(
            per_second=requests / outcome.seconds,
            p50_ms=outcome.p50_ms,
            p99_ms=outcome.p99_ms,
            cpu_us=cpu / (requests + warmup) * 1e6,
            load_busy=outcome.own_cpu / outcome.seconds,
        )

    def rounds(
        self, targets: Sequence[Target], *, rounds: int, connections: int, requests: int, tell: Callable[[str], None]
    ) -> Samples:
        """All rounds; a few requests go ahead of the first, so that nobody starts cold."""
        samples: Samples = {(target.name, kind): [] for target in targets for kind in KINDS}
        for target in targets:
            for kind in KINDS:
                self.sample(target, kind, connections=connections, requests=max(1, requests // 4))
        for number in range(rounds):
            tell(f"{connections} connection{'s' * (connections > 1)}, round {number + 1} of {rounds}")
            for kind in KINDS:
                for target in targets if number % 2 == 0 else reversed(targets):
                    sample = self.sample(target, kind, connections=connections, requests=requests)
                    samples[target.name, kind].append(sample)
        return samples

    def check(self) -> None:
        """Whether the dispatcher did all this with its metrics and records on.

        Raises:
            BenchError: it counted other tasks than were sent, or wrote other records.
        """
        page = self.dispatcher.metrics()
        found = re.search(r'^haipool_tasks_total\{[^}]*status="success"[^}]*\} (\S+)$', page, re.MULTILINE)
        if found is None or float(found[1]) != self.tasks:
            raise BenchError(f"the dispatcher's metrics say {found and found[1]} tasks, {self.tasks} were sent")
        deadline = time.monotonic() + RECORD_SECONDS
        while (written := self.dispatcher.records()) != self.tasks:
            if time.monotonic() > deadline:
                raise BenchError(f"the dispatcher wrote {written} task records, {self.tasks} tasks were sent")
            time.sleep(0.1)


def measure(plan: Plan, parts: Collection[str], tell: Callable[[str], None]) -> tuple[dict[str, float], dict[str, Any]]:
    """Measure `throughput` and `latency`, or one of them.

    Returns:
        the figures by name, and everything they were made of.

    Raises:
        BenchError: something did not answer as it should.
    """
    figures: dict[str, float] = {}
    raw: dict[str, Any] = {}
    with Processes() as processes:
        field = Field(processes)
        if "throughput" in parts:
            busy = field.rounds(
                field.proxies, rounds=plan.rounds, connections=CONNECTIONS, requests=plan.requests, tell=tell
            )
            figures |= _throughput(busy)
            raw["throughput"] = _raw(busy)
        if "latency" in parts:
            everyone = [field.origin, *field.proxies]
            alone = field.rounds(everyone, rounds=plan.rounds, connections=1, requests=plan.latency_requests, tell=tell)
            figures |= _latency(alone)
            raw["latency"] = _raw(alone)
        field.check()
    return figures, raw


def _throughput(samples: Samples) -> dict[str, float]:
    figures = {}
    for kind, name in (("task", "task"), ("pass", "passthrough")):
        ours = samples["dispatcher", kind]
        for other in ("bare", "nginx"):
            if (other, kind) in samples:
                theirs, to = samples[other, kind], "bare_proxy" if other == "bare" else other
                figures[f"{name}_throughput_ratio_to_{to}"] = _ratio(ours, theirs, lambda s: s.per_second)
        figures[f"{name}_cpu_ratio_to_bare_proxy"] = _ratio(samples["bare", kind], ours, lambda s: s.cpu_us)
    return figures


def _ratio(ours: Sequence[Sample], theirs: Sequence[Sample], figure: Callable[[Sample], float]) -> float:
    """The median over the rounds of the ratio within a round."""
    return median(figure(a) / max(figure(b), 1e-9) for a, b in zip(ours, theirs, strict=True))


def _latency(samples: Samples) -> dict[str, float]:
    figures = {}
    for kind, name in (("task", "added_latency"), ("pass", "passthrough_added_latency")):
        pairs = list(zip(samples["dispatcher", kind], samples["direct", kind], strict=True))
        figures[f"{name}_p50_ms"] = median(a.p50_ms - b.p50_ms for a, b in pairs)
        figures[f"{name}_p99_ms"] = median(a.p99_ms - b.p99_ms for a, b in pairs)
    return figures


def _raw(samples: Mapping[tuple[str, str], Sequence[Sample]]) -> dict[str, Any]:
    """Medians and quartiles of everything."""
    raw: dict[str, Any] = {}
    for (target, kind), rounds in samples.items():
        raw.setdefault(target, {})[kind] = {
            field: _spread([getattr(sample, field) for sample in rounds]) for field in Sample.__dataclass_fields__
        }
    return raw


def _spread(values: list[float]) -> dict[str, float]:
    low, middle, high = quantiles(values, n=4, method="inclusive") if len(values) > 1 else values * 3
    return {"median": middle, "q1": low, "q3": high}
