"""One replica's metrics page: what of it can be a measurement.

A figure is used only if it can be one; a replica that answers nonsense counts as failed, and what it may know is
unknown.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from controller.api import metrics
from controller.scaling.replicas import STALE_SECONDS, ReplicaReading, ServerReading, plausible

#: What a server must have; a missing figure is no zero: it would read as drained, or as dead.
_SERVER: Final = {
    metrics.SERVER_IN_FLIGHT: "in_flight",
    metrics.SERVER_TASKS: "tasks",
    metrics.SERVER_SLOTS: "slots",
    metrics.SERVER_UP: "up",
    metrics.SERVER_DRAINING: "draining",
}
_PER_SERVER: Final = (*_SERVER, metrics.SERVER_BUSY)
_WHOLE: Final = (*metrics.REQUIRED, *metrics.TOTALS)
#: Counters and start times: a double counts no further, and no clock is there yet.
_UNNAMED_LIMIT: Final = 2.0**53


class ScrapeError(Exception):
    """A replica could not be read; the text says why."""


def parse(url: str, text: str, *, at: float, max_age: float = STALE_SECONDS) -> ReplicaReading:
    """One replica's metrics page.

    Args:
        url: where it was read.
        text: Prometheus text format.
        at: Unix seconds.
        max_age: seconds by which timestamps of the figures, where they have any, may differ from `at`.

    Raises:
        ScrapeError: a required metric is missing, implausible or there twice, or the replica says that its own view is
            not current.
        ValueError: not the Prometheus text format.
    """
    samples = _samples(text)
    whole = _only([s for s in samples if s.name in metrics.REQUIRED])
    for name in metrics.REQUIRED:
        if name not in whole:
            raise ScrapeError(f"{name} is missing: is this the dispatcher's admin port?")
        _check(name, whole[name])
    if whole[metrics.DISPATCHER_SYNCED] != 1:
        raise ScrapeError("it has not caught up with the Kubernetes API")
    return ReplicaReading(
        url=url,
        at=_measured(samples, at, max_age),
        queue_length=whole[metrics.QUEUE_LENGTH],
        oldest_age=whole[metrics.QUEUE_OLDEST_AGE],
        mean_response=whole[metrics.MEAN_RESPONSE],
        started=whole[metrics.DISPATCHER_STARTED],
        servers=_servers(samples),
        totals=_totals(samples),
    )


def _samples(text: str) -> list[Sample]:
    """The samples of the contract; the many others need not be parsed."""
    if not text.endswith("\n"):
        raise ScrapeError("the page breaks off in the middle of a line")
    names = (*_WHOLE, *_PER_SERVER)
    page = "\n".join(line for line in text.split("\n") if line.startswith(names))
    wanted = frozenset(names)
    return [s for family in text_string_to_metric_families(page) for s in family.samples if s.name in wanted]


def _only(samples: Iterable[Sample]) -> dict[str, float]:
    """Name -> value, where each may be there once."""
    found: dict[str, float] = {}
    for sample in samples:
        if sample.name in found:
            raise ScrapeError(f"{sample.name} is there more than once")
        found[sample.name] = sample.value
    return found


def _check(name: str, value: float, of: str = "") -> None:
    if not plausible(value, metrics.LIMITS.get(name, _UNNAMED_LIMIT)):
        raise ScrapeError(f"{name}{of} is {value:g}, which cannot be a measurement")


def _measured(samples: Iterable[Sample], at: float, max_age: float) -> float:
    """When the oldest figure was measured: now, unless the page says otherwise, as caches and gateways make it do."""
    times = [float(s.timestamp) for s in samples if s.timestamp is not None]
    for time in times:
        if not abs(at - time) <= max_age:
            side = f"{at - time:.0f} s old" if at > time else f"{time - at:.0f} s ahead of this clock"
            raise ScrapeError(f"its figures are {side} by their timestamps")
    return min([at, *times])


def _totals(samples: Iterable[Sample]) -> tuple[float, float, float] | None:
    """The counters of demand; None where one is missing or implausible: demand is unknown then, and nothing else."""
    values = {s.name: s.value for s in samples if s.name in metrics.TOTALS and not s.labels}
    if len(values) < len(metrics.TOTALS) or not all(plausible(v, _UNNAMED_LIMIT) for v in values.values()):
        return None
    submitted, ended, seconds = (values[name] for name in metrics.TOTALS)
    return submitted, ended, seconds


def _servers(samples: Iterable[Sample]) -> dict[str, ServerReading]:
    found: dict[str, dict[str, float]] = {}
    for sample in samples:
        if sample.name not in _PER_SERVER or "server" not in sample.labels:
            continue
        name = sample.labels["server"]
        figures = found.setdefault(name, {})
        if sample.name in figures:
            raise ScrapeError(f"{sample.name} of {name} is there more than once")
        _check(sample.name, sample.value, f" of {name}")
        figures[sample.name] = sample.value
    return {name: _server(name, figures) for name, figures in found.items()}


def _server(name: str, figures: Mapping[str, float]) -> ServerReading:
    for metric, figure in _SERVER.items():
        if metric not in figures:
            raise ScrapeError(f"the figure {figure!r} of server {name} is missing")
    return ServerReading(
        in_flight=figures[metrics.SERVER_IN_FLIGHT],
        tasks=figures[metrics.SERVER_TASKS],
        slots=figures[metrics.SERVER_SLOTS],
        up=bool(figures[metrics.SERVER_UP]),
        draining=bool(figures[metrics.SERVER_DRAINING]),
        busy_seconds=figures.get(metrics.SERVER_BUSY),
    )
