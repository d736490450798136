"""The record of what an hour or a day cost."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from controller.records.task import Time

Amount = Annotated[float, Meta(ge=0)]


class Alarm(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """An alert that fires."""

    rule: Annotated[str, Meta(description="As in the log alerts.")]
    level: Annotated[Literal["Info", "Warning", "Critical", "Emergency"], Meta(description="How urgent it is.")]
    subject: Annotated[str, Meta(description="What of the pool it is about; empty: all of it.")]


class CostRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """`data` of a `cost_traffic` line: one hour, or one day, of one pool. Money is CNY; days are Beijing's."""

    namespace: Annotated[str, Meta(description="Of the pool.")]
    pool: Annotated[str, Meta(description="Name of the GpuPool.")]
    period: Annotated[Literal["hour", "day"], Meta(description="What the line is about.")]
    period_start: Annotated[Time, Meta(description="Its begin. With pool and period it identifies the line.")]
    period_end: Annotated[Time, Meta(description="Its end, which is the line's timestamp.")]
    instance_cost: Annotated[Amount, Meta(description="Of the servers, to the second: their times by their prices.")]
    month_to_date: Annotated[Amount, Meta(description="Of the servers, from the month's begin to period_end.")]
    cost_per_hour: Annotated[Amount, Meta(description="Of the servers that ran when the line was written.")]
    traffic_gb: Annotated[Amount | None, Meta(description="Sent by the servers; null where nobody looked at its end.")]
    traffic_cost: Annotated[
        Amount | None, Meta(description="Estimate for what of it was beyond the free quota; null likewise.")
    ]
    traffic_month_gb: Annotated[
        Amount | None,
        Meta(
            description="Of its month: to date when the line was written, or all of it if the month was over by "
            "then; null where that is not known any more."
        ),
    ]
    traffic_month_cost: Annotated[Amount | None, Meta(description="Estimate for it; null likewise.")]
    alarms: Annotated[tuple[Alarm, ...], Meta(description="What fired when the line was written.")]
