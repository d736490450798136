"""What the dispatcher serves by now: the pool's spec as last seen, turned into what each request needs."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from controller.api.gpupool import GpuPool, GpuPoolSpec
from controller.dispatcher.identity import Network, parse_networks
from controller.dispatcher.metrics import DispatcherMetrics
from controller.dispatcher.scheduler import Scheduler
from controller.scaling.readings import window_origin


@dataclass(frozen=True, slots=True)
class View:
    """The pool as of its last good version."""

    spec: GpuPoolSpec
    origin: float
    trusted: tuple[Network, ...]

    @classmethod
    def of(cls, pool: GpuPool) -> "View":
        """The view of a pool.

        Raises:
            ValueError: `queue.windowOrigin` or `queue.trustedNetworks` cannot be read; the message says which.
        """
        created = datetime.fromisoformat(pool.metadata.creation_timestamp or "1970-01-01T00:00:00Z")
        queue = pool.spec.queue
        try:
            trusted = parse_networks(queue.trusted_networks)
        except ValueError as error:
            raise ValueError(f"queue.trustedNetworks: {error}") from error
        return cls(pool.spec, window_origin(created, queue.window_origin), trusted)


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
    closing: bool = False
    started_at: float = field(default=0.0)

    def take(self, view: View) -> None:
        """Serve by this spec from now on."""
        self.view = view
        scaling = view.spec.scaling
        self.scheduler.total_response = scaling.response_time == "Total"
        self.scheduler.responses.seconds = scaling.window_seconds
