"""The state of the simulated account: instances, stock, prices, applications, addresses. No I/O, no clock of its own.

An instance goes PENDING -> RUNNING or LAUNCH_FAILED, and on request -> TERMINATING -> TERMINATED; `settle(now)` makes
the moves that are due and says which.
"""

import ipaddress
import random
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any, Final, Literal

from controller.sandbox.cloudsim.config import ID_LETTERS, CloudConfig
from controller.sandbox.cloudsim.errors import ApiError

INSTANCE_ID: Final = re.compile(r"hai-[a-z0-9]{5,10}")
#: Tencent bills and shows times in Beijing; a month of traffic starts there too.
BEIJING: Final = timezone(timedelta(hours=8))

State = Literal["PENDING", "LAUNCH_FAILED", "RUNNING", "ARREARS", "TERMINATING", "TERMINATED"]


@dataclass
class SimDomain:
    """A CDN domain as it is now."""

    name: str
    #: What it is, or becomes once the rollout is over.
    status: str
    origin: str
    #: POSIX seconds until which a change is rolled out.
    busy_until: float = 0.0
    objects: dict[str, Any] = field(default_factory=dict)
    edge_bytes: int = 0
    origin_bytes: int = 0

    def __post_init__(self) -> None:
        kind = {"Origins": [self.origin], "OriginType": "ip", "OriginPullProtocol": "http", "ServerName": self.name}
        self.objects = {"Compression": {"Switch": "off", "CompressionRules": None}, "Origin": kind | {"Path": None}}


@dataclass(frozen=True, slots=True)
class StoredLog:
    """One log that a topic has taken."""

    region: str
    topic: str
    time_ms: int
    contents: Mapping[str, str]
    filename: str
    source: str
    tags: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Order:
    """What one RunInstances asked for, per instance."""

    region: str
    bundle: str
    application_id: str
    application_name: str
    name: str
    disk_type: str
    disk_gib: int
    price_per_hour: float


@dataclass(slots=True)
class SimInstance:
    """One instance, its whole life. Times in POSIX seconds; None until they come."""

    instance_id: str
    order: Order
    created: float
    state: State = "PENDING"
    #: Whether it was decided at the start that it will not come up.
    doomed: bool = False
    #: Stays PENDING until it is destroyed.
    stuck: bool = False
    operation: str = "RunInstances"
    running_at: float | None = None
    failed_at: float | None = None
    terminating_at: float | None = None
    ended: float | None = None
    #: While set and ahead of now, another operation is running.
    busy_until: float = 0.0
    address: str | None = None
    #: GB since `traffic_month`, the begin of a month in Beijing.
    traffic_gb: float = 0.0
    traffic_month: float = 0.0
    traffic_counted_to: float = 0.0
    #: Bytes of its real server that are counted.
    traffic_bytes: int = 0
    #: Its own quota in GB; None: the configured one.
    quota_gb: float | None = None
    #: Values of metrics as steps: (from, value).
    metrics: dict[str, list[tuple[float, float]]] = field(default_factory=dict)

    def operation_state(self, now: float) -> str:
        """LatestOperationState."""
        if self.state in ("PENDING", "TERMINATING") or now < self.busy_until:
            return "OPERATING"
        return "FAILED" if self.state == "LAUNCH_FAILED" else "SUCCESS"


@dataclass(frozen=True, slots=True)
class Move:
    """One step of an instance's life that was due."""

    instance: SimInstance
    to: Literal["RUNNING", "LAUNCH_FAILED", "GONE"]
    #: Whether a server was running on its address before.
    had_server: bool = False


class Addresses:
    """Loopback addresses, one per running instance. Freed ones are given out again before fresh ones."""

    def __init__(self, block: str) -> None:
        network = ipaddress.IPv4Network(block)
        if not network.is_loopback:
            raise ValueError(f"addresses must be a block inside 127.0.0.0/8, not {block}")
        self._fresh: Iterator[ipaddress.IPv4Address] = network.hosts()
        self._freed: deque[str] = deque()

    def take(self) -> str:
        """An address that no instance holds."""
        return self._freed.popleft() if self._freed else str(next(self._fresh))

    def give_back(self, address: str) -> None:
        """Make it available again."""
        self._freed.append(address)


class World:
    """Everything the simulated cloud knows."""

    def __init__(self, config: CloudConfig) -> None:
        self.config = config
        self.closed_regions: set[str] = set(config.closed_regions)
        self._table = config.price_table()
        #: What is for sale: nothing in a closed region.
        self.prices: dict[tuple[str, str], float] = {}
        self._put_up()
        #: Left in stock; an offer that is not named is unlimited.
        self.stock: dict[tuple[str, str], int] = dict(config.stock)
        self.instances: dict[str, SimInstance] = {}
        #: ClientToken by (secret id, region, token): the order's fingerprint and the ids it gave.
        self.tokens: dict[tuple[str, str, str], tuple[object, tuple[str, ...]]] = {}
        self.cdn = {one.name: SimDomain(one.name, one.status, one.origin) for one in config.cdn_domains}
        #: What the log service has taken, in the order of arrival.
        self.logs: list[StoredLog] = []
        #: Bytes that the server of an instance has sent so far.
        self.bytes_sent: Callable[[str], int] = lambda _: 0
        self._addresses = Addresses(config.addresses)
        self._random = random.Random(0)  # noqa: S311 - ids of a simulator, the same in every run

    def set_price(self, region: str, bundle: str, price: float) -> None:
        """Change a price for later purchases."""
        self._table[region, bundle] = price
        self._put_up()

    def open_region(self, region: str, is_open: bool) -> None:
        """Sell in a region, or not."""
        (self.closed_regions.discard if is_open else self.closed_regions.add)(region)
        self._put_up()

    def _put_up(self) -> None:
        self.prices = {offer: price for offer, price in self._table.items() if offer[0] not in self.closed_regions}

    def left(self, region: str, bundle: str) -> int | None:
        """Stock of an offer, None for unlimited."""
        return self.stock.get((region, bundle))

    def run(self, order: Order, count: int, now: float, *, doomed: bool = False) -> list[SimInstance]:
        """Create instances, all or none.

        Raises:
            ApiError: not enough in stock.
        """
        offer = (order.region, order.bundle)
        left = self.left(*offer)
        if left is not None:
            if left < count:
                raise ApiError("ResourceInsufficient.BundleInventoryShortage", "The bundle is sold out in this region.")
            self.stock[offer] = left - count
        made = [SimInstance(self._new_id(), order, created=now, doomed=doomed) for _ in range(count)]
        self.instances.update({one.instance_id: one for one in made})
        return made

    def terminate(self, instance_ids: Iterable[str], region: str, now: float) -> None:
        """Begin the destruction of all of them, or of none.

        Raises:
            ApiError: one does not exist, or has an operation in progress.
        """
        chosen = [self.find(instance_id, region) for instance_id in instance_ids]
        for one in chosen:
            pending_ok = one.state == "PENDING" and (one.stuck or self.config.terminate_while_pending == "allow")
            if one.operation_state(now) == "OPERATING" and not pending_ok:
                raise ApiError("OperationDenied.InstanceOperationInProgress", "Another operation is in progress.")
        for one in chosen:
            one.state, one.operation, one.terminating_at = "TERMINATING", "TerminateInstances", now

    def find(self, instance_id: str, region: str) -> SimInstance:
        """A live instance of the region.

        Raises:
            ApiError: the id is malformed, or nothing lives under it.
        """
        if not INSTANCE_ID.fullmatch(instance_id):
            raise ApiError("InvalidParameterValue.InvalidInstanceIdMalformed", f"{instance_id!r} is no instance id.")
        one = self.instances.get(instance_id)
        if one is None or one.order.region != region or one.state == "TERMINATED":
            raise ApiError("InvalidParameterValue.InstanceIdNotFound", f"{instance_id} does not exist.")
        return one

    def listed(self, region: str, now: float) -> list[SimInstance]:
        """What a listing may show, newest first."""
        shown = (
            one
            for one in self.instances.values()
            if one.order.region == region and (one.ended is None or now < one.ended + self.config.terminated_listed_s)
        )
        return sorted(shown, key=lambda one: (-one.created, one.instance_id))

    def settle(self, now: float) -> list[Move]:
        """Make the moves that are due, each at its own time."""
        return [move for one in list(self.instances.values()) for move in self._moves(one, now)]

    def next_due(self) -> float | None:
        """When the next move is due, None if nothing is under way."""
        return min((at for one in self.instances.values() if (at := self._due(one)) is not None), default=None)

    def release(self, instance: SimInstance) -> None:
        """Give its address back, once the server on it has stopped."""
        if instance.address is not None:
            self._addresses.give_back(instance.address)
            instance.address = None

    def traffic_used(self, instance: SimInstance, now: float) -> float:
        """GB used this month (Beijing time, give or take the configured delay), counted up to now."""
        late = self.config.traffic_reset_late_s
        today = datetime.fromtimestamp(now - late, BEIJING)
        month = today.replace(day=1, hour=0, minute=0, second=0, microsecond=0).timestamp() + late
        if month != instance.traffic_month:
            instance.traffic_month, instance.traffic_gb = month, 0.0
        running_since = instance.running_at if instance.running_at is not None else now
        since = max(instance.traffic_counted_to, running_since, month)
        if instance.state == "RUNNING":
            instance.traffic_gb += max(0.0, now - since) / 3600 * self.config.traffic_gb_per_hour
        sent = self.bytes_sent(instance.instance_id)
        instance.traffic_gb += (sent - instance.traffic_bytes) * self.config.traffic_bytes_factor / 1e9
        instance.traffic_bytes = sent
        instance.traffic_counted_to = now
        return instance.traffic_gb

    def quota(self, instance: SimInstance) -> float:
        """Free traffic of an instance, GB a month."""
        return self.config.free_traffic_gb if instance.quota_gb is None else instance.quota_gb

    def _due(self, one: SimInstance) -> float | None:
        if one.state == "PENDING" and not one.stuck:
            return one.created + self.config.deploy_s
        if one.state == "TERMINATING" and one.terminating_at is not None:
            return one.terminating_at + self.config.terminate_s
        return None

    def _moves(self, one: SimInstance, now: float) -> Iterator[Move]:
        due = self._due(one)
        if due is None or now < due:
            return
        if one.state == "TERMINATING":
            one.state, one.ended = "TERMINATED", due
            if one.failed_at is None:
                self._restock(one)
            yield Move(one, "GONE", had_server=one.running_at is not None)
        elif one.doomed:
            one.state, one.failed_at = "LAUNCH_FAILED", due
            self._restock(one)
            yield Move(one, "LAUNCH_FAILED")
        else:
            one.state, one.running_at, one.address = "RUNNING", due, self._addresses.take()
            yield Move(one, "RUNNING")

    def shuffle(self, instances: list[SimInstance]) -> None:
        """Put them into any order."""
        self._random.shuffle(instances)

    def _restock(self, one: SimInstance) -> None:
        offer = (one.order.region, one.order.bundle)
        if offer in self.stock:
            self.stock[offer] += 1

    def _new_id(self) -> str:
        while (name := "hai-" + "".join(self._random.choices(ID_LETTERS, k=8))) in self.instances:
            pass
        return name
