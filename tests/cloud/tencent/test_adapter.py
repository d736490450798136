"""The adapter over the real SDK, against the simulated cloud: what each method of the contract promises."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from controller.api.catalog import REGIONS
from controller.cloud.contract import Cloud, LaunchSpec
from controller.cloud.errors import (
    InProgressError,
    InvalidRequestError,
    NotFoundError,
    SoldOutError,
    ThrottledError,
    UnauthorizedError,
    UnavailableError,
)
from controller.cloud.tencent import Settings, TencentCloud, connect
from controller.sandbox.cloudsim import (
    SAMPLE_APPLICATION,
    CloudConfig,
    SampleApplication,
    SampleMetric,
    SimulatedCloud,
)

REGION = "ap-beijing"
PRIVATE = "PRIVATE_APPLICATION"
Running = Callable[[], Awaitable[str]]


def test_connect_keeps_the_contract() -> None:
    cloud: Cloud = connect(Settings(secret_id="id", secret_key="key"))
    assert isinstance(cloud, TencentCloud)


async def test_regions_that_sell_now(sim: SimulatedCloud, cloud: TencentCloud) -> None:
    assert await cloud.available_regions() == set(REGIONS)


async def test_a_wrong_key_is_refused_like_the_real_cloud_refuses_it(sim: SimulatedCloud, connect_to: Any) -> None:
    with pytest.raises(UnauthorizedError, match="secret key does not belong") as caught:
        await connect_to(sim.url, secret_key="wrong").list_instances(REGION)
    assert caught.value.code == "AuthFailure.SignatureFailure"
    assert caught.value.request_id
    with pytest.raises(UnauthorizedError) as caught:
        await connect_to(sim.url, secret_id="nobody").list_instances(REGION)
    assert caught.value.code == "AuthFailure.SecretIdNotFound"
    with pytest.raises(UnauthorizedError) as caught:
        await connect_to(sim.url, token="stale").list_instances(REGION)
    assert caught.value.code == "AuthFailure.TokenFailure"
    assert sim.count("DescribeInstances") == 3  # refusals are not repeated


async def test_a_foreign_region_is_an_invalid_request(cloud: TencentCloud) -> None:
    with pytest.raises(InvalidRequestError, match="UnsupportedRegion"):
        await cloud.list_instances("eu-frankfurt")


class TestApplications:
    @pytest.fixture
    def config(self) -> CloudConfig:
        twice = SampleApplication(name="twice"), SampleApplication(name="twice ", kind=PRIVATE)
        many = [SampleApplication(name=f"haipool-sample-{number}") for number in range(250)]
        public = SampleApplication(kind="PUBLIC_APPLICATION")
        making = SampleApplication(name="making", state="CREATING", min_disk_gib=120)
        return CloudConfig(applications=(SampleApplication(), *twice, *many, public, making), calls_per_second=1000)

    async def test_by_id(self, sim: SimulatedCloud, cloud: TencentCloud) -> None:
        wanted = sim.application_id(REGION)
        found = await cloud.find_application(REGION, application_id=wanted, name=None, kind=PRIVATE)
        assert (found.application_id, found.name, found.state, found.min_disk_gib) == (
            wanted, SAMPLE_APPLICATION, "ONLINE", 80,
        )  # fmt: skip

    async def test_by_exact_name_and_type_among_hundreds_of_similar_ones(
        self, sim: SimulatedCloud, cloud: TencentCloud
    ) -> None:
        found = await cloud.find_application(REGION, application_id=None, name=SAMPLE_APPLICATION, kind=PRIVATE)
        assert found.application_id == sim.application_id(REGION)
        assert sim.count("DescribeApplications") == 3

    async def test_each_region_has_its_own_id(self, cloud: TencentCloud) -> None:
        ids = {
            (
                await cloud.find_application(one, application_id=None, name=SAMPLE_APPLICATION, kind=PRIVATE)
            ).application_id
            for one in REGIONS
        }
        assert len(ids) == 6

    async def test_its_state_is_told(self, cloud: TencentCloud) -> None:
        found = await cloud.find_application(REGION, application_id=None, name="making", kind=PRIVATE)
        assert (found.state, found.min_disk_gib) == ("CREATING", 120)

    @pytest.mark.parametrize(
        "wanted",
        [
            {"application_id": None, "name": "nothing-like-it", "kind": PRIVATE},
            {"application_id": None, "name": SAMPLE_APPLICATION, "kind": "COMMUNITY_APPLICATION"},
            {"application_id": "app-zzzzzzzz", "name": None, "kind": PRIVATE},
        ],
    )
    async def test_none_fits(self, cloud: TencentCloud, wanted: dict[str, Any]) -> None:
        with pytest.raises(NotFoundError, match="does not exist in ap-beijing"):
            await cloud.find_application(REGION, **wanted)

    async def test_a_malformed_id_and_no_wish_at_all_are_invalid(self, cloud: TencentCloud) -> None:
        with pytest.raises(InvalidRequestError, match="InvalidApplicationIdMalformed"):
            await cloud.find_application(REGION, application_id="haipool", name=None, kind=PRIVATE)
        with pytest.raises(InvalidRequestError, match="id or a name"):
            await cloud.find_application(REGION, application_id=None, name=None, kind=PRIVATE)


async def test_two_applications_of_one_name_are_ambiguous(connect_to: Any) -> None:
    class Same(SampleApplication):
        def id_in(self, region: str) -> str:
            return "app-00000000"

    sim = SimulatedCloud(CloudConfig(applications=(SampleApplication(), Same())))
    try:
        cloud = connect_to(await sim.start())
        with pytest.raises(NotFoundError, match="ambiguous in ap-beijing: app-00000000, app-"):
            await cloud.find_application(REGION, application_id=None, name=SAMPLE_APPLICATION, kind=PRIVATE)
    finally:
        await sim.stop()


class TestPrice:
    async def test_instance_and_disk_per_hour(self, sim: SimulatedCloud, cloud: TencentCloud) -> None:
        application = sim.application_id(REGION)
        plain = await cloud.price(REGION, application_id=application, bundle="3XL")
        assert (plain.instance_per_hour, plain.disk_per_hour) == (2.41, 0.0)
        large = await cloud.price(
            REGION, application_id=application, bundle="3XL", disk_gib=180, disk_type="CLOUD_HSSD"
        )
        assert large.total_per_hour == pytest.approx(2.41 + 100 * 0.0005)

    async def test_a_price_change_shows(self, sim: SimulatedCloud, cloud: TencentCloud) -> None:
        sim.set_price(REGION, "XL", 1.2)
        price = await cloud.price(REGION, application_id=sim.application_id(REGION), bundle="XL")
        assert price.instance_per_hour == 1.2

    @pytest.mark.parametrize(
        ("wanted", "code"),
        [
            ({"application_id": "app-zzzzzzzz", "bundle": "XL"}, "ApplicationIdNotFound"),
            ({"bundle": "9XL"}, "BundleTypeNotFound"),
            ({"bundle": "XL", "disk_gib": 50}, "DiskSizeMustLargerThanApplicationMinRequiredSize"),
        ],
    )
    async def test_what_is_not_sold(
        self, sim: SimulatedCloud, cloud: TencentCloud, wanted: dict[str, Any], code: str
    ) -> None:
        with pytest.raises(InvalidRequestError, match=code):
            await cloud.price(REGION, **({"application_id": sim.application_id(REGION)} | wanted))


class TestRun:
    async def test_a_purchase_gives_an_id_and_carries_our_name(
        self, sim: SimulatedCloud, cloud: TencentCloud, spec: LaunchSpec
    ) -> None:
        instance_id = await cloud.run_instance(REGION, replace(spec, disk_gib=100, disk_type="CLOUD_HSSD"))
        [bought] = sim.instances()
        assert bought.instance_id == instance_id
        assert (bought.order.name, bought.order.bundle, bought.order.disk_gib, bought.order.disk_type) == (
            spec.name, "XL", 100, "CLOUD_HSSD",
        )  # fmt: skip

    async def test_the_same_token_buys_once(self, sim: SimulatedCloud, cloud: TencentCloud, spec: LaunchSpec) -> None:
        first = await cloud.run_instance(REGION, spec)
        assert await cloud.run_instance(REGION, spec) == first
        assert await cloud.run_instance(REGION, replace(spec, token="token-2")) != first
        assert [one.outcome for one in sim.purchases()] == ["bought", "repeated", "bought"]

    async def test_out_of_stock_is_sold_out(self, sim: SimulatedCloud, cloud: TencentCloud, spec: LaunchSpec) -> None:
        sim.set_stock(REGION, "XL", 1)
        await cloud.run_instance(REGION, spec)
        with pytest.raises(SoldOutError) as caught:
            await cloud.run_instance(REGION, replace(spec, token="token-2"))
        assert caught.value.code == "ResourceInsufficient.BundleInventoryShortage"
        assert len(sim.instances()) == 1

    @pytest.mark.parametrize("changes", [{"token": ""}, {"name": ""}, {"name": "x" * 129}])
    async def test_what_could_not_be_found_again_is_never_bought(
        self, sim: SimulatedCloud, cloud: TencentCloud, spec: LaunchSpec, changes: dict[str, str]
    ) -> None:
        with pytest.raises(InvalidRequestError, match="needs a token, and a name"):
            await cloud.run_instance(REGION, replace(spec, **changes))  # type: ignore[arg-type]
        assert sim.count("RunInstances") == 0


class TestInstances:
    async def test_from_pending_to_running_to_gone(
        self, sim: SimulatedCloud, cloud: TencentCloud, spec: LaunchSpec, clock: Any, config: CloudConfig
    ) -> None:
        instance_id = await cloud.run_instance(REGION, spec)
        listing = await cloud.list_instances(REGION)
        assert (listing.region, listing.complete) == (REGION, True)
        [pending] = listing.instances
        assert (pending.instance_id, pending.name, pending.state) == (instance_id, spec.name, "PENDING")
        assert (pending.busy, pending.public_ip) == (True, None)

        clock.pass_(config.deploy_s)
        [up] = await cloud.describe_instances(REGION, [instance_id])
        assert (up.state, up.busy, up.public_ip) == ("RUNNING", False, "127.77.0.1")

        await cloud.terminate_instance(REGION, instance_id)
        [going] = await cloud.describe_instances(REGION, [instance_id])
        assert (going.state, going.busy) == ("TERMINATING", True)
        clock.pass_(config.terminate_s)
        assert await cloud.describe_instances(REGION, [instance_id]) == ()
        assert (await cloud.list_instances("ap-nanjing")).instances == ()

    async def test_terminating_what_is_busy_or_gone(
        self, sim: SimulatedCloud, cloud: TencentCloud, running: Running, clock: Any
    ) -> None:
        instance_id = await running()
        sim.set_busy(instance_id, 60)
        with pytest.raises(InProgressError):
            await cloud.terminate_instance(REGION, instance_id)
        clock.pass_(60)
        await cloud.terminate_instance(REGION, instance_id)
        clock.pass_(60)
        with pytest.raises(NotFoundError):
            await cloud.terminate_instance(REGION, instance_id)
        with pytest.raises(InvalidRequestError, match="InvalidInstanceIdMalformed"):
            await cloud.terminate_instance(REGION, "i-1")
        assert sim.count("TerminateInstances") == 4

    async def test_more_than_a_hundred_ids_duplicates_and_strangers(
        self, sim: SimulatedCloud, cloud: TencentCloud
    ) -> None:
        ids = sim.add_instances(REGION, "XL", 230)
        found = await cloud.describe_instances(REGION, [*ids, *ids[:5], "hai-zzzzzzzz"])
        assert {one.instance_id for one in found} == set(ids)
        assert len(found) == 230
        assert sim.count("DescribeInstances") == 3
        assert await cloud.describe_instances(REGION, []) == ()

    async def test_a_large_account_is_listed_in_full(self, sim: SimulatedCloud, cloud: TencentCloud) -> None:
        ids = sim.add_instances(REGION, "XL", 450)
        listing = await cloud.list_instances(REGION)
        assert {one.instance_id for one in listing.instances} == set(ids)
        assert listing.complete

    @pytest.mark.parametrize("kind", ["literal_paging", "swapped_paging"])
    async def test_under_the_documented_bound_parts_are_read_and_only_proof_counts(
        self, sim: SimulatedCloud, cloud: TencentCloud, clock: Any, config: CloudConfig, kind: Any
    ) -> None:
        sim.set_fault(kind)
        early = sim.add_instances(REGION, "XL", 180)
        clock.pass_(config.deploy_s)
        late = sim.add_instances(REGION, "XL", 150)
        listing = await cloud.list_instances(REGION)
        assert {one.instance_id for one in listing.instances} == {*early, *late}
        assert listing.complete

        sim.add_instances(REGION, "XL", 100)  # 250 PENDING of one charge type: out of reach
        listing = await cloud.list_instances(REGION)
        assert not listing.complete
        assert len(listing.instances) > 200


class TestTraffic:
    async def test_used_is_total_less_remaining(
        self, sim: SimulatedCloud, cloud: TencentCloud, running: Running
    ) -> None:
        instance_id = await running()
        sim.add_traffic(instance_id, 12.5)
        [usage] = await cloud.network_usage(REGION, [instance_id])
        assert (usage.total_gb, usage.remaining_gb, usage.used_gb) == (500.0, 487.5, 12.5)

    async def test_vanished_ids_do_not_hide_the_others(self, sim: SimulatedCloud, cloud: TencentCloud) -> None:
        ids = sim.add_instances(REGION, "XL", 150)
        asked = [*ids[:70], "hai-zzzzzzzz", *ids[70:], "hai-yyyyyyyy"]
        found = await cloud.network_usage(REGION, asked)
        assert {one.instance_id for one in found} == set(ids)
        assert sim.count("DescribeInstanceNetworkStatus") < 40  # halved, not asked one by one

    async def test_nothing_asked_nothing_sent(self, sim: SimulatedCloud, cloud: TencentCloud) -> None:
        assert await cloud.network_usage(REGION, []) == ()
        assert sim.counts() == {}


class TestCpu:
    async def test_the_newest_point_of_each_instance_that_has_one(
        self, sim: SimulatedCloud, cloud: TencentCloud, clock: Any, config: CloudConfig
    ) -> None:
        ids = sim.add_instances(REGION, "XL", 120)
        metric = await cloud.cpu_metric()
        assert metric == "CpuUsage"
        for number, instance_id in enumerate(ids[:110]):
            sim.set_metric(instance_id, metric, float(number), since=0.0)
        clock.pass_(config.deploy_s)
        points = await cloud.cpu_percent(REGION, [*ids, "hai-zzzzzzzz"], metric=metric)
        assert {one.instance_id: one.percent for one in points} == dict(
            zip(ids[:110], map(float, range(110)), strict=True)
        )
        assert all(60 <= clock.now - one.at.timestamp() <= 180 for one in points)

    async def test_an_adapter_that_did_not_discover_the_metric_looks_it_up(
        self, sim: SimulatedCloud, cloud: TencentCloud, running: Running
    ) -> None:
        instance_id = await running()
        sim.set_metric(instance_id, "CpuUsage", 7.0, since=0.0)
        [point] = await cloud.cpu_percent(REGION, [instance_id], metric="CpuUsage")
        assert point.percent == 7.0
        with pytest.raises(InvalidRequestError, match="no metric Nonsense"):
            await cloud.cpu_percent(REGION, [instance_id], metric="Nonsense")


class TestBandwidth:
    @pytest.fixture
    def config(self) -> CloudConfig:
        metrics = (
            SampleMetric("WanOuttraffic", unit="Mbps", meaning_en="Public outbound bandwidth"),
            SampleMetric("WanIntraffic", unit="Kbps", meaning_en="Public inbound bandwidth"),
            SampleMetric("LanOuttraffic", unit="Mbps", meaning_en="Private outbound bandwidth"),
        )
        return CloudConfig(metrics=metrics, calls_per_second=1000)

    async def test_the_newest_point_of_each_instance_and_direction_in_mbps(
        self, sim: SimulatedCloud, cloud: TencentCloud, clock: Any, config: CloudConfig
    ) -> None:
        ids = sim.add_instances(REGION, "XL", 60)
        clock.pass_(config.deploy_s)
        sim.set_metric(ids[0], "WanOuttraffic", 9.5, since=0.0)
        sim.set_metric(ids[0], "WanIntraffic", 500.0, since=0.0)
        sim.set_metric(ids[59], "WanOuttraffic", 1.0, since=0.0)
        sim.set_metric(ids[0], "LanOuttraffic", 77.0, since=0.0)
        points = await cloud.bandwidth(REGION, [*ids, "hai-zzzzzzzz"])
        assert {(p.instance_id, p.direction): p.mbps for p in points} == {
            (ids[0], "Out"): 9.5,
            (ids[0], "In"): 0.5,
            (ids[59], "Out"): 1.0,
        }
        assert all(60 <= clock.now - p.at.timestamp() <= 180 for p in points)

    async def test_nothing_asked_nothing_sent(self, sim: SimulatedCloud, cloud: TencentCloud) -> None:
        assert await cloud.bandwidth(REGION, []) == ()
        assert sim.counts() == {}


class TestNoMetrics:
    @pytest.fixture
    def config(self) -> CloudConfig:
        return CloudConfig()

    async def test_a_cloud_that_publishes_no_metric_says_none(self, cloud: TencentCloud) -> None:
        assert await cloud.cpu_metric() is None
        assert await cloud.bandwidth(REGION, ["hai-aaaaaaaa"]) == ()

    async def test_an_unknown_namespace_means_none_and_an_outage_does_not(
        self, sim: SimulatedCloud, cloud: TencentCloud
    ) -> None:
        number = sim.set_fault("error", code="InvalidParameterValue")
        assert await cloud.cpu_metric() is None
        sim.clear_fault(number)
        sim.set_fault("http_500")
        with pytest.raises(UnavailableError):
            await cloud.cpu_metric()


async def test_twenty_per_second_are_kept_for_each_action_and_region(connect_to: Any) -> None:
    """45 reads at once in one region and 20 in another, on a cloud that takes 40 at once: none is refused.

    Twice the documented limit, since a busy machine may bunch up what two seconds sent; that no second holds more than
    20 is held in virtual time by test_ratelimit.
    """
    sim = SimulatedCloud(CloudConfig(calls_per_second=40))
    try:
        cloud = connect_to(await sim.start())
        await asyncio.gather(
            *(cloud.list_instances(REGION) for _ in range(45)), *(cloud.list_instances("ap-nanjing") for _ in range(20))
        )
        assert [one.outcome for one in sim.calls()] == ["ok"] * 65
    finally:
        await sim.stop()


async def test_a_proxy_in_the_environment_does_not_catch_a_local_endpoint(
    sim: SimulatedCloud, connect_to: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    assert await connect_to(sim.url).available_regions()


async def test_after_close_nothing_is_sent(sim: SimulatedCloud, connect_to: Any) -> None:
    cloud = connect_to(sim.url)
    await cloud.available_regions()
    await cloud.close()
    await cloud.close()
    with pytest.raises(UnavailableError, match="closed"):
        await cloud.available_regions()
    assert sim.count("DescribeRegions") == 1


async def test_threads_are_named_and_end_with_the_adapter(sim: SimulatedCloud, connect_to: Any) -> None:
    def ours() -> list[str]:
        return [one.name for one in threading.enumerate() if one.name.startswith("tencent-api")]

    cloud = connect_to(sim.url)
    await cloud.available_regions()
    assert ours()
    await cloud.close()
    assert not ours()


async def test_a_purchase_that_never_got_a_thread_was_not_made(
    sim: SimulatedCloud, connect_to: Any, spec: LaunchSpec
) -> None:
    """The only thread is held for longer than a whole call may take."""
    cloud = connect_to(sim.url, threads=1)
    cloud._transport._timeout_s = 0.1
    held = threading.Event()
    cloud._transport._executor.submit(held.wait)
    try:
        with pytest.raises(ThrottledError, match="nothing was sent"):
            await cloud.run_instance(REGION, spec)
    finally:
        held.set()
    await cloud.close()
    assert sim.count("RunInstances") == 0
