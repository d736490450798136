"""The simulated Billing API refuses and answers as the real one is documented to."""

import time
from typing import Any

import pytest

from controller.sandbox.cloudsim import CloudConfig, SimulatedCloud

MONTH = {"BeginTime": "2025-06", "EndTime": "2025-06"}
DETAIL = {"Offset": 0, "Limit": 300, "Month": "2025-06"}


@pytest.fixture
def ask(client: Any) -> Any:
    async def send(action: str, params: dict[str, Any]) -> dict[str, Any]:
        return dict(await client(action, params, service="billing", X_TC_Version="2018-07-09"))

    return send


async def test_every_hour_that_has_settled_is_a_row_with_its_share_of_the_bill(
    ask: Any, sim: SimulatedCloud, clock: Any, config: CloudConfig
) -> None:
    (server,) = sim.add_instances("ap-beijing", "XL", 1, name="mine")
    clock.pass_(10 * 3600)
    rows = (await ask("DescribeBillDetail", {**DETAIL, "ResourceId": server}))["DetailSet"]
    assert len(rows) == 10 - config.billing_lag_s / 3600
    assert rows[0]["ResourceName"] == "mine"
    assert rows[1]["ComponentSet"][0]["RealCost"] == "0.88000000"
    assert [row["FeeBeginTime"] for row in rows] == sorted(row["FeeBeginTime"] for row in rows)


async def test_the_announced_total_is_a_day_old(ask: Any, sim: SimulatedCloud, clock: Any) -> None:
    (server,) = sim.add_instances("ap-beijing", "XL", 1)
    clock.pass_(30 * 3600)
    asked = {**DETAIL, "ResourceId": server, "NeedRecordNum": 1}
    told = await ask("DescribeBillDetail", asked)
    assert 0 < told["Total"] < len(told["DetailSet"])


async def test_a_summary_names_hai_once_it_has_cost_something(ask: Any, sim: SimulatedCloud, clock: Any) -> None:
    names = [p["BusinessCodeName"] for p in (await ask("DescribeBillSummaryByProduct", MONTH))["SummaryOverview"]]
    assert names == ["云服务器 CVM"]
    sim.add_instances("ap-beijing", "XL", 1)
    clock.pass_(10 * 3600)
    products = (await ask("DescribeBillSummaryByProduct", MONTH))["SummaryOverview"]
    assert "高性能应用服务" in products[1]["BusinessCodeName"]


@pytest.mark.parametrize(
    ("action", "params", "code"),
    [
        ("DescribeBillDetail", {"Offset": 0, "Limit": 301, "Month": "2025-06"}, "InvalidParameterValue"),
        ("DescribeBillDetail", {"Offset": 0, "Limit": 300}, "MissingParameter"),
        ("DescribeBillDetail", {"Offset": 0, "Limit": 300, "Month": "June"}, "InvalidParameterValue"),
        (
            "DescribeBillDetail",
            {"Offset": 0, "Limit": 9, "BeginTime": "2025-05-31 00:00:00", "EndTime": "2025-06-01 00:00:00"},
            "InvalidParameterValue",
        ),
        ("DescribeBillDetail", {"Limit": 300, "Month": "2025-06"}, "MissingParameter"),
        ("DescribeBillSummaryByProduct", {"BeginTime": "2025-05", "EndTime": "2025-06"}, "InvalidParameterValue"),
    ],
)
async def test_what_the_api_does_not_take_is_refused(ask: Any, action: str, params: dict[str, Any], code: str) -> None:
    assert (await ask(action, params))["Error"]["Code"] == code


async def test_the_sixth_call_within_a_second_is_one_too_many(
    config: CloudConfig, clock: Any, session: Any, client: Any
) -> None:
    """By a clock that stands still, so that it does not matter how fast the calls come."""
    stopped = time.time()
    sim = SimulatedCloud(config, clock=clock, auth_clock=lambda: stopped)
    await sim.start()
    try:
        ask = type(client)(sim.url, session)
        headers = {"service": "billing", "X_TC_Version": "2018-07-09"}
        answers = [await ask("DescribeBillSummaryByProduct", MONTH, **headers) for _ in range(7)]
    finally:
        await sim.stop()
    codes = [answer.get("Error", {}).get("Code", "ok") for answer in answers]
    assert codes == ["ok"] * 5 + ["RequestLimitExceeded"] * 2
