"""What the gateway refuses, with which code, and how it answers."""

import time
from typing import Any

import pytest

from controller.api.catalog import REGIONS
from controller.sandbox.cloudsim import CloudConfig, Key, SimulatedCloud

REGION = "ap-beijing"


class TestAdmission:
    @pytest.mark.parametrize(
        ("options", "code"),
        [
            ({"key": Key("AKIDhaipoolSandbox", "wrong")}, "AuthFailure.SignatureFailure"),
            ({"key": Key("nobody", "x")}, "AuthFailure.SecretIdNotFound"),
            ({"X_TC_Token": "stale"}, "AuthFailure.TokenFailure"),
            ({"timestamp": 1_000_000_000}, "AuthFailure.SignatureExpire"),
            ({"Authorization": "none"}, "AuthFailure.InvalidAuthorization"),
            ({"service": "cvm"}, "NoSuchProduct"),
            ({"X_TC_Version": "2017-03-12"}, "NoSuchVersion"),
            ({"service": "monitor"}, "InvalidAction"),
            ({"region": ""}, "MissingParameter"),
            ({"region": "eu-frankfurt"}, "UnsupportedRegion"),
        ],
    )
    async def test_refused_with_http_200_and_the_right_code(
        self, client: Any, options: dict[str, Any], code: str
    ) -> None:
        assert await client.code("DescribeInstances", **options) == code

    async def test_an_action_must_be_named_and_known(self, client: Any) -> None:
        assert await client.code("") == "MissingParameter"
        assert await client.code("CopyApplication") == "InvalidAction"

    async def test_twenty_a_second_for_each_action_and_region(
        self, config: CloudConfig, clock: Any, session: Any, client: Any
    ) -> None:
        moment = float(int(time.time()))
        sim = SimulatedCloud(config, clock=clock, auth_clock=lambda: moment)
        client.url = await sim.start()
        try:
            codes = [(await client("DescribeRegions")).get("Error", {}).get("Code") for _ in range(22)]
            assert codes == [None] * 20 + ["RequestLimitExceeded"] * 2
            assert "Error" not in await client("DescribeRegions", region="ap-nanjing")
            assert "Error" not in await client("DescribeInstances")
            moment += 0.125  # two more, and a half
            codes = [(await client("DescribeRegions")).get("Error", {}).get("Code") for _ in range(3)]
            assert codes == [None, None, "RequestLimitExceeded"]
        finally:
            await sim.stop()

    async def test_only_loopback_is_served(self) -> None:
        with pytest.raises(ValueError, match="loopback"):
            await SimulatedCloud().start("0.0.0.0")


class TestParameters:
    @pytest.mark.parametrize(
        ("action", "params", "code"),
        [
            ("DescribeInstances", b"[]", "InvalidParameter"),
            ("DescribeInstances", b"{", "InvalidParameter"),
            ("DescribeInstances", {"Limit": "20"}, "InvalidParameter"),
            ("DescribeInstances", {"Sort": 1}, "UnknownParameter"),
            ("DescribeInstances", {"Limit": 101}, "InvalidParameterValue"),
            ("DescribeInstances", {"Offset": -1}, "InvalidParameterValue"),
            ("DescribeInstances", {"InstanceIds": ["i-1"]}, "InvalidParameterValue.InvalidInstanceIdMalformed"),
            ("DescribeInstances", {"InstanceIds": ["hai-aaaaaaaa"] * 2}, "InvalidParameterValue.Duplicated"),
            ("DescribeInstances", {"InstanceIds": [f"hai-{n:08d}" for n in range(101)]}, "InvalidParameterValue"),
            ("DescribeInstances", {"Filters": [{"Name": "instance-state", "Values": ["TERMINATED"]}]},
             "InvalidParameterValue"),
            ("DescribeInstances", {"Filters": [{"Name": "colour", "Values": ["red"]}]}, "InvalidParameterValue"),
            ("DescribeInstances", {"Filters": [{"Name": "instance-state"}]}, "MissingParameter"),
            ("DescribeInstances", {"InstanceIds": ["hai-aaaaaaaa"], "Filters": [{"Name": "a", "Values": []}]},
             "InvalidParameter.AtMostOne"),
            ("DescribeApplications", {"Limit": 101}, "InvalidParameterValue"),
            ("DescribeApplications", {"Order": "UP"}, "InvalidParameterValue.InvalidOrder"),
            ("DescribeApplications", {"OrderField": "NAME"}, "InvalidParameterValue.InvalidOrderField"),
            ("DescribeApplications", {"ApplicationIds": ["x"]}, "InvalidParameterValue.InvalidApplicationIdMalformed"),
            ("DescribeApplications", {"ApplicationIds": ["app-00000000"], "Filters": [{"Name": "a", "Values": []}]},
             "InvalidParameter.AtMostOne"),
            ("DescribeApplications", {"Filters": [{"Name": "colour", "Values": ["red"]}]}, "InvalidParameterValue"),
            ("TerminateInstances", {}, "MissingParameter"),
            ("TerminateInstances", {"InstanceIds": []}, "InvalidParameterValue"),
            ("TerminateInstances", {"InstanceIds": ["hai-aaaaaaaa"]}, "InvalidParameterValue.InstanceIdNotFound"),
            ("DescribeInstanceNetworkStatus", {"InstanceIds": ["hai-aaaaaaaa"]},
             "InvalidParameterValue.InstanceIdNotFound"),
            ("RunInstances", {"BundleType": "XL"}, "MissingParameter"),
        ],
    )  # fmt: skip
    async def test_refused(self, client: Any, action: str, params: Any, code: str) -> None:
        assert await client.code(action, params) == code

    @pytest.mark.parametrize("action", ["RunInstances", "InquirePriceRunInstances"])
    @pytest.mark.parametrize(
        ("changes", "code"),
        [
            ({"ApplicationId": "x"}, "InvalidParameterValue.InvalidApplicationIdMalformed"),
            ({"ApplicationId": "app-zzzzzzzz"}, "InvalidParameterValue.ApplicationIdNotFound"),
            ({"BundleType": "9XL"}, "InvalidParameterValue.BundleTypeNotFound"),
            ({"InstanceCount": 11}, "InvalidParameterValue.InvalidInstanceCount"),
            ({"InstanceCount": 0}, "InvalidParameterValue.InvalidInstanceCount"),
            ({"InstanceName": "x" * 129}, "InvalidParameterValue.InstanceNameTooLong"),
            ({"SystemDisk": {"DiskType": "FLOPPY"}}, "InvalidParameterValue"),
            ({"SystemDisk": {"DiskSize": 1001}}, "InvalidParameterValue"),
            ({"SystemDisk": {"Colour": "red"}}, "UnknownParameter"),
            ({"SystemDisk": {"DiskSize": 79}},
             "InvalidParameterValue.DiskSizeMustLargerThanApplicationMinRequiredSize"),
        ],
    )  # fmt: skip
    async def test_what_cannot_be_bought(
        self, client: Any, order: dict[str, Any], action: str, changes: dict[str, Any], code: str
    ) -> None:
        assert await client.code(action, {**order, **changes}) == code

    async def test_prices_are_asked_for_by_the_hour(self, client: Any, order: dict[str, Any]) -> None:
        for charge, code in (
            ("BARTER", "InvalidParameterValue.InvalidChargeType"),
            ("PREPAID_BY_MONTH", "UnsupportedOperation.NotSupportToInquiryPrice"),
        ):
            assert await client.code("InquirePriceRunInstances", {**order, "InstanceChargeType": charge}) == code


class TestMonitor:
    @pytest.mark.parametrize(
        ("changes", "code"),
        [
            ({"MetricName": "Nothing"}, "InvalidParameterValue"),
            ({"Namespace": "QCE/CVM"}, "InvalidParameterValue"),
            ({"Period": 7}, "InvalidParameterValue"),
            ({"StartTime": "yesterday"}, "InvalidParameterValue"),
            ({"StartTime": "2025-06-01T00:00:00"}, "InvalidParameterValue"),
            ({"StartTime": "2035-06-01T00:00:00+08:00"}, "InvalidParameterValue"),
            ({"Instances": []}, "InvalidParameterValue"),
            ({"Instances": [{"Dimensions": [{"Name": "instanceid", "Value": "hai-a"}]}]}, "InvalidParameterValue"),
            ({"Instances": [{"Dimensions": [{"Name": "InstanceId", "Value": "hai-a"}]}] * 51}, "InvalidParameterValue"),
            ({"Instances": [{"Dimensions": [{"Name": "InstanceId", "Value": "hai-a"}]}]}, "InvalidParameterValue"),
            ({"StartTime": "2025-06-14T00:00:00+08:00", "Period": 10}, "InvalidParameterValue"),
        ],
    )
    async def test_refused(self, client: Any, sim: SimulatedCloud, changes: dict[str, Any], code: str) -> None:
        [one] = sim.add_instances(REGION, "XL", 1)
        params = {
            "Namespace": "QCE/HAI",
            "MetricName": "CpuUsage",
            "Instances": [{"Dimensions": [{"Name": "InstanceId", "Value": one}]}],
            "Period": 60,
        }
        assert "Error" not in await client("GetMonitorData", params, service="monitor")
        assert await client.code("GetMonitorData", {**params, **changes}, service="monitor") == code

    async def test_points_are_steps_of_the_period_and_late(self, client: Any, sim: SimulatedCloud, clock: Any) -> None:
        [one] = sim.add_instances(REGION, "XL", 1)
        clock.now = 1_750_000_020.0 + 600
        sim.set_metric(one, "CpuUsage", 10.0, since=clock.now - 200)
        sim.set_metric(one, "CpuUsage", 50.0, since=clock.now - 100)
        params = {
            "Namespace": "QCE/HAI",
            "MetricName": "CpuUsage",
            "Instances": [{"Dimensions": [{"Name": "InstanceId", "Value": one}]}],
            "Period": 60,
            "StartTime": "2025-06-15T15:00:00+00:00",
        }
        [point] = (await client("GetMonitorData", params, service="monitor"))["DataPoints"]
        assert point["Values"] == [10.0, 10.0, 50.0]
        assert [clock.now - at for at in point["Timestamps"]] == [180.0, 120.0, 60.0]

    async def test_nothing_is_published_unless_configured(self, client: Any, session: Any) -> None:
        sim = SimulatedCloud()
        client.url = await sim.start()
        try:
            for namespace in ("QCE/HAI", "QCE/CVM"):
                answer = await client("DescribeBaseMetrics", {"Namespace": namespace}, service="monitor")
                assert answer["MetricSet"] == []
        finally:
            await sim.stop()


async def test_the_regions_and_their_state(client: Any, session: Any) -> None:
    sim = SimulatedCloud(CloudConfig(closed_regions=frozenset({"ap-chengdu"})))
    client.url = await sim.start()
    try:
        regions = (await client("DescribeRegions"))["RegionSet"]
        states = {one["Region"]: one["RegionState"] for one in regions}
        assert states == dict.fromkeys(REGIONS, "AVAILABLE") | {"ap-chengdu": "UNAVAILABLE"}
        order = {"ApplicationId": sim.application_id("ap-chengdu"), "BundleType": "XL"}
        code = await client.code("RunInstances", order, region="ap-chengdu")
        assert code == "InvalidParameterValue.BundleTypeNotFound"
    finally:
        await sim.stop()


async def test_a_dry_run_buys_and_destroys_nothing(
    client: Any, sim: SimulatedCloud, order: dict[str, Any], clock: Any
) -> None:
    assert (await client("RunInstances", {**order, "DryRun": True}))["InstanceIdSet"] == []
    assert sim.instances() == ()
    [one] = sim.add_instances(REGION, "XL", 1)
    await client("TerminateInstances", {"InstanceIds": [one], "DryRun": True})
    clock.pass_(1000)
    assert sim.instances()[0].state == "RUNNING"


async def test_filters_narrow_and_are_combined(client: Any, sim: SimulatedCloud, clock: Any) -> None:
    first, second = sim.add_instances(REGION, "XL", 2)
    clock.pass_(sim.config.deploy_s)
    await sim.settle()
    [third] = sim.add_instances(REGION, "4XL", 1)

    async def ids(**filters: str) -> set[str]:
        wanted = [{"Name": name.replace("_", "-"), "Values": [value]} for name, value in filters.items()]
        return {one["InstanceId"] for one in (await client("DescribeInstances", {"Filters": wanted}))["InstanceSet"]}

    assert await ids(instance_state="RUNNING") == {first, second}
    assert await ids(instance_state="PENDING") == {third}
    assert await ids(instance_id=first, instance_state="PENDING") == set()
    assert await ids(charge_type="PREPAID_BY_MONTH") == set()
    assert len(await ids(public_ip_address="127.77.0.1")) == 1
