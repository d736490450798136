"""What many ask is asked once: prices and applications by presets, CPU by pools."""

import asyncio
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, cast

import pytest
from prometheus_client import CollectorRegistry

from controller.cloud.contract import Application, Cloud, CpuPoint, LaunchSpec, Price
from controller.cloud.errors import CloudError, InvalidRequestError, NotFoundError, SoldOutError, UnavailableError
from controller.operator.cpu import CPU_INTERVAL_SECONDS, CpuMonitor
from controller.operator.metrics import OperatorMetrics
from controller.operator.sharing import SERVES_SECONDS, UNSETTLED_SECONDS, SharedCloud

REGION = "ap-beijing"


class Answering:
    """A cloud that counts what it is asked, and answers as it is told."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.state = "ONLINE"
        self.error: CloudError | None = None
        self.ids: list[tuple[str, ...]] = []

    async def find_application(self, region: str, **_: Any) -> Application:
        await self._answer(f"application in {region}")
        return Application("app-1", "sd", self.state, 80)

    async def price(self, region: str, *, bundle: str, **_: Any) -> Price:
        await self._answer(f"{bundle} in {region}")
        return Price(0.88, 0.0)

    async def run_instance(self, region: str, spec: LaunchSpec) -> str:
        raise SoldOutError(f"{spec.bundle} in {region}")

    async def cpu_metric(self) -> str:
        return "CpuUsage"

    async def cpu_percent(self, region: str, instance_ids: tuple[str, ...], *, metric: str) -> tuple[CpuPoint, ...]:
        self.ids.append(tuple(instance_ids))
        return tuple(CpuPoint(i, 50.0, datetime.fromtimestamp(1000.0, UTC)) for i in instance_ids)

    async def _answer(self, question: str) -> None:
        self.asked[question] += 1
        await asyncio.sleep(0)
        if self.error is not None:
            raise self.error


@pytest.fixture
def cloud() -> Answering:
    return Answering()


@pytest.fixture
def now() -> list[float]:
    return [1000.0]


@pytest.fixture
def shared(cloud: Answering, now: list[float]) -> SharedCloud:
    return SharedCloud(cast("Cloud", cloud), OperatorMetrics(CollectorRegistry()), lambda: now[0])


def look(shared: SharedCloud, region: str = REGION, name: str = "sd") -> Any:
    return shared.find_application(region, application_id=None, name=name, kind="PRIVATE_APPLICATION")


def price(shared: SharedCloud, bundle: str = "XL", **options: Any) -> Any:
    return shared.price(REGION, application_id="app-1", bundle=bundle, **options)


async def test_all_who_ask_the_same_share_one_answer(shared: SharedCloud, cloud: Answering) -> None:
    found = await asyncio.gather(*(price(shared) for _ in range(100)), *(look(shared) for _ in range(100)))
    assert len(set(found)) == 2
    assert cloud.asked == {f"XL in {REGION}": 1, f"application in {REGION}": 1}


async def test_other_questions_have_answers_of_their_own(shared: SharedCloud, cloud: Answering) -> None:
    await asyncio.gather(
        *(price(shared), price(shared, "3XL"), price(shared, disk_gib=100)),
        *(look(shared), look(shared, name="other"), look(shared, region="ap-nanjing")),
    )
    assert cloud.asked.total() == 6


async def test_an_answer_serves_for_a_minute(shared: SharedCloud, cloud: Answering, now: list[float]) -> None:
    await price(shared)
    now[0] += SERVES_SECONDS - 0.1
    await price(shared)
    assert cloud.asked.total() == 1
    now[0] += 0.1
    await price(shared)
    assert cloud.asked.total() == 2


async def test_what_is_doubted_of_a_region_is_asked_anew(shared: SharedCloud, cloud: Answering) -> None:
    for region in (REGION, "ap-nanjing"):
        await shared.price(region, application_id="app-1", bundle="XL")
    shared.forget(REGION)
    for region in (REGION, "ap-nanjing"):
        await shared.price(region, application_id="app-1", bundle="XL")
    assert cloud.asked == {f"XL in {REGION}": 2, "XL in ap-nanjing": 1}


async def test_an_application_that_is_not_online_is_looked_at_by_everybody(
    shared: SharedCloud, cloud: Answering
) -> None:
    cloud.state = "CREATING"
    await look(shared)
    cloud.state = "ONLINE"
    assert (await look(shared)).state == "ONLINE"


async def test_that_an_application_is_missing_serves_nobody_else_since_it_may_be_made_meanwhile(
    shared: SharedCloud, cloud: Answering
) -> None:
    cloud.error = NotFoundError("no such application")
    with pytest.raises(NotFoundError):
        await look(shared)
    cloud.error = None
    assert (await look(shared)).application_id == "app-1"


async def test_an_error_is_shared_in_the_place_of_a_price_but_not_for_long(
    shared: SharedCloud, cloud: Answering, now: list[float]
) -> None:
    cloud.error = UnavailableError("busy")
    for _ in range(3):
        with pytest.raises(UnavailableError, match="busy"):
            await price(shared)
    assert cloud.asked.total() == 1
    cloud.error = None
    now[0] += UNSETTLED_SECONDS
    await price(shared)
    assert cloud.asked.total() == 2


@pytest.mark.parametrize("error", [SoldOutError("sold out"), InvalidRequestError("not sold here")])
async def test_a_refusal_to_name_a_price_serves_like_a_price(
    shared: SharedCloud, cloud: Answering, now: list[float], error: CloudError
) -> None:
    cloud.error = error
    with pytest.raises(type(error)):
        await price(shared)
    now[0] += SERVES_SECONDS - 0.1
    with pytest.raises(type(error)):
        await price(shared)
    assert cloud.asked.total() == 1


async def test_after_a_refused_purchase_everything_about_the_region_is_asked_anew(
    shared: SharedCloud, cloud: Answering
) -> None:
    await asyncio.gather(price(shared), look(shared), look(shared, region="ap-nanjing"))
    with pytest.raises(SoldOutError):
        await shared.run_instance(REGION, LaunchSpec("app-1", "XL", "hp1-x", "token", None, None))
    await asyncio.gather(price(shared), look(shared), look(shared, region="ap-nanjing"))
    assert cloud.asked == {f"XL in {REGION}": 2, f"application in {REGION}": 2, "application in ap-nanjing": 1}


async def test_who_asks_and_goes_away_takes_nobody_along(shared: SharedCloud, cloud: Answering) -> None:
    first, second = asyncio.create_task(price(shared)), asyncio.create_task(price(shared))
    await asyncio.sleep(0)
    first.cancel()
    assert (await second).total_per_hour == 0.88
    assert first.cancelled()


async def test_a_clock_that_went_back_keeps_no_answer_for_ever(
    shared: SharedCloud, cloud: Answering, now: list[float]
) -> None:
    await price(shared)
    now[0] -= 3600.0
    await price(shared)
    assert cloud.asked.total() == 2


async def test_one_pools_question_about_cpu_is_asked_for_all(
    cloud: Answering, now: list[float], settle: Callable[[], Any]
) -> None:
    everyone = [f"hai-{number}" for number in range(20)]
    monitor = CpuMonitor(cast("Cloud", cloud), lambda: now[0], lambda _region: everyone)
    for number in range(20):
        monitor.reading({REGION: [f"hai-{number}"]})
        await settle()
    assert cloud.ids == [tuple(sorted(everyone))]
    assert all(monitor.reading({REGION: [instance]}) for instance in everyone)
    now[0] += CPU_INTERVAL_SECONDS
    for number in range(20):
        monitor.reading({REGION: [f"hai-{number}"]})
        await settle()
    assert len(cloud.ids) == 2
    await monitor.close()


async def test_between_two_questions_for_all_only_instances_without_a_point_are_asked_for(
    cloud: Answering, now: list[float], settle: Callable[[], Any]
) -> None:
    everyone = ["hai-1"]
    monitor = CpuMonitor(cast("Cloud", cloud), lambda: now[0], lambda _region: everyone)
    monitor.reading({REGION: ["hai-1"]})
    await settle()
    everyone.append("hai-2")
    now[0] += CPU_INTERVAL_SECONDS / 2.0
    monitor.reading({REGION: ["hai-2"]})
    await settle()
    assert cloud.ids == [("hai-1",), ("hai-2",)]
    await monitor.close()


@pytest.fixture
def settle() -> Callable[[], Any]:
    """Let what was begun come to its end."""

    async def wait() -> None:
        for _ in range(5):
            await asyncio.sleep(0)

    return wait
