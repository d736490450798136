"""Names that several processes, the manifests and the documentation have to agree on."""

import re
from typing import Final, NamedTuple

from controller.api.catalog import BUNDLES

GROUP: Final = "haipool.io"
VERSION: Final = "v1alpha1"
API_VERSION: Final = f"{GROUP}/{VERSION}"

GPU_POOLS: Final = "gpupools"
REGION_PRESETS: Final = "regionpresets"
GPU_INSTANCES: Final = "gpuinstances"

#: Held by a GpuPool until all its instances are gone and their cost is booked.
POOL_FINALIZER: Final = f"{GROUP}/instances"
#: Held by a GpuInstance until the cloud no longer lists the instance.
INSTANCE_FINALIZER: Final = f"{GROUP}/terminate"
#: Held by a GpuInstance until the pool has booked what it cost.
LEDGER_FINALIZER: Final = f"{GROUP}/ledger"

#: On a GpuInstance: the pool that owns it.
POOL_LABEL: Final = f"{GROUP}/pool"
#: On a GpuInstance: never chosen as a victim unless the value is "false".
PROTECT_ANNOTATION: Final = f"{GROUP}/protect"
#: On a GpuInstance that its pool let go of (`deletionPolicy: Orphan`).
ORPHANED_ANNOTATION: Final = f"{GROUP}/orphaned"

#: On a GpuInstance that scale-down drains, so that a scale-up takes back only the pool's own drains.
DRAINED_BY_ANNOTATION: Final = f"{GROUP}/drained-by"
DRAINED_BY_SCALE_DOWN: Final = "scale-down"

#: First part of every InstanceName haipool gives; nothing without it is ever touched.
INSTANCE_MARKER: Final = "hp1"


class Condition:
    """Condition types, and who should look when one is False."""

    READY: Final = "Ready"
    METRICS_AVAILABLE: Final = "MetricsAvailable"
    CAPACITY_AVAILABLE: Final = "CapacityAvailable"
    SCALE_UP_EFFECTIVE: Final = "ScaleUpEffective"
    LAUNCH_HEALTHY: Final = "LaunchHealthy"
    ACCOUNT_HEALTHY: Final = "AccountHealthy"
    TRAFFIC_WITHIN_QUOTA: Final = "TrafficWithinQuota"
    CDN_READY: Final = "CdnReady"
    PAUSED: Final = "Paused"
    BUDGET_AVAILABLE: Final = "BudgetAvailable"
    REGION_AVAILABLE: Final = "RegionAvailable"
    PRICES_KNOWN: Final = "PricesKnown"
    LAUNCHED: Final = "Launched"
    RUNNING: Final = "Running"
    SERVING: Final = "Serving"
    NO_LEAKS: Final = "NoLeaks"
    NOTIFICATIONS_DELIVERED: Final = "NotificationsDelivered"
    OUTCOME_UNKNOWN: Final = "OutcomeUnknown"
    DRAINED: Final = "Drained"
    #: Of a GpuInstance: its settings are those that the traffic level asks for.
    TRAFFIC_OPTIMIZED: Final = "TrafficOptimized"


def instance_name(*, cluster_uid: str, pool_uid: str, instance_uid: str, bundle: str) -> str:
    """HAI InstanceName (at most 128 characters), the only ownership mark HAI lets a client set.

    Returns:
        `hp1-{cluster8}-{pooluid8}-{uid}-{bundle}`; the bundle is in it because listings show none.
    """
    return f"{INSTANCE_MARKER}-{cluster_uid[:8]}-{pool_uid[:8]}-{instance_uid}-{bundle}"


class Mark(NamedTuple):
    """What an InstanceName says about its owner."""

    cluster: str
    pool: str
    instance_uid: str
    bundle: str


_MARK: Final = re.compile(
    rf"{INSTANCE_MARKER}-([0-9a-f]{{8}})-([0-9a-f]{{8}})"
    rf"-([0-9a-f]{{8}}-[0-9a-f]{{4}}-[0-9a-f]{{4}}-[0-9a-f]{{4}}-[0-9a-f]{{12}})-({'|'.join(BUNDLES)})"
)


def parse_instance_name(name: str) -> Mark | None:
    """The mark in an InstanceName; None unless it is one in full: what merely resembles ours is not ours."""
    found = _MARK.fullmatch(name)
    return Mark(*found.groups()) if found else None
