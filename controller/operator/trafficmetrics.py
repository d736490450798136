"""What Prometheus hears of traffic: figures and level of each pool, and how the hooks at its servers fare."""

from collections.abc import Iterable
from math import nan
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge

from controller.api.gpuinstance import GpuInstance
from controller.api.gpupool import GpuPool
from controller.api.traffic import TrafficStatus
from controller.scaling.quota import LEVELS

_POOL: Final = ("namespace", "pool")
_BITS: Final = 1e6


class TrafficMetrics:
    """The gauges of all pools."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._used = Gauge("haipool_pool_traffic_month_gigabytes", "Traffic of this month.", _POOL, registry=registry)
        self._most = Gauge(
            "haipool_pool_traffic_month_max_server_gigabytes",
            "Traffic of this month of the living server that used most.",
            _POOL,
            registry=registry,
        )
        self._level = Gauge(
            "haipool_pool_traffic_level",
            "0 Normal, 1 Optimize, 2 Warning, 3 Critical, 4 Emergency.",
            _POOL,
            registry=registry,
        )
        self._optimized = Gauge(
            "haipool_pool_optimized_servers", "Servers at which hooks are in effect.", _POOL, registry=registry
        )
        self._bandwidth = Gauge(
            "haipool_pool_network_bits_per_second",
            "Public bandwidth of the servers as Cloud Monitor told; NaN while unknown.",
            [*_POOL, "direction"],
            registry=registry,
        )
        self._minting = Gauge(
            "haipool_pool_cdn_minting", "1 while links to results are made on the CDN domain.", _POOL, registry=registry
        )
        self._cdn = Gauge(
            "haipool_pool_cdn_month_bytes",
            "Bytes through the CDN domain this month: to clients (edge), from the dispatcher (origin).",
            [*_POOL, "side"],
            registry=registry,
        )
        self.hooks = Counter(
            "haipool_hook_requests_total",
            "Requests of traffic hooks to servers, by outcome (ok, failed).",
            [*_POOL, "outcome"],
            registry=registry,
        )

    @property
    def gauges(self) -> tuple[Gauge, ...]:
        """What is forgotten with a pool."""
        return self._used, self._most, self._level, self._optimized, self._bandwidth, self._minting, self._cdn

    def told(self, pool: GpuPool, traffic: TrafficStatus, instances: Iterable[GpuInstance]) -> None:
        """Export one pool."""
        labels = (pool.metadata.namespace, pool.metadata.name)
        self._used.labels(*labels).set(traffic.used_gb)
        cdn = pool.status.cdn
        self._minting.labels(*labels).set(cdn.minting)
        self._cdn.labels(*labels, "edge").set(cdn.edge_bytes)
        self._cdn.labels(*labels, "origin").set(cdn.origin_bytes)
        self._most.labels(*labels).set(traffic.max_instance_gb)
        self._level.labels(*labels).set(LEVELS.index(traffic.level))
        self._optimized.labels(*labels).set(traffic.optimized_servers)
        statuses = [i.status for i in instances]
        self._bandwidth.labels(*labels, "in").set(_sum(s.network_in_mbps for s in statuses))
        self._bandwidth.labels(*labels, "out").set(_sum(s.network_out_mbps for s in statuses))


def _sum(values: Iterable[float | None]) -> float:
    known = [value * _BITS for value in values if value is not None]
    return sum(known) if known else nan
