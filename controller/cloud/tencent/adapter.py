"""`TencentCloud`: the contract over HAI, Cloud Monitor and Billing.

Reads are repeated a few times when the cloud was busy or out of reach. RunInstances and TerminateInstances leave
exactly once per call, whatever comes back.
"""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from controller.cloud.contract import (
    Application,
    BandwidthPoint,
    BilledInstance,
    Cloud,
    CloudInstance,
    CpuPoint,
    Figure,
    LaunchSpec,
    Listing,
    NetworkUsage,
    Price,
    UsagePoint,
)
from controller.cloud.errors import (
    AmbiguousError,
    CloudError,
    IncompleteError,
    InvalidRequestError,
    NotFoundError,
    ThrottledError,
    UnauthorizedError,
    UnavailableError,
    UnclearError,
)
from controller.cloud.tencent import billing, cpumetric, monitormetric, netmetric, usagemetric, wire
from controller.cloud.tencent.paging import PAGE_SIZE, Filters, Page, read_instances, walk
from controller.cloud.tencent.ratelimit import RateLimiter
from controller.cloud.tencent.settings import Settings
from controller.cloud.tencent.transport import Transport

T = TypeVar("T")
S = TypeVar("S")

#: Times a read is sent at most. Few: the operator asks again at its next interval anyway.
READ_ATTEMPTS: Final = 3
#: First and longest upper bound of the random pause between two attempts, in seconds.
BACKOFF_FIRST_S: Final = 0.5
BACKOFF_MAX_S: Final = 4.0
#: HAI's limit for InstanceName.
MAX_NAME: Final = 128
#: The API takes at most this many ids at once.
MAX_IDS: Final = 100
#: Seconds after which it is looked up again which metrics there are.
DISCOVERY_S: Final = 3600.0
POSTPAID: Final = "POSTPAID_BY_HOUR"


def connect(settings: Settings) -> Cloud:
    """The account that the settings name. Nothing is sent before the first call."""
    return TencentCloud(settings)


class TencentCloud:
    """One account, all regions. Make it inside or outside a loop; use it from one event loop."""

    def __init__(
        self,
        settings: Settings,
        *,
        limiter: RateLimiter | None = None,
        backoff_first_s: float = BACKOFF_FIRST_S,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._transport = Transport(settings, limiter=limiter)
        self._backoff = wait_random_exponential(multiplier=backoff_first_s, max=BACKOFF_MAX_S)
        self._clock = clock
        self._cpu: dict[str, monitormetric.Metric] = {}
        self._bandwidth: tuple[netmetric.BandwidthMetric, ...] = ()
        self._bandwidth_sought = 0.0
        self._usage: dict[Figure, monitormetric.Metric] = {}
        self._usage_sought = -math.inf
        self._bill_turns = RateLimiter(calls=billing.CALLS_PER_PERIOD)

    async def available_regions(self) -> frozenset[str]:
        """Regions whose state is AVAILABLE."""
        answer = await self._hai(self._settings.home_region, "DescribeRegions", {}, wire.DescribeRegions)
        return frozenset(one.region for one in answer.region_set if one.region_state == "AVAILABLE")

    async def find_application(
        self, region: str, *, application_id: str | None, name: str | None, kind: str
    ) -> Application:
        """See `Cloud.find_application`. HAI's name filter is fuzzy, so the exact name is compared here."""
        if application_id:
            wanted = f"application {application_id}"
            params: dict[str, Any] = {"ApplicationIds": [application_id]}
        elif name:
            wanted = f"application {name!r} of type {kind}"
            params = {"Filters": _filters({"application-name": name, "application-type": kind})}
        else:
            raise InvalidRequestError("an application needs an id or a name", code="ClientParams")
        found = [
            one
            for one in await self._applications(region, params)
            if (one.application_id == application_id if application_id else one.application_name == name)
        ]
        if not found:
            raise NotFoundError(f"{wanted} does not exist in {region}", code="ClientApplicationNotFound")
        if len(found) > 1:
            ids = ", ".join(sorted(one.application_id for one in found))
            raise AmbiguousError(f"{wanted} is ambiguous in {region}: {ids}", code="ClientAmbiguous")
        return found[0].read()

    async def create_application(self, region: str, *, instance_id: str, name: str) -> str:
        """See `Cloud.create_application`. Sent exactly once."""
        params = {"InstanceId": instance_id, "ApplicationName": name}
        answer = await self._change(region, "CreateApplication", params, wire.CreateApplication)
        if not answer.application_id:
            raise UnclearError(f"CreateApplication in {region} answered without an id", code="ClientIds")
        return answer.application_id

    async def price(
        self,
        region: str,
        *,
        application_id: str,
        bundle: str,
        disk_type: str | None = None,
        disk_gib: int | None = None,
    ) -> Price:
        """See `Cloud.price`. Pay as you go, one instance, DiscountUnitPrice of instance and disk."""
        params = {
            "ApplicationId": application_id,
            "BundleType": bundle,
            "InstanceCount": 1,
            "InstanceChargeType": POSTPAID,
            **_disk(disk_type, disk_gib),
        }
        answer = await self._hai(region, "InquirePriceRunInstances", params, wire.InquirePrice)
        return answer.read()

    async def list_instances(self, region: str) -> Listing:
        """See `Cloud.list_instances`; `controller.cloud.tencent.paging` says how completeness is proven."""

        async def page(filters: Filters, offset: int) -> Page[CloudInstance]:
            params: dict[str, Any] = {"Offset": offset, "Limit": PAGE_SIZE}
            if filters:
                params["Filters"] = _filters(filters)
            answer = await self._hai(region, "DescribeInstances", params, wire.DescribeInstances)
            entries = _listed(answer.instance_set, answer.total_count, "DescribeInstances.InstanceSet")
            return Page(answer.total_count, [one.read() for one in entries])

        instances, complete = await read_instances(page)
        return Listing(region=region, instances=instances, complete=complete)

    async def describe_instances(self, region: str, instance_ids: Sequence[str]) -> tuple[CloudInstance, ...]:
        """See `Cloud.describe_instances`. In batches, all at once."""

        async def ask(batch: Sequence[str]) -> list[CloudInstance]:
            params = {"InstanceIds": list(batch), "Offset": 0, "Limit": PAGE_SIZE}
            answer = await self._hai(region, "DescribeInstances", params, wire.DescribeInstances)
            entries = _listed(answer.instance_set, answer.total_count, "DescribeInstances.InstanceSet")
            if len(entries) < min(answer.total_count, len(batch)):
                counts = f"{len(entries)} of {answer.total_count} instances"
                raise IncompleteError(f"DescribeInstances gave {counts} asked for by id", code="ClientIncomplete")
            return [one.read() for one in entries if one.instance_id in batch]

        return tuple(await _in_batches(instance_ids, MAX_IDS, ask))

    async def run_instance(self, region: str, spec: LaunchSpec) -> str:
        """See `Cloud.run_instance`. Sent exactly once."""
        if not spec.token or not 0 < len(spec.name) <= MAX_NAME:
            raise InvalidRequestError(
                f"a purchase needs a token, and a name of 1 to {MAX_NAME} characters", code="ClientParams"
            )
        params = {
            "ApplicationId": spec.application_id,
            "BundleType": spec.bundle,
            "InstanceCount": 1,
            "InstanceName": spec.name,
            "ClientToken": spec.token,
            **_disk(spec.disk_type, spec.disk_gib),
        }
        answer = await self._change(region, "RunInstances", params, wire.RunInstances)
        match answer.instance_id_set:
            case [str(instance_id)] if instance_id:
                return instance_id
            case ids:
                raise UnclearError(f"RunInstances in {region} answered with {len(ids)} ids, not one", code="ClientIds")

    async def terminate_instance(self, region: str, instance_id: str) -> None:
        """See `Cloud.terminate_instance`. Sent exactly once, one id, since one bad id may fail a batch."""
        await self._change(region, "TerminateInstances", {"InstanceIds": [instance_id]}, wire.Acknowledged)

    async def network_usage(self, region: str, instance_ids: Sequence[str]) -> tuple[NetworkUsage, ...]:
        """See `Cloud.network_usage`. One vanished id fails its whole batch, so a failed batch is halved."""

        async def ask(batch: Sequence[str]) -> list[NetworkUsage]:
            params = {"InstanceIds": list(batch)}
            answer = await self._hai(region, "DescribeInstanceNetworkStatus", params, wire.NetworkStatus)
            usages = [one.read() for one in answer.network_status_set or [] if one.instance_id in batch]
            return [usage for usage in usages if usage is not None]

        return tuple(await _in_batches(instance_ids, MAX_IDS, _halving(ask, _vanished)))

    async def cpu_metric(self) -> str | None:
        """See `Cloud.cpu_metric`. Asked each time: what is published may change, under a new name too."""
        metric = cpumetric.choose(await self._base_metrics())
        self._cpu = {} if metric is None else {metric.name: metric}
        return next(iter(self._cpu), None)

    async def cpu_percent(self, region: str, instance_ids: Sequence[str], *, metric: str) -> tuple[CpuPoint, ...]:
        """See `Cloud.cpu_percent`. A destroyed instance may fail its batch, so a refused batch is halved."""
        chosen = self._cpu.get(metric) or cpumetric.choose(await self._base_metrics(), name=metric)
        if chosen is None:
            raise InvalidRequestError(f"Cloud Monitor publishes no metric {metric} for HAI", code="ClientMetric")
        self._cpu[metric] = chosen

        async def ask(batch: Sequence[str]) -> list[CpuPoint]:
            params = monitormetric.request(chosen, batch, datetime.fromtimestamp(self._clock(), UTC))
            answer = await self._read("monitor", region, "GetMonitorData", params, wire.GetMonitorData)
            return cpumetric.newest_points(answer.data_points or [], chosen)

        return tuple(await _in_batches(instance_ids, monitormetric.MONITOR_BATCH, _halving(ask, _refused_by_monitor)))

    async def bandwidth(self, region: str, instance_ids: Sequence[str]) -> tuple[BandwidthPoint, ...]:
        """See `Cloud.bandwidth`. Which metrics there are is looked up once an hour while none is found."""
        if not instance_ids:
            return ()
        if not self._bandwidth and self._clock() - self._bandwidth_sought >= DISCOVERY_S:
            self._bandwidth = netmetric.choose(await self._base_metrics())
            self._bandwidth_sought = self._clock()
        points = [await self._bandwidth_points(region, instance_ids, metric) for metric in self._bandwidth]
        return tuple(point for of_one in points for point in of_one)

    async def _bandwidth_points(
        self, region: str, instance_ids: Sequence[str], chosen: netmetric.BandwidthMetric
    ) -> list[BandwidthPoint]:
        async def ask(batch: Sequence[str]) -> list[BandwidthPoint]:
            params = monitormetric.request(chosen.metric, batch, datetime.fromtimestamp(self._clock(), UTC))
            answer = await self._read("monitor", region, "GetMonitorData", params, wire.GetMonitorData)
            return netmetric.newest_points(answer.data_points or [], chosen)

        return await _in_batches(instance_ids, monitormetric.MONITOR_BATCH, _halving(ask, _refused_by_monitor))

    async def usage(self, region: str, instance_ids: Sequence[str]) -> tuple[UsagePoint, ...]:
        """See `Cloud.usage`. What is published is looked up once an hour."""
        if not instance_ids:
            return ()
        if self._clock() - self._usage_sought >= DISCOVERY_S:
            self._usage = usagemetric.choose(await self._base_metrics())
            self._usage_sought = self._clock()

        async def points(figure: Figure, metric: monitormetric.Metric) -> list[UsagePoint]:
            async def ask(batch: Sequence[str]) -> list[UsagePoint]:
                params = monitormetric.request(metric, batch, datetime.fromtimestamp(self._clock(), UTC))
                answer = await self._read("monitor", region, "GetMonitorData", params, wire.GetMonitorData)
                found = monitormetric.newest(answer.data_points or [], metric)
                return [UsagePoint(instance_id, figure, percent, at) for instance_id, percent, at in found]

            return await _in_batches(instance_ids, monitormetric.MONITOR_BATCH, _halving(ask, _refused_by_monitor))

        found = [await points(figure, metric) for figure, metric in self._usage.items()]
        return tuple(point for some in found for point in some)

    async def bill_of_day(self, day: str) -> tuple[BilledInstance, ...]:
        """See `Cloud.bill_of_day`; `controller.cloud.tencent.billing` says how it is read."""
        return await billing.read_day(self._bill, day)

    async def close(self) -> None:
        """See `Cloud.close`. Waits for calls on the wire, at most one call's time-out."""
        await self._transport.close()

    async def _applications(self, region: str, params: dict[str, Any]) -> list[wire.ApplicationFields]:
        async def page(offset: int) -> Page[wire.ApplicationFields]:
            paged = {**params, "Offset": offset, "Limit": PAGE_SIZE}
            answer = await self._hai(region, "DescribeApplications", paged, wire.DescribeApplications)
            entries = _listed(answer.application_set, answer.total_count, "DescribeApplications.ApplicationSet")
            return Page(answer.total_count, entries)

        done = await walk(page, lambda one: one.application_id)
        if not done.proven:
            raise IncompleteError(f"the applications of {region} could not be read in full", code="ClientIncomplete")
        return list(done.found.values())

    async def _base_metrics(self) -> list[wire.MetricFields]:
        params = {"Namespace": monitormetric.NAMESPACE}
        region = self._settings.home_region
        try:
            answer = await self._read("monitor", region, "DescribeBaseMetrics", params, wire.DescribeBaseMetrics)
        except (InvalidRequestError, NotFoundError):  # a namespace Cloud Monitor does not know publishes nothing
            return []
        return answer.metric_set or []

    async def _bill(self, action: str, params: dict[str, Any], shape: type[T]) -> T:
        await self._bill_turns.wait("billing", "")
        return await self._read("billing", self._settings.home_region, action, params, shape)

    async def _hai(self, region: str, action: str, params: dict[str, Any], shape: type[T]) -> T:
        return await self._read("hai", region, action, params, shape)

    async def _read(self, service: str, region: str, action: str, params: dict[str, Any], shape: type[T]) -> T:
        """A call that changes nothing, repeated while the cloud is busy or out of reach."""
        attempts = AsyncRetrying(
            retry=retry_if_exception_type((ThrottledError, UnavailableError)),
            stop=stop_after_attempt(READ_ATTEMPTS),
            wait=self._backoff,
            reraise=True,
        )
        response: dict[str, Any] = await attempts(self._transport.call, service, region, action, params)
        return wire.read(response, shape, action=action)

    async def _change(self, region: str, action: str, params: dict[str, Any], shape: type[T]) -> T:
        """A call that buys or destroys: sent once; an answer that cannot be read leaves the outcome open."""
        response = await self._transport.call("hai", region, action, params, changes=True)
        try:
            return wire.read(response, shape, action=action)
        except IncompleteError as error:
            raise UnclearError(str(error), code=error.code, request_id=error.request_id) from None


Ask = Callable[[Sequence[str]], Awaitable[list[T]]]


async def _in_batches(ids: Sequence[str], size: int, ask: Ask[T]) -> list[T]:
    """Ask for distinct ids in batches side by side; the API refuses duplicates."""
    distinct = list(dict.fromkeys(ids))
    batches = [distinct[at : at + size] for at in range(0, len(distinct), size)]
    return [one for answer in await asyncio.gather(*map(ask, batches)) for one in answer]


def _halving(ask: Ask[T], about_one_id: Callable[[CloudError], bool]) -> Ask[T]:
    """Wrap `ask`: a batch that fails because of some id is halved until the id stands alone, and is left out."""

    async def halved(batch: Sequence[str]) -> list[T]:
        try:
            return await ask(batch)
        except CloudError as error:
            if not about_one_id(error):
                raise
            if len(batch) == 1:
                return []
        middle = len(batch) // 2
        halves = await asyncio.gather(halved(batch[:middle]), halved(batch[middle:]))
        return [*halves[0], *halves[1]]

    return halved


def _vanished(error: CloudError) -> bool:
    return isinstance(error, NotFoundError)


def _refused_by_monitor(error: CloudError) -> bool:
    """Cloud Monitor words it "Unauthorized operation or the instance has been destroyed", under no certain code."""
    destroyed = isinstance(error, UnauthorizedError | InvalidRequestError) and "destroyed" in str(error)
    return destroyed or isinstance(error, NotFoundError)


def _filters(wanted: Filters) -> list[dict[str, Any]]:
    return [{"Name": name, "Values": [value]} for name, value in wanted.items()]


def _disk(disk_type: str | None, disk_gib: int | None) -> dict[str, Any]:
    disk = {"DiskType": disk_type, "DiskSize": disk_gib}
    given = {name: value for name, value in disk.items() if value is not None}
    return {"SystemDisk": given} if given else {}


def _listed(entries: list[S] | None, total: int, name: str) -> list[S]:
    """A list that the cloud may write as null when it is empty, and only then."""
    if entries is None and total > 0:
        raise IncompleteError(f"{name} is null, but {total} entries are announced", code="ClientIncomplete")
    return entries or []
