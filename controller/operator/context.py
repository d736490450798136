"""What the parts of the operator share: one object, made at start, handed to every reconcile."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Literal

import aiohttp

from controller.api.costlog import CostLog
from controller.api.gpuinstance import GpuInstance
from controller.cloud.contract import Cloud
from controller.operator.alerting import Alerting
from controller.operator.blocks import Blocks
from controller.operator.cloudview import CloudView
from controller.operator.cpu import CpuMonitor
from controller.operator.events import Recorder
from controller.operator.leaks import Leaks
from controller.operator.metrics import OperatorMetrics
from controller.operator.objects import Objects
from controller.operator.recording import Recording
from controller.operator.scrape import Scraper
from controller.operator.store import Store
from controller.operator.trafficwatch import TrafficWatch
from controller.operator.usage import UsageMonitor
from controller.scaling.demand import DemandMeter
from controller.scaling.launches import Launches
from controller.scaling.replicas import Scrape, fresh, max_age
from controller.scaling.slots import SlotMeter
from controller.scaling.snapshot import Memory


@dataclass(frozen=True, slots=True)
class Settings:
    """How the operator process runs."""

    namespace: str | None = None
    #: Seconds for which one listing of a region serves everybody.
    cloud_interval: float = 5.0
    #: Metrics URL for pools that name none; None: the pool's headless Service.
    dispatcher_url: str | None = None
    liveness_port: int = 8081
    metrics_port: int = 9091
    #: What becomes of instances without an owner: reported, or destroyed too.
    leak_audit: Literal["report", "delete"] = "report"
    #: Whether to decide only while holding the Lease.
    lease: bool = True
    #: Whether ledgers are compared with Tencent's bill.
    billing_reconciliation: bool = True
    #: Folder of the operator's records; None: none are written.
    logs: Path | None = None
    #: Networks that notifications may go to although they are not public.
    webhook_networks: tuple[IPv4Network | IPv6Network, ...] = ()
    #: Seconds between two passes of the leak audit.
    leak_audit_interval: float = 60.0
    #: Seconds for which a new application may be missing from listings.
    listing_lag: float = 120.0


@dataclass(slots=True)
class PoolMemory:
    """What is remembered of a pool between two decisions; it dies with the process on purpose."""

    decision: Memory = field(default_factory=Memory)
    scrape: Scrape = field(default_factory=Scrape)
    #: When the servers were last sampled for the log.
    sampled_at: float = 0.0
    #: How far the log of costs comes with what was appended and may not be on the disk yet.
    cost_log: CostLog | None = None
    #: How the last launches went, as the pool's status has it too; None: not read from there yet.
    launches: Launches | None = None
    #: This process has written to the pool's journal.
    journaled: bool = False
    #: Clock seconds at which this process last wrote its status.
    told_at: float | None = None
    demand: DemandMeter = field(default_factory=DemandMeter)
    slots: SlotMeter = field(default_factory=SlotMeter)
    #: The last decision, by anyone, whose effect on the instances has been seen.
    seen: int = 0
    #: The last launch whose GpuInstance this process has written.
    settled: int = 0


@dataclass(slots=True)
class HookMemory:
    """What is remembered of a server's hooks between two tries."""

    failures: int = 0
    #: Clock seconds before which nothing is tried again.
    retry_at: float = 0.0
    #: What was to be reached by the last try; another goal is tried at once.
    goal: str = ""


@dataclass(slots=True)
class InstanceMemory:
    """What is remembered of an instance between two looks.

    Times are those of `Context.steady`: how long something has lasted that began in this process must not depend on
    what is done to the clock.
    """

    #: This process first saw it.
    born: float = 0.0
    probe_failures: int = 0
    #: No other process has tried to buy it: this one wrote down the first attempt.
    sole: bool = False
    unclear: int = 0
    #: The last attempt to buy it that ended without a clear answer.
    tried_at: float | None = None
    #: This process recorded the purchase.
    bought_at: float | None = None
    #: This process began to drain it.
    draining_at: float | None = None
    #: Looks in a row that did not find it.
    missing: int = 0
    #: When the listing of the last of them was asked for.
    missed_at: float = 0.0
    throttled: int = 0
    #: The cloud accepted this process's last request to destroy it.
    asked_at: float | None = None
    hooks: HookMemory = field(default_factory=HookMemory)
    #: Why it is destroyed, as the decision said; None where a person did it.
    destroyed_for: str | None = None


def _nobody(_key: str) -> None:
    """Before the workers run there is nobody to wake."""


@dataclass(slots=True)
class Context:
    """Everything a reconcile may use."""

    settings: Settings
    #: UID of the namespace kube-system: which cluster an instance belongs to.
    cluster_uid: str
    store: Store
    objects: Objects
    events: Recorder
    cloud: Cloud
    view: CloudView
    cpu: CpuMonitor
    scraper: Scraper
    recording: Recording
    alerting: Alerting
    usage: UsageMonitor
    metrics: OperatorMetrics
    traffic: TrafficWatch
    probes: aiohttp.ClientSession
    #: Unix seconds, for what people and other processes read. It may be set, forward or back.
    clock: Callable[[], float] = time.time
    #: Seconds that pass evenly: for how long something has lasted.
    steady: Callable[[], float] = time.monotonic
    blocks: Blocks = field(default_factory=Blocks)
    #: The offers of a preset are one list, patched whole: who changes one of them holds its preset's lock.
    preset_locks: defaultdict[str, asyncio.Lock] = field(default_factory=lambda: defaultdict(asyncio.Lock))
    leaks: Leaks = field(default_factory=lambda: Leaks(started=time.monotonic()))
    pools: dict[str, PoolMemory] = field(default_factory=dict)
    instances: dict[str, InstanceMemory] = field(default_factory=dict)
    wake_pool: Callable[[str], None] = _nobody
    wake_preset: Callable[[str], None] = _nobody
    wake_instance: Callable[[str], None] = _nobody
    #: Has the cloud asked anew about a region of which an answer turned out wrong.
    forget_region: Callable[[str], None] = _nobody
    wake_cdn: Callable[[str], None] = _nobody

    def pool_memory(self, uid: str) -> PoolMemory:
        """Memory of the pool with this UID."""
        return self.pools.setdefault(uid, PoolMemory())

    def memory_of(self, instance: GpuInstance) -> InstanceMemory:
        """Memory of this instance."""
        return self.instances.setdefault(instance.metadata.uid, InstanceMemory(born=self.steady()))

    def lasted(self, began: float | None, since: float | None) -> float:
        """Seconds since something began; 0 if it did not.

        Args:
            began: by `steady`, if this process began it; then no clock that is set meanwhile shortens or prolongs it.
            since: Unix seconds as an earlier process wrote them down.
        """
        if began is not None:
            return self.steady() - began
        return 0.0 if since is None else max(0.0, self.clock() - since)

    def scrape_of(self, instance: GpuInstance) -> Scrape:
        """The last scrape of the pool this instance belongs to, as far as it still says anything about now."""
        pool = self.store.pool_of(instance)
        interval = pool.spec.scaling.interval_seconds if pool else 0
        return fresh(self.pool_memory(instance.spec.pool_uid).scrape, max_age=max_age(interval), now=self.clock())
