"""Which of Cloud Monitor's metrics is the CPU usage of a HAI instance."""

from collections.abc import Iterable
from typing import Final

from controller.cloud.contract import CpuPoint
from controller.cloud.tencent.monitormetric import Metric, metric_of, newest, words_of
from controller.cloud.tencent.wire import DataPoint, MetricFields

_USAGE_WORDS: Final = ("usage", "util", "使用率", "利用率")
#: Parts of CPU time that are not the usage, and figures that are not a share of it.
_OTHER_WORDS: Final = ("idle", "iowait", "steal", "system", "user", "nice", "irq", "load", "core", "空闲", "负载")


def choose(metrics: Iterable[MetricFields], *, name: str | None = None) -> Metric | None:
    """The CPU usage metric, or None; with `name`, only the metric of that name."""
    usable = [fields for fields in metrics if name is None or fields.metric_name == name]
    if name is None:
        usable = [fields for fields in usable if _is_cpu_usage(fields)]
    found = [metric for fields in usable if (metric := metric_of(fields)) is not None]
    return min(found, key=lambda metric: (len(metric.name), metric.name), default=None)


def newest_points(series: Iterable[DataPoint], metric: Metric) -> list[CpuPoint]:
    """The newest point of each series that has one."""
    return [CpuPoint(instance_id, value, at) for instance_id, value, at in newest(series, metric)]


def _is_cpu_usage(metric: MetricFields) -> bool:
    name = metric.metric_name.lower()
    percent = (metric.unit or "").strip().lower() in ("%", "percent", "percentage")
    used = any(word in words_of(metric) for word in _USAGE_WORDS)
    return "cpu" in name and percent and used and not any(word in name for word in _OTHER_WORDS)
