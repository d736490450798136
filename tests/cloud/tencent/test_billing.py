"""The bill of a day through the real SDK, against the simulated cloud's own ledger, to the last digit."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from controller.cloud.errors import IncompleteError, ThrottledError, UnauthorizedError, UnavailableError
from controller.cloud.tencent import TencentCloud
from controller.cloud.tencent import billing as reader
from controller.sandbox.cloudsim import CloudConfig, SimulatedCloud
from controller.scaling.ledger import Bill, nano, spent
from controller.scaling.periods import DAY

HOUR, LAG = 3600.0, 4 * 3600.0
#: 2026-01-13 18:00 in Beijing.
EVENING = datetime(2026, 1, 13, 10, tzinfo=UTC).timestamp()
Buy = Callable[[], Awaitable[str]]


@pytest.fixture
def config() -> CloudConfig:
    return CloudConfig(calls_per_second=1000)


@pytest.fixture(autouse=True)
def _evening(clock: Any) -> None:
    clock.now = EVENING


async def end(sim: SimulatedCloud, clock: Any, instance_id: str, *, after: float) -> None:
    clock.pass_(after)
    sim.remove_instance(instance_id)
    clock.pass_(sim.config.terminate_s)
    await sim.settle()


def ours(sim: SimulatedCloud, day: str) -> dict[str, int]:
    """What haipool's own arithmetic makes of the lives the simulated cloud knows, in billionths."""
    found = {}
    for b in sim.bills():
        life = Bill(b.instance_id, b.price_per_hour, b.started, b.ended, 0.0)
        found[b.instance_id] = spent([life], since=DAY.start(day), until=DAY.end(day))
    return found


async def test_each_servers_day_is_what_the_ledger_says_it_cost(
    sim: SimulatedCloud, cloud: TencentCloud, clock: Any, running: Buy
) -> None:
    short, long = await running(), await running()
    await end(sim, clock, short, after=1234.567)
    clock.pass_(5 * HOUR)
    late = await running()
    clock.pass_(30 * HOUR)
    billed = {one.instance_id: one for one in await cloud.bill_of_day("2026-01-13")}
    assert {i for i in billed if i.startswith("hai-")} == {short, long, late}
    for instance_id, expected in ours(sim, "2026-01-13").items():
        # Seventeen hours at most, each rounded to 8 decimals.
        assert abs(round(billed[instance_id].amount * 10**9) - expected) <= 24 * 5
    assert billed[long].settlements == 6
    assert billed[short].name == "running-0"
    assert billed[short].traffic == 0
    (following,) = [one for one in await cloud.bill_of_day("2026-01-14") if one.instance_id == long]
    assert following.amount == Decimal("21.12")


async def test_the_days_of_a_life_add_up_to_the_simulated_bill_to_the_cent(
    sim: SimulatedCloud, cloud: TencentCloud, clock: Any, running: Buy
) -> None:
    for _ in range(3):
        await end(sim, clock, await running(), after=7 * HOUR + 11.1)
    clock.pass_(2 * 86400.0)
    days = ["2026-01-13", "2026-01-14", "2026-01-15"]
    bills = [one for day in days for one in await cloud.bill_of_day(day)]
    billed = sum((one.amount for one in bills if one.instance_id.startswith("hai-")), Decimal(0))
    whole = sum(b.cost_cny for b in sim.bills())
    assert round(float(billed), 2) == round(whole, 2)
    assert sum(sum(ours(sim, day).values()) for day in days) == pytest.approx(nano(whole), abs=10)


async def test_an_hour_is_on_the_bill_hours_later(
    sim: SimulatedCloud, cloud: TencentCloud, clock: Any, running: Buy
) -> None:
    server = await running()
    clock.now = EVENING + HOUR + LAG - 1
    assert server not in {one.instance_id for one in await cloud.bill_of_day("2026-01-13")}
    clock.now = EVENING + HOUR + LAG
    (first,) = [one for one in await cloud.bill_of_day("2026-01-13") if one.instance_id == server]
    assert first.settlements == 1


@pytest.mark.parametrize("config", [CloudConfig(calls_per_second=1000, bill_range="span")])
async def test_a_cloud_that_answers_with_just_the_day_is_understood_too(
    sim: SimulatedCloud, cloud: TencentCloud, clock: Any, running: Buy
) -> None:
    server = await running()
    clock.pass_(60 * HOUR)
    (whole,) = [one for one in await cloud.bill_of_day("2026-01-14") if one.instance_id == server]
    assert (whole.settlements, whole.amount) == (24, Decimal("21.12"))


async def test_a_bill_of_several_pages_is_read_to_its_end(
    sim: SimulatedCloud, cloud: TencentCloud, clock: Any, running: Buy
) -> None:
    servers = sim.add_instances("ap-nanjing", "XL", 20)
    clock.pass_(48 * HOUR)  # 20 x 42 rows that have settled, and the account's other rows
    before = sim.count("DescribeBillDetail")
    billed = {one.instance_id: one for one in await cloud.bill_of_day("2026-01-14")}
    assert {billed[server].settlements for server in servers} == {24}
    assert sim.count("DescribeBillDetail") - before == 4
    assert "ins-sandbox0" not in billed


async def test_the_last_day_of_a_month_looks_into_the_next_bill_too(
    sim: SimulatedCloud, cloud: TencentCloud, clock: Any, running: Buy
) -> None:
    clock.now = DAY.start("2026-01-30")
    server = await running()
    clock.now = DAY.start("2026-02-02")
    before = sim.count("DescribeBillDetail")
    (whole,) = [one for one in await cloud.bill_of_day("2026-01-31") if one.instance_id == server]
    assert whole.settlements == 24
    assert sim.count("DescribeBillDetail") - before == 4
    (first,) = [one for one in await cloud.bill_of_day("2026-02-01") if one.instance_id == server]
    assert first.settlements == 20  # the rest has not settled


@pytest.mark.parametrize("config", [CloudConfig(calls_per_second=1000, bill_decimals=2)])
async def test_a_cloud_that_rounds_every_hour_to_a_cent_is_off_by_half_a_cent_for_each(
    sim: SimulatedCloud, cloud: TencentCloud, clock: Any, running: Buy
) -> None:
    server = await running()
    await end(sim, clock, server, after=2 * HOUR + 100)
    clock.pass_(48 * HOUR)
    (billed,) = [one for one in await cloud.bill_of_day("2026-01-13") if one.instance_id == server]
    assert billed.amount == billed.amount.quantize(Decimal("0.01"))
    assert abs(float(billed.amount) - ours(sim, "2026-01-13")[server] / 1e9) <= 0.005 * billed.settlements


@pytest.mark.parametrize(
    ("fault", "options", "error"),
    [
        ("unauthorized", {}, UnauthorizedError),
        ("throttled", {}, ThrottledError),
        ("error", {"code": "FailedOperation.SummaryDataNotReady"}, UnavailableError),
        ("missing_fields", {}, IncompleteError),
        ("http_500", {}, UnavailableError),
    ],
)
@pytest.mark.parametrize("action", ["DescribeBillDetail", "DescribeBillSummaryByProduct"])
async def test_what_goes_wrong_is_a_typed_error_and_never_an_empty_bill(
    sim: SimulatedCloud,
    cloud: TencentCloud,
    *,
    action: str,
    fault: Any,
    options: dict[str, Any],
    error: type[Exception],
) -> None:
    sim.set_fault(fault, action=action, **options)
    with pytest.raises(error):
        await cloud.bill_of_day("2026-01-13")


async def test_a_throttled_call_is_repeated(sim: SimulatedCloud, cloud: TencentCloud) -> None:
    sim.set_fault("throttled", action="DescribeBillDetail", count=1)
    assert await cloud.bill_of_day("2026-01-12")


class Answers:
    """A bill that is not the simulator's: what a page may hold that it never makes."""

    def __init__(self, *pages: list[dict[str, Any]], ready: int = 1) -> None:
        self.pages, self.ready = list(pages), ready
        self.asked: list[dict[str, Any]] = []

    async def __call__(self, action: str, params: dict[str, Any], shape: type[Any]) -> Any:
        if action == "DescribeBillSummaryByProduct":
            return msgspec.convert({"Ready": self.ready, "SummaryOverview": None}, shape)
        self.asked.append(params)
        page = self.pages.pop(0) if self.pages else []
        return msgspec.convert({"DetailSet": page or None}, shape)


def row(number: int, *costs: str, **fields: Any) -> dict[str, Any]:
    components = [{"RealCost": cost} for cost in costs]
    known = {"ResourceId": "hai-a", "FeeBeginTime": "2026-01-13 01:00:00", "Id": f"{number}"}
    return known | {"ComponentSet": components} | fields


async def test_parts_of_a_settlement_add_up_and_traffic_stands_apart() -> None:
    traffic = {"ComponentSet": [{"RealCost": "0.8", "ItemCodeName": "外网出流量"}, {"RealCost": "0.1"}]}
    (one,) = await reader.read_day(Answers([row(1, "0.5", "0.25"), row(2, **traffic)]), "2026-01-13")
    assert (one.amount, one.traffic, one.settlements) == (Decimal("0.85"), Decimal("0.8"), 2)


async def test_a_row_that_stands_on_two_pages_counts_once() -> None:
    (one,) = await reader.read_day(Answers([row(1, "0.5"), row(2, "0.5")], [row(2, "0.5")]), "2026-01-13")
    assert one.amount == 1


async def test_a_correction_takes_away() -> None:
    (one,) = await reader.read_day(Answers([row(1, "0.5"), row(2, "-0.5")]), "2026-01-13")
    assert one.amount == 0


@pytest.mark.parametrize("cost", ["-", "", "NaN", "1,000"])
async def test_an_amount_that_is_none_is_an_error(cost: str) -> None:
    with pytest.raises(IncompleteError, match="RealCost"):
        await reader.read_day(Answers([row(1, cost)]), "2026-01-13")


async def test_a_row_without_a_day_is_an_error() -> None:
    with pytest.raises(IncompleteError, match="FeeBeginTime"):
        await reader.read_day(Answers([row(1, "1", FeeBeginTime=None)]), "2026-01-13")


async def test_while_no_product_has_hais_name_the_whole_bill_is_looked_through() -> None:
    """A code is never guessed: a guess that is wrong would make an empty bill of a full one."""
    answers = Answers([row(1, "1")])
    assert await reader.read_day(answers, "2026-01-13")
    assert not any("BusinessCode" in params for params in answers.asked)


async def test_an_account_whose_first_bill_is_being_made_has_none_yet() -> None:
    with pytest.raises(UnavailableError, match="first bill"):
        await reader.read_day(Answers(ready=0), "2026-01-13")
