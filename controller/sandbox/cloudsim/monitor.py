"""The simulated Cloud Monitor API, version 2018-07-24: what a namespace publishes, and its points."""

import math
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from controller.sandbox.cloudsim.actions import Action, Call, Request
from controller.sandbox.cloudsim.config import SampleMetric
from controller.sandbox.cloudsim.errors import ApiError
from controller.sandbox.cloudsim.world import SimInstance

VERSION: Final = "2018-07-24"
NAMESPACE: Final = "QCE/HAI"
MAX_INSTANCES: Final = 50
#: Points that one request may cover, over all its instances.
MAX_POINTS: Final = 7200


class Dimension(Request, frozen=True):
    """Name and value."""

    name: str
    value: str


class Target(Request, frozen=True):
    """One instance, by its dimensions."""

    dimensions: list[Dimension]


class DescribeBaseMetrics(Request, frozen=True):
    """Which metrics a namespace publishes."""

    namespace: str
    metric_name: str | None = None
    dimensions: list[str] | None = None


class GetMonitorData(Request, frozen=True):
    """Points of one metric."""

    namespace: str
    metric_name: str
    instances: list[Target]
    period: int = 300
    start_time: str = ""
    end_time: str = ""
    specify_statistics: int | None = None


def describe_base_metrics(call: Call, params: DescribeBaseMetrics) -> dict[str, Any]:
    """The configured metrics; an unknown namespace has none."""
    published = call.world.config.metrics if params.namespace == NAMESPACE else ()
    return {"MetricSet": [_metric(one) for one in published if params.metric_name in (None, one.name)]}


def get_monitor_data(call: Call, params: GetMonitorData) -> dict[str, Any]:
    """Points at multiples of the period, as late as the configuration says."""
    metric = next((one for one in call.world.config.metrics if one.name == params.metric_name), None)
    if params.namespace != NAMESPACE or metric is None:
        raise ApiError("InvalidParameterValue", f"There is no metric {params.metric_name!r} in {params.namespace!r}.")
    if params.period not in metric.periods:
        raise ApiError("InvalidParameterValue", f"The metric has no period of {params.period} s.")
    end = _posix(params.end_time, default=call.now)
    start = _posix(params.start_time, default=end - params.period)
    if end < start:
        raise ApiError("InvalidParameterValue", "EndTime lies before StartTime.")
    first, last = math.ceil(start / params.period), math.floor(end / params.period)
    stamps = [step * params.period for step in range(first, last + 1)]
    if not 0 < len(params.instances) <= MAX_INSTANCES or len(stamps) * len(params.instances) > MAX_POINTS:
        raise ApiError("InvalidParameterValue", f"At most {MAX_INSTANCES} instances and {MAX_POINTS} points.")
    targets = [_target(call, one, metric) for one in params.instances]
    newest = call.now - call.world.config.monitor_lag_s
    points = [_series(one, metric, [at for at in stamps if at <= newest]) for one in targets]
    return {
        "Period": params.period,
        "MetricName": metric.name,
        "StartTime": params.start_time,
        "EndTime": params.end_time,
        "DataPoints": points,
        "Msg": "",
    }


ACTIONS: Final[Mapping[str, Action]] = {
    "DescribeBaseMetrics": Action(DescribeBaseMetrics, describe_base_metrics),
    "GetMonitorData": Action(GetMonitorData, get_monitor_data),
}


def _posix(text: str, *, default: float) -> float:
    if not text:
        return default
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ApiError("InvalidParameterValue", f"{text!r} is no time.") from None
    if moment.tzinfo is None:
        raise ApiError("InvalidParameterValue", f"{text!r} has no zone.")
    return moment.timestamp()


def _target(call: Call, target: Target, metric: SampleMetric) -> SimInstance:
    value = next((one.value for one in target.dimensions if one.name == metric.dimension), None)
    if value is None:
        raise ApiError("InvalidParameterValue", f"The dimension is {metric.dimension}.")
    one = call.world.instances.get(value)
    if one is None or one.order.region != call.region or one.state == "TERMINATED":
        raise ApiError("InvalidParameterValue", "Unauthorized operation or the instance has been destroyed.")
    return one


def _series(one: SimInstance, metric: SampleMetric, stamps: list[int]) -> dict[str, Any]:
    """The value in force at each stamp; before the first value there is no point."""
    steps = one.metrics.get(metric.name, [])
    pairs = [(at, [value for since, value in steps if since <= at][-1:]) for at in stamps]
    known = [(float(at), value[0]) for at, value in pairs if value]
    return {
        "Dimensions": [{"Name": metric.dimension, "Value": one.instance_id}],
        "Timestamps": [at for at, _ in known],
        "Values": [value for _, value in known],
        "MaxValues": None,
        "MinValues": None,
        "AvgValues": None,
    }


def _metric(one: SampleMetric) -> dict[str, Any]:
    return {
        "Namespace": NAMESPACE,
        "MetricName": one.name,
        "Unit": one.unit,
        "UnitCname": one.unit,
        "Period": list(one.periods),
        "Periods": [{"Period": str(period), "StatType": ["avg"]} for period in one.periods],
        "Meaning": {"En": one.meaning_en, "Zh": one.meaning_zh},
        "Dimensions": [{"Dimensions": [one.dimension]}],
        "MetricCName": one.meaning_zh or None,
        "MetricEName": one.meaning_en or None,
    }
