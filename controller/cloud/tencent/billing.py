"""Tencent's bill of one day, instance by instance, from the Billing API.

Nothing of it is taken on trust: a request for a day may be answered with the whole month (its documentation says so),
the total it announces is a day old, and which product code HAI has is not documented, so that code is looked up by the
product's name. Rows are picked by when the fee began, which is the day of use under either of the two accounting ways
(`byUsedTime`, `byPayTime`) that an account may be set to.
"""

from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any, Final

import msgspec

from controller.cloud.contract import BilledInstance
from controller.cloud.errors import IncompleteError, UnavailableError

#: The API allows 5 calls per second; turns are given a little slower, for all billing calls together.
CALLS_PER_PERIOD: Final = 4
PAGE_SIZE: Final = 300
#: Pages read of one month at most: 180,000 rows, 250 servers around the clock.
MAX_PAGES: Final = 600
#: What HAI is called in bills; the API's code for it is not documented.
PRODUCT_NAME: Final = "高性能应用服务"
#: In the name of a component: it is not the server but its traffic.
TRAFFIC: Final = "流量"


class _Shape(msgspec.Struct, rename="pascal", frozen=True):
    """Fields are spelled PascalCase on the wire."""


class Product(_Shape, frozen=True):
    """One product of a month's summary."""

    business_code: str
    business_code_name: str | None = None


class Summary(_Shape, frozen=True):
    """The answer of DescribeBillSummaryByProduct."""

    ready: int
    summary_overview: list[Product] | None = None


class Component(_Shape, frozen=True):
    """One part of a settlement; the amount is text, after discounts."""

    real_cost: str
    component_code_name: str | None = None
    item_code_name: str | None = None

    @property
    def is_traffic(self) -> bool:
        """Whether it is network traffic."""
        return TRAFFIC in f"{self.component_code_name}{self.item_code_name}"

    @property
    def amount(self) -> Decimal:
        """CNY.

        Raises:
            IncompleteError: the text is no amount.
        """
        try:
            amount = Decimal(self.real_cost)
        except InvalidOperation:
            raise IncompleteError(f"RealCost {self.real_cost!r} is no amount", code="ClientAmount") from None
        if not amount.is_finite():
            raise IncompleteError(f"RealCost {self.real_cost!r} is no amount", code="ClientAmount")
        return amount


class Row(_Shape, frozen=True):
    """One settlement of one resource."""

    component_set: list[Component] | None
    resource_id: str | None = None
    resource_name: str | None = None
    fee_begin_time: str | None = None
    bill_day: str | None = None
    id: str | None = None

    @property
    def day(self) -> str:
        """The Beijing day of use, `YYYY-MM-DD`.

        Raises:
            IncompleteError: it names none.
        """
        text = self.fee_begin_time or self.bill_day or ""
        if len(text) < 10:
            raise IncompleteError(f"a row of {self.resource_id} has no FeeBeginTime", code="ClientIncomplete")
        return text[:10]


class Detail(_Shape, frozen=True):
    """The answer of DescribeBillDetail. `Total` is left out on purpose: it may be a day old."""

    detail_set: list[Row] | None
    context: str | None = None


#: Sends one billing call and reads its answer: action, parameters, shape.
Ask = Callable[[str, dict[str, Any], type[Any]], Awaitable[Any]]


@dataclass(slots=True)
class _Sum:
    name: str = ""
    amount: Decimal = Decimal(0)
    traffic: Decimal = Decimal(0)
    settlements: int = 0


async def read_day(ask: Ask, day: str) -> tuple[BilledInstance, ...]:
    """What was billed for one Beijing day.

    Args:
        ask: sends a call.
        day: `YYYY-MM-DD`.

    Raises:
        CloudError: what the calls raise; UnavailableError also while the account's first bill is being made.
    """
    sums: defaultdict[str, _Sum] = defaultdict(_Sum)
    for begin, end in _spans(date.fromisoformat(day)):
        for row in await _rows(ask, begin, end):
            if row.resource_id and row.day == day:
                _add(sums[row.resource_id], row)
    return tuple(BilledInstance(i, s.name, s.amount, s.traffic, s.settlements) for i, s in sorted(sums.items()))


def _spans(day: date) -> list[tuple[date, date]]:
    """What to ask for: the day itself; where it ends a month, also the first of the next.

    An account that is billed by when it pays finds the last hours of a month in the next month's bill.
    """
    following = day + timedelta(days=1)
    return [(day, day)] if following.month == day.month else [(day, day), (following, following)]


async def _rows(ask: Ask, begin: date, end: date) -> Sequence[Row]:
    code = await _business_code(ask, f"{begin:%Y-%m}")
    params: dict[str, Any] = {
        "BeginTime": f"{begin:%Y-%m-%d} 00:00:00",
        "EndTime": f"{end:%Y-%m-%d} 23:59:59",
        "Limit": PAGE_SIZE,
        "NeedRecordNum": 0,
        **({"BusinessCode": code} if code else {}),
    }
    found: dict[str, Row] = {}
    offset, context = 0, None
    for _ in range(MAX_PAGES):
        page: Detail = await ask(
            "DescribeBillDetail", {**params, "Offset": offset, **({"Context": context} if context else {})}, Detail
        )
        rows = page.detail_set or []
        if not rows:
            return list(found.values())
        # A row that moved to the next page while pages were read is counted once.
        found.update({row.id or f"{offset}+{n}": row for n, row in enumerate(rows)})
        offset, context = offset + len(rows), page.context
    raise IncompleteError(
        f"the bill of {begin:%Y-%m} has more than {MAX_PAGES * PAGE_SIZE} rows and was not read to its end",
        code="ClientTooLong",
    )


async def _business_code(ask: Ask, month: str) -> str:
    """The code under which HAI is billed; empty if no product of the month has its name, so all must be looked through.

    Raises:
        UnavailableError: the account's bill is being made for the first time.
    """
    params = {"BeginTime": month, "EndTime": month}
    summary: Summary = await ask("DescribeBillSummaryByProduct", params, Summary)
    if summary.ready != 1:
        raise UnavailableError("the account's first bill is being made", code="ClientNotReady")
    products = summary.summary_overview or []
    return next((p.business_code for p in products if PRODUCT_NAME in (p.business_code_name or "")), "")


def _add(total: _Sum, row: Row) -> None:
    total.name = row.resource_name or total.name
    total.settlements += 1
    for component in row.component_set or []:
        if component.is_traffic:
            total.traffic += component.amount
        else:
            total.amount += component.amount
