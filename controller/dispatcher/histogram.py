"""A histogram for the event loop's thread.

That of prometheus_client takes a lock and looks through its buckets one by one: two observations a task cost more than
its turn in the queue.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import accumulate

from prometheus_client.core import HistogramMetricFamily, Metric
from prometheus_client.registry import Collector, CollectorRegistry


class Histogram(Collector):
    """Counts observations by size. Observed and scraped in one thread."""

    def __init__(self, name: str, text: str, *, buckets: Sequence[float], registry: CollectorRegistry) -> None:
        """Register it.

        Args:
            name: of the metric.
            text: its help.
            buckets: upper bounds, rising, without infinity.
            registry: where it is exported.
        """
        self._name = name
        self._text = text
        self._bounds = tuple(float(bound) for bound in buckets)
        self._counts = [0] * (len(self._bounds) + 1)
        self._sum = 0.0
        registry.register(self)

    def observe(self, value: float) -> None:
        """Count one observation; a value that is a bound falls under it."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def describe(self) -> Iterator[Metric]:
        """What the registry reserves names by."""
        yield HistogramMetricFamily(self._name, self._text)

    def collect(self) -> Iterator[Metric]:
        """The metric as it is now."""
        bounds = [*(str(bound) for bound in self._bounds), "+Inf"]
        cumulated = [float(count) for count in accumulate(self._counts)]
        buckets = list(zip(bounds, cumulated, strict=True))
        yield HistogramMetricFamily(self._name, self._text, buckets=buckets, sum_value=self._sum)
