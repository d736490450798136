"""The public bandwidth of an instance is recognised among metrics whose names nobody has documented."""

from typing import Any

import pytest

from controller.cloud.tencent import netmetric
from controller.cloud.tencent.monitormetric import Metric
from controller.cloud.tencent.wire import DescribeBaseMetrics, GetMonitorData, MetricFields, read


def metric(name: str, unit: str | None = "Mbps", en: str = "", zh: str = "", **changes: Any) -> dict[str, Any]:
    fields = {
        "MetricName": name,
        "Unit": unit,
        "Period": [10, 60, 300],
        "Meaning": {"En": en, "Zh": zh},
        "Dimensions": [{"Dimensions": ["InstanceId"]}],
    }
    return fields | changes


def metrics(*fields: dict[str, Any]) -> list[MetricFields]:
    return read({"MetricSet": list(fields)}, DescribeBaseMetrics, action="DescribeBaseMetrics").metric_set or []


@pytest.mark.parametrize(
    ("fields", "direction"),
    [
        (metric("WanIntraffic"), "In"),
        (metric("WanOuttraffic"), "Out"),
        (metric("InBandwidth"), "In"),
        (metric("public_out_bandwidth"), "Out"),
        (metric("NetRx", en="Network bandwidth received"), "In"),
        (metric("NetTx", en="Network bandwidth sent"), "Out"),
        (metric("Wan1", zh="外网入带宽"), "In"),
        (metric("Wan2", zh="外网出带宽"), "Out"),
    ],
)
def test_directions_are_told_by_name_or_meaning(fields: dict[str, Any], direction: str) -> None:
    (found,) = netmetric.choose(metrics(fields))
    assert (found.direction, found.metric) == (direction, Metric(fields["MetricName"], "InstanceId", 60))


@pytest.mark.parametrize(
    "fields",
    [
        metric("LanIntraffic"),
        metric("WanInpkg", unit="Count/s"),
        metric("WanInPkg", unit="Mbps", zh="外网入包量"),
        metric("AccOuttraffic", unit="MB"),
        metric("WanOuttraffic", unit=None),
        metric("WanOutUtil", unit="%"),
        metric("InstanceTraffic"),
        metric("DiskIn", en="Disk read"),
        metric("WanOuttraffic", Dimensions=[{"Dimensions": ["InstanceId", "Isp"]}]),
    ],
)
def test_nothing_else_is_taken_for_it(fields: dict[str, Any]) -> None:
    assert netmetric.choose(metrics(fields)) == ()


def test_the_public_line_comes_first_whatever_the_order() -> None:
    both = [metric("OutTraffic"), metric("WanOuttraffic"), metric("WanIntraffic")]
    for fields in (both, both[::-1]):
        assert [one.metric.name for one in netmetric.choose(metrics(*fields))] == ["WanIntraffic", "WanOuttraffic"]


@pytest.mark.parametrize(
    ("unit", "mbps"),
    [("Mbps", 1.0), ("Kbps", 1e-3), ("bps", 1e-6), ("Gbps", 1e3), ("MB/s", 8.0), ("Bytes/s", 8e-6), ("Mbit/s", 1.0),
     ("KBytes/sec", 8e-3)],
)  # fmt: skip
def test_units_become_mbps(unit: str, mbps: float) -> None:
    (found,) = netmetric.choose(metrics(metric("WanOuttraffic", unit)))
    assert found.scale == pytest.approx(mbps)


def test_the_newest_point_is_scaled_and_never_below_nothing() -> None:
    (chosen,) = netmetric.choose(metrics(metric("WanOuttraffic", "KB/s")))

    def series(name: str, value: float) -> dict[str, Any]:
        return {"Dimensions": [{"Name": "InstanceId", "Value": name}], "Timestamps": [60.0], "Values": [value]}

    answer = read({"DataPoints": [series("hai-a", 1000.0), series("hai-b", -1.0)]}, GetMonitorData, action="GMD")
    points = netmetric.newest_points(answer.data_points or [], chosen)
    assert [(p.instance_id, p.direction, p.mbps) for p in points] == [("hai-a", "Out", 8.0), ("hai-b", "Out", 0.0)]
