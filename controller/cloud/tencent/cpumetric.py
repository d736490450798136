"""Which of Cloud Monitor's metrics is the CPU usage of a HAI instance, and its newest points.

No document names HAI's metrics, so they are discovered: DescribeBaseMetrics lists them, and the choice is made by
name, unit, meaning and dimension.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from controller.cloud.contract import CpuPoint
from controller.cloud.tencent.wire import DataPoint, MetricFields

NAMESPACE: Final = "QCE/HAI"
#: The API's limit of instances in one GetMonitorData.
MONITOR_BATCH: Final = 50
#: The newest minutes are not aggregated yet; asking for them gives gaps.
LAG: Final = timedelta(seconds=90)
#: How far back the newest point may lie: older ones say nothing about now.
WINDOW: Final = timedelta(minutes=10)
#: Seconds between points, if the metric offers it.
WANTED_PERIOD_S: Final = 60
DEFAULT_PERIOD_S: Final = 300

_USAGE_WORDS: Final = ("usage", "util", "使用率", "利用率")
#: Parts of CPU time that are not the usage, and figures that are not a share of it.
_OTHER_WORDS: Final = ("idle", "iowait", "steal", "system", "user", "nice", "irq", "load", "core", "空闲", "负载")


@dataclass(frozen=True, slots=True)
class CpuMetric:
    """How to ask for the CPU usage."""

    name: str
    #: Case matters to Cloud Monitor.
    dimension: str
    period_s: int


def choose(metrics: Iterable[MetricFields], *, name: str | None = None) -> CpuMetric | None:
    """The CPU usage metric, or None; with `name`, only the metric of that name."""
    usable = [metric for metric in metrics if _dimension(metric) and (name is None or metric.metric_name == name)]
    if name is None:
        usable = [metric for metric in usable if _is_cpu_usage(metric)]
    best = min(usable, key=lambda metric: (len(metric.metric_name), metric.metric_name), default=None)
    if best is None:
        return None
    return CpuMetric(best.metric_name, _dimension(best) or "", _period(best.period or []))


def request(metric: CpuMetric, instance_ids: Sequence[str], now: datetime) -> dict[str, Any]:
    """The fields of GetMonitorData for at most `MONITOR_BATCH` instances."""
    end = (now.astimezone(UTC) - LAG).replace(microsecond=0)
    start = end - max(WINDOW, timedelta(seconds=2 * metric.period_s))
    return {
        "Namespace": NAMESPACE,
        "MetricName": metric.name,
        "Period": metric.period_s,
        "StartTime": start.isoformat(),
        "EndTime": end.isoformat(),
        "Instances": [{"Dimensions": [{"Name": metric.dimension, "Value": one}]} for one in instance_ids],
    }


def newest_points(series: Iterable[DataPoint], metric: CpuMetric) -> list[CpuPoint]:
    """The newest point of each series that has one."""
    points = []
    for one in series:
        instance_id = next((d.value for d in one.dimensions if d.name == metric.dimension and d.value), None)
        pairs = zip(one.timestamps or [], one.values or [], strict=False)
        real = [(at, value) for at, value in pairs if value is not None and math.isfinite(value)]
        if instance_id and real:
            at, value = max(real)
            points.append(CpuPoint(instance_id, value, datetime.fromtimestamp(at, UTC)))
    return points


def _is_cpu_usage(metric: MetricFields) -> bool:
    name = metric.metric_name.lower()
    meaning = metric.meaning
    words = " ".join([name, (meaning and meaning.en) or "", (meaning and meaning.zh) or ""]).lower()
    percent = (metric.unit or "").strip().lower() in ("%", "percent", "percentage")
    used = any(word in words for word in _USAGE_WORDS)
    return "cpu" in name and percent and used and not any(word in name for word in _OTHER_WORDS)


def _dimension(metric: MetricFields) -> str | None:
    """The one dimension that names an instance, or None where the metric needs several."""
    singles = [one.dimensions[0] for one in metric.dimensions or [] if one.dimensions and len(one.dimensions) == 1]
    return next((name for name in singles if "instanceid" in name.lower().replace("_", "")), None)


def _period(offered: list[int]) -> int:
    if WANTED_PERIOD_S in offered or not offered:
        return WANTED_PERIOD_S if offered else DEFAULT_PERIOD_S
    return min((period for period in offered if period > WANTED_PERIOD_S), default=max(offered))
