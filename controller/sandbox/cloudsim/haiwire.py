"""What the simulated HAI reads and writes: shapes of parameters, and instances, applications and prices as JSON."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from controller.sandbox.cloudsim.actions import Call, Filter, Request
from controller.sandbox.cloudsim.applications import SimApplication
from controller.sandbox.cloudsim.world import BEIJING, SimInstance

DEFAULT_LIMIT: Final = 20
CHARGE_TYPE: Final = "POSTPAID_BY_HOUR"
#: Name, GPU memory, CPUs and memory (GB) shown for a bundle: XL as in Tencent's examples, the others made up.
HARDWARE: Final[Mapping[str, tuple[str, int, int, int]]] = {
    "XL": ("基础型", 16, 8, 32),
    "24GB_A": ("进阶型", 24, 16, 64),
    "3XL": ("进阶型", 32, 10, 40),
    "XL_2X": ("基础型双卡", 32, 16, 64),
    "3XL_2X": ("进阶型双卡", 64, 20, 80),
    "4XL": ("旗舰型", 48, 32, 128),
}


class SystemDisk(Request, frozen=True):
    """Type and size (GB) of the disk."""

    disk_type: str | None = None
    disk_size: int | None = None
    disk_name: str | None = None


class RunInstances(Request, frozen=True):
    """What to buy."""

    application_id: str
    bundle_type: str
    system_disk: SystemDisk | None = None
    instance_count: int = 1
    instance_name: str = ""
    client_token: str = ""
    dry_run: bool = False


class ChargePrepaid(Request, frozen=True):
    """How long to pay ahead."""

    period: int = 1
    renew_flag: str | None = None
    time_unit: str | None = None


class InquirePrice(RunInstances, frozen=True):
    """What to give the price of."""

    instance_charge_type: str = CHARGE_TYPE
    instance_charge_prepaid: ChargePrepaid | None = None


class TerminateInstances(Request, frozen=True):
    """What to destroy."""

    instance_ids: list[str]
    dry_run: bool = False


class DescribeInstances(Request, frozen=True):
    """What to list; ids and filters exclude each other."""

    instance_ids: list[str] | None = None
    filters: list[Filter] | None = None
    offset: int = 0
    limit: int = DEFAULT_LIMIT


class DescribeApplications(Request, frozen=True):
    """What to list; ids and filters exclude each other."""

    application_ids: list[str] | None = None
    filters: list[Filter] | None = None
    offset: int = 0
    limit: int = DEFAULT_LIMIT
    order_field: str = "CREATED_TIME"
    order: str = "DESC"


class CreateApplication(Request, frozen=True):
    """From which instance, and under which name."""

    instance_id: str
    application_name: str
    application_description: str = ""


class DescribeRegions(Request, frozen=True):
    """Nothing to ask."""


class NetworkStatus(Request, frozen=True):
    """Whose traffic."""

    instance_ids: list[str]


def item_price(unit_price: float, count: int, discount: float) -> dict[str, Any]:
    """One price, in CNY per hour; `discount` is 1.0, or 100.0 as in some of Tencent's examples."""
    price = round(unit_price, 6)
    return {
        "UnitPrice": price,
        "DiscountUnitPrice": price,
        "Discount": discount,
        "ChargeUnit": "HOUR",
        "Amount": count,
        "OriginPrice": round(price * count, 6),
        "DiscountPrice": round(price * count, 6),
    }


def _beijing_time(posix: float) -> str:
    return datetime.fromtimestamp(posix, BEIJING).strftime("%Y-%m-%d %H:%M:%S")


def instance_fields(call: Call, one: SimInstance) -> dict[str, Any]:
    """One entry of DescribeInstances: no bundle, application id, region or price, as in the real API."""
    name, gpu_gb, cpus, memory_gb = HARDWARE[one.order.bundle]
    variant = "string_variants" in call.faults
    addresses = [one.address] if one.address else None
    traffic = f"{call.world.config.free_traffic_gb:.0f}"
    return {
        "InstanceId": one.instance_id,
        "InstanceName": one.order.name,
        "InstanceState": one.state,
        "ApplicationName": one.order.application_name,
        "BundleName": name,
        "GPUCount": 2 if one.order.bundle.endswith("_2X") else 1,
        "GPUPerformance": "8+TFlops SP",
        "GPUMemory": f"{gpu_gb}GB+",
        "CPU": f"{cpus}C" if variant else f"{cpus}核",
        "Memory": f"{memory_gb}GB",
        "SystemDisk": {"DiskType": one.order.disk_type, "DiskSize": one.order.disk_gib, "DiskName": None},
        "PrivateIpAddresses": addresses,
        "PublicIpAddresses": addresses,
        "SecurityGroupIds": ["sg-sandbox0"],
        "LatestOperation": one.operation,
        "LatestOperationState": one.operation_state(call.now),
        "CreateTime": _beijing_time(one.created),
        "MaxOutBandwidth": "10Mbps",
        "MaxFreeTraffic": f"{traffic}GB" if variant else traffic,
        "ConfigurationEnvironment": "",
        "LoginServices": [],
        "OSType": "linux",
    }


def application_fields(one: SimApplication, now: float) -> dict[str, Any]:
    """One entry of DescribeApplications."""
    return {
        "ApplicationId": one.application_id,
        "ApplicationName": one.name,
        "Description": "",
        "ConfigEnvironment": "",
        "MinSystemDiskSize": one.min_disk_gib,
        "ApplicationType": one.kind,
        "ApplicationState": one.state(now),
        "CreateTime": _beijing_time(one.created),
        "ApplicationSize": one.size_gib,
    }


def network_fields(call: Call, one: SimInstance) -> dict[str, Any]:
    """One entry of DescribeInstanceNetworkStatus."""
    total = call.world.quota(one)
    remaining = max(0.0, total - call.world.traffic_used(one, call.now))
    variant = "string_variants" in call.faults
    return {
        "InstanceId": one.instance_id,
        "AddressIp": one.address,
        "Bandwidth": 10 if one.address else None,
        "TotalTrafficAmount": f"{total}GB" if variant else total,
        "RemainingTrafficAmount": f"{remaining}GB" if variant else remaining,
    }
