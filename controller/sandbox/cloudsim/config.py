"""What the simulated cloud sells, to whom, and how long things take. Frozen; what changes at run time is in `world`."""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from controller.api.catalog import BUNDLES, REGIONS, SAMPLE_PRICES

SAMPLE_APPLICATION: Final = "haipool-sample"
ID_LETTERS: Final = "abcdefghijklmnopqrstuvwxyz0123456789"


@dataclass(frozen=True, slots=True)
class Key:
    """A key that may sign requests; `token` only for temporary ones."""

    secret_id: str
    secret_key: str = field(repr=False)
    token: str = field(default="", repr=False)


#: The key of the local sandbox. No secret: it opens nothing but a simulator on this machine.
SANDBOX_KEY: Final = Key("AKIDhaipoolSandbox", "haipoolSandboxSecretKey")


@dataclass(frozen=True, slots=True)
class SampleApplication:
    """An application that exists in several regions, under another id in each."""

    name: str = SAMPLE_APPLICATION
    kind: str = "PRIVATE_APPLICATION"
    state: str = "ONLINE"
    min_disk_gib: int = 80
    size_gib: int = 50
    regions: tuple[str, ...] = REGIONS

    def id_in(self, region: str) -> str:
        """`app-` and 8 characters, always the same for the same name and region."""
        digest = hashlib.sha256(f"{region}/{self.kind}/{self.name}".encode()).digest()
        return "app-" + "".join(ID_LETTERS[byte % len(ID_LETTERS)] for byte in digest[:8])


@dataclass(frozen=True, slots=True)
class SampleMetric:
    """A metric that the simulated Cloud Monitor publishes under QCE/HAI."""

    name: str
    unit: str = "%"
    periods: tuple[int, ...] = (10, 60, 300)
    dimension: str = "InstanceId"
    meaning_en: str = ""
    meaning_zh: str = ""


#: The topic of the log service that the sandbox's account has, in one region.
SANDBOX_TOPIC: Final = "5cd3a17e-fb0b-418c-afd7-77b365397426"
SANDBOX_TOPIC_REGION: Final = "ap-guangzhou"

#: For tests and demos of the Monitor source. HAI's real metric names are not documented, so none is published unless
#: the configuration names some.
CPU_METRIC: Final = SampleMetric("CpuUsage", meaning_en="CPU usage", meaning_zh="CPU利用率")


@dataclass(frozen=True, slots=True)
class SampleDomain:
    """A CDN domain that the account has set up."""

    name: str
    status: Literal["online", "offline", "rejected"] = "offline"
    origin: str = "203.0.113.7:80"


@dataclass(frozen=True, slots=True)
class CloudConfig:
    """The simulated account and the cloud's habits. Times in seconds, money in CNY per hour."""

    keys: tuple[Key, ...] = (SANDBOX_KEY,)
    regions: tuple[str, ...] = REGIONS
    #: Listed as UNAVAILABLE, with nothing to sell.
    closed_regions: frozenset[str] = frozenset()
    #: Price by bundle in every region; `region_prices` overrides it for one (region, bundle).
    prices: Mapping[str, float] = field(default_factory=lambda: dict(SAMPLE_PRICES))
    region_prices: Mapping[tuple[str, str], float] = field(default_factory=dict)
    #: Instances left by (region, bundle); what is not named is unlimited.
    stock: Mapping[tuple[str, str], int] = field(default_factory=dict)
    applications: tuple[SampleApplication, ...] = (SampleApplication(),)
    metrics: tuple[SampleMetric, ...] = ()
    #: From RunInstances to RUNNING. The real cloud is said to take two to eight minutes.
    deploy_s: float = 150.0
    #: From TerminateInstances to gone.
    terminate_s: float = 30.0
    #: From CreateApplication to ONLINE; not documented.
    application_s: float = 120.0
    #: CreateApplication by a name that is in use: refused, as its error codes say, or made once more.
    duplicate_names: Literal["refuse", "allow"] = "refuse"
    #: How long a destroyed instance is still listed as TERMINATED.
    terminated_listed_s: float = 0.0
    #: Loopback block for the instances' addresses; freed addresses are given out again, as clouds do.
    addresses: str = "127.77.0.0/16"
    #: The state that starts the bill. PENDING bills from RunInstances on, the dearer of the two readings.
    billing_from: Literal["PENDING", "RUNNING"] = "PENDING"
    #: A known ClientToken with other parameters: the first purchase's ids again, or a refusal.
    on_repeat_mismatch: Literal["same", "refuse"] = "same"
    #: What InquirePriceRunInstances says of a bundle that is out of stock.
    price_when_sold_out: Literal["price", "shortage"] = "price"
    terminate_while_pending: Literal["refuse", "allow"] = "refuse"
    #: Requests per second for each action, region and key.
    calls_per_second: float = 20.0
    free_traffic_gb: float = 500.0
    #: Traffic every running instance makes by itself, besides what the control API adds.
    traffic_gb_per_hour: float = 0.0
    #: How long after the month's begin in Beijing the traffic counters start anew; below 0: before.
    traffic_reset_late_s: float = 0.0
    #: How much each byte counts that a real server behind an instance sends; a demo reaches 300 GB with a large one.
    traffic_bytes_factor: float = 1.0
    #: The part of the disk that costs nothing, and the sample price beyond it.
    free_disk_gib: int = 80
    disk_price_per_gib_hour: float = 0.0005
    #: Topics of the log service, as (region, id).
    log_topics: frozenset[tuple[str, str]] = frozenset({(SANDBOX_TOPIC_REGION, SANDBOX_TOPIC)})
    #: How long after an hour its settlement appears on the bill, and to how many decimals it is rounded.
    billing_lag_s: float = 4 * 3600.0
    bill_decimals: int = 8
    #: What a request for a span of the bill is answered with: all of its month, as documented, or just the span.
    bill_range: Literal["month", "span"] = "month"
    cdn_domains: tuple[SampleDomain, ...] = (SampleDomain("cdn.example.com"),)
    #: From a change of a CDN domain until it is rolled out.
    cdn_rollout_s: float = 5.0
    #: How late points appear in Cloud Monitor.
    monitor_lag_s: float = 60.0

    def __post_init__(self) -> None:
        times = ("deploy_s", "terminate_s", "terminated_listed_s", "application_s", "monitor_lag_s", "billing_lag_s")
        for name in (*times, "traffic_gb_per_hour", "traffic_bytes_factor"):
            value = getattr(self, name)
            if not math.isfinite(value) or value < 0:
                raise ValueError(f"{name} must be 0 or more")
        if self.calls_per_second <= 0:
            raise ValueError("calls_per_second must be above 0")
        if unknown := set(self.prices) - set(BUNDLES):
            raise ValueError(f"prices names unknown bundles: {', '.join(sorted(unknown))}")

    def price_table(self) -> dict[tuple[str, str], float]:
        """Price of every (region, bundle), also of regions that are closed now."""
        table = {(region, bundle): price for region in self.regions for bundle, price in self.prices.items()}
        table.update(self.region_prices)
        return table
