"""What every metric of Cloud Monitor has in common: how to ask for its newest points, and how to read them.

No document names HAI's metrics, so they are discovered: DescribeBaseMetrics lists them, and a module for each kind of
figure (`cpumetric`, `netmetric`) chooses by name, unit, meaning and dimension.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

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


@dataclass(frozen=True, slots=True)
class Metric:
    """How to ask for a metric."""

    name: str
    #: Case matters to Cloud Monitor.
    dimension: str
    period_s: int


def metric_of(fields: MetricFields) -> Metric | None:
    """How to ask for a listed metric; None where it takes more than an instance's id."""
    dimension = dimension_of(fields)
    return None if dimension is None else Metric(fields.metric_name, dimension, _period(fields.period or []))


def dimension_of(fields: MetricFields) -> str | None:
    """The one dimension that names an instance, or None where the metric needs several."""
    singles = [one.dimensions[0] for one in fields.dimensions or [] if one.dimensions and len(one.dimensions) == 1]
    return next((name for name in singles if "instanceid" in name.lower().replace("_", "")), None)


def words_of(fields: MetricFields) -> str:
    """Name and meaning in both languages, in lower case."""
    meaning = fields.meaning
    return " ".join([fields.metric_name, (meaning and meaning.en) or "", (meaning and meaning.zh) or ""]).lower()


def request(metric: Metric, instance_ids: Sequence[str], now: datetime) -> dict[str, Any]:
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


def newest(series: Iterable[DataPoint], metric: Metric) -> Iterator[tuple[str, float, datetime]]:
    """Instance id, value and time of the newest point of each series that has one."""
    for one in series:
        instance_id = next((d.value for d in one.dimensions if d.name == metric.dimension and d.value), None)
        pairs = zip(one.timestamps or [], one.values or [], strict=False)
        real = [(at, value) for at, value in pairs if value is not None and math.isfinite(value)]
        if instance_id and real:
            at, value = max(real)
            yield instance_id, value, datetime.fromtimestamp(at, UTC)


def _period(offered: list[int]) -> int:
    if WANTED_PERIOD_S in offered or not offered:
        return WANTED_PERIOD_S if offered else DEFAULT_PERIOD_S
    return min((period for period in offered if period > WANTED_PERIOD_S), default=max(offered))
