"""Counts and times every call of the cloud contract, whatever adapter stands behind it."""

from collections.abc import Sequence
from time import perf_counter
from types import TracebackType

from controller.cloud.contract import (
    Application,
    BandwidthPoint,
    BilledInstance,
    Cloud,
    CloudInstance,
    CpuPoint,
    LaunchSpec,
    Listing,
    NetworkUsage,
    Price,
    UsagePoint,
)
from controller.cloud.errors import CloudError
from controller.operator.metrics import OperatorMetrics


class _Call:
    """Times one call and notes how it ended."""

    def __init__(self, metrics: OperatorMetrics, name: str) -> None:
        self._metrics, self._name, self._start = metrics, name, perf_counter()

    def __enter__(self) -> None:
        self._start = perf_counter()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        outcome = "ok" if kind is None else kind.__name__ if issubclass(kind, CloudError) else "error"
        self._metrics.cloud_calls.labels(self._name, outcome).inc()
        self._metrics.cloud_seconds.labels(self._name).observe(perf_counter() - self._start)


class InstrumentedCloud:
    """The contract, measured."""

    def __init__(self, cloud: Cloud, metrics: OperatorMetrics) -> None:
        self._cloud = cloud
        self._metrics = metrics

    def _call(self, name: str) -> _Call:
        return _Call(self._metrics, name)

    async def available_regions(self) -> frozenset[str]:
        """See `Cloud.available_regions`."""
        with self._call("available_regions"):
            return await self._cloud.available_regions()

    async def find_application(
        self, region: str, *, application_id: str | None, name: str | None, kind: str
    ) -> Application:
        """See `Cloud.find_application`."""
        with self._call("find_application"):
            return await self._cloud.find_application(region, application_id=application_id, name=name, kind=kind)

    async def create_application(self, region: str, *, instance_id: str, name: str) -> str:
        """See `Cloud.create_application`."""
        with self._call("create_application"):
            return await self._cloud.create_application(region, instance_id=instance_id, name=name)

    async def price(
        self,
        region: str,
        *,
        application_id: str,
        bundle: str,
        disk_type: str | None = None,
        disk_gib: int | None = None,
    ) -> Price:
        """See `Cloud.price`."""
        with self._call("price"):
            return await self._cloud.price(
                region, application_id=application_id, bundle=bundle, disk_type=disk_type, disk_gib=disk_gib
            )

    async def list_instances(self, region: str) -> Listing:
        """See `Cloud.list_instances`."""
        with self._call("list_instances"):
            return await self._cloud.list_instances(region)

    async def describe_instances(self, region: str, instance_ids: Sequence[str]) -> tuple[CloudInstance, ...]:
        """See `Cloud.describe_instances`."""
        with self._call("describe_instances"):
            return await self._cloud.describe_instances(region, instance_ids)

    async def run_instance(self, region: str, spec: LaunchSpec) -> str:
        """See `Cloud.run_instance`."""
        with self._call("run_instance"):
            return await self._cloud.run_instance(region, spec)

    async def terminate_instance(self, region: str, instance_id: str) -> None:
        """See `Cloud.terminate_instance`."""
        with self._call("terminate_instance"):
            await self._cloud.terminate_instance(region, instance_id)

    async def network_usage(self, region: str, instance_ids: Sequence[str]) -> tuple[NetworkUsage, ...]:
        """See `Cloud.network_usage`."""
        with self._call("network_usage"):
            return await self._cloud.network_usage(region, instance_ids)

    async def cpu_metric(self) -> str | None:
        """See `Cloud.cpu_metric`."""
        with self._call("cpu_metric"):
            return await self._cloud.cpu_metric()

    async def cpu_percent(self, region: str, instance_ids: Sequence[str], *, metric: str) -> tuple[CpuPoint, ...]:
        """See `Cloud.cpu_percent`."""
        with self._call("cpu_percent"):
            return await self._cloud.cpu_percent(region, instance_ids, metric=metric)

    async def bandwidth(self, region: str, instance_ids: Sequence[str]) -> tuple[BandwidthPoint, ...]:
        """See `Cloud.bandwidth`."""
        with self._call("bandwidth"):
            return await self._cloud.bandwidth(region, instance_ids)

    async def usage(self, region: str, instance_ids: Sequence[str]) -> tuple[UsagePoint, ...]:
        """See `Cloud.usage`."""
        with self._call("usage"):
            return await self._cloud.usage(region, instance_ids)

    async def bill_of_day(self, day: str) -> tuple[BilledInstance, ...]:
        """See `Cloud.bill_of_day`."""
        with self._call("bill_of_day"):
            return await self._cloud.bill_of_day(day)

    async def close(self) -> None:
        """See `Cloud.close`."""
        await self._cloud.close()
