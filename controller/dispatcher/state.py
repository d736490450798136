"""What the dispatcher serves by now: the pool's spec as last seen, turned into what each request needs."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from controller.api.gpupool import GpuPool, GpuPoolSpec
from controller.dispatcher.apikeys import ApiKeys
from controller.dispatcher.dominance import Dominance
from controller.dispatcher.identity import Identifier
from controller.dispatcher.metrics import DispatcherMetrics
from controller.dispatcher.recording import Recorder
from controller.dispatcher.routes import RouteTable
from controller.dispatcher.routesets import keeps_networks_together
from controller.dispatcher.saving.policy import Policy, policy_of
from controller.dispatcher.saving.workers import ImageWorkers
from controller.dispatcher.scheduler import Scheduler
from controller.dispatcher.stores.base import Store
from controller.dispatcher.stores.memory import MemoryStore
from controller.scaling.readings import window_origin


@dataclass(frozen=True, slots=True)
class View:
    """The pool as of its last good version."""

    spec: GpuPoolSpec
    origin: float
    identifier: Identifier
    routes: RouteTable
    #: Whether a network's tasks go to the server that its other requests go to.
    affine: bool
    #: `scheme://host` of the CDN domain on which links to results are made; empty: they stay here.
    links_on: str = ""
    #: Whether links on it may be in use, so that a CDN may keep results.
    cdn_serves: bool = False
    #: How traffic is saved on the way; None: in no way.
    saving: Policy | None = None

    @classmethod
    def of(cls, pool: GpuPool) -> "View":
        """The view of a pool.

        Raises:
            ValueError: `queue.windowOrigin`, `queue.trustedNetworks`, `queue.weights` or `queue.routes` cannot be
                read; the message names the field.
        """
        created = datetime.fromisoformat(pool.metadata.creation_timestamp or "1970-01-01T00:00:00Z")
        queue = pool.spec.queue
        origin = window_origin(created, queue.window_origin)
        cdn, on = pool.status.cdn, pool.spec.traffic.optimization.cdn
        return cls(
            pool.spec,
            origin,
            Identifier(queue, origin),
            RouteTable.of(queue),
            keeps_networks_together(queue),
            links_on=f"{on.scheme}://{cdn.domain}" if on is not None and cdn.minting else "",
            cdn_serves=cdn.state in ("Online", "Leaving"),
            saving=policy_of(pool),
        )


@dataclass(slots=True)
class State:
    """Shared by both ports. `view` is None until the pool was seen once."""

    pool: str
    scheduler: Scheduler
    metrics: DispatcherMetrics
    #: Unix seconds: users' windows and the records are in wall time.
    wall: Callable[[], float]
    #: Folder for large bodies.
    spool: Path | None
    view: View | None = None
    #: Whether pool and servers are as the API server has them.
    synced: bool = False
    #: Whether what an earlier process left is still being looked through; the data port is not open yet.
    starting: bool = False
    closing: bool = False
    started_at: float = field(default=0.0)
    #: The API keys that tell users apart; none without `--api-keys`.
    keys: ApiKeys = field(default_factory=ApiKeys)
    #: Of which addresses requests come.
    dominance: Dominance = field(default_factory=Dominance)
    #: None: this process writes no records.
    recorder: Recorder | None = None
    #: Where asynchronous tasks are.
    store: Store = field(default_factory=MemoryStore)

    #: What re-encodes images.
    images: ImageWorkers = field(init=False)

    def __post_init__(self) -> None:
        self.images = ImageWorkers(self.metrics.reencoded, self.metrics.saved)

    def take_keys(self, keys: ApiKeys) -> None:
        """Tell users apart by these keys from now on."""
        self.keys = keys

    def take(self, view: View) -> None:
        """Serve by this spec from now on."""
        self.view = view
        if self.recorder is not None:
            self.recorder.configure(view.spec.records)
        scheduler, scaling, queue = self.scheduler, view.spec.scaling, view.spec.queue
        scheduler.figures.total_response = scaling.response_time == "Total"
        scheduler.figures.responses.seconds = scaling.window_seconds
        scheduler.queue.configure(queue.fairness)
        scheduler.servers.settings = view.spec.server
        scheduler.servers.affine = view.affine
        scheduler.limit_waits(no_server=queue.no_server_wait_seconds, counted=queue.max_signal_tasks_per_user)
