"""A simulated Tencent Cloud: one account that sells HAI instances over the real wire protocol, with faults on demand.

Lives here: the API as `docs/sandbox-cloud.md` describes it, its ledger and its control API. May not live here:
anything of the operator, and nothing may be imported from `controller.cloud`: two readings of the same documents are
worth more than one.
"""

from controller.sandbox.cloudsim.cloud import Hook, InstanceView, SimulatedCloud
from controller.sandbox.cloudsim.config import (
    CPU_METRIC,
    SAMPLE_APPLICATION,
    SANDBOX_KEY,
    SANDBOX_TOPIC,
    SANDBOX_TOPIC_REGION,
    CloudConfig,
    Key,
    SampleApplication,
    SampleMetric,
)
from controller.sandbox.cloudsim.faults import Fault, FaultKind
from controller.sandbox.cloudsim.ledger import Bill, Offer, Purchase
from controller.sandbox.cloudsim.world import StoredLog

__all__ = [
    "CPU_METRIC",
    "SAMPLE_APPLICATION",
    "SANDBOX_KEY",
    "SANDBOX_TOPIC",
    "SANDBOX_TOPIC_REGION",
    "Bill",
    "CloudConfig",
    "Fault",
    "FaultKind",
    "Hook",
    "InstanceView",
    "Key",
    "Offer",
    "Purchase",
    "SampleApplication",
    "SampleMetric",
    "SimulatedCloud",
    "StoredLog",
]
