"""Metrics of money: pools, budgets, the bill, and every instance's cost, derived when somebody asks."""

from collections.abc import Callable, Iterable, Iterator

from prometheus_client import CollectorRegistry, Gauge
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from controller.api.gpuinstance import GpuInstance
from controller.api.gpupool import GpuPool
from controller.api.spend import Billing, Spend
from controller.scaling.budget import is_hard
from controller.scaling.ledger import Bill, accrued, shown

_POOL = ("namespace", "pool")


class MoneyMetrics:
    """All figures about money that change with a decision or with a comparison."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(name, text, [*_POOL, *labels], registry=registry)

        self.hour = gauge("haipool_pool_hour_cny", "Cost since the hour began.")
        self.yesterday = gauge("haipool_pool_yesterday_cny", "Cost of the day before, Beijing time.")
        self.last_month = gauge("haipool_pool_last_month_cny", "Cost of the month before, Beijing time.")
        self.forecast = gauge("haipool_pool_forecast_month_cny", "Cost of this month as it is expected to end.")
        self.traffic = gauge(
            "haipool_pool_traffic_month_cny", "Estimate for traffic beyond the free quota, this month."
        )
        #: By preset, not by pool: pools share presets.
        self.storage = Gauge(
            "haipool_preset_storage_month_cny",
            "Storage cost of a preset, this month.",
            ["namespace", "preset"],
            registry=registry,
        )
        self.cap = gauge("haipool_pool_budget_cny", "Caps of the budget.", "period", "cap")
        self.refused = gauge("haipool_pool_budget_refuses", "1 while a hard cap keeps the pool from a purchase.")
        self.billed = gauge("haipool_billing_billed_cny", "What the bill says of the last day compared.")
        self.difference = gauge("haipool_billing_difference_cny", "The bill less the ledger, on the last day compared.")
        self.strangers = gauge(
            "haipool_billing_strangers_cny", "Billed on that day with the pool's mark, and never its servers."
        )

    def told(self, pool: GpuPool, spend: Spend, *, reason: str) -> None:
        """Export the ledger and the budget of one decision."""
        labels = (pool.metadata.namespace, pool.metadata.name)
        self.hour.labels(*labels).set(spend.this_hour)
        self.yesterday.labels(*labels).set(spend.yesterday)
        self.last_month.labels(*labels).set(spend.last_month)
        self.forecast.labels(*labels).set(spend.forecast_this_month)
        self.traffic.labels(*labels).set(spend.traffic_this_month)
        self.refused.labels(*labels).set(is_hard(reason))
        budget = pool.spec.budget
        for period, cap in (("hourly", budget.hourly), ("daily", budget.daily), ("monthly", budget.monthly)):
            self._cap(labels, period, "soft", cap.soft if cap else None)
            self._cap(labels, period, "hard", cap.hard if cap else None)

    def _cap(self, labels: tuple[str, str], period: str, cap: str, value: float | None) -> None:
        if value is not None:
            self.cap.labels(*labels, period, cap).set(value)
        else:
            self.cap.remove_by_labels({"namespace": labels[0], "pool": labels[1], "period": period, "cap": cap})

    def compared(self, pool: GpuPool, billing: Billing) -> None:
        """Export a comparison with the bill."""
        if billing.state not in ("Agrees", "Differs"):
            return
        labels = (pool.metadata.namespace, pool.metadata.name)
        self.billed.labels(*labels).set(billing.billed)
        self.difference.labels(*labels).set(billing.difference)
        self.strangers.labels(*labels).set(billing.strangers_cny)

    def forget_pool(self, namespace: str, name: str) -> None:
        """Stop exporting a pool that is gone."""
        for one in vars(self).values():
            if one is not self.storage:
                one.remove_by_labels({"namespace": namespace, "pool": name})


class InstanceCosts(Collector):
    """What every instance has cost since its purchase, computed from its times at each scrape and kept nowhere."""

    def __init__(
        self,
        instances: Iterable[GpuInstance],
        bill: Callable[[GpuInstance], Bill | None],
        clock: Callable[[], float],
    ) -> None:
        """Collect from a live view of the instances; it is iterated on the exporter's thread."""
        self._instances, self._bill, self._clock = instances, bill, clock

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The family, once a scrape."""
        family = GaugeMetricFamily(
            "haipool_instance_cost_cny",
            "Cost of an instance since its purchase.",
            labels=["namespace", "pool", "instance", "region", "bundle"],
        )
        now = self._clock()
        for one in self._instances:
            bill = self._bill(one)
            if bill is not None:
                labels = [one.metadata.namespace, one.spec.pool, one.metadata.name, one.spec.region, one.spec.bundle]
                family.add_metric(labels, shown(accrued(bill, now)))
        yield family
