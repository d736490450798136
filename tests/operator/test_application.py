"""An application made from an instance: once, whatever happens on the way; nothing is ever destroyed for it."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from controller.api.names import Condition
from controller.operator.objects import INSTANCES, PRESETS
from controller.sandbox.cloudsim.applications import SimApplication
from tests.operator.shop import Shop, open_shop
from tests.operator.world import Fuse

pytestmark = pytest.mark.timeout(300)

NAME = "my-image"


@pytest.fixture
async def shop() -> AsyncIterator[Shop]:
    async with open_shop(calls_per_second=1000, deploy_s=1.0, application_s=60.0) as made:
        yield made


async def workshop(shop: Shop) -> str:
    """A running instance that somebody has set up."""
    (source,) = shop.cloud.add_instances("ap-beijing", "XL", 1, name="workshop")
    await shop.pass_(2.0)
    return source


async def wish(shop: Shop, source: str, region: str = "ap-beijing") -> None:
    await shop.preset(region, application={"name": NAME}, sourceInstanceId=source)


def made(shop: Shop) -> list[SimApplication]:
    return [one for one in shop.cloud.applications() if one.source]


async def ready(shop: Shop, fuse: Fuse | None = None) -> bool:
    """Let time pass until the preset is Ready; False when the process died before."""

    async def look() -> bool:
        if fuse is not None and fuse.blown.is_set():
            return True
        await shop.pass_(7.0)
        return await shop.condition(PRESETS, "beijing", Condition.READY) == "True/ApplicationOnline"

    await shop.until(look, f"the preset is Ready; it is {await shop.status()}")
    return fuse is None or not fuse.blown.is_set()


def untouched(shop: Shop, source: str) -> bool:
    return [b.instance_id for b in shop.cloud.bills() if b.ended is None and b.name == "workshop"] == [source]


async def test_it_is_made_waited_for_and_used(shop: Shop) -> None:
    source = await workshop(shop)
    async with shop.operator():
        await wish(shop, source)
        await shop.told(PRESETS, "beijing", Condition.READY, "Unknown/ApplicationCreating")
        assert (await shop.status())["applicationState"] == "CREATING"
        assert await shop.events("ApplicationRequested") == ["beijing"]
        await shop.pass_(61.0)
        await shop.told(PRESETS, "beijing", Condition.READY, "True/ApplicationOnline")
        (one,) = made(shop)
        assert (one.name, one.region, one.source) == (NAME, "ap-beijing", source)
        await shop.pool()
        (server,) = await shop.servers(1)
        assert server["spec"]["applicationId"] == one.application_id
        creation = (await shop.status())["creation"]
        assert (creation["outcome"], creation["applicationId"]) == ("Accepted", one.application_id)
        assert shop.cloud.count("CreateApplication") == 1
        assert untouched(shop, source)


async def test_one_that_is_there_is_used_and_nothing_is_made(shop: Shop) -> None:
    async with shop.operator():
        await shop.preset(sourceInstanceId=await workshop(shop))
        await shop.told(PRESETS, "beijing", Condition.READY, "True/ApplicationOnline")
        assert shop.cloud.count("CreateApplication") == 0


@pytest.mark.parametrize("kind", ["commit_then_500", "commit_then_reset", "missing_fields", "broken_json"])
@pytest.mark.parametrize("duplicates", ["refuse", "allow"])
async def test_an_unclear_answer_makes_no_second_one(kind: str, duplicates: str) -> None:
    async with open_shop(calls_per_second=1000, deploy_s=1.0, application_s=60.0, duplicate_names=duplicates) as shop:
        source = await workshop(shop)
        shop.cloud.set_fault(kind, action="CreateApplication", count=1)  # type: ignore[arg-type]
        shop.cloud.set_fault("eventual_listing", action="DescribeApplications", seconds=50.0)
        async with shop.operator():
            await wish(shop, source)
            await shop.told(PRESETS, "beijing", Condition.READY, "Unknown/OutcomeUnknown")
            assert "looked for by name" in await shop.message()
            assert await ready(shop)
            assert len(made(shop)) == shop.cloud.count("CreateApplication") == 1


async def test_a_request_that_never_arrived_is_made_again_once_listings_cannot_lag(shop: Shop) -> None:
    source = await workshop(shop)
    shop.cloud.set_fault("reset", action="CreateApplication", count=1)
    async with shop.operator():
        await wish(shop, source)
        await shop.told(PRESETS, "beijing", Condition.READY, "Unknown/OutcomeUnknown")
        await shop.pass_(100.0)
        assert made(shop) == []
        assert await ready(shop)
        assert len(made(shop)) == 1
        assert shop.cloud.count("CreateApplication") == 2


async def test_an_instance_that_is_busy_is_waited_for(shop: Shop) -> None:
    source = await workshop(shop)
    shop.cloud.set_busy(source, 30.0)
    async with shop.operator():
        await wish(shop, source)
        await shop.told(PRESETS, "beijing", Condition.READY, "Unknown/SourceInstanceBusy")
        assert await ready(shop)
        assert len(made(shop)) == 1


async def test_a_source_in_another_region_is_no_source(shop: Shop) -> None:
    async with shop.operator():
        await wish(shop, await workshop(shop), "ap-nanjing")
        await shop.told(PRESETS, "nanjing", Condition.READY, "False/SourceInstanceMissing")
        assert "has to name an instance in ap-nanjing" in await shop.message(name="nanjing")
        assert await shop.events("SourceInstanceMissing") == ["nanjing"]
        assert (await shop.status("nanjing"))["applicationState"] == "MISSING"


async def test_an_instance_that_never_came_up_is_no_source(shop: Shop) -> None:
    shop.cloud.set_fault("launch_failed", action="RunInstances")
    async with shop.operator():
        await shop.preset("ap-nanjing")
        await shop.pool()

        async def failed() -> list[Any]:
            await shop.pass_(1.0)
            return [one for one in shop.cloud.instances() if one.state == "LAUNCH_FAILED"]

        (one, *_) = await shop.until(failed, "an instance fails")
    # Another operator, that has no pools: the failed one is there for it to see.
    async with open_shop(calls_per_second=1000) as other:
        other.cloud = shop.cloud
        async with other.operator():
            await other.preset("ap-nanjing", application={"name": NAME}, sourceInstanceId=one.instance_id)
            await other.told(PRESETS, "nanjing", Condition.READY, "False/SourceInstanceUnsuitable")
            assert "is LAUNCH_FAILED; start it" in await other.message(name="nanjing")


@pytest.mark.parametrize(
    ("code", "verdict", "fix"),
    [
        ("LimitExceeded.ApplicationQuota", "False/ApplicationQuota", "raise the quota"),
        ("UnauthorizedOperation.UnauthorizedUser", "False/Unauthorized", "hai:CreateApplication"),
        ("InvalidParameterValue.InvalidApplicationNameDuplicate", "False/ApplicationNameTaken", "choose another"),
        ("UnsupportedOperation.InstanceCreateApplicationNotSupport", "False/SourceInstanceUnsuitable", "is RUNNING"),
        ("RequestLimitExceeded", "Unknown/CloudUnavailable", "RequestLimitExceeded"),
    ],
)
async def test_a_refusal_says_what_to_do_and_is_tried_again_a_minute_later(
    shop: Shop, code: str, verdict: str, fix: str
) -> None:
    source = await workshop(shop)
    fault = shop.cloud.set_fault("error", action="CreateApplication", code=code)
    async with shop.operator():
        await wish(shop, source)
        await shop.told(PRESETS, "beijing", Condition.READY, verdict)
        assert fix in await shop.message()
        shop.cloud.clear_fault(fault)
        await shop.pass_(21.0)
        assert shop.cloud.count("CreateApplication") == 1
        assert await ready(shop)
        assert shop.cloud.count("CreateApplication") == 2


async def test_a_pools_own_server_is_a_source_only_once_it_is_protected(shop: Shop) -> None:
    async with shop.operator():
        await shop.preset()
        await shop.pool()
        (server,) = await shop.servers(1)
        await shop.pass_(2.0)
        body = {
            "apiVersion": "haipool.io/v1alpha1",
            "kind": "RegionPreset",
            "metadata": {"name": "own"},
            "spec": {
                "region": "ap-beijing",
                "application": {"name": NAME},
                "sourceInstanceId": server["status"]["instanceId"],
            },
        }
        await shop.kube.create(PRESETS, body, namespace="default")
        await shop.told(PRESETS, "own", Condition.READY, "False/SourceInstanceOfPool")
        assert "haipool.io/protect=true" in await shop.message(name="own")
        protect = {"metadata": {"annotations": {"haipool.io/protect": "true"}}}
        await shop.kube.patch(INSTANCES, server["metadata"]["name"], protect, namespace="default")

        async def making() -> bool:
            await shop.pass_(7.0)
            return len(made(shop)) == 1

        await shop.until(making, "it is made")


async def lived(at: int | None, duplicates: str) -> list[str]:
    """From a wish to a Ready preset with a death at moment `at`; returns the moments of the first life."""
    async with open_shop(calls_per_second=1000, deploy_s=1.0, application_s=2.0, duplicate_names=duplicates) as shop:
        source = await workshop(shop)
        # What was asked for is not seen at once: only the intent on record keeps the next life from asking again.
        shop.cloud.set_fault("eventual_listing", action="DescribeApplications", seconds=60.0)
        await wish(shop, source)
        first = Fuse(at)
        for fuse in (first, Fuse()):
            async with shop.operator(fuse):
                if await ready(shop, fuse):
                    break
        told = f"died {first.passed[-1] if first.blown.is_set() else 'not at all'}"
        assert len(made(shop)) == 1, f"{told}: {made(shop)}"
        assert untouched(shop, source), told
        return first.passed


@pytest.mark.crash
@pytest.mark.parametrize("duplicates", ["refuse", "allow"])
async def test_a_death_at_any_write_makes_no_second_application(duplicates: str) -> None:
    moments = await lived(None, duplicates)
    assert {"before create_application ap-beijing", "after create_application ap-beijing"} <= set(moments)
    matter = [k for k, moment in enumerate(moments) if " events" not in moment]
    assert len(matter) >= 8
    for k in matter:
        await lived(k, duplicates)
