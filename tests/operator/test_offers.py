"""What is sold out, refused, closed or priced oddly: one purchase finds out for all pools, and people are told."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from controller.api.names import Condition
from controller.api.times import rfc3339, unix
from controller.operator.blocks import BLOCK_SECONDS
from controller.operator.objects import POOLS, PRESETS
from controller.sandbox.cloudsim import SampleApplication
from controller.scaling.prices import DISPUTE_SECONDS, OLD_SECONDS
from controller.scaling.stock import CLAIM_SECONDS
from tests.operator.shop import Shop, open_shop

pytestmark = pytest.mark.timeout(180)

REFRESH = 601.0
TWO = ("one", "two")


@pytest.fixture
async def shop() -> AsyncIterator[Shop]:
    async with open_shop(calls_per_second=1000) as made:
        yield made


async def two_pools_that_found_it_sold_out(shop: Shop) -> None:
    """Both run a 3XL each, since XL had been sold out."""
    shop.cloud.set_stock("ap-beijing", "XL", 0)
    await shop.preset()
    for name in TWO:
        await shop.pool(name, 1, "XL", "3XL")
    await shop.servers(2)
    found = await shop.offer()
    assert (found.state, found.sold_out_count) == ("SoldOut", 1)


# --- sold out ----------------------------------------------------------------------------------------------------


async def test_a_pause_that_ends_is_ended_for_one_purchase_of_all_pools(shop: Shop) -> None:
    async with shop.operator():
        await two_pools_that_found_it_sold_out(shop)
        before = len(shop.purchases())
        await shop.pass_(200.0)
        await shop.want(2, *TWO)
        await shop.servers(4)
        assert [p.outcome for p in shop.purchases()[before:]] == ["ResourceInsufficient.BundleInventoryShortage"]
        found = await shop.offer()
        assert (found.state, found.sold_out_count, found.probed_by) == ("SoldOut", 2, None)
        pause = (unix(found.sold_out_until) or 0.0) - shop.clock()
        assert 300.0 < pause < 400.0, "the second pause takes six minutes"


async def test_what_is_back_in_stock_is_bought_once_and_the_offer_is_open(shop: Shop) -> None:
    async with shop.operator():
        await two_pools_that_found_it_sold_out(shop)
        before = len(shop.purchases())
        shop.cloud.set_stock("ap-beijing", "XL", 1)
        await shop.pass_(200.0)
        await shop.want(2, *TWO)
        servers = await shop.servers(4)
        assert sorted(s["spec"]["bundle"] for s in servers) == ["3XL", "3XL", "3XL", "XL"]
        tried = shop.purchases()[before:]
        assert tried[0].outcome == "bought"
        # The other pool may have asked too, but only once it was known to be in stock again.
        assert len(tried) <= 2
        assert (await shop.offer()).sold_out_count == len(tried) - 1


async def test_a_trial_whose_answer_is_lost_is_the_only_one_and_opens_the_offer(shop: Shop) -> None:
    async with shop.operator():
        await two_pools_that_found_it_sold_out(shop)
        before = len(shop.purchases())
        shop.cloud.set_stock("ap-beijing", "XL", 5)
        await shop.pass_(200.0)
        shop.cloud.set_fault("commit_then_reset", action="RunInstances", region="ap-beijing", count=1)
        await shop.want(2, "one")
        await shop.servers(3)
        tried = shop.purchases()[before:]
        assert len({p.token for p in tried}) == 1, "the same purchase, however often it was asked about"
        assert [p.outcome for p in tried if p.outcome != "repeated"] == ["bought"]
        assert (await shop.offer()).sold_out_count == 0


async def test_a_restart_knows_what_is_sold_out_and_tries_no_sooner(shop: Shop) -> None:
    async with shop.operator():
        await two_pools_that_found_it_sold_out(shop)
        before = len(shop.purchases())
    async with shop.operator():
        await shop.want(2, *TWO)
        await shop.servers(4)
        assert len(shop.purchases()) == before
        await shop.pass_(200.0)
        await shop.want(3, *TWO)
        await shop.servers(6)
        assert len(shop.purchases()) == before + 1


async def test_a_claim_whose_purchase_never_came_lapses(shop: Shop) -> None:
    async with shop.operator():
        await two_pools_that_found_it_sold_out(shop)
    before = len(shop.purchases())
    await shop.pass_(200.0)
    status = await shop.status()
    for offer in status["offers"]:
        if offer["bundle"] == "XL":
            offer |= {"probedBy": "died-1", "probeUntil": _time(shop, CLAIM_SECONDS), "state": "HalfOpen"}
    await shop.kube.patch(
        PRESETS, "beijing", {"status": {"offers": status["offers"]}}, namespace="default", subresource="status"
    )
    async with shop.operator():
        await shop.want(2, *TWO)
        await shop.servers(4)
        assert len(shop.purchases()) == before, "somebody else is finding out"
        await shop.pass_(CLAIM_SECONDS)
        await shop.want(3, *TWO)
        await shop.servers(6)
        assert len(shop.purchases()) == before + 1


def _time(shop: Shop, seconds: float) -> str:
    return rfc3339(shop.clock() + seconds)


async def test_two_presets_of_one_region_share_what_is_known_of_its_stock(shop: Shop) -> None:
    shop.cloud.set_stock("ap-beijing", "XL", 0)
    body = {"region": "ap-beijing", "priority": 2, "application": {"name": "haipool-sample"}}
    async with shop.operator():
        await shop.preset()
        twin = {"apiVersion": "haipool.io/v1alpha1", "kind": "RegionPreset", "metadata": {"name": "twin"}, "spec": body}
        await shop.kube.create(PRESETS, twin, namespace="default")
        await shop.pool("pool", 1, "XL", "3XL")
        await shop.servers(1)
        assert len(shop.purchases()) == 1
        assert {(await shop.offer(name=name)).sold_out_count for name in ("beijing", "twin")} == {1}


# --- arrears, permission, quota ----------------------------------------------------------------------------------


async def test_arrears_stop_all_pools_and_one_purchase_finds_out(shop: Shop) -> None:
    pools = [f"p{n}" for n in range(5)]
    shop.cloud.set_fault("arrears")
    async with shop.operator() as life:
        await shop.preset()
        await shop.preset("ap-nanjing", 2)
        for name in pools:
            await shop.pool(name)
        for name in pools:
            await shop.told(POOLS, name, Condition.ACCOUNT_HEALTHY, "False/Arrears")
        await shop.servers(0)
        at_once = len(shop.cloud.purchases())
        assert at_once <= len(pools)
        for trial in (1, 2):
            await shop.pass_(BLOCK_SECONDS + 1.0)
            await _tried(shop, at_once + trial)
            await shop.decided(*pools)
            assert len(shop.cloud.purchases()) == at_once + trial, "one purchase for all pools"
        told = (await shop.status("nanjing"))["blocked"]
        assert (told["reason"], told["scope"]) == ("Arrears", "Account")
        # Each pool says so once, however often it is tried.
        said = await shop.events("Arrears")
        assert [said.count(name) for name in pools] == [1] * len(pools), said
        assert [s.value for s in _blocked(life)] == [1.0]
    async with shop.operator():
        # A restart while one purchase may try: still one, not one for each pool.
        await shop.pass_(BLOCK_SECONDS + 1.0)
        await _tried(shop, at_once + 3)
        await shop.decided(*pools)
        assert len(shop.cloud.purchases()) == at_once + 3
        shop.cloud.clear_faults()
        await shop.pass_(BLOCK_SECONDS + 1.0)
        await shop.servers(len(pools))
        for name in pools:
            await shop.told(POOLS, name, Condition.ACCOUNT_HEALTHY, "True/NoObjection")
        assert "blocked" not in await shop.status("beijing")
        assert shop.life is not None
        assert _blocked(shop.life) == []


def _blocked(life: Any) -> list[Any]:
    return [s for metric in life.ctx.metrics.blocked.collect() for s in metric.samples]


async def _tried(shop: Shop, purchases: int) -> None:
    async def look() -> bool:
        return len(shop.cloud.purchases()) >= purchases

    await shop.until(look, f"purchase {purchases} is tried")


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("LimitExceeded.VpcLimitExceeded", "QuotaExceeded"),
        ("UnauthorizedOperation.UnauthorizedUser", "Unauthorized"),
    ],
)
async def test_a_regions_refusal_stops_that_region_for_all_pools(shop: Shop, code: str, reason: str) -> None:
    shop.cloud.set_fault("error", action="RunInstances", region="ap-beijing", code=code)
    async with shop.operator():
        await shop.preset()
        await shop.preset("ap-nanjing", 2)
        await shop.pool("one")
        await shop.servers(1)
        await shop.told(POOLS, "one", Condition.ACCOUNT_HEALTHY, f"False/{reason}")
        await shop.pool("two", 2)
        await shop.servers(3)
        assert len(shop.purchases()) == 1
        await shop.pass_(REFRESH)  # the preset is verified anew: reading works, and says nothing about buying
        await shop.told(POOLS, "two", Condition.ACCOUNT_HEALTHY, f"False/{reason}")
        await shop.want(3, *TWO)
        await shop.servers(6)
        assert len(shop.purchases()) == 2, "after two minutes one purchase tries again"
        assert (await shop.status("beijing"))["blocked"]["scope"] == "Region"
        assert "blocked" not in await shop.status("nanjing")


# --- region and application --------------------------------------------------------------------------------------


async def test_a_region_that_closes_is_left_and_one_that_comes_back_is_used(shop: Shop) -> None:
    async with shop.operator():
        await shop.preset()
        await shop.preset("ap-nanjing", 2)
        await shop.pool()
        (server,) = await shop.servers(1)
        assert server["spec"]["region"] == "ap-beijing"
        shop.cloud.open_region("ap-beijing", False)
        await shop.want(2, "pool")
        await _tried(shop, 2)
        # The purchase that was refused has the region looked at again, long before its time.
        await shop.pass_(6.0)
        await shop.told(PRESETS, "beijing", Condition.REGION_AVAILABLE, "False/RegionClosed")
        assert "again once it does" in await shop.message(Condition.REGION_AVAILABLE)
        await shop.pass_(30.0)
        assert {s["spec"]["region"] for s in await shop.servers(2)} == {"ap-beijing", "ap-nanjing"}
        shop.cloud.open_region("ap-beijing", True)
        await shop.pass_(301.0)
        await shop.told(PRESETS, "beijing", Condition.REGION_AVAILABLE, "True/RegionOpen")
        await shop.want(3, "pool")
        assert [s["spec"]["region"] for s in await shop.servers(3)].count("ap-beijing") == 2


@pytest.mark.parametrize(
    ("state", "verdict", "fix"),
    [
        ("CREATING", "Unknown/ApplicationCreating", "used once ONLINE"),
        ("DELETING", "False/ApplicationDeleting", "name another in spec.application"),
        ("ARREARS", "False/ApplicationArrears", "top up the account"),
        ("", "False/ApplicationMissing", "create the application haipool-sample in ap-beijing"),
    ],
)
async def test_an_application_that_is_not_online_is_not_used_and_says_what_to_do(
    shop: Shop, state: str, verdict: str, fix: str
) -> None:
    shop.cloud.set_application("ap-beijing", "haipool-sample", state)
    async with shop.operator():
        await shop.preset()
        await shop.preset("ap-nanjing", 2)
        await shop.pool()
        (server,) = await shop.servers(1)
        assert server["spec"]["region"] == "ap-nanjing"
        await shop.told(PRESETS, "beijing", Condition.READY, verdict)
        assert fix in await shop.message()
        assert (await shop.status())["cheapest"] == ""
        if state:
            shop.cloud.set_application("ap-beijing", "haipool-sample", "ONLINE")
            await shop.pass_(21.0)
            await shop.told(PRESETS, "beijing", Condition.READY, "True/ApplicationOnline")


async def test_an_application_that_is_deleted_is_missed_by_the_next_purchase(shop: Shop) -> None:
    async with shop.operator():
        await shop.preset()
        await shop.preset("ap-nanjing", 2)
        await shop.pool()
        await shop.servers(1)
        shop.cloud.set_application("ap-beijing", "haipool-sample", "")
        await shop.pass_(10.0)
        await shop.want(2, "pool")
        await _tried(shop, 2)
        await shop.pass_(6.0)
        await shop.told(PRESETS, "beijing", Condition.READY, "False/ApplicationMissing")
        await shop.pass_(20.0)
        assert {s["spec"]["region"] for s in await shop.servers(2)} == {"ap-beijing", "ap-nanjing"}


async def test_two_applications_of_one_name_are_none() -> None:
    class Twin(SampleApplication):
        def id_in(self, region: str) -> str:
            return "app-00000000"

    async with open_shop(applications=(SampleApplication(), Twin(regions=("ap-beijing",)))) as twins, twins.operator():
        await twins.preset()
        await twins.told(PRESETS, "beijing", Condition.READY, "False/ApplicationAmbiguous")
        assert "app-00000000" in await twins.message()
        assert "set spec.application.id" in await twins.message()


# --- prices ------------------------------------------------------------------------------------------------------


async def test_a_new_price_is_for_new_purchases(shop: Shop) -> None:
    async with shop.operator():
        await shop.preset()
        await shop.pool()
        (old,) = await shop.servers(1)
        shop.cloud.set_price("ap-beijing", "XL", 1.1)
        await shop.pass_(REFRESH)
        await _priced(shop, 1.1)
        await shop.want(2, "pool")
        prices = {s["metadata"]["name"]: s["spec"]["pricePerHour"] for s in await shop.servers(2)}
        assert prices.pop(old["metadata"]["name"]) == 0.88
        assert list(prices.values()) == [1.1]


async def _priced(shop: Shop, price: float) -> None:
    async def look() -> bool:
        return (await shop.offer()).price_per_hour == price

    await shop.until(look, f"the price is {price}")


async def test_the_price_counts_the_pools_own_disk_as_the_bill_does(shop: Shop) -> None:
    disk = {"port": 7860, "systemDisk": {"sizeGiB": 280}}
    async with shop.operator():
        await shop.preset()
        await shop.pool("large", server=disk)
        await shop.pool("plain")
        servers = await shop.servers(2)
        bills = {b.instance_id: b.price_per_hour for b in shop.cloud.bills()}
        for server in servers:
            assert server["spec"]["pricePerHour"] == pytest.approx(bills[server["status"]["instanceId"]])
        assert sorted(bills.values()) == pytest.approx([0.88, 0.98])
        (told,) = (await shop.status())["disks"]
        assert (told["sizeGiB"], told["pricePerHour"]) == (280, pytest.approx(0.1))


async def test_without_an_answer_the_last_price_is_used_and_called_old_after_an_hour(shop: Shop) -> None:
    async with shop.operator():
        await shop.preset()
        await shop.told(PRESETS, "beijing", Condition.PRICES_KNOWN, "True/PricesKnown")
        fault = shop.cloud.set_fault("missing_fields", action="InquirePriceRunInstances")
        await shop.pass_(REFRESH)
        await shop.told(PRESETS, "beijing", Condition.PRICES_KNOWN, "Unknown/InquiryFailed")
        await shop.pass_(OLD_SECONDS)
        await shop.told(PRESETS, "beijing", Condition.PRICES_KNOWN, "False/PricesOld")
        assert "0.88 CNY/h of " in await shop.message(Condition.PRICES_KNOWN)
        assert await shop.events("PricesOld") == ["beijing"]
        await shop.pool()
        (server,) = await shop.servers(1)
        assert server["spec"]["pricePerHour"] == 0.88
        shop.cloud.clear_fault(fault)
        await shop.pass_(61.0)
        await shop.told(PRESETS, "beijing", Condition.PRICES_KNOWN, "True/PricesKnown")


async def test_at_a_hundred_times_the_price_nothing_is_bought_unless_the_pool_names_its_own(shop: Shop) -> None:
    async with shop.operator():
        await shop.preset()
        await shop.told(PRESETS, "beijing", Condition.PRICES_KNOWN, "True/PricesKnown")
        shop.cloud.set_price("ap-beijing", "XL", 88.0)
        await shop.pass_(REFRESH)
        await shop.told(PRESETS, "beijing", Condition.PRICES_KNOWN, "False/PriceDisputed")
        assert (await shop.offer()).state == "Disputed"
        await shop.pool("careful", 1, "XL", "3XL")
        await shop.pool("own", gpuTypes=[{"bundle": "XL", "pricePerHour": 88.0}])
        bought = {s["spec"]["pool"]: (s["spec"]["bundle"], s["spec"]["pricePerHour"]) for s in await shop.servers(2)}
        assert bought == {"careful": ("3XL", 2.41), "own": ("XL", 88.0)}
        await shop.pass_(DISPUTE_SECONDS)
        await _priced(shop, 88.0)
        await shop.told(PRESETS, "beijing", Condition.PRICES_KNOWN, "True/PricesKnown")
