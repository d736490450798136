"""The simulated Billing API, version 2018-07-09: hourly settlements of what the simulated cloud's own ledger bills.

Rows of an hour appear hours after it; a request for a day is answered with the whole month, as the documentation says;
the announced total is a day old; and the account pays for another product too.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, Final

from controller.sandbox.cloudsim import ledger
from controller.sandbox.cloudsim.actions import Action, Call, Request
from controller.sandbox.cloudsim.errors import ApiError
from controller.sandbox.cloudsim.world import BEIJING, World

VERSION: Final = "2018-07-09"
#: The limit of the calls per second of this service.
CALLS_PER_SECOND: Final = 5.0
MAX_LIMIT: Final = 300
#: Made up, since the real code is not documented: clients have to look it up by name.
CODE: Final = "p_sandbox_hai"
NAME: Final = "高性能应用服务 HAI"
FOREIGN_CODE: Final = "p_cvm"
TIME: Final = "%Y-%m-%d %H:%M:%S"
_HOUR: Final = 3600
_DAY: Final = 86400.0


class SummaryByProduct(Request, frozen=True):
    """One month, named twice."""

    begin_time: str
    end_time: str
    payer_uin: str | None = None
    pay_type: str | None = None


class BillDetail(Request, frozen=True):
    """Which rows."""

    offset: int
    limit: int
    period_type: str | None = None
    month: str | None = None
    begin_time: str | None = None
    end_time: str | None = None
    need_record_num: int = 0
    pay_mode: str | None = None
    resource_id: str | None = None
    action_type: str | None = None
    project_id: int | None = None
    business_code: str | None = None
    context: str | None = None
    payer_uin: str | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """One settlement: an instance and an hour. Times in POSIX seconds."""

    resource_id: str
    name: str
    region: str
    code: str
    begin: float
    end: float
    #: When it can be seen.
    appears: float
    cost: Decimal


def rows(world: World, now: float) -> list[Row]:
    """All settlements that can be seen now, in the order of their hours."""
    found = [row for bill in ledger.bills(world, now) for row in _settlements(world, bill, now)]
    return sorted((row for row in found if row.appears <= now), key=lambda row: (row.begin, row.resource_id))


def _settlements(world: World, bill: ledger.Bill, now: float) -> Iterator[Row]:
    if not bill.billed_seconds:
        return
    end = now if bill.ended is None else bill.ended
    begin = end - bill.billed_seconds
    hour = int(begin // _HOUR) * _HOUR
    while hour < end:
        since, until = max(begin, hour), min(end, hour + _HOUR)
        cost = Decimal(str(bill.price_per_hour)) * round((until - since) * 1000) / (_HOUR * 1000)
        step = Decimal(1).scaleb(-world.config.bill_decimals)
        appears = hour + _HOUR + world.config.billing_lag_s
        amount = cost.quantize(step, ROUND_HALF_UP)
        yield Row(bill.instance_id, bill.name, bill.region, CODE, since, until, appears, amount)
        hour += _HOUR


def describe_bill_detail(call: Call, params: BillDetail) -> dict[str, Any]:
    """A page of rows. Without BusinessCode, those of the other product come first."""
    if not 0 < params.limit <= MAX_LIMIT or params.offset < 0:
        raise ApiError("InvalidParameterValue", f"Limit must be 1 to {MAX_LIMIT}, Offset 0 or more.")
    begin, end = _span(call, params)
    seen = [*_foreign(begin, end), *rows(call.world, call.now)]
    chosen = [
        row
        for row in seen
        if begin <= row.begin < end
        and params.business_code in (None, row.code)
        and params.resource_id in (None, row.resource_id)
    ]
    page = chosen[params.offset : params.offset + params.limit]
    # The announced total is cached for a day.
    total = sum(row.appears <= call.now - _DAY for row in chosen) if params.need_record_num else 0
    return {
        "DetailSet": [_fields(row) for row in page],
        "Total": total,
        "Context": f"{params.offset + len(page)}",
    }


def describe_bill_summary_by_product(call: Call, params: SummaryByProduct) -> dict[str, Any]:
    """What each product cost in a month."""
    if params.begin_time != params.end_time:
        raise ApiError("InvalidParameterValue", "BeginTime and EndTime must name the same month.")
    begin, end = _month(_moment(params.begin_time, "%Y-%m"))
    own = sum((row.cost for row in rows(call.world, call.now) if begin <= row.begin < end), Decimal(0))
    foreign = sum((row.cost for row in _foreign(begin, end)), Decimal(0))
    products = [(FOREIGN_CODE, "云服务器 CVM", foreign), *([(CODE, NAME, own)] if own else [])]
    return {
        "Ready": 1,
        "SummaryTotal": {"RealTotalCost": f"{own + foreign:.8f}"},
        "SummaryOverview": [
            {
                "BusinessCode": code,
                "BusinessCodeName": name,
                "RealTotalCost": f"{cost:.8f}",
                "RealTotalCostRatio": f"{100 * cost / (own + foreign):.2f}",
                "BillMonth": params.begin_time,
            }
            for code, name, cost in products
        ],
    }


ACTIONS: Final[Mapping[str, Action]] = {
    "DescribeBillDetail": Action(BillDetail, describe_bill_detail),
    "DescribeBillSummaryByProduct": Action(SummaryByProduct, describe_bill_summary_by_product),
}


def _span(call: Call, params: BillDetail) -> tuple[float, float]:
    if params.begin_time and params.end_time:
        begin, end = _moment(params.begin_time, TIME), _moment(params.end_time, TIME)
        if f"{begin:%Y-%m}" != f"{end:%Y-%m}":
            raise ApiError("InvalidParameterValue", "BeginTime and EndTime must lie in the same month.")
        if call.world.config.bill_range == "span":
            return begin.timestamp(), end.timestamp() + 1
        return _month(begin)
    if not params.month:
        raise ApiError("MissingParameter", "Month, or BeginTime and EndTime.")
    return _month(_moment(params.month, "%Y-%m"))


def _moment(text: str, form: str) -> datetime:
    try:
        return datetime.strptime(text, form).replace(tzinfo=BEIJING)
    except ValueError:
        raise ApiError("InvalidParameterValue", f"{text!r} is not of the form {form}.") from None


def _month(moment: datetime) -> tuple[float, float]:
    first = moment.replace(day=1, hour=0, minute=0, second=0)
    return first.timestamp(), (first + timedelta(days=31)).replace(day=1).timestamp()


def _foreign(begin: float, end: float) -> Iterator[Row]:
    """A machine of another product, settled daily."""
    while begin < end:
        yield Row(
            "ins-sandbox0", "web", "ap-beijing", FOREIGN_CODE, begin, begin + _DAY, begin + _DAY, Decimal("12.34567890")
        )
        begin += _DAY


def _fields(row: Row) -> dict[str, Any]:
    """The fields that clients have a use for, in the real API's spelling."""
    hai = row.code == CODE
    traffic = {"ComponentCodeName": "外网出流量", "ItemCodeName": "按流量计费", "RealCost": "0.00000000"}
    server = {"ComponentCodeName": "GPU算力", "ItemCodeName": row.code, "RealCost": f"{row.cost:.8f}"}
    return {
        "BusinessCode": row.code,
        "BusinessCodeName": NAME if hai else "云服务器 CVM",
        "PayModeName": "按量计费",
        "ActionTypeName": "按量计费小时结" if hai else "按量计费日结",
        "ResourceId": row.resource_id,
        "ResourceName": row.name,
        "RegionId": row.region,
        "FeeBeginTime": _text(row.begin),
        "FeeEndTime": _text(row.end),
        "PayTime": _text(row.appears),
        "BillDay": _text(row.begin)[:10],
        "BillMonth": _text(row.begin)[:7],
        "Id": f"{row.resource_id}-{row.begin:.0f}",
        "ComponentSet": [server, traffic] if hai else [server],
    }


def _text(posix: float) -> str:
    return datetime.fromtimestamp(posix, BEIJING).strftime(TIME)
