"""What the operator may expect of a cloud: a Protocol whose docstrings are the contract.

All methods are coroutines, bounded in time, and raise only `controller.cloud.errors`. Every answer carries what the
cloud said, never a guess: a field the cloud left out is an error, not an empty value.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Literal, Protocol

InstanceState = Literal[
    "PENDING",
    "LAUNCH_FAILED",
    "RUNNING",
    "ARREARS",
    "STOPPED_NO_CHARGE",
    "TERMINATING",
    "TERMINATED",
    "UNKNOWN",
]


@dataclass(frozen=True, slots=True)
class CloudInstance:
    """One instance as the cloud lists it. HAI lists no application, bundle, region or price."""

    instance_id: str
    name: str
    state: InstanceState
    public_ip: str | None
    private_ip: str | None
    #: Whether an operation on the instance is running; then most other operations are refused.
    busy: bool
    #: As the cloud prints it, without a zone; for people only.
    created: str


@dataclass(frozen=True, slots=True)
class Listing:
    """All instances of the account in one region."""

    region: str
    instances: tuple[CloudInstance, ...]
    #: False when paging could not prove that nothing is missing: then absence from the list proves nothing.
    complete: bool


@dataclass(frozen=True, slots=True)
class Application:
    """An application image in one region."""

    application_id: str
    name: str
    #: CREATING, ONLINE, DELETING or ARREARS. Only ONLINE can be launched.
    state: str
    min_disk_gib: int


@dataclass(frozen=True, slots=True)
class LaunchSpec:
    """What to buy. The same object with the same token always means the same purchase."""

    application_id: str
    bundle: str
    #: At most 128 characters; `controller.api.names.instance_name`.
    name: str
    #: Idempotency token; two calls with one token buy at most one instance.
    token: str
    disk_type: str | None = None
    disk_gib: int | None = None


@dataclass(frozen=True, slots=True)
class Price:
    """CNY per hour, pay as you go, discounts applied."""

    instance_per_hour: float
    disk_per_hour: float

    @property
    def total_per_hour(self) -> float:
        """What one running hour costs."""
        return self.instance_per_hour + self.disk_per_hour


@dataclass(frozen=True, slots=True)
class NetworkUsage:
    """The free traffic quota of one instance, GB of this month."""

    instance_id: str
    total_gb: float
    remaining_gb: float

    @property
    def used_gb(self) -> float:
        """Total less remaining, never below zero (counters were seen to run backwards)."""
        return max(0.0, self.total_gb - self.remaining_gb)


@dataclass(frozen=True, slots=True)
class BandwidthPoint:
    """The newest public bandwidth of one instance in one direction."""

    instance_id: str
    #: Seen from the instance: `Out` is what it sends.
    direction: Literal["In", "Out"]
    #: Mbit/s.
    mbps: float
    at: datetime


@dataclass(frozen=True, slots=True)
class CpuPoint:
    """The newest CPU figure of one instance."""

    instance_id: str
    percent: float
    at: datetime


#: What of an instance is in use.
Figure = Literal["gpu", "gpu_memory", "memory"]


@dataclass(frozen=True, slots=True)
class UsagePoint:
    """The newest figure of one instance."""

    instance_id: str
    figure: Figure
    percent: float
    at: datetime


@dataclass(frozen=True, slots=True)
class BilledInstance:
    """What the bill says of one instance on one day. CNY, discounts applied."""

    instance_id: str
    #: Name of the instance as the bill shows it; empty where it shows none.
    name: str
    #: Without traffic.
    amount: Decimal
    traffic: Decimal
    #: How many settlements it is the sum of; each may be rounded.
    settlements: int


class Cloud(Protocol):
    """One account at the cloud, all regions."""

    async def available_regions(self) -> frozenset[str]:
        """Ids of the regions that sell now.

        Raises:
            UnauthorizedError, ThrottledError, UnavailableError, IncompleteError.
        """

    async def find_application(
        self, region: str, *, application_id: str | None, name: str | None, kind: str
    ) -> Application:
        """The application by id, or by exact name and type.

        Raises:
            NotFoundError: none fits.
            AmbiguousError: more than one application has that name.
        """

    async def create_application(self, region: str, *, instance_id: str, name: str) -> str:
        """Ask for a private application made from an instance; returns its id. It is CREATING for a while.

        There is no token: of one name the cloud makes one application, and refuses the next. It is the adapter's duty
        never to repeat the call by itself. The instance itself is left as it is.

        Raises:
            NotFoundError: the instance does not exist in this region.
            InProgressError, ThrottledError: not accepted now, ask again later.
            NameTakenError: an application has this name already.
            QuotaError, UnauthorizedError, InvalidRequestError: refused; a person has to act.
            UnclearError: it may be being made. Look for it by name.
        """

    async def price(
        self,
        region: str,
        *,
        application_id: str,
        bundle: str,
        disk_type: str | None = None,
        disk_gib: int | None = None,
    ) -> Price:
        """The price of one more instance.

        Raises:
            SoldOutError: the cloud says the bundle is out of stock instead of a price.
            InvalidRequestError: the bundle or application is not known in this region.
        """

    async def list_instances(self, region: str) -> Listing:
        """Every instance of the account in the region, ours or not.

        A new instance may be missing for a while after it was bought (listings are eventually consistent), and a
        destroyed one may still be listed as TERMINATING or TERMINATED. A listing that could not be proven complete
        says so; it never raises for that and never pretends.
        """

    async def describe_instances(self, region: str, instance_ids: Sequence[str]) -> tuple[CloudInstance, ...]:
        """These instances; an id the cloud does not know (any more) is absent from the answer, not an error."""

    async def run_instance(self, region: str, spec: LaunchSpec) -> str:
        """Buy one instance and return its id. Billing starts.

        Repeating the call with the same spec and token returns the same id and buys nothing more. It is the
        adapter's duty never to repeat it by itself.

        Raises:
            SoldOutError, ThrottledError, ArrearsError, UnauthorizedError, QuotaError, InvalidRequestError: nothing was
                bought.
            UnclearError: it may have been bought. Only the same token, or proof of absence, may follow.
        """

    async def terminate_instance(self, region: str, instance_id: str) -> None:
        """Ask for destruction. Returning means *asked*: billing ends when the instance is gone from the list.

        Raises:
            NotFoundError: it does not exist (any more): the goal is reached.
            InProgressError, ThrottledError: not accepted now, ask again later.
            UnauthorizedError, InvalidRequestError: refused; it goes on costing money until a person acts.
            UnclearError: ask again; destroying twice does no harm.
        """

    async def network_usage(self, region: str, instance_ids: Sequence[str]) -> tuple[NetworkUsage, ...]:
        """Traffic of this month. Ids that vanished, or have no figures yet, are absent from the answer."""

    async def cpu_metric(self) -> str | None:
        """Name of the CPU metric the cloud publishes for its GPU instances, or None if it publishes none."""

    async def cpu_percent(self, region: str, instance_ids: Sequence[str], *, metric: str) -> tuple[CpuPoint, ...]:
        """The newest CPU point of each instance; an instance without data is absent."""

    async def bandwidth(self, region: str, instance_ids: Sequence[str]) -> tuple[BandwidthPoint, ...]:
        """The newest bandwidth point of each instance and direction.

        Instances without data are absent; nothing comes back, and nothing is asked, where the cloud publishes no such
        metric.
        """

    async def usage(self, region: str, instance_ids: Sequence[str]) -> tuple[UsagePoint, ...]:
        """The newest point of each instance and figure that the cloud publishes.

        Nothing is asked, and nothing comes back, where it publishes none.
        """

    async def bill_of_day(self, day: str) -> tuple[BilledInstance, ...]:
        """Everything on the account's bill for one day (`YYYY-MM-DD`, Beijing time), other products perhaps included.

        Bills lag by hours: what is missing may still come. May take minutes on an account with many rows.

        Raises:
            UnauthorizedError: these credentials may not read bills, which must disturb nothing else.
            ThrottledError, UnavailableError, IncompleteError: not now.
        """

    async def close(self) -> None:
        """Stop the adapter's threads and connections."""
