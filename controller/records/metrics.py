"""The writer's numbers for Prometheus, read when scraped."""

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from controller.records.counters import DROP_REASONS
from controller.records.writer import RecordWriter


class RecordsCollector(Collector):
    """Exports what a writer counts. Every series is there from the start: a rate needs its zero."""

    def __init__(self, writer: RecordWriter) -> None:
        self._writer = writer

    def collect(self) -> Iterator[Metric]:
        """All figures of the writer."""
        writer, counters = self._writer, self._writer.counters
        written = CounterMetricFamily("haipool_records_written", "Records written to their file.", labels=["type"])
        dropped = CounterMetricFamily("haipool_records_dropped", "Records lost, by reason.", labels=["type", "reason"])
        for kind in writer.types:
            written.add_metric([kind], counters.written[kind])
            for reason in DROP_REASONS:
                dropped.add_metric([kind, reason], counters.dropped[kind, reason])
        yield written
        yield dropped
        yield CounterMetricFamily("haipool_records_errors", "Failed attempts at the disk.", value=counters.errors)
        yield GaugeMetricFamily("haipool_records_backlog", "Records in memory only.", value=writer.backlog)
        yield GaugeMetricFamily("haipool_records_disk_bytes", "Bytes of all record files.", value=writer.folder.bytes)
