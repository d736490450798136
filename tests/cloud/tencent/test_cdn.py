"""The CDN adapter over the real SDK: what is read whole is written whole, and what it says is understood."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from controller.cloud.cdn import CdnBytes
from controller.cloud.errors import InProgressError, InvalidRequestError, NotFoundError, ThrottledError, UnclearError
from controller.cloud.tencent import Settings
from controller.cloud.tencent.cdn import TencentCdn
from controller.cloud.tencent.settings import Endpoint
from controller.sandbox.cloudsim import SANDBOX_KEY, SimulatedCloud

NAME = "cdn.example.com"


@pytest.fixture
async def cdn(sim: SimulatedCloud) -> AsyncIterator[TencentCdn]:
    made = TencentCdn(
        Settings(
            secret_id=SANDBOX_KEY.secret_id,
            secret_key=SANDBOX_KEY.secret_key,
            endpoint=Endpoint.parse(sim.url, name="-"),
            timeout_s=2.0,
        )
    )
    yield made
    await made.close()


async def test_a_domain_is_read_with_its_objects_and_without_nulls(cdn: TencentCdn) -> None:
    domain = await cdn.domain(NAME)
    assert (domain.name, domain.status) == (NAME, "offline")
    assert domain.config["Compression"] == {"Switch": "off"}
    assert domain.config["Origin"] == {
        "Origins": ["203.0.113.7:80"],
        "OriginType": "ip",
        "OriginPullProtocol": "http",
        "ServerName": NAME,
    }


async def test_a_domain_that_is_not_there_is_named(cdn: TencentCdn) -> None:
    with pytest.raises(NotFoundError, match=r"no CDN domain other\.example\.com"):
        await cdn.domain("other.example.com")


async def test_starting_takes_a_rollout_in_which_nothing_else_is_taken(cdn: TencentCdn, clock: Any) -> None:
    await cdn.start(NAME)
    assert (await cdn.domain(NAME)).status == "processing"
    with pytest.raises(InProgressError):
        await cdn.configure(NAME, {"Compression": {"Switch": "on"}})
    clock.pass_(10)
    assert (await cdn.domain(NAME)).status == "online"
    await cdn.stop(NAME)
    clock.pass_(10)
    assert (await cdn.domain(NAME)).status == "offline"
    with pytest.raises(InvalidRequestError):
        await cdn.stop(NAME)


async def test_an_object_that_was_read_and_changed_keeps_all_it_had(cdn: TencentCdn, clock: Any) -> None:
    before = await cdn.domain(NAME)
    await cdn.configure(NAME, {"Origin": {**before.config["Origin"], "Origins": ["198.51.100.1"]}})
    clock.pass_(10)
    after = await cdn.domain(NAME)
    assert after.config["Origin"] == {**before.config["Origin"], "Origins": ["198.51.100.1"]}
    assert after.config["Compression"] == before.config["Compression"]


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ({"kind": "error", "code": "LimitExceeded.CdnHostOpTooOften"}, ThrottledError),
        ({"kind": "error", "code": "UnauthorizedOperation.OperationTooOften"}, ThrottledError),
        ({"kind": "error", "code": "InternalError.CdnSystemError"}, UnclearError),
        ({"kind": "commit_then_reset"}, UnclearError),
    ],
)
async def test_its_own_words_for_too_often_and_for_nobody_knows(
    cdn: TencentCdn, sim: SimulatedCloud, fault: dict[str, Any], error: type[Exception]
) -> None:
    sim.set_fault(action="StartCdnDomain", count=1, **fault)
    with pytest.raises(error):
        await cdn.start(NAME)


async def test_bytes_are_those_of_the_edge_and_of_the_origin(cdn: TencentCdn, sim: SimulatedCloud, clock: Any) -> None:
    assert await cdn.bytes(NAME, since=clock() - 3600, until=clock()) == CdnBytes(0, 0)
    sim.add_cdn_bytes(NAME, edge=5_000_000_000, origin=1_000_000_000)
    assert await cdn.bytes(NAME, since=clock() - 3600, until=clock()) == CdnBytes(5_000_000_000, 1_000_000_000)
