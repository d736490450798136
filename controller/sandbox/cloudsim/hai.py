"""The simulated HAI API, version 2023-08-12: the eight actions haipool uses."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from controller.api.catalog import BUNDLES, REGION_NAMES
from controller.sandbox.cloudsim.actions import Action, Call, Filter, check_ids
from controller.sandbox.cloudsim.applications import SimApplication
from controller.sandbox.cloudsim.errors import ApiError
from controller.sandbox.cloudsim.haiwire import (
    CHARGE_TYPE,
    CreateApplication,
    DescribeApplications,
    DescribeInstances,
    DescribeRegions,
    InquirePrice,
    NetworkStatus,
    RunInstances,
    SystemDisk,
    TerminateInstances,
    application_fields,
    instance_fields,
    item_price,
    network_fields,
)
from controller.sandbox.cloudsim.world import INSTANCE_ID, Order, SimInstance

VERSION: Final = "2023-08-12"
APPLICATION_ID: Final = re.compile(r"app-[a-z0-9]{8}")
DISK_TYPES: Final = ("CLOUD_PREMIUM", "CLOUD_HSSD")
DEFAULT_DISK_GIB: Final = 80
MAX_DISK_GIB: Final = 1000
PAGE_SIZE: Final = 100
#: Largest Offset of DescribeInstances under the literal reading of its documentation.
LITERAL_OFFSET: Final = 100
#: Entries that a truncated list shows and counts: the oldest.
TRUNCATED: Final = 200
#: The values that the documentation of the `instance-state` filter lists.
FILTER_STATES: Final = frozenset({"RUNNING", "PENDING", "STOPPED", "ARREARS", "STOPPED_NO_CHARGE"})
APPLICATION_FILTERS: Final = frozenset({"application-id", "application-name", "application-type", "scene-id"})
CHARGE_TYPES: Final = frozenset({CHARGE_TYPE, "PREPAID_BY_MONTH", "PREPAID_BY_DAY"})


def run_instances(call: Call, params: RunInstances) -> dict[str, Any]:
    """Buy, or give the ids of the purchase that this token made before."""
    order = _order(call, params)
    if params.dry_run:
        return {"InstanceIdSet": []}
    key = (call.secret_id, call.region, params.client_token)
    fingerprint = (order, params.instance_count)
    if params.client_token and (known := call.world.tokens.get(key)):
        if known[0] != fingerprint and call.world.config.on_repeat_mismatch == "refuse":
            raise ApiError("InvalidParameterValue", "The ClientToken was used with other parameters.")
        return {"InstanceIdSet": list(known[1])}
    made = call.world.run(order, params.instance_count, call.now, doomed="launch_failed" in call.faults)
    for one in made:
        one.stuck = "never_running" in call.faults
    ids = tuple(one.instance_id for one in made)
    if params.client_token:
        call.world.tokens[key] = (fingerprint, ids)
    return {"InstanceIdSet": list(ids)}


def inquire_price(call: Call, params: InquirePrice) -> dict[str, Any]:
    """The hourly price of instance and disk."""
    order = _order(call, params)
    if params.instance_charge_type not in CHARGE_TYPES:
        raise ApiError("InvalidParameterValue.InvalidChargeType", "The charge type is unknown.")
    if params.instance_charge_type != CHARGE_TYPE:
        raise ApiError("UnsupportedOperation.NotSupportToInquiryPrice", "The simulator sells by the hour only.")
    if call.world.config.price_when_sold_out == "shortage" and call.world.left(call.region, order.bundle) == 0:
        raise ApiError("ResourceInsufficient.BundleInventoryShortage", "The bundle is sold out in this region.")
    if params.dry_run:
        return {"Price": None}
    discount = 100.0 if "percent_discount" in call.faults else 1.0
    disk = _disk_price(call, order.disk_gib)
    count = params.instance_count
    return {
        "Price": {
            "InstancePrice": item_price(order.price_per_hour - disk, count, discount),
            "CloudDiskPrice": item_price(disk, count, discount),
            "PriceDetailSet": None,
        }
    }


def terminate_instances(call: Call, params: TerminateInstances) -> dict[str, Any]:
    """Ask for destruction, of all or none."""
    check_ids(params.instance_ids)
    for instance_id in params.instance_ids:
        call.world.find(instance_id, call.region)
    if not params.dry_run and "ignored" not in call.faults:
        call.world.terminate(params.instance_ids, call.region, call.now)
    return {}


def describe_instances(call: Call, params: DescribeInstances) -> dict[str, Any]:
    """List by id or by filters; ids that are not there are simply absent."""
    if params.instance_ids and params.filters:
        raise ApiError("InvalidParameter.AtMostOne", "InstanceIds and Filters exclude each other.")
    _check_page(call, params)
    lag = call.faults["eventual_listing"].seconds if "eventual_listing" in call.faults else 0.0
    shown = [one for one in call.world.listed(call.region, call.now) if one.created + lag <= call.now]
    if params.instance_ids is not None:
        check_ids(params.instance_ids)
        _check_form(params.instance_ids, INSTANCE_ID, "InvalidInstanceIdMalformed")
        shown = [one for one in shown if one.instance_id in params.instance_ids]
    for wanted in params.filters or []:
        field = _instance_field(wanted)
        shown = [one for one in shown if field(one) in wanted.values]
    extra = 1 if "wrong_total" in call.faults else 0
    shown = _as_faults_have_it(call, shown)
    page = shown[params.offset : params.offset + params.limit]
    if "repeated_entries" in call.faults and len(page) > 1:
        page[-1] = page[0]
    return {"TotalCount": len(shown) + extra, "InstanceSet": [instance_fields(call, one) for one in page]}


def _as_faults_have_it(call: Call, shown: list[SimInstance]) -> list[SimInstance]:
    """What a list shows, in which order: under the faults, less than there is, and another order for each page."""
    if "truncated_paging" in call.faults:
        shown = sorted(shown, key=lambda one: one.created)[:TRUNCATED]
    if "shuffled_paging" in call.faults:
        call.world.shuffle(shown)
    return shown


def describe_applications(call: Call, params: DescribeApplications) -> dict[str, Any]:
    """List by id or by filters; the name filter is fuzzy, as documented."""
    if params.application_ids and params.filters:
        raise ApiError("InvalidParameter.AtMostOne", "ApplicationIds and Filters exclude each other.")
    if params.offset < 0 or not 0 <= params.limit <= PAGE_SIZE:
        raise ApiError("InvalidParameterValue", f"Offset must be 0 or more, Limit at most {PAGE_SIZE}.")
    if params.order not in ("ASC", "DESC"):
        raise ApiError("InvalidParameterValue.InvalidOrder", "Order must be ASC or DESC.")
    if params.order_field not in ("CREATED_TIME", "APPLICATION_SIZE"):
        raise ApiError("InvalidParameterValue.InvalidOrderField", "OrderField is unknown.")
    lag = call.faults["eventual_listing"].seconds if "eventual_listing" in call.faults else 0.0
    shown = [one for one in call.applications.of(call.region) if one.created + lag <= call.now]
    if params.application_ids is not None:
        check_ids(params.application_ids)
        _check_form(params.application_ids, APPLICATION_ID, "InvalidApplicationIdMalformed")
        shown = [one for one in shown if one.application_id in params.application_ids]
    for wanted in params.filters or []:
        if wanted.name not in APPLICATION_FILTERS:
            raise ApiError("InvalidParameterValue", f"There is no filter {wanted.name!r}.")
        shown = [one for one in shown if _application_fits(wanted, one)]
    page = shown[params.offset : params.offset + params.limit]
    return {"TotalCount": len(shown), "ApplicationSet": [application_fields(one, call.now) for one in page]}


def create_application(call: Call, params: CreateApplication) -> dict[str, Any]:
    """Begin to make an application from an instance."""
    if not params.application_name:
        raise ApiError("MissingParameter", "ApplicationName is empty.")
    instance = call.world.find(params.instance_id, call.region)
    return {"ApplicationId": call.applications.create(instance, params.application_name, call.now).application_id}


def describe_regions(call: Call, _params: DescribeRegions) -> dict[str, Any]:
    """All regions, selling or not."""
    world = call.world
    return {
        "RegionSet": [
            {
                "Region": region,
                "RegionName": REGION_NAMES.get(region, region),
                "RegionState": "UNAVAILABLE" if region in world.closed_regions else "AVAILABLE",
                "ScholarRocketSupportState": "NO_NEED_SUPPORT",
            }
            for region in world.config.regions
        ]
    }


def network_status(call: Call, params: NetworkStatus) -> dict[str, Any]:
    """Traffic of this month. One id that does not exist fails the whole request."""
    check_ids(params.instance_ids)
    found = [call.world.find(instance_id, call.region) for instance_id in params.instance_ids]
    return {"TotalCount": len(found), "NetworkStatusSet": [network_fields(call, one) for one in found]}


ACTIONS: Final[Mapping[str, Action]] = {
    "RunInstances": Action(RunInstances, run_instances),
    "InquirePriceRunInstances": Action(InquirePrice, inquire_price),
    "TerminateInstances": Action(TerminateInstances, terminate_instances),
    "DescribeInstances": Action(DescribeInstances, describe_instances),
    "DescribeApplications": Action(DescribeApplications, describe_applications),
    "CreateApplication": Action(CreateApplication, create_application),
    "DescribeRegions": Action(DescribeRegions, describe_regions),
    "DescribeInstanceNetworkStatus": Action(NetworkStatus, network_status),
}


def _order(call: Call, params: RunInstances) -> Order:
    """Check what is to be bought, in the order in which a gateway would notice."""
    application = _find_application(call, params.application_id)
    price = call.world.prices.get((call.region, params.bundle_type))
    if params.bundle_type not in BUNDLES or price is None:
        raise ApiError("InvalidParameterValue.BundleTypeNotFound", f"{params.bundle_type!r} is not sold here.")
    if not 1 <= params.instance_count <= 10:
        raise ApiError("InvalidParameterValue.InvalidInstanceCount", "InstanceCount must be 1 to 10.")
    if len(params.instance_name) > 128:
        raise ApiError("InvalidParameterValue.InstanceNameTooLong", "InstanceName may have 128 characters.")
    disk = params.system_disk or SystemDisk()
    disk_type = disk.disk_type or DISK_TYPES[0]
    disk_gib = disk.disk_size if disk.disk_size is not None else max(DEFAULT_DISK_GIB, application.min_disk_gib)
    if disk_type not in DISK_TYPES or disk_gib > MAX_DISK_GIB:
        raise ApiError("InvalidParameterValue", "SystemDisk must be CLOUD_PREMIUM or CLOUD_HSSD of at most 1000 GB.")
    if disk_gib < max(DEFAULT_DISK_GIB, application.min_disk_gib):
        code = "InvalidParameterValue.DiskSizeMustLargerThanApplicationMinRequiredSize"
        raise ApiError(code, "The disk is smaller than the application needs.")
    total = price + _disk_price(call, disk_gib)
    return Order(
        region=call.region,
        bundle=params.bundle_type,
        application_id=params.application_id,
        application_name=application.name,
        name=params.instance_name,
        disk_type=disk_type,
        disk_gib=disk_gib,
        price_per_hour=total,
    )


def _find_application(call: Call, application_id: str) -> SimApplication:
    _check_form([application_id], APPLICATION_ID, "InvalidApplicationIdMalformed")
    one = call.applications.find(call.region, application_id)
    if one is not None and one.state(call.now) == "ONLINE":
        return one
    raise ApiError("InvalidParameterValue.ApplicationIdNotFound", f"{application_id} is not in {call.region}.")


def _disk_price(call: Call, disk_gib: int) -> float:
    config = call.world.config
    return max(0, disk_gib - config.free_disk_gib) * config.disk_price_per_gib_hour


def _check_form(ids: Sequence[str], form: re.Pattern[str], code: str) -> None:
    for one in ids:
        if not form.fullmatch(one):
            raise ApiError(f"InvalidParameterValue.{code}", f"{one!r} is malformed.")


def _check_page(call: Call, params: DescribeInstances) -> None:
    """The documentation bounds Offset by 100 and Limit by 0; sane by default, literal or as written by fault."""
    bounded = "literal_paging" in call.faults or "swapped_paging" in call.faults
    offset_ok = params.offset >= 0 and not (bounded and params.offset > LITERAL_OFFSET)
    limit_ok = params.limit >= 0 and (params.limit <= PAGE_SIZE or "swapped_paging" in call.faults)
    if not (offset_ok and limit_ok):
        raise ApiError("InvalidParameterValue", "Offset or Limit is out of bounds.")


def _instance_field(wanted: Filter) -> Callable[[SimInstance], str]:
    if wanted.name == "instance-state" and not FILTER_STATES.issuperset(wanted.values):
        raise ApiError("InvalidParameterValue", "The instance-state filter has an unknown state.")
    fields: dict[str, Callable[[SimInstance], str]] = {
        "instance-id": lambda one: one.instance_id,
        "instance-state": lambda one: one.state,
        "charge-type": lambda _: CHARGE_TYPE,
        "public-ip-address": lambda one: one.address or "",
    }
    if wanted.name not in fields:
        raise ApiError("InvalidParameterValue", f"There is no filter {wanted.name!r}.")
    return fields[wanted.name]


def _application_fits(wanted: Filter, one: SimApplication) -> bool:
    match wanted.name:
        case "application-id":
            return one.application_id in wanted.values
        case "application-name":
            return any(value in one.name for value in wanted.values)
        case "application-type":
            return one.kind in wanted.values
    return False  # scene-id: the sample applications belong to no scene
