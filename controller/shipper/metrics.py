"""The shipper's numbers for Prometheus, read when scraped."""

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from controller.shipper.ship import Tally


class ShipperCollector(Collector):
    """Exports a tally. Every series is there from the start: a rate needs its zero."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally

    def collect(self) -> Iterator[Metric]:
        """All figures."""
        tally = self._tally
        yield CounterMetricFamily("haipool_cls_shipped_records", "Records CLS has acknowledged.", value=tally.shipped)
        yield CounterMetricFamily("haipool_cls_shipped_bytes", "Bytes of those uploads.", value=tally.shipped_bytes)
        requests = CounterMetricFamily("haipool_cls_requests", "Uploads, by what came of them.", labels=["outcome"])
        for outcome, count in tally.requests.items():
            requests.add_metric([outcome], count)
        yield requests
        dropped = CounterMetricFamily(
            "haipool_cls_dropped", "Records (removed: bytes) that will never arrive, by reason.", labels=["reason"]
        )
        for reason, count in tally.dropped.items():
            dropped.add_metric([reason], count)
        yield dropped
        yield GaugeMetricFamily("haipool_cls_backlog_bytes", "Bytes not shipped yet.", value=tally.backlog_bytes)
        held = GaugeMetricFamily("haipool_cls_held", "1 while nothing is shipped until a person acts.")
        held.add_metric([], 1.0 if tally.held else 0.0)
        yield held
