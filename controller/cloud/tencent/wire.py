"""The answers of the APIs as typed shapes, and their reading into the contract's values.

A field without a default is required: an answer that lacks it is `IncompleteError`, never an empty value. Numbers may
come as strings. Unknown fields are ignored, since Tencent adds fields without a new version.
"""

import math
import re
from typing import Any, Final, TypeVar, get_args

import msgspec

from controller.cloud.contract import Application, CloudInstance, InstanceState, NetworkUsage, Price
from controller.cloud.errors import IncompleteError

T = TypeVar("T")

#: What HAI writes into ChargeUnit for a price per hour; the schema is in Chinese, the examples in English.
HOUR_UNITS: Final = frozenset({"HOUR", "时", "小时"})
KNOWN_STATES: Final[frozenset[str]] = frozenset(get_args(InstanceState))


class _Shape(msgspec.Struct, rename="pascal", frozen=True):
    """Fields are spelled PascalCase on the wire."""


class InstanceFields(_Shape, frozen=True):
    """One entry of DescribeInstances."""

    instance_id: str
    instance_state: str
    instance_name: str | None = None
    private_ip_addresses: list[str] | None = None
    public_ip_addresses: list[str] | None = None
    latest_operation_state: str | None = None
    create_time: str | None = None

    def read(self) -> CloudInstance:
        """The contract's value; a state nobody has seen is UNKNOWN."""
        state: Any = self.instance_state if self.instance_state in KNOWN_STATES else "UNKNOWN"
        return CloudInstance(
            instance_id=self.instance_id,
            name=self.instance_name or "",
            state=state,
            public_ip=_first(self.public_ip_addresses),
            private_ip=_first(self.private_ip_addresses),
            busy=self.latest_operation_state == "OPERATING",
            created=self.create_time or "",
        )


class DescribeInstances(_Shape, frozen=True):
    """`InstanceSet` may be null, but only beside a TotalCount of 0."""

    total_count: int
    instance_set: list[InstanceFields] | None


class RunInstances(_Shape, frozen=True):
    """The ids bought."""

    instance_id_set: list[str]


class Acknowledged(_Shape, frozen=True):
    """An answer that only acknowledges."""

    request_id: str


class ApplicationFields(_Shape, frozen=True):
    """One entry of DescribeApplications."""

    application_id: str
    application_name: str
    application_state: str
    min_system_disk_size: int
    application_type: str | None = None

    def read(self) -> Application:
        """The contract's value."""
        return Application(
            application_id=self.application_id,
            name=self.application_name,
            state=self.application_state,
            min_disk_gib=self.min_system_disk_size,
        )


class DescribeApplications(_Shape, frozen=True):
    """`ApplicationSet` may be null, but only beside a TotalCount of 0."""

    total_count: int
    application_set: list[ApplicationFields] | None


class CreateApplication(_Shape, frozen=True):
    """The id of what is being made."""

    application_id: str


class RegionFields(_Shape, frozen=True):
    """One entry of DescribeRegions."""

    region: str
    region_state: str


class DescribeRegions(_Shape, frozen=True):
    """All regions that HAI knows, selling or not."""

    region_set: list[RegionFields]


class ItemPrice(_Shape, frozen=True):
    """One price. `Discount` is left out on purpose: its unit differs between the schema and the examples."""

    discount_unit_price: float | None = None
    unit_price: float | None = None
    charge_unit: str | None = None


class PriceFields(_Shape, frozen=True):
    """Instance and disk."""

    instance_price: ItemPrice
    cloud_disk_price: ItemPrice | None = None


class InquirePrice(_Shape, frozen=True):
    """The answer of InquirePriceRunInstances."""

    price: PriceFields

    def read(self) -> Price:
        """CNY per hour.

        Raises:
            IncompleteError: no discounted price, another unit than the hour, or a price that cannot be meant.
        """
        instance = _per_hour(self.price.instance_price, "InstancePrice")
        if instance <= 0:
            raise IncompleteError("InstancePrice.DiscountUnitPrice is 0, which no server costs", code="ClientPrice")
        disk = self.price.cloud_disk_price
        free = disk is None or (disk.discount_unit_price is None and not disk.unit_price)
        return Price(instance, 0.0 if disk is None or free else _per_hour(disk, "CloudDiskPrice"))


class NetworkFields(_Shape, frozen=True):
    """One entry of DescribeInstanceNetworkStatus; amounts are null while an instance has no network yet."""

    instance_id: str
    total_traffic_amount: float | str | None
    remaining_traffic_amount: float | str | None

    def read(self) -> NetworkUsage | None:
        """The contract's value, or None where there are no figures yet."""
        if self.total_traffic_amount is None or self.remaining_traffic_amount is None:
            return None
        return NetworkUsage(
            instance_id=self.instance_id,
            total_gb=amount(self.total_traffic_amount),
            remaining_gb=amount(self.remaining_traffic_amount),
        )


class NetworkStatus(_Shape, frozen=True):
    """The answer of DescribeInstanceNetworkStatus."""

    network_status_set: list[NetworkFields] | None


class DimensionsDesc(_Shape, frozen=True):
    """One combination of dimension names under which a metric can be asked for."""

    dimensions: list[str] | None = None


class Meaning(_Shape, frozen=True):
    """What a metric means, in two languages."""

    en: str | None = None
    zh: str | None = None


class MetricFields(_Shape, frozen=True):
    """One entry of DescribeBaseMetrics."""

    metric_name: str
    unit: str | None = None
    period: list[int] | None = None
    meaning: Meaning | None = None
    dimensions: list[DimensionsDesc] | None = None


class DescribeBaseMetrics(_Shape, frozen=True):
    """The metrics of a namespace; null when it publishes none."""

    metric_set: list[MetricFields] | None


class Dimension(_Shape, frozen=True):
    """Name and value."""

    name: str | None = None
    value: str | None = None


class DataPoint(_Shape, frozen=True):
    """One series. Timestamps (POSIX seconds) and values belong together by position; both may be empty."""

    dimensions: list[Dimension]
    timestamps: list[float] | None
    values: list[float | None] | None


class GetMonitorData(_Shape, frozen=True):
    """The answer of GetMonitorData; null when no instance has data."""

    data_points: list[DataPoint] | None


def read(response: dict[str, Any], shape: type[T], *, action: str) -> T:
    """Check and read the `Response` object of an answer.

    Raises:
        IncompleteError: a required field is missing or has the wrong kind; the message names it.
    """
    try:
        return msgspec.convert(response, shape, strict=False)
    except msgspec.ValidationError as error:
        request_id = str(response.get("RequestId") or "")
        raise IncompleteError(
            f"the answer of {action} cannot be used: {error}", code="ClientIncomplete", request_id=request_id
        ) from None


def amount(value: float | str) -> float:
    """A figure that may carry a unit: `500`, `"500"`, `"1000GB"`.

    Raises:
        IncompleteError: no figure in it.
    """
    if isinstance(value, str):
        match = re.match(r"\s*(-?\d+(?:\.\d+)?)", value)
        if match is None:
            raise IncompleteError(f"{value!r} is no amount", code="ClientIncomplete")
        return float(match[1])
    return float(value)


def _first(addresses: list[str] | None) -> str | None:
    return next((address for address in addresses or [] if address), None)


def _per_hour(item: ItemPrice, name: str) -> float:
    price = item.discount_unit_price
    if price is None or not math.isfinite(price) or price < 0:
        raise IncompleteError(f"{name}.DiscountUnitPrice is missing or no price: {price}", code="ClientPrice")
    if item.charge_unit is None or item.charge_unit.strip().upper() not in HOUR_UNITS:
        raise IncompleteError(f"{name}.ChargeUnit is {item.charge_unit!r}, not the hour", code="ClientPrice")
    return price
