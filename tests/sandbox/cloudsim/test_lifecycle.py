"""An instance's life, its stock, its address and its bill, with time moved by hand."""

import asyncio
from typing import Any

import pytest

from controller.sandbox.cloudsim import CloudConfig, InstanceView, SampleApplication, SimulatedCloud
from controller.sandbox.cloudsim.world import INSTANCE_ID

REGION = "ap-beijing"
HOUR = 3600.0


async def state_of(client: Any, instance_id: str) -> tuple[str, str] | None:
    """State and operation state, None if it is not listed."""
    listed = (await client("DescribeInstances", {"InstanceIds": [instance_id]}))["InstanceSet"]
    return (listed[0]["InstanceState"], listed[0]["LatestOperationState"]) if listed else None


class TestLife:
    async def test_pending_running_terminating_gone(
        self, sim: SimulatedCloud, client: Any, order: dict[str, Any], clock: Any
    ) -> None:
        [one] = (await client("RunInstances", order))["InstanceIdSet"]
        assert INSTANCE_ID.fullmatch(one)
        assert await state_of(client, one) == ("PENDING", "OPERATING")
        assert await client.code("TerminateInstances", {"InstanceIds": [one]}) == (
            "OperationDenied.InstanceOperationInProgress"
        )
        clock.pass_(sim.config.deploy_s - 1)
        assert await state_of(client, one) == ("PENDING", "OPERATING")
        clock.pass_(1)
        assert await state_of(client, one) == ("RUNNING", "SUCCESS")
        await client("TerminateInstances", {"InstanceIds": [one]})
        assert await state_of(client, one) == ("TERMINATING", "OPERATING")
        assert await client.code("TerminateInstances", {"InstanceIds": [one]}) == (
            "OperationDenied.InstanceOperationInProgress"
        )
        clock.pass_(sim.config.terminate_s)
        assert await state_of(client, one) is None
        assert await client.code("TerminateInstances", {"InstanceIds": [one]}) == (
            "InvalidParameterValue.InstanceIdNotFound"
        )

    async def test_an_operation_blocks_others_until_it_ends(self, sim: SimulatedCloud, client: Any, clock: Any) -> None:
        first, second = sim.add_instances(REGION, "XL", 2)
        clock.pass_(sim.config.deploy_s)
        await sim.settle()
        sim.set_busy(first, 10)
        both = {"InstanceIds": [first, second]}
        assert await client.code("TerminateInstances", both) == "OperationDenied.InstanceOperationInProgress"
        assert await state_of(client, second) == ("RUNNING", "SUCCESS")  # all or none
        clock.pass_(10)
        assert "Error" not in await client("TerminateInstances", both)

    async def test_a_failed_launch_stays_listed_costs_nothing_and_can_be_destroyed(
        self, sim: SimulatedCloud, client: Any, order: dict[str, Any], clock: Any
    ) -> None:
        sim.set_stock(REGION, "XL", 1)
        sim.set_fault("launch_failed", count=1)
        [one] = (await client("RunInstances", order))["InstanceIdSet"]
        clock.pass_(HOUR)
        assert await state_of(client, one) == ("LAUNCH_FAILED", "FAILED")
        assert [offer.stock for offer in sim.offers() if (offer.region, offer.bundle) == (REGION, "XL")] == [1]
        await client("TerminateInstances", {"InstanceIds": [one]})
        clock.pass_(sim.config.terminate_s)
        assert await state_of(client, one) is None
        assert [bill.cost_cny for bill in sim.bills()] == [0.0]
        assert [offer.stock for offer in sim.offers() if (offer.region, offer.bundle) == (REGION, "XL")] == [1]

    async def test_another_region_does_not_see_it(self, sim: SimulatedCloud, client: Any) -> None:
        [one] = sim.add_instances(REGION, "XL", 1)
        answer = await client("DescribeInstances", {"InstanceIds": [one]}, region="ap-nanjing")
        assert answer["InstanceSet"] == []
        assert await client.code("TerminateInstances", {"InstanceIds": [one]}, region="ap-nanjing") == (
            "InvalidParameterValue.InstanceIdNotFound"
        )


class TestHabits:
    @pytest.fixture
    def config(self) -> CloudConfig:
        return CloudConfig(
            terminated_listed_s=60,
            terminate_while_pending="allow",
            on_repeat_mismatch="refuse",
            price_when_sold_out="shortage",
            billing_from="RUNNING",
            region_prices={("ap-nanjing", "XL"): 0.5},
            traffic_gb_per_hour=2.0,
            applications=(SampleApplication(), SampleApplication(name="other", regions=("ap-nanjing",))),
        )

    async def test_each_habit_can_be_chosen(
        self, sim: SimulatedCloud, client: Any, order: dict[str, Any], clock: Any
    ) -> None:
        token = {**order, "ClientToken": "t"}
        [one] = (await client("RunInstances", token))["InstanceIdSet"]
        assert await client.code("RunInstances", {**token, "BundleType": "4XL"}) == "InvalidParameterValue"
        assert (await client("RunInstances", token))["InstanceIdSet"] == [one]

        clock.pass_(10)
        assert "Error" not in await client("TerminateInstances", {"InstanceIds": [one]})
        clock.pass_(sim.config.terminate_s)
        assert await state_of(client, one) == ("TERMINATED", "SUCCESS")
        clock.pass_(60)
        assert await state_of(client, one) is None
        assert sim.bills()[0].cost_cny == 0.0  # it never ran

        sim.set_stock(REGION, "XL", 0)
        assert await client.code("InquirePriceRunInstances", order) == "ResourceInsufficient.BundleInventoryShortage"

    async def test_prices_differ_by_region(self, sim: SimulatedCloud, client: Any) -> None:
        order = {"ApplicationId": sim.application_id("ap-nanjing"), "BundleType": "XL"}
        price = (await client("InquirePriceRunInstances", order, region="ap-nanjing"))["Price"]["InstancePrice"]
        assert (price["DiscountUnitPrice"], price["ChargeUnit"]) == (0.5, "HOUR")
        assert (sim.offers()[0].region, sim.offers()[0].price_per_hour) == ("ap-nanjing", 0.5)

    async def test_traffic_flows_while_it_runs_and_starts_anew_each_month_in_beijing(
        self, sim: SimulatedCloud, client: Any, clock: Any
    ) -> None:
        [one] = sim.add_instances(REGION, "XL", 1)

        async def remaining() -> float:
            answer = await client("DescribeInstanceNetworkStatus", {"InstanceIds": [one]})
            return float(answer["NetworkStatusSet"][0]["RemainingTrafficAmount"])

        assert await remaining() == 500.0
        clock.pass_(sim.config.deploy_s)
        assert await remaining() == 500.0
        clock.pass_(HOUR)
        assert await remaining() == pytest.approx(498.0)
        sim.add_traffic(one, 10)
        assert await remaining() == pytest.approx(488.0)
        clock.now = 1_751_299_200.0 + 1800  # 2025-07-01 00:30 in Beijing, June in UTC
        sim.add_traffic(one, 1)
        assert await remaining() == pytest.approx(500.0 - 1.0 - 0.5 * 2.0)


class TestTraffic:
    @pytest.fixture
    def config(self, request: pytest.FixtureRequest) -> CloudConfig:
        return CloudConfig(traffic_reset_late_s=getattr(request, "param", 0.0), traffic_bytes_factor=1000.0)

    @pytest.mark.parametrize(("config", "late"), [(600.0, 600.0), (-600.0, -600.0)], indirect=["config"])
    async def test_counters_start_anew_some_minutes_off_the_months_turn(
        self, sim: SimulatedCloud, clock: Any, late: float
    ) -> None:
        [one] = sim.add_instances(REGION, "XL", 1)
        sim.add_traffic(one, 10)
        turn = 1_751_299_200.0  # 2025-07-01 00:00 in Beijing
        clock.now = turn + late - 1
        assert sim.traffic(one) == 10.0
        clock.now = turn + late
        assert sim.traffic(one) == 0.0

    async def test_what_a_real_server_sends_counts_and_is_not_lost_when_it_is_gone(self, clock: Any) -> None:
        sent = {"n": 0}
        config = CloudConfig(traffic_bytes_factor=1000.0)
        sim = SimulatedCloud(config, clock=clock, bytes_sent=lambda _: sent["n"])
        [one] = sim.add_instances(REGION, "XL", 1)
        sent["n"] = 5_000_000
        assert sim.traffic(one) == 5.0
        sim.set_traffic(one, 1.0)
        assert sim.traffic(one) == 1.0
        sent["n"] += 1
        assert sim.traffic(one) == 1.000001


class TestMoney:
    async def test_the_bill_is_seconds_times_price_from_purchase_to_gone(
        self, sim: SimulatedCloud, client: Any, order: dict[str, Any], clock: Any
    ) -> None:
        begin = clock.now
        [one] = (await client("RunInstances", {**order, "SystemDisk": {"DiskSize": 180}}))["InstanceIdSet"]
        sim.set_price(REGION, "XL", 9.0)  # later prices do not change what was bought
        clock.pass_(2 * HOUR)
        await client("TerminateInstances", {"InstanceIds": [one]})
        clock.pass_(HOUR)
        [bill] = sim.bills()
        assert (bill.started, bill.running) == (begin, begin + sim.config.deploy_s)
        assert bill.ended == begin + 2 * HOUR + sim.config.terminate_s
        assert bill.billed_seconds == 2 * HOUR + sim.config.terminate_s
        assert bill.price_per_hour == pytest.approx(0.88 + 100 * 0.0005)
        assert bill.cost_cny == pytest.approx(bill.billed_seconds / HOUR * bill.price_per_hour)

    async def test_each_purchase_is_recorded_with_everything_that_was_for_sale(
        self, sim: SimulatedCloud, client: Any, order: dict[str, Any]
    ) -> None:
        sim.set_stock(REGION, "XL", 1)
        token = {**order, "ClientToken": "t"}
        await client("RunInstances", token)
        await client("RunInstances", token)
        await client("RunInstances", {**order, "ClientToken": "u"})
        await client("RunInstances", {**order, "BundleType": "9XL"})
        await client("RunInstances", {})
        records = sim.purchases()
        assert [one.outcome for one in records] == [
            "bought",
            "repeated",
            "ResourceInsufficient.BundleInventoryShortage",
            "InvalidParameterValue.BundleTypeNotFound",
            "MissingParameter",
        ]
        first, repeated, refused, unknown, _ = records
        assert (first.region, first.bundle, first.token, first.name) == (REGION, "XL", "t", "one")
        assert first.price_per_hour == 0.88
        assert first.instance_ids == repeated.instance_ids != ()
        assert unknown.price_per_hour is None
        stock = {(one.region, one.bundle): one.stock for one in first.offers}
        assert len(stock) == 36
        assert (stock[REGION, "XL"], stock["ap-nanjing", "XL"]) == (1, None)
        assert [one.price_per_hour for one in first.offers] == sorted(one.price_per_hour for one in first.offers)
        assert {(one.region, one.bundle): one.stock for one in refused.offers}[REGION, "XL"] == 0

    async def test_a_refused_signature_is_no_purchase(self, sim: SimulatedCloud, client: Any, order: Any) -> None:
        await client.code("RunInstances", order, Authorization="none")
        assert sim.purchases() == ()

    async def test_several_at_once_are_all_or_none(self, sim: SimulatedCloud, client: Any, order: Any) -> None:
        sim.set_stock(REGION, "XL", 3)
        assert len((await client("RunInstances", {**order, "InstanceCount": 2}))["InstanceIdSet"]) == 2
        code = await client.code("RunInstances", {**order, "InstanceCount": 2})
        assert code == "ResourceInsufficient.BundleInventoryShortage"
        assert len(sim.instances()) == 2

    async def test_stock_comes_back_when_an_instance_is_gone(
        self, sim: SimulatedCloud, client: Any, order: Any, clock: Any
    ) -> None:
        sim.set_stock(REGION, "XL", 1)
        [one] = (await client("RunInstances", order))["InstanceIdSet"]
        sim.remove_instance(one)
        assert await client.code("RunInstances", order) == "ResourceInsufficient.BundleInventoryShortage"
        clock.pass_(sim.config.terminate_s)
        assert "Error" not in await client("RunInstances", order)


class Servers:
    """Hooks that keep a record, and can be held or made to fail."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.broken = False

    async def running(self, view: InstanceView) -> None:
        await self.gate.wait()
        if self.broken:
            raise OSError("address in use")
        self.events.append(("running", view.address))

    async def gone(self, view: InstanceView) -> None:
        self.events.append(("gone", view.address))


@pytest.fixture
def servers() -> Servers:
    return Servers()


class TestHooks:
    @pytest.fixture
    async def hooked(self, servers: Servers, clock: Any) -> Any:
        sim = SimulatedCloud(CloudConfig(), clock=clock, on_running=servers.running, on_gone=servers.gone)
        await sim.start()
        yield sim
        servers.gate.set()
        await sim.stop()

    async def test_a_server_is_started_and_stopped_and_its_address_given_out_again(
        self, hooked: SimulatedCloud, servers: Servers, clock: Any
    ) -> None:
        first, second = hooked.add_instances(REGION, "XL", 2)
        clock.pass_(hooked.config.deploy_s)
        await hooked.settle()
        assert sorted(servers.events) == [("running", "127.77.0.1"), ("running", "127.77.0.2")]
        address = next(one.address for one in hooked.instances() if one.instance_id == first)
        assert address is not None
        hooked.remove_instance(first)
        clock.pass_(hooked.config.terminate_s)
        await hooked.settle()
        assert servers.events[-1] == ("gone", address)
        hooked.add_instances("ap-nanjing", "4XL", 1)
        clock.pass_(hooked.config.deploy_s)
        await hooked.settle()
        assert servers.events[-1] == ("running", address)
        assert second

    async def test_hooks_of_one_instance_never_overtake_each_other(
        self, hooked: SimulatedCloud, servers: Servers, clock: Any
    ) -> None:
        servers.gate.clear()
        [one] = hooked.add_instances(REGION, "XL", 1)
        clock.pass_(hooked.config.deploy_s)
        assert hooked.instances()[0].state == "RUNNING"
        hooked.remove_instance(one)
        clock.pass_(hooked.config.terminate_s)
        assert hooked.instances()[0].state == "TERMINATED"
        await asyncio.sleep(0)
        assert servers.events == []
        servers.gate.set()
        await hooked.settle()
        assert [name for name, _ in servers.events] == ["running", "gone"]

    async def test_a_server_that_fails_to_start_is_reported_and_the_cloud_goes_on(
        self, hooked: SimulatedCloud, servers: Servers, clock: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        servers.broken = True
        [one] = hooked.add_instances(REGION, "XL", 1)
        clock.pass_(hooked.config.deploy_s)
        await hooked.settle()
        assert hooked.hook_failures == [f"{one}: OSError: address in use"]
        assert "hook of" in caplog.text
        assert hooked.instances()[0].state == "RUNNING"

    async def test_what_never_ran_needs_no_server_stopped(
        self, hooked: SimulatedCloud, servers: Servers, clock: Any
    ) -> None:
        [one] = hooked.add_instances(REGION, "XL", 1)
        hooked.remove_instance(one)
        clock.pass_(HOUR)
        await hooked.settle()
        assert servers.events == []


async def test_time_moves_by_itself_without_anybody_asking(servers: Servers) -> None:
    config = CloudConfig(deploy_s=0.05, terminate_s=0.05)
    done = asyncio.Event()

    async def gone(view: InstanceView) -> None:
        await servers.gone(view)
        done.set()

    async def running(view: InstanceView) -> None:
        await servers.running(view)
        sim.remove_instance(view.instance_id)

    sim = SimulatedCloud(config, on_running=running, on_gone=gone)
    await sim.start()
    try:
        sim.add_instances(REGION, "XL", 1)
        await done.wait()
        assert [name for name, _ in servers.events] == ["running", "gone"]
    finally:
        await sim.stop()


@pytest.mark.parametrize(
    "wrong",
    [
        {"deploy_s": -1.0},
        {"terminate_s": float("nan")},
        {"calls_per_second": 0.0},
        {"prices": {"9XL": 1.0}},
    ],
)
def test_a_wrong_configuration_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        CloudConfig(**wrong)


def test_addresses_outside_loopback_are_refused() -> None:
    with pytest.raises(ValueError, match=r"127\.0\.0\.0/8"):
        SimulatedCloud(CloudConfig(addresses="10.0.0.0/16"))
