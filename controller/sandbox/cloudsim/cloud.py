"""`SimulatedCloud`: the simulated account as one object, with its HTTP server, its clockwork and its control API."""

import asyncio
import ipaddress
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from controller.sandbox.cloudsim import ledger
from controller.sandbox.cloudsim.admin import admin_routes
from controller.sandbox.cloudsim.applications import Applications, SimApplication
from controller.sandbox.cloudsim.config import CloudConfig
from controller.sandbox.cloudsim.faults import Fault, FaultKind, Faults
from controller.sandbox.cloudsim.gateway import CallRecord, Gateway
from controller.sandbox.cloudsim.world import Move, Order, SimInstance, StoredLog, World

#: Seconds that requests under way may take when the server stops; a held `commit_then_timeout` is cut off then.
SHUTDOWN_S = 0.5

#: Largest request that is read; the services refuse less in their own words.
REQUEST_BYTES = 16 * 1024 * 1024

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class InstanceView:
    """What a hook is told of an instance."""

    instance_id: str
    name: str
    region: str
    bundle: str
    #: The loopback address that is this instance's while it runs.
    address: str


Hook = Callable[[InstanceView], Awaitable[None]]


class SimulatedCloud:
    """One simulated Tencent Cloud account. Use it from one event loop.

    Args:
        config: what it sells and how it behaves.
        clock: POSIX seconds by which instances live and are billed; tests may move it by hand and call `settle`.
        auth_clock: POSIX seconds against which signatures are checked and requests counted.
        on_running: called when an instance is RUNNING; start its server on its address.
        on_gone: called when such an instance is gone; its address is given out again only afterwards.
        bytes_sent: how many bytes the server of an instance has sent so far; they count as its traffic.
    """

    def __init__(
        self,
        config: CloudConfig | None = None,
        *,
        clock: Callable[[], float] = time.time,
        auth_clock: Callable[[], float] = time.time,
        on_running: Hook | None = None,
        on_gone: Hook | None = None,
        bytes_sent: Callable[[str], int] | None = None,
    ) -> None:
        self.config = config or CloudConfig()
        self._clock = clock
        self._world = World(self.config)
        if bytes_sent is not None:
            self._world.bytes_sent = bytes_sent
        self._applications = Applications(self.config)
        self._faults = Faults()
        self._gateway = Gateway(
            self._world, self._applications, self._faults, clock=clock, auth_clock=auth_clock, settle=self._settle_now
        )
        self._on_running = on_running
        self._on_gone = on_gone
        #: The latest hook of each instance; the next one waits for it.
        self._hooks: dict[str, asyncio.Task[None]] = {}
        #: Hooks that raised, as `instance id: error`.
        self.hook_failures: list[str] = []
        self._changed = asyncio.Event()
        self._clockwork: asyncio.Task[None] | None = None
        self._runner: web.AppRunner | None = None
        self.url = ""

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> str:
        """Serve the API, and the control API under `/_sim/`, on a loopback address; returns the URL.

        Raises:
            ValueError: the host is not a loopback address: the control API asks for no key.
        """
        if not ipaddress.ip_address(host).is_loopback:
            raise ValueError(f"the simulated cloud serves loopback addresses only, not {host}")
        app = web.Application(client_max_size=REQUEST_BYTES)
        app.router.add_post("/", self._gateway.handle)
        app.add_routes(admin_routes(self))
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=SHUTDOWN_S)
        await self._runner.setup()
        site = web.TCPSite(self._runner, host, port)
        await site.start()
        self._clockwork = asyncio.create_task(self._run_clockwork(), name="cloudsim-clockwork")
        self.url = f"http://{host}:{self._runner.addresses[0][1]}"
        return self.url

    async def stop(self) -> None:
        """Stop serving and the clockwork, and wait for hooks under way. Servers on addresses are the caller's."""
        if self._clockwork is not None:
            self._clockwork.cancel()
            await asyncio.gather(self._clockwork, return_exceptions=True)
        if self._runner is not None:
            await self._runner.cleanup()
        await asyncio.gather(*self._hooks.values())
        self._clockwork = self._runner = None

    async def settle(self) -> None:
        """Make every move that is due by the clock, and wait until its hooks are done."""
        self._settle_now()
        while pending := [task for task in self._hooks.values() if not task.done()]:
            await asyncio.gather(*pending)

    def now(self) -> float:
        """The simulated cloud's time, POSIX seconds."""
        return self._clock()

    def set_stock(self, region: str, bundle: str, left: int | None) -> None:
        """Set what is left of an offer; None makes it unlimited.

        Raises:
            ValueError: the offer does not exist, or `left` is negative.
        """
        self._check_offer(region, bundle)
        if left is None:
            self._world.stock.pop((region, bundle), None)
            return
        if left < 0:
            raise ValueError("stock must be 0 or more, or null for unlimited")
        self._world.stock[region, bundle] = left

    def set_price(self, region: str, bundle: str, price_per_hour: float) -> None:
        """Change a price for later purchases.

        Raises:
            ValueError: the offer does not exist, or the price is not above 0.
        """
        self._check_offer(region, bundle)
        if not 0 < price_per_hour < float("inf"):
            raise ValueError("price_per_hour must be above 0")
        self._world.set_price(region, bundle, price_per_hour)

    def open_region(self, region: str, is_open: bool) -> None:
        """Sell in a region from now on, or list it as UNAVAILABLE and sell nothing.

        Raises:
            ValueError: the region does not exist.
        """
        if region not in self.config.regions:
            raise ValueError(f"there is no region {region}")
        self._world.open_region(region, is_open)

    def set_application(self, region: str, name: str, state: str) -> None:
        """Fix the state of an application; an empty one removes it.

        Raises:
            ValueError: there is no such application.
        """
        if state:
            self._applications.named(region, name).fixed_state = state
        else:
            self._applications.remove(region, name)

    def applications(self) -> tuple[SimApplication, ...]:
        """Every application that exists, made ones included."""
        return tuple(self._applications)

    def set_fault(self, kind: FaultKind, **options: Any) -> int:
        """Switch a fault on; options are the fields of `Fault`. Returns its id for `clear_fault`."""
        return self.add_fault(Fault(kind, **options))

    def add_fault(self, fault: Fault) -> int:
        """Switch a fault on and return its id; ValueError if it cannot affect what it is limited to."""
        return self._faults.add(fault)

    def clear_fault(self, number: int) -> bool:
        """Switch one fault off; False if it is not on."""
        return self._faults.remove(number)

    def clear_faults(self) -> None:
        """Switch all faults off."""
        self._faults.clear()

    def faults(self) -> dict[int, Fault]:
        """The faults that are on, by id."""
        return self._faults.all()

    def set_busy(self, instance_id: str, seconds: float) -> None:
        """Pretend another operation runs on the instance for so long."""
        self._instance(instance_id).busy_until = self._clock() + seconds

    def add_traffic(self, instance_id: str, gb: float) -> None:
        """Count traffic of this month."""
        one = self._instance(instance_id)
        self._world.traffic_used(one, self._clock())
        one.traffic_gb += gb

    def set_traffic(self, instance_id: str, gb: float) -> None:
        """Set the counter of this month: forwards, backwards, or to nothing as at the turn of the month."""
        one = self._instance(instance_id)
        self._world.traffic_used(one, self._clock())
        one.traffic_gb = gb

    def set_quota(self, instance_id: str, total_gb: float) -> None:
        """Give one instance another free quota."""
        self._instance(instance_id).quota_gb = total_gb

    def traffic(self, instance_id: str) -> float:
        """GB that an instance has used this month, to the byte of its server."""
        return self._world.traffic_used(self._instance(instance_id), self._clock())

    def set_metric(self, instance_id: str, name: str, value: float, *, since: float | None = None) -> None:
        """From now on (or from `since`, POSIX seconds) the metric has this value."""
        self._instance(instance_id).metrics.setdefault(name, []).append(
            (self._clock() if since is None else since, value)
        )

    def add_instances(self, region: str, bundle: str, count: int, *, name: str = "foreign") -> list[str]:
        """Put instances into the account that nobody bought through the API."""
        self._check_offer(region, bundle)
        application = self.config.applications[0]
        price = self._world.prices[region, bundle]
        order = Order(
            region, bundle, application.id_in(region), application.name, name, "CLOUD_PREMIUM",
            application.min_disk_gib, price,
        )  # fmt: skip
        ids = [one.instance_id for one in self._world.run(order, count, self._clock())]
        self._changed.set()
        return ids

    def remove_instance(self, instance_id: str) -> None:
        """Begin an instance's destruction behind the client's back, whatever state it is in."""
        one = self._instance(instance_id)
        one.state, one.operation, one.terminating_at = "TERMINATING", "TerminateInstances", self._clock()
        self._changed.set()

    def application_id(self, region: str) -> str:
        """Id of the first sample application in a region."""
        return self.config.applications[0].id_in(region)

    def instances(self) -> tuple[SimInstance, ...]:
        """Every instance ever bought, its state as of now."""
        self._settle_now()
        return tuple(self._world.instances.values())

    def bills(self) -> tuple[ledger.Bill, ...]:
        """The ledger: one line per instance ever bought, as of now."""
        self._settle_now()
        return ledger.bills(self._world, self._clock())

    def logs(self, *, topic: str | None = None) -> tuple[StoredLog, ...]:
        """What the log service has taken, in the order of arrival; of one topic, or of all."""
        return tuple(log for log in self._world.logs if topic in (None, log.topic))

    def cdn_status(self, domain: str) -> str:
        """Online or offline, or what it becomes once its rollout is over."""
        return self._world.cdn[domain].status

    def add_cdn_bytes(self, domain: str, *, edge: int, origin: int) -> None:
        """Count bytes that a CDN domain sent to clients, and fetched from its origin.

        Raises:
            ValueError: there is no such domain.
        """
        if domain not in self._world.cdn:
            raise ValueError(f"there is no CDN domain {domain}")
        self._world.cdn[domain].edge_bytes += edge
        self._world.cdn[domain].origin_bytes += origin

    def purchases(self) -> tuple[ledger.Purchase, ...]:
        """Every RunInstances that reached the account, in order, refused ones included."""
        return tuple(self._gateway.purchases)

    def offers(self) -> tuple[ledger.Offer, ...]:
        """What is for sale now, cheapest first."""
        return ledger.offers(self._world)

    def calls(self) -> tuple[CallRecord, ...]:
        """The latest requests."""
        return tuple(self._gateway.calls)

    def count(self, action: str) -> int:
        """How many requests named this action, whatever came of them."""
        return self._gateway.counts[action]

    def counts(self) -> dict[str, int]:
        """Requests by action."""
        return dict(self._gateway.counts)

    def _check_offer(self, region: str, bundle: str) -> None:
        if (region, bundle) not in self._world.prices:
            raise ValueError(f"{bundle} is not sold in {region}")

    def _instance(self, instance_id: str) -> SimInstance:
        one = self._world.instances.get(instance_id)
        if one is None:
            raise ValueError(f"there is no instance {instance_id}")
        return one

    def _settle_now(self) -> None:
        for move in self._world.settle(self._clock()):
            self._start_hook(move)
        self._changed.set()

    def _start_hook(self, move: Move) -> None:
        """Queue the move's hook behind the instance's previous one."""
        one = move.instance
        if move.to == "LAUNCH_FAILED" or one.address is None:
            return
        view = InstanceView(one.instance_id, one.order.name, one.order.region, one.order.bundle, one.address)
        before = self._hooks.get(one.instance_id)
        task = asyncio.create_task(self._run_hook(move, view, before), name=f"cloudsim-{move.to}-{one.instance_id}")
        self._hooks[one.instance_id] = task
        task.add_done_callback(lambda done: self._forget(one.instance_id, done))

    def _forget(self, instance_id: str, done: asyncio.Task[None]) -> None:
        if self._hooks.get(instance_id) is done:
            del self._hooks[instance_id]

    async def _run_hook(self, move: Move, view: InstanceView, before: asyncio.Task[None] | None) -> None:
        if before is not None:
            await before
        hook = self._on_running if move.to == "RUNNING" else self._on_gone
        try:
            if hook is not None:
                await hook(view)
        except Exception as error:  # a server that fails to start is a dead server, not the end of the cloud
            logger.exception("the %s hook of %s failed", move.to, view.instance_id)
            self.hook_failures.append(f"{view.instance_id}: {type(error).__name__}: {error}")
        if move.to == "GONE":
            self._world.release(move.instance)

    async def _run_clockwork(self) -> None:
        """Make moves when they are due, so that hooks run although nobody asks."""
        while True:
            self._settle_now()
            self._changed.clear()
            due = self._world.next_due()
            delay = None if due is None else max(0.0, due - self._clock())
            try:
                async with asyncio.timeout(delay):
                    await self._changed.wait()
            except TimeoutError:
                continue
