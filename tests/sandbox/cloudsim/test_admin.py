"""The control API over HTTP: what other processes (the demo, end-to-end tests) drive and read."""

from typing import Any

import aiohttp
import pytest

from controller.sandbox.cloudsim import SimulatedCloud

REGION = "ap-beijing"


class Control:
    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self.url = f"{url}/_sim/"
        self.session = session

    async def get(self, path: str) -> Any:
        async with self.session.get(self.url + path) as response:
            assert response.status == 200
            return await response.json()

    async def post(self, path: str, body: Any, status: int = 200) -> Any:
        async with self.session.post(self.url + path, json=body) as response:
            assert response.status == status, await response.text()
            return await response.json(content_type=None)


@pytest.fixture
def control(sim: SimulatedCloud, session: aiohttp.ClientSession) -> Control:
    return Control(sim.url, session)


async def test_state_shows_instances_offers_faults_and_calls(
    sim: SimulatedCloud, control: Control, client: Any, order: dict[str, Any], clock: Any
) -> None:
    [one] = (await client("RunInstances", order))["InstanceIdSet"]
    clock.pass_(sim.config.deploy_s)
    sim.set_fault("slow", seconds=0.0)
    state = await control.get("state")
    [shown] = state["instances"]
    assert (shown["instance_id"], shown["state"], shown["address"]) == (one, "RUNNING", "127.77.0.1")
    assert (shown["region"], shown["bundle"], shown["price_per_hour"]) == (REGION, "XL", 0.88)
    assert len(state["offers"]) == 36
    assert state["faults"][0]["kind"] == "slow"
    assert state["calls"] == {"RunInstances": 1}
    assert state["hook_failures"] == []


async def test_stock_and_prices_are_set(control: Control, client: Any, order: dict[str, Any]) -> None:
    await control.post("stock", {"region": REGION, "bundle": "XL", "stock": 0})
    assert await client.code("RunInstances", order) == "ResourceInsufficient.BundleInventoryShortage"
    await control.post("stock", {"region": REGION, "bundle": "XL", "stock": None})
    offers = (await control.post("prices", {"region": REGION, "bundle": "XL", "price_per_hour": 0.5}))["offers"]
    assert (offers[0]["region"], offers[0]["price_per_hour"], offers[0]["stock"]) == (REGION, 0.5, None)
    assert "Error" not in await client("RunInstances", order)


async def test_regions_close_and_applications_change(control: Control, client: Any, order: dict[str, Any]) -> None:
    offers = (await control.post("regions", {"region": REGION, "open": False}))["offers"]
    assert {offer["region"] for offer in offers}.isdisjoint({REGION})
    await control.post("regions", {"region": REGION, "open": True})
    body = {"region": REGION, "name": "haipool-sample", "state": "DELETING"}
    applications = (await control.post("applications", body))["applications"]
    assert [a["fixed_state"] for a in applications if a["region"] == REGION] == ["DELETING"]
    assert await client.code("RunInstances", order) == "InvalidParameterValue.ApplicationIdNotFound"
    assert (await control.get("state"))["applications"] == applications


async def test_faults_come_and_go(control: Control, client: Any, session: aiohttp.ClientSession) -> None:
    made = await control.post("faults", {"kind": "throttled", "action": "DescribeRegions"}, status=201)
    assert await client.code("DescribeRegions") == "RequestLimitExceeded"
    async with session.delete(f"{control.url}faults/{made['id']}") as response:
        assert response.status == 200
    async with session.delete(f"{control.url}faults/{made['id']}") as response:
        assert response.status == 404
        assert response.content_type == "application/problem+json"
    await control.post("faults", {"kind": "arrears"}, status=201)
    async with session.delete(f"{control.url}faults") as response:
        assert response.status == 200
    assert (await control.get("state"))["faults"] == []


async def test_busy_traffic_and_metrics(sim: SimulatedCloud, control: Control, client: Any, clock: Any) -> None:
    [one] = sim.add_instances(REGION, "XL", 1)
    clock.pass_(sim.config.deploy_s)
    await control.post("busy", {"instance_id": one, "seconds": 5})
    assert await client.code("TerminateInstances", {"InstanceIds": [one]}) == (
        "OperationDenied.InstanceOperationInProgress"
    )
    await control.post("traffic", {"instance_id": one, "gb": 320.5})
    [network] = (await client("DescribeInstanceNetworkStatus", {"InstanceIds": [one]}))["NetworkStatusSet"]
    assert network["RemainingTrafficAmount"] == 179.5
    await control.post("metrics", {"instance_id": one, "metric": "CpuUsage", "value": 40})
    assert sim.instances()[0].metrics == {"CpuUsage": [(clock.now, 40.0)]}


async def test_traffic_counters_run_backwards_and_quotas_change_on_demand(
    sim: SimulatedCloud, control: Control, client: Any
) -> None:
    [one] = sim.add_instances(REGION, "XL", 1)

    async def told() -> tuple[float, float]:
        [found] = (await client("DescribeInstanceNetworkStatus", {"InstanceIds": [one]}))["NetworkStatusSet"]
        return found["TotalTrafficAmount"], found["RemainingTrafficAmount"]

    assert await control.post("traffic", {"instance_id": one, "gb": 100}) == {"used_gb": 100.0}
    await control.post("traffic", {"instance_id": one, "counter_gb": 90})
    assert await told() == (500.0, 410.0)
    await control.post("traffic", {"instance_id": one, "total_gb": 1000})
    assert await told() == (1000.0, 910.0)
    await control.post("traffic", {"instance_id": one, "counter_gb": -5})
    assert await told() == (1000.0, 1005.0)
    [shown] = (await control.get("state"))["instances"]
    assert shown["traffic_gb"] == -5.0


async def test_the_ledger_adds_up(
    sim: SimulatedCloud, control: Control, client: Any, order: dict[str, Any], clock: Any
) -> None:
    await client("RunInstances", {**order, "ClientToken": "t"})
    clock.pass_(3600)
    ledger = await control.get("ledger")
    assert ledger["total_cny"] == pytest.approx(0.88)
    [bill] = ledger["bills"]
    assert (bill["billed_seconds"], bill["ended"]) == (3600.0, None)
    [purchase] = ledger["purchases"]
    assert (purchase["outcome"], purchase["token"], len(purchase["offers"])) == ("bought", "t", 36)


@pytest.mark.parametrize(
    ("path", "body", "named"),
    [
        ("stock", {"region": REGION, "bundle": "9XL", "stock": 1}, "9XL is not sold in ap-beijing"),
        ("stock", {"region": REGION, "bundle": "XL", "stock": -1}, "stock"),
        ("stock", {"region": REGION, "bundle": "XL"}, "stock"),
        ("stock", {"region": REGION, "bundle": "XL", "stock": 1, "left": 1}, "left"),
        ("prices", {"region": REGION, "bundle": "XL", "price_per_hour": 0}, "price_per_hour"),
        ("faults", {"kind": "bad_luck"}, "bad_luck"),
        ("faults", {"kind": "arrears", "action": "DescribeRegions"}, "RunInstances"),
        ("faults", {"kind": "slow", "seconds": -1}, "seconds"),
        ("busy", {"instance_id": "hai-zzzzzzzz", "seconds": 1}, "hai-zzzzzzzz"),
        ("traffic", [], "array"),
        ("regions", {"region": "eu-frankfurt", "open": True}, "eu-frankfurt"),
        ("applications", {"region": REGION, "name": "nobody", "state": ""}, "nobody"),
    ],
)
async def test_wrong_bodies_are_refused_by_name(control: Control, path: str, body: Any, named: str) -> None:
    problem = await control.post(path, body, status=400)
    assert (problem["status"], problem["title"]) == (400, "Bad Request")
    assert named in problem["detail"]


async def test_what_a_web_page_could_send_is_refused(control: Control, session: aiohttp.ClientSession) -> None:
    async with session.post(control.url + "stock", data=b"{}", headers={"Content-Type": "text/plain"}) as response:
        assert response.status == 415
        assert response.content_type == "application/problem+json"
