"""The log `cost_traffic`: every hour and day that the ledger has closed, once it is on the disk."""

from collections.abc import Iterable
from typing import Any

from controller.api.alerts import AlertStatus
from controller.api.costlog import CostLog
from controller.api.gpupool import GpuPool
from controller.api.spend import Spend
from controller.api.traffic import TrafficStatus
from controller.operator.context import Context
from controller.records.cost import Alarm, CostRecord
from controller.records.lines import RecordType, stamp
from controller.scaling.costlog import Closed, Traffic, after, missing


def log_costs(
    ctx: Context, pool: GpuPool, spend: Spend, traffic: TrafficStatus, alerts: Iterable[AlertStatus]
) -> CostLog:
    """Append what is missing, and return how far the log has come for certain, for `status.costLog`.

    Args:
        ctx: the shared context.
        pool: as last written: its history, and the log's position.
        spend: the ledger of this decision.
        traffic: as of this decision.
        alerts: as they stand now.
    """
    log, history, memory = pool.status.cost_log, pool.status.spend_history, ctx.pool_memory(pool.metadata.uid)
    months = {
        traffic.last_month: Traffic(traffic.last_month_gb, spend.traffic_last_month),
        traffic.month: Traffic(traffic.used_gb, spend.traffic_this_month),
    }
    closed = missing(history, log, months)
    if not closed or not ctx.recording.active:
        return log
    # What the log says of traffic is as of when it was appended; what comes after belongs to the next period.
    position = memory.cost_log or after(history, log, months)
    key = ("cost", pool.metadata.uid, position.hour, position.day)
    alarms = tuple(Alarm(rule=a.rule, level=a.level, subject=a.subject) for a in alerts if a.state == "Firing")
    if ctx.recording.once(key, lambda: [_line(pool, one, spend, alarms) for one in closed]):
        memory.cost_log = None
        return position
    memory.cost_log = position
    return log


def _line(pool: GpuPool, one: Closed, spend: Spend, alarms: tuple[Alarm, ...]) -> tuple[RecordType, float, Any]:
    sent, month = one.traffic, one.month_traffic
    record = CostRecord(
        namespace=pool.metadata.namespace,
        pool=pool.metadata.name,
        period=one.kind,
        period_start=stamp(one.start),
        period_end=stamp(one.end),
        instance_cost=one.cost,
        month_to_date=one.month_cost,
        cost_per_hour=spend.per_hour,
        traffic_gb=None if sent is None else sent.used_gb,
        traffic_cost=None if sent is None else sent.cost,
        traffic_month_gb=None if month is None else month.used_gb,
        traffic_month_cost=None if month is None else month.cost,
        alarms=alarms,
    )
    return "cost_traffic", one.end, record
