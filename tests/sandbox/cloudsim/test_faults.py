"""Each fault does what its name says, to the requests it is limited to, and for as long as it is told."""

import asyncio
import json
from typing import Any, get_args

import aiohttp
import msgspec
import pytest

from controller.sandbox.cloudsim import Fault, FaultKind, SimulatedCloud
from controller.sandbox.cloudsim.faults import APPLIES_TO, REFUSALS

REGION = "ap-beijing"


@pytest.mark.parametrize(("kind", "code"), REFUSALS.items())
async def test_refusals(sim: SimulatedCloud, client: Any, order: dict[str, Any], kind: FaultKind, code: str) -> None:
    sim.set_fault(kind)
    action, params = ("TerminateInstances", {"InstanceIds": []}) if kind == "busy" else ("RunInstances", order)
    assert await client.code(action, params) == code
    assert sim.instances() == ()


async def test_any_error_can_be_ordered(sim: SimulatedCloud, client: Any) -> None:
    sim.set_fault("error", code="InternalError.TradeError", message="m")
    assert (await client("DescribeRegions"))["Error"] == {"Code": "InternalError.TradeError", "Message": "m"}


class TestScope:
    async def test_only_the_named_action_and_region(self, sim: SimulatedCloud, client: Any) -> None:
        sim.set_fault("throttled", action="DescribeInstances", region="ap-nanjing")
        assert "Error" not in await client("DescribeInstances")
        assert "Error" not in await client("DescribeRegions", region="ap-nanjing")
        assert await client.code("DescribeInstances", region="ap-nanjing") == "RequestLimitExceeded"

    async def test_only_so_many_times(self, sim: SimulatedCloud, client: Any) -> None:
        sim.set_fault("throttled", count=2)
        outcomes = ["Error" in await client("DescribeRegions") for _ in range(4)]
        assert outcomes == [True, True, False, False]
        assert sim.faults() == {}

    async def test_until_cleared(self, sim: SimulatedCloud, client: Any) -> None:
        first, second = sim.set_fault("throttled"), sim.set_fault("unauthorized")
        assert sim.clear_fault(first)
        assert not sim.clear_fault(first)
        assert await client.code("DescribeRegions") == "UnauthorizedOperation.UnauthorizedUser"
        assert set(sim.faults()) == {second}
        sim.clear_faults()
        assert "Error" not in await client("DescribeRegions")

    @pytest.mark.parametrize(("kind", "actions"), APPLIES_TO.items())
    def test_a_fault_that_can_never_strike_is_refused(
        self, sim: SimulatedCloud, kind: FaultKind, actions: frozenset[str]
    ) -> None:
        with pytest.raises(ValueError, match=min(actions)):
            sim.set_fault(kind, action="DescribeRegions")

    def test_an_unknown_kind_is_refused(self, sim: SimulatedCloud) -> None:
        with pytest.raises(ValueError, match="kind must be one of sold_out, "):
            sim.add_fault(Fault("bad_luck"))  # type: ignore[arg-type]
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert({"kind": "bad_luck"}, Fault)

    def test_the_kinds_that_are_limited_exist(self) -> None:
        assert set(APPLIES_TO) | set(REFUSALS) <= set(get_args(FaultKind))


class TestTransport:
    async def test_500_before_the_work(self, sim: SimulatedCloud, client: Any, order: dict[str, Any]) -> None:
        sim.set_fault("http_500")
        assert (await client.send("RunInstances", order)).status == 500
        assert sim.instances() == ()

    async def test_500_after_the_work(self, sim: SimulatedCloud, client: Any, order: dict[str, Any]) -> None:
        sim.set_fault("commit_then_500")
        assert (await client.send("RunInstances", order)).status == 500
        assert len(sim.instances()) == 1

    @pytest.mark.parametrize(("kind", "bought"), [("reset", 0), ("commit_then_reset", 1)])
    async def test_a_cut_connection(
        self, sim: SimulatedCloud, client: Any, order: dict[str, Any], kind: FaultKind, bought: int
    ) -> None:
        sim.set_fault(kind)
        with pytest.raises(aiohttp.ClientConnectionError):
            await client.send("RunInstances", order)
        assert len(sim.instances()) == bought

    async def test_no_answer_at_all(self, sim: SimulatedCloud, client: Any, order: dict[str, Any]) -> None:
        sim.set_fault("commit_then_timeout", seconds=60)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await client.send("RunInstances", order)
        assert len(sim.instances()) == 1

    async def test_a_late_request_is_overtaken_and_buys_nothing_more_under_the_same_token(
        self, sim: SimulatedCloud, client: Any, order: dict[str, Any]
    ) -> None:
        sim.set_fault("late", action="RunInstances", count=1, seconds=60)
        once = {**order, "ClientToken": "one"}
        async with asyncio.TaskGroup() as both:
            late = both.create_task(client("RunInstances", once))
            async with asyncio.timeout(10):
                while not sim.count("RunInstances"):  # noqa: ASYNC110 - the simulator has no event for it
                    await asyncio.sleep(0.001)
            prompt = both.create_task(client("RunInstances", once))
        assert [p.outcome for p in sim.purchases()] == ["bought", "repeated"]
        assert late.result()["InstanceIdSet"] == prompt.result()["InstanceIdSet"]
        assert len(sim.instances()) == 1

    async def test_a_slow_answer_is_held_back_after_the_work(
        self, sim: SimulatedCloud, client: Any, order: dict[str, Any]
    ) -> None:
        sim.set_fault("slow", seconds=60)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await client.send("RunInstances", order)
        assert len(sim.instances()) == 1

    async def test_a_slow_body_begins_at_once_and_ends_later(self, sim: SimulatedCloud, client: Any) -> None:
        sim.set_fault("slow_body", seconds=60)
        response = await client.send("DescribeRegions")
        assert response.status == 200
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await response.read()

    @pytest.mark.parametrize("kind", ["slow", "slow_body"])
    async def test_what_is_late_is_whole(self, sim: SimulatedCloud, client: Any, kind: FaultKind) -> None:
        sim.set_fault(kind, seconds=0.01)
        assert (await client("DescribeRegions"))["RegionSet"]


class TestAnswers:
    async def test_the_content_type_that_blinds_the_sdk(self, sim: SimulatedCloud, client: Any) -> None:
        from tencentcloud.common.credential import Credential
        from tencentcloud.common.profile.client_profile import ClientProfile
        from tencentcloud.common.profile.http_profile import HttpProfile
        from tencentcloud.hai.v20230812 import hai_client, models

        sim.set_fault("charset")
        sim.set_fault("throttled")
        response = await client.send("DescribeRegions")
        assert response.headers["Content-Type"] == "application/json; charset=utf-8"

        http = HttpProfile(protocol="http", endpoint=sim.url.removeprefix("http://"), reqTimeout=5)
        key = sim.config.keys[0]
        sdk = hai_client.HaiClient(Credential(key.secret_id, key.secret_key), REGION, ClientProfile(httpProfile=http))
        sdk.request.conn.proxy = {"http": "", "https": ""}
        answer = await asyncio.to_thread(sdk.DescribeRegions, models.DescribeRegionsRequest())
        sdk.request.conn._session.close()
        assert answer.RegionSet is None  # an error that the SDK took for an empty answer

    async def test_missing_fields_and_broken_json(self, sim: SimulatedCloud, client: Any) -> None:
        number = sim.set_fault("missing_fields")
        response = await client.send("DescribeRegions")
        assert await response.json() == {"Response": {}}
        sim.clear_fault(number)
        sim.set_fault("broken_json")
        response = await client.send("DescribeRegions")
        with pytest.raises(ValueError, match=r"Unterminated|Expecting"):
            json.loads(await response.read())

    async def test_odd_spellings(self, sim: SimulatedCloud, client: Any, order: dict[str, Any]) -> None:
        [one] = (await client("RunInstances", order))["InstanceIdSet"]

        async def spellings() -> list[Any]:
            [listed] = (await client("DescribeInstances"))["InstanceSet"]
            [network] = (await client("DescribeInstanceNetworkStatus", {"InstanceIds": [one]}))["NetworkStatusSet"]
            price = (await client("InquirePriceRunInstances", order))["Price"]["InstancePrice"]
            return [listed["CPU"], listed["MaxFreeTraffic"], network["TotalTrafficAmount"], price["Discount"]]

        assert await spellings() == ["8核", "500", 500.0, 1.0]
        sim.set_fault("string_variants")
        sim.set_fault("percent_discount")
        assert await spellings() == ["8C", "500GB", "500.0GB", 100.0]


class TestLists:
    async def test_a_new_instance_is_listed_later(
        self, sim: SimulatedCloud, client: Any, order: dict[str, Any], clock: Any
    ) -> None:
        sim.set_fault("eventual_listing", seconds=10)
        [one] = (await client("RunInstances", order))["InstanceIdSet"]
        for params in ({}, {"InstanceIds": [one]}):
            assert (await client("DescribeInstances", params))["TotalCount"] == 0
        clock.pass_(10)
        assert (await client("DescribeInstances"))["TotalCount"] == 1

    @pytest.mark.parametrize(
        ("kind", "page", "count"),
        [
            (None, (0, 100), 100),
            (None, (200, 100), 50),
            (None, (0, 101), None),
            ("literal_paging", (100, 100), 100),
            ("literal_paging", (101, 100), None),
            ("literal_paging", (0, 101), None),
            ("swapped_paging", (0, 1000), 250),
            ("swapped_paging", (101, 10), None),
        ],
    )
    async def test_bounds_of_pages(
        self, sim: SimulatedCloud, client: Any, kind: Any, page: tuple[int, int], count: int | None
    ) -> None:
        sim.add_instances(REGION, "XL", 250)
        if kind:
            sim.set_fault(kind)
        answer = await client("DescribeInstances", {"Offset": page[0], "Limit": page[1]})
        if count is None:
            assert answer["Error"]["Code"] == "InvalidParameterValue"
        else:
            assert (answer["TotalCount"], len(answer["InstanceSet"])) == (250, count)

    async def test_a_total_that_is_one_too_high(self, sim: SimulatedCloud, client: Any) -> None:
        sim.add_instances(REGION, "XL", 3)
        sim.set_fault("wrong_total")
        answer = await client("DescribeInstances")
        assert (answer["TotalCount"], len(answer["InstanceSet"])) == (4, 3)

    async def test_a_truncated_list_shows_and_counts_the_oldest(self, sim: SimulatedCloud, client: Any) -> None:
        sim.add_instances(REGION, "XL", 250)
        sim.set_fault("truncated_paging")
        answer = await client("DescribeInstances", {"Offset": 150, "Limit": 100})
        assert (answer["TotalCount"], len(answer["InstanceSet"])) == (200, 50)

    @pytest.mark.parametrize("kind", ["shuffled_paging", "repeated_entries"])
    async def test_pages_that_do_not_make_up_the_list(self, sim: SimulatedCloud, client: Any, kind: Any) -> None:
        known = set(sim.add_instances(REGION, "XL", 200))
        sim.set_fault(kind)
        pages = [await client("DescribeInstances", {"Offset": at, "Limit": 100}) for at in (0, 100)]
        shown = {one["InstanceId"] for page in pages for one in page["InstanceSet"]}
        assert shown < known
        assert {page["TotalCount"] for page in pages} == {200}
