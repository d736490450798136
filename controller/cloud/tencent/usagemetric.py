"""Which of Cloud Monitor's metrics are the usage of a HAI instance's GPU, of its GPU's memory, and of its memory."""

from collections.abc import Iterable
from typing import Final

from controller.cloud.contract import Figure
from controller.cloud.tencent.monitormetric import Metric, metric_of, words_of
from controller.cloud.tencent.wire import MetricFields

_USED: Final = ("usage", "util", "rate", "percent", "使用率", "利用率", "占用率")
_MEMORY: Final = ("mem", "显存")
#: Of a GPU or of memory, but no share of it that is in use.
_OTHER: Final = ("enc", "dec", "temp", "power", "free", "fan", "clock", "error", "swap", "空闲", "温度", "功耗")


def choose(metrics: Iterable[MetricFields]) -> dict[Figure, Metric]:
    """The metric of each figure that is published; of several the one with the plainest name."""
    chosen: dict[Figure, Metric] = {}
    for fields in sorted(metrics, key=lambda one: (len(one.metric_name), one.metric_name)):
        figure, metric = _figure(fields), metric_of(fields)
        if figure is not None and metric is not None:
            chosen.setdefault(figure, metric)
    return chosen


def _figure(fields: MetricFields) -> Figure | None:
    name = fields.metric_name.lower()
    percent = (fields.unit or "").strip().lower() in ("%", "percent", "percentage")
    used = any(word in words_of(fields) for word in _USED)
    if not percent or not used or any(word in name for word in _OTHER):
        return None
    memory = any(word in name for word in _MEMORY)
    if "gpu" in name:
        return "gpu_memory" if memory else "gpu"
    return "memory" if memory else None
