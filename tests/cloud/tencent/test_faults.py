"""Each fault of the cloud, and the typed error it becomes. A purchase reaches the cloud once, whatever comes back."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from controller.cloud.contract import LaunchSpec
from controller.cloud.errors import (
    ArrearsError,
    CloudError,
    IncompleteError,
    InProgressError,
    QuotaError,
    SoldOutError,
    ThrottledError,
    UnauthorizedError,
    UnavailableError,
    UnclearError,
)
from controller.cloud.tencent import TencentCloud
from controller.cloud.tencent.adapter import READ_ATTEMPTS
from controller.sandbox.cloudsim import SimulatedCloud

REGION = "ap-beijing"
#: Seconds; longer than the impatient adapter waits.
LONG = 5.0
Running = Callable[[], Awaitable[str]]


@pytest.fixture
def impatient(sim: SimulatedCloud, connect_to: Any) -> TencentCloud:
    """An adapter that waits half a second for an answer."""
    made: TencentCloud = connect_to(sim.url, timeout_s=0.5)
    return made


REFUSALS: list[tuple[dict[str, Any], type[CloudError]]] = [
    ({"kind": "sold_out"}, SoldOutError),
    ({"kind": "throttled"}, ThrottledError),
    ({"kind": "arrears"}, ArrearsError),
    ({"kind": "unauthorized"}, UnauthorizedError),
    ({"kind": "error", "code": "LimitExceeded.VpcLimitExceeded"}, QuotaError),
    ({"kind": "error", "code": "UnauthorizedOperation.GetRoleError"}, UnauthorizedError),
]
LOST_BEFORE: list[dict[str, Any]] = [
    {"kind": "http_500"},
    {"kind": "reset"},
    {"kind": "error", "code": "InternalError"},
    {"kind": "error", "code": "InternalError.TradeError"},
    {"kind": "error", "code": "FailedOperation.SomethingNew"},
]
LOST_AFTER: list[dict[str, Any]] = [
    {"kind": "commit_then_500"},
    {"kind": "commit_then_reset"},
    {"kind": "commit_then_timeout", "seconds": LONG},
    {"kind": "slow", "seconds": LONG},
    {"kind": "slow_body", "seconds": LONG},
    {"kind": "missing_fields"},
    {"kind": "broken_json"},
]


def name(fault: Any) -> str | None:
    return "-".join(map(str, fault.values())) if isinstance(fault, dict) else None


class TestPurchase:
    @pytest.mark.parametrize(("fault", "wanted"), REFUSALS, ids=name)
    async def test_a_refusal_means_that_nothing_was_bought(
        self,
        sim: SimulatedCloud,
        cloud: TencentCloud,
        spec: LaunchSpec,
        fault: dict[str, Any],
        wanted: type[CloudError],
    ) -> None:
        sim.set_fault(**fault)
        with pytest.raises(wanted) as caught:
            await cloud.run_instance(REGION, spec)
        assert type(caught.value) is wanted
        assert sim.count("RunInstances") == 1
        assert sim.instances() == ()

    @pytest.mark.parametrize("fault", LOST_BEFORE, ids=name)
    async def test_lost_before_it_was_made_is_unclear(
        self, sim: SimulatedCloud, cloud: TencentCloud, spec: LaunchSpec, fault: dict[str, Any]
    ) -> None:
        sim.set_fault(**fault)
        with pytest.raises(UnclearError):
            await cloud.run_instance(REGION, spec)
        assert sim.count("RunInstances") == 1
        assert sim.instances() == ()

    @pytest.mark.parametrize("fault", LOST_AFTER, ids=name)
    async def test_lost_after_it_was_made_is_unclear_and_the_token_finds_it(
        self, sim: SimulatedCloud, cloud: TencentCloud, impatient: TencentCloud, spec: LaunchSpec, fault: dict[str, Any]
    ) -> None:
        sim.set_fault(**fault)
        with pytest.raises(UnclearError):
            await impatient.run_instance(REGION, spec)
        assert sim.count("RunInstances") == 1
        [bought] = sim.instances()

        sim.clear_faults()
        assert await cloud.run_instance(REGION, spec) == bought.instance_id
        assert len(sim.instances()) == 1
        [listed] = (await cloud.list_instances(REGION)).instances
        assert (listed.name, listed.instance_id) == (spec.name, bought.instance_id)

    async def test_a_content_type_that_blinds_the_sdk_does_not_blind_the_adapter(
        self, sim: SimulatedCloud, cloud: TencentCloud, spec: LaunchSpec
    ) -> None:
        sim.set_fault("charset")
        sim.set_fault("sold_out", count=1)
        with pytest.raises(SoldOutError):
            await cloud.run_instance(REGION, spec)
        assert await cloud.run_instance(REGION, spec) == sim.instances()[0].instance_id

    async def test_a_launch_that_fails_shows_in_the_listing(
        self, sim: SimulatedCloud, cloud: TencentCloud, spec: LaunchSpec, clock: Any
    ) -> None:
        sim.set_fault("launch_failed")
        await cloud.run_instance(REGION, spec)
        clock.pass_(sim.config.deploy_s)
        [failed] = (await cloud.list_instances(REGION)).instances
        assert (failed.state, failed.public_ip) == ("LAUNCH_FAILED", None)

    async def test_a_cancelled_purchase_is_cancelled_and_not_repeated(
        self, sim: SimulatedCloud, cloud: TencentCloud, spec: LaunchSpec
    ) -> None:
        sim.set_fault("slow", seconds=0.2)
        buying = asyncio.create_task(cloud.run_instance(REGION, spec))
        while sim.count("RunInstances") == 0:  # noqa: ASYNC110 - the request arrives from another thread
            await asyncio.sleep(0.01)
        buying.cancel()
        with pytest.raises(asyncio.CancelledError):
            await buying
        await cloud.close()
        assert sim.count("RunInstances") == 1


class TestDestruction:
    async def test_busy(self, sim: SimulatedCloud, cloud: TencentCloud, running: Running) -> None:
        instance_id = await running()
        sim.set_fault("busy")
        with pytest.raises(InProgressError):
            await cloud.terminate_instance(REGION, instance_id)
        assert sim.count("TerminateInstances") == 1

    @pytest.mark.parametrize("fault", [*LOST_BEFORE, *LOST_AFTER], ids=name)
    async def test_lost_is_unclear_and_asking_again_does_no_harm(
        self,
        *,
        sim: SimulatedCloud,
        cloud: TencentCloud,
        impatient: TencentCloud,
        running: Running,
        fault: dict[str, Any],
        clock: Any,
    ) -> None:
        instance_id = await running()
        sim.set_fault(**fault, action="TerminateInstances")
        with pytest.raises(UnclearError):
            await impatient.terminate_instance(REGION, instance_id)
        assert sim.count("TerminateInstances") == 1
        sim.clear_faults()
        if sim.instances()[0].state == "RUNNING":
            await cloud.terminate_instance(REGION, instance_id)
        else:
            with pytest.raises(InProgressError):
                await cloud.terminate_instance(REGION, instance_id)
        clock.pass_(sim.config.terminate_s)
        assert (await cloud.list_instances(REGION)).instances == ()


class TestReads:
    @pytest.mark.parametrize(
        "fault",
        [
            {"kind": "throttled"},
            {"kind": "http_500"},
            {"kind": "reset"},
            {"kind": "broken_json"},
            {"kind": "error", "code": "InternalError"},
            {"kind": "slow", "seconds": LONG},
            {"kind": "slow_body", "seconds": LONG},
        ],
        ids=name,
    )
    async def test_what_passes_is_waited_for(
        self, sim: SimulatedCloud, cloud: TencentCloud, impatient: TencentCloud, fault: dict[str, Any]
    ) -> None:
        sim.set_fault(**fault, count=READ_ATTEMPTS - 1)
        asking = impatient if "seconds" in fault else cloud
        assert (await asking.list_instances(REGION)).complete
        assert sim.count("DescribeInstances") == READ_ATTEMPTS

    @pytest.mark.parametrize(
        ("fault", "wanted"),
        [({"kind": "throttled"}, ThrottledError), ({"kind": "http_500"}, UnavailableError)],
        ids=name,
    )
    async def test_what_stays_is_given_up(
        self, sim: SimulatedCloud, cloud: TencentCloud, fault: dict[str, Any], wanted: type[CloudError]
    ) -> None:
        sim.set_fault(**fault)
        with pytest.raises(wanted) as caught:
            await cloud.list_instances(REGION)
        assert type(caught.value) is wanted
        assert sim.count("DescribeInstances") == READ_ATTEMPTS

    async def test_what_a_person_must_mend_is_not_repeated(self, sim: SimulatedCloud, cloud: TencentCloud) -> None:
        sim.set_fault("unauthorized")
        with pytest.raises(UnauthorizedError):
            await cloud.list_instances(REGION)
        assert sim.count("DescribeInstances") == 1

    async def test_missing_fields_are_never_an_empty_answer(
        self, sim: SimulatedCloud, cloud: TencentCloud, running: Running
    ) -> None:
        instance_id = await running()
        await cloud.cpu_metric()
        sim.set_fault("missing_fields")
        application = sim.application_id(REGION)
        for answer in (
            cloud.available_regions(),
            cloud.find_application(REGION, application_id=application, name=None, kind="PRIVATE_APPLICATION"),
            cloud.price(REGION, application_id=application, bundle="XL"),
            cloud.list_instances(REGION),
            cloud.describe_instances(REGION, [instance_id]),
            cloud.network_usage(REGION, [instance_id]),
            cloud.cpu_percent(REGION, [instance_id], metric="CpuUsage"),
        ):
            with pytest.raises(IncompleteError):
                await answer

    async def test_odd_spellings_are_read(self, sim: SimulatedCloud, cloud: TencentCloud, running: Running) -> None:
        instance_id = await running()
        sim.set_fault("string_variants")
        sim.set_fault("percent_discount")
        sim.set_fault("charset")
        [usage] = await cloud.network_usage(REGION, [instance_id])
        assert (usage.total_gb, usage.used_gb) == (500.0, 0.0)
        [one] = (await cloud.list_instances(REGION)).instances
        assert one.state == "RUNNING"
        price = await cloud.price(REGION, application_id=sim.application_id(REGION), bundle="XL")
        assert price.total_per_hour == 0.88

    async def test_a_new_instance_may_be_missing_for_a_while(
        self, sim: SimulatedCloud, cloud: TencentCloud, spec: LaunchSpec, clock: Any
    ) -> None:
        sim.set_fault("eventual_listing", seconds=20)
        instance_id = await cloud.run_instance(REGION, spec)
        assert (await cloud.list_instances(REGION)).instances == ()
        assert await cloud.describe_instances(REGION, [instance_id]) == ()
        clock.pass_(20)
        assert len((await cloud.list_instances(REGION)).instances) == 1

    async def test_a_total_that_does_not_add_up_is_not_a_complete_listing(
        self, sim: SimulatedCloud, cloud: TencentCloud, running: Running
    ) -> None:
        instance_id = await running()
        sim.set_fault("wrong_total")
        listing = await cloud.list_instances(REGION)
        assert [one.instance_id for one in listing.instances] == [instance_id]
        assert not listing.complete
        assert sim.count("DescribeInstances") == 2


class Redirecting:
    """A server that answers every request by sending it on to another path."""

    def __init__(self) -> None:
        self.requests = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        self.requests += 1
        writer.write(b"HTTP/1.1 307 Temporary Redirect\r\nLocation: /again\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        writer.close()


@pytest.fixture
async def redirecting() -> AsyncIterator[tuple[Redirecting, str]]:
    made = Redirecting()
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    yield made, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    server.close()
    await server.wait_closed()


async def test_a_redirect_is_not_followed_with_a_purchase(
    redirecting: tuple[Redirecting, str], connect_to: Any, spec: LaunchSpec
) -> None:
    server, url = redirecting
    with pytest.raises(UnclearError):
        await connect_to(url).run_instance(REGION, spec)
    assert server.requests == 1


async def test_a_cloud_that_is_not_there(connect_to: Any, spec: LaunchSpec) -> None:
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    server.close()
    await server.wait_closed()
    with pytest.raises(UnclearError, match="ClientNetworkError"):
        await connect_to(url).run_instance(REGION, spec)
    with pytest.raises(UnavailableError, match="ClientNetworkError"):
        await connect_to(url).list_instances(REGION)
