"""HAI's metric names are not documented: the CPU usage is recognised, and nothing else is taken for it."""

from datetime import UTC, datetime
from typing import Any

import pytest

from controller.cloud.tencent import cpumetric, monitormetric
from controller.cloud.tencent.wire import DataPoint, DescribeBaseMetrics, MetricFields, read

NOW = datetime(2025, 6, 1, 12, 0, 0, tzinfo=UTC)


def metric(name: str, **changes: Any) -> dict[str, Any]:
    fields = {
        "MetricName": name,
        "Unit": "%",
        "Period": [10, 60, 300],
        "Meaning": {"En": "", "Zh": ""},
        "Dimensions": [{"Dimensions": ["InstanceId"]}],
    }
    return fields | changes


def metrics(*fields: dict[str, Any]) -> list[MetricFields]:
    return read({"MetricSet": list(fields)}, DescribeBaseMetrics, action="DescribeBaseMetrics").metric_set or []


@pytest.mark.parametrize(
    "fields",
    [
        metric("CPUUsage"),
        metric("CpuUtil"),
        metric("cpu_usage", Unit="percent"),
        metric("BaseCpu", Meaning={"En": "", "Zh": "CPU利用率"}),
        metric("Cpu", Meaning={"En": "CPU utilization", "Zh": ""}),
    ],
)
def test_cpu_usage_is_recognised_by_name_or_meaning(fields: dict[str, Any]) -> None:
    chosen = cpumetric.choose(metrics(metric("GpuUtil"), metric("MemUsage"), fields))
    assert chosen == monitormetric.Metric(fields["MetricName"], "InstanceId", 60)


@pytest.mark.parametrize(
    "fields",
    [
        metric("GPUUsage"),
        metric("CpuLoadAvg"),
        metric("CpuUsageIdle"),
        metric("CpuUsageIowait"),
        metric("CpuUsage", Unit="cores"),
        metric("CpuUsage", Unit=None),
        metric("CpuUsage", Dimensions=[{"Dimensions": ["InstanceId", "Core"]}]),
        metric("CpuUsage", Dimensions=None),
        metric("Cpu"),
    ],
)
def test_nothing_else_is_taken_for_it(fields: dict[str, Any]) -> None:
    assert cpumetric.choose(metrics(fields)) is None


def test_the_plainest_name_wins_whatever_the_order() -> None:
    both = [metric("CpuUsage"), metric("CpuUsageOfContainer")]
    for fields in (both, both[::-1]):
        chosen = cpumetric.choose(metrics(*fields))
        assert chosen is not None
        assert chosen.name == "CpuUsage"


@pytest.mark.parametrize(
    ("offered", "period"), [([10, 60, 300], 60), ([300, 3600], 300), ([10], 10), ([10, 300], 300), (None, 300)]
)
def test_the_period_is_a_minute_or_the_next_longer(offered: list[int] | None, period: int) -> None:
    chosen = cpumetric.choose(metrics(metric("CpuUsage", Period=offered)))
    assert chosen is not None
    assert chosen.period_s == period


def test_the_question_ends_in_the_past_and_keeps_the_dimension_as_spelled() -> None:
    chosen = monitormetric.Metric("CpuUsage", "instanceid", 60)
    asked = monitormetric.request(chosen, ["hai-a"], NOW)
    assert asked["EndTime"] == "2025-06-01T11:58:30+00:00"
    assert asked["StartTime"] == "2025-06-01T11:48:30+00:00"
    assert asked["Instances"] == [{"Dimensions": [{"Name": "instanceid", "Value": "hai-a"}]}]


def test_the_newest_real_value_counts_whatever_the_order() -> None:
    chosen = monitormetric.Metric("CpuUsage", "InstanceId", 60)

    def series(name: str, stamps: list[float] | None, values: list[float | None] | None) -> dict[str, Any]:
        return {"Dimensions": [{"Name": "InstanceId", "Value": name}], "Timestamps": stamps, "Values": values}

    from msgspec import convert

    points = cpumetric.newest_points(
        convert(
            [
                series("hai-a", [180.0, 60.0, 120.0], [None, 10.0, 20.0]),
                series("hai-b", [], []),
                series("hai-c", None, None),
                {"Dimensions": [], "Timestamps": [60.0], "Values": [1.0]},
            ],
            list[DataPoint],
        ),
        chosen,
    )
    assert [(point.instance_id, point.percent, point.at.timestamp()) for point in points] == [("hai-a", 20.0, 120.0)]
