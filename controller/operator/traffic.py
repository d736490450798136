"""The traffic of a pool as its status and its condition tell it, added up from its instances' statuses."""

from collections.abc import Iterable

from msgspec.structs import replace

from controller.api.gpuinstance import GpuInstance
from controller.api.gpupool import GpuPool
from controller.api.model import ConditionModel
from controller.api.times import rfc3339
from controller.api.traffic import TrafficStatus
from controller.operator.trafficwatch import TrafficWatch
from controller.scaling.periods import MONTH
from controller.scaling.quota import Share, month_over, month_to_date, quota_condition
from controller.scaling.readings import beijing_month
from controller.scaling.usage import used_this_month


def shares(instances: Iterable[GpuInstance], *, now: float) -> list[Share]:
    """What each instance has used this month."""
    return [
        Share(
            name=i.metadata.name,
            uid=i.metadata.uid,
            used_gb=used_this_month(i.status.traffic, now=now),
            ended=i.status.ended_at is not None,
            optimized=i.status.optimization.level != "Normal" and i.status.optimization.applied_at is not None,
        )
        for i in instances
    ]


def pool_traffic(
    watch: TrafficWatch, pool: GpuPool, instances: Iterable[GpuInstance], *, now: float
) -> tuple[TrafficStatus, ConditionModel]:
    """`status.traffic` and `TrafficWithinQuota` as they should stand now."""
    status, spec, instances = pool.status, pool.spec.traffic, list(instances)
    before, booked = status.traffic, status.spend.booked
    if before.month and before.month < beijing_month(now):
        before = month_over(before, shares(instances, now=MONTH.end(before.month) - 1.0), booked)
    traffic = month_to_date(before, shares(instances, now=now), booked, spec, now=now)
    checked = watch.checked_at(pool)
    told = quota_condition(traffic, spec, reads=watch.reads(pool), checked_at=checked, now=now)
    return replace(traffic, checked_at=None if checked is None else rfc3339(checked)), told
