"""Applications of the simulated account, and regions that close and open."""

from typing import Any

import pytest

from controller.sandbox.cloudsim import SAMPLE_APPLICATION, SimulatedCloud

REGION = "ap-beijing"
NAMED = {"Filters": [{"Name": "application-name", "Values": ["mine"]}]}


@pytest.fixture
def source(sim: SimulatedCloud, clock: Any) -> str:
    [one] = sim.add_instances(REGION, "XL", 1)
    clock.pass_(sim.config.deploy_s)
    return one


def wish(source: str, name: str = "mine") -> dict[str, Any]:
    return {"InstanceId": source, "ApplicationName": name}


async def states(client: Any) -> list[str]:
    found = await client("DescribeApplications", NAMED)
    return [one["ApplicationState"] for one in found["ApplicationSet"]]


async def test_creating_then_online_and_only_then_for_sale(
    sim: SimulatedCloud, client: Any, clock: Any, source: str, order: dict[str, Any]
) -> None:
    made = (await client("CreateApplication", wish(source)))["ApplicationId"]
    assert await states(client) == ["CREATING"]
    order = {**order, "ApplicationId": made}
    assert await client.code("RunInstances", order) == "InvalidParameterValue.ApplicationIdNotFound"
    clock.pass_(sim.config.application_s)
    assert await states(client) == ["ONLINE"]
    assert "Error" not in await client("RunInstances", order)


@pytest.mark.parametrize(
    ("params", "code"),
    [
        (wish("hai-zzzzzzzz"), "InvalidParameterValue.InstanceIdNotFound"),
        (wish("i-1"), "InvalidParameterValue.InvalidInstanceIdMalformed"),
        ({"InstanceId": "hai-zzzzzzzz"}, "MissingParameter"),
    ],
)
async def test_refusals(client: Any, params: dict[str, Any], code: str) -> None:
    assert await client.code("CreateApplication", params) == code


async def test_an_instance_that_is_being_created_or_busy_has_to_be_waited_for(
    sim: SimulatedCloud, client: Any, clock: Any
) -> None:
    [one] = sim.add_instances(REGION, "XL", 1)
    busy = "OperationDenied.InstanceOperationInProgress"
    assert await client.code("CreateApplication", wish(one)) == busy
    clock.pass_(sim.config.deploy_s)
    assert "Error" not in await client("CreateApplication", wish(one))
    assert await client.code("CreateApplication", wish(one, "another")) == busy
    assert await client.code("TerminateInstances", {"InstanceIds": [one]}) == busy


async def test_a_name_is_taken_in_its_region(sim: SimulatedCloud, client: Any, clock: Any, source: str) -> None:
    assert await client.code("CreateApplication", wish(source, SAMPLE_APPLICATION)) == (
        "InvalidParameterValue.InvalidApplicationNameDuplicate"
    )
    await client("CreateApplication", wish(source))
    [other] = sim.add_instances("ap-nanjing", "XL", 1)
    clock.pass_(sim.config.deploy_s)
    assert "Error" not in await client("CreateApplication", wish(other), region="ap-nanjing")


async def test_a_new_one_may_be_missing_from_lists_for_a_while(
    sim: SimulatedCloud, client: Any, clock: Any, source: str
) -> None:
    sim.set_fault("eventual_listing", action="DescribeApplications", seconds=30.0)
    await client("CreateApplication", wish(source))
    assert await states(client) == []
    clock.pass_(30.0)
    assert await states(client) == ["CREATING"]


async def test_its_state_can_be_fixed_and_it_can_be_deleted_by_someone(
    sim: SimulatedCloud, client: Any, source: str
) -> None:
    await client("CreateApplication", wish(source))
    sim.set_application(REGION, "mine", "ARREARS")
    assert await states(client) == ["ARREARS"]
    sim.set_application(REGION, "mine", "")
    assert await states(client) == []
    with pytest.raises(ValueError, match="no application 'mine'"):
        sim.set_application(REGION, "mine", "ONLINE")


async def test_a_closed_region_sells_nothing_until_it_opens(
    sim: SimulatedCloud, client: Any, order: dict[str, Any]
) -> None:
    sim.open_region(REGION, False)
    regions = {one["Region"]: one["RegionState"] for one in (await client("DescribeRegions"))["RegionSet"]}
    assert (regions[REGION], regions["ap-nanjing"]) == ("UNAVAILABLE", "AVAILABLE")
    assert await client.code("RunInstances", order) == "InvalidParameterValue.BundleTypeNotFound"
    assert all(offer.region != REGION for offer in sim.offers())
    sim.open_region(REGION, True)
    assert "Error" not in await client("RunInstances", order)
    with pytest.raises(ValueError, match="no region"):
        sim.open_region("eu-frankfurt", True)
