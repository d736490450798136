"""The dispatcher's Prometheus metrics: the contract with the operator, and what people want to see."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric, SummaryMetricFamily
from prometheus_client.gc_collector import GCCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from controller.api import metrics as names
from controller.dispatcher.histogram import Histogram

if TYPE_CHECKING:
    from controller.dispatcher.state import State

_WAIT_BUCKETS = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2, 3, 5, 10, 20, 30, 60, 120, 300, 600, 1800)
_LAG_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)
_COMMIT_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)


class DispatcherMetrics:
    """Counters and histograms; gauges are read from the state when scraped, so that they are never stale."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        self.wait = Histogram(
            "haipool_task_wait_seconds",
            "Time from submission until a server starts on the task.",
            buckets=_WAIT_BUCKETS,
            registry=self.registry,
        )
        self.duration = Histogram(
            "haipool_task_duration_seconds",
            "Time a task took at its server.",
            buckets=_WAIT_BUCKETS,
            registry=self.registry,
        )
        self.response = Histogram(
            "haipool_task_response_seconds",
            "Time from submission of a task until its whole answer has gone out.",
            buckets=_WAIT_BUCKETS,
            registry=self.registry,
        )
        self.loop_lag = Histogram(
            "haipool_event_loop_lag_seconds",
            "By how much timers of the dispatcher come too late.",
            buckets=_LAG_BUCKETS,
            registry=self.registry,
        )
        self.tasks = Counter("haipool_tasks_total", "Tasks by how they ended.", ["status"], registry=self.registry)
        self.shed = Counter(
            "haipool_requests_shed_total", "Requests refused, by reason.", ["reason"], registry=self.registry
        )
        self.passed = Counter(
            "haipool_passthrough_requests_total", "Pass-through requests.", ["outcome"], registry=self.registry
        )
        self.retries = Counter("haipool_task_retries_total", "Tasks sent to another server.", registry=self.registry)
        self.quarantined = Counter(
            "haipool_tasks_quarantined_total",
            "Tasks given up since server after server died with them.",
            registry=self.registry,
        )
        self.dominance = Gauge(
            "haipool_client_dominance_ratio",
            "Share of the most frequent client in the requests of the last ten minutes.",
            registry=self.registry,
        )
        self.commit = Histogram(
            "haipool_store_commit_seconds",
            "Time a commit of asynchronous tasks to disk took, however many it held.",
            buckets=_COMMIT_BUCKETS,
            registry=self.registry,
        )
        self.saved = Counter(
            "haipool_saved_bytes_total",
            "Bytes that did not have to be sent, by means (spec.traffic.optimization).",
            ["by"],
            registry=self.registry,
        )
        for means in ("compression_from_servers", "compression_to_clients", "reencoding"):
            self.saved.labels(means)
        self.reencoded = Counter(
            "haipool_reencoded_answers_total",
            "Answers with images that were to be re-encoded (spec.traffic.optimization.reencode).",
            ["outcome"],
            registry=self.registry,
        )
        for outcome in ("smaller", "unchanged", "late", "failed", "unavailable"):
            self.reencoded.labels(outcome)
        #: Ended tasks by status; there from the start, since a rate needs its zero.
        self.ended = {status: self.tasks.labels(status) for status in ("success", "failed", "cancelled", "expired")}

    def attach(self, state: "State") -> None:
        """Export the state's gauges too."""
        self.dominance.set_function(lambda: state.dominance.share(state.wall()))
        self.registry.register(_StateCollector(state))
        self.registry.register(_StoreCollector(state))


class _StateCollector(Collector):
    """Reads the gauges of the contract from the living state."""

    def __init__(self, state: "State") -> None:
        self._state = state

    def collect(self) -> Iterator[Metric]:
        """All gauges of the contract, and some for people."""
        state, scheduler = self._state, self._state.scheduler
        scheduler.servers.advance(scheduler.now())
        yield GaugeMetricFamily(
            names.QUEUE_LENGTH, "Tasks waiting now, so many of each user.", value=scheduler.queue_length()
        )
        yield GaugeMetricFamily(names.QUEUE_OLDEST_AGE, "Longest wait among them.", value=scheduler.oldest_age())
        yield GaugeMetricFamily(
            names.MEAN_RESPONSE, "Mean response of the window.", value=scheduler.figures.mean_response()
        )
        yield GaugeMetricFamily(names.QUEUE_USERS, "Users with a waiting task.", value=scheduler.queue.user_count)
        submitted = names.TASKS_SUBMITTED.removesuffix("_total")
        yield CounterMetricFamily(submitted, "Tasks that ever came to count.", value=scheduler.figures.signals.came)
        yield GaugeMetricFamily(names.DISPATCHER_STARTED, "Start of this process.", value=state.started_at)
        yield GaugeMetricFamily(names.DISPATCHER_SYNCED, "Pool and servers are current.", value=float(state.synced))
        yield GaugeMetricFamily("haipool_queue_tasks", "All tasks waiting now.", value=scheduler.waiting)
        yield GaugeMetricFamily(
            "haipool_queue_worst_wait_seconds", "Age of the task that waits longest.", value=scheduler.longest_wait()
        )
        yield GaugeMetricFamily(
            "haipool_tasks_retrying",
            "Tasks that a server died under, not over yet.",
            value=scheduler.retries.under_way,
        )
        yield from self._fairness()
        yield from self._servers()
        yield from self._health()

    def _fairness(self) -> Iterator[Metric]:
        """How fair turns were, and what giving them out costs."""
        figures, now = self._state.scheduler.figures, self._state.scheduler.now()
        yield GaugeMetricFamily(
            "haipool_fairness_jain_index",
            "Jain's index over what waiting networks got of what was due to them.",
            value=figures.fairness.index(now),
        )
        yield GaugeMetricFamily(
            "haipool_fairness_worst_ratio",
            "What the waiting network that got least got of what was due to it.",
            value=figures.fairness.worst(now),
        )
        yield SummaryMetricFamily(
            "haipool_scheduling_seconds",
            "Time that giving out slots took.",
            count_value=figures.rounds,
            sum_value=figures.round_seconds,
        )

    def _servers(self) -> Iterator[Metric]:
        servers, now = list(self._state.scheduler.servers), self._state.scheduler.now()
        yield _per_server(
            names.SERVER_IN_FLIGHT, "Requests in flight at a server.", ((s.spec.name, s.in_flight) for s in servers)
        )
        yield _per_server(names.SERVER_TASKS, "Tasks in flight at a server.", ((s.spec.name, s.tasks) for s in servers))
        yield _per_server(names.SERVER_SLOTS, "Slots of a server.", ((s.spec.name, s.spec.slots) for s in servers))
        busy = CounterMetricFamily(
            names.SERVER_BUSY, "Seconds for which slots of a server were taken.", labels=["server"]
        )
        for server in servers:
            busy.add_metric([server.spec.name], server.busy_seconds(now))
        yield busy
        yield _per_server(names.SERVER_UP, "Found alive.", ((s.spec.name, float(s.up)) for s in servers))
        yield _per_server(
            names.SERVER_DRAINING, "Takes no new tasks.", ((s.spec.name, float(s.spec.draining)) for s in servers)
        )

    def _health(self) -> Iterator[Metric]:
        """What people want to see of the servers beyond the contract."""
        scheduler = self._state.scheduler
        servers, now = list(scheduler.servers), scheduler.now()
        yield _per_server(
            "haipool_server_ejected",
            "Gets no tasks since it failed too many.",
            ((s.spec.name, float(s.health.ejected)) for s in servers),
        )
        yield _per_server(
            "haipool_server_share_ratio",
            "Share of the tasks it gets compared with the others: below 1 during its slow start.",
            ((s.spec.name, s.share) for s in servers),
        )
        yield _per_server(
            "haipool_server_draining_seconds",
            "How long it has been draining.",
            ((s.spec.name, 0.0 if s.draining_since is None else now - s.draining_since) for s in servers),
        )
        ejections = CounterMetricFamily("haipool_server_ejections", "Ejections.", labels=["server"])
        for server in servers:
            ejections.add_metric([server.spec.name], server.health.total)
        yield ejections


class _StoreCollector(Collector):
    """What the store of asynchronous tasks holds."""

    def __init__(self, state: "State") -> None:
        self._state = state

    def collect(self) -> Iterator[Metric]:
        """Its figures as of the last commit."""
        figures = self._state.store.figures
        tasks = GaugeMetricFamily("haipool_async_tasks", "Asynchronous tasks in the store.", labels=["state"])
        for state, count in figures.tasks.items():
            tasks.add_metric([state.value], count)
        yield tasks
        yield GaugeMetricFamily(
            "haipool_async_stored_bytes", "Bodies and answers in the store of asynchronous tasks.", value=figures.bytes
        )


def _per_server(name: str, text: str, values: Iterable[tuple[str, float]]) -> Metric:
    family = GaugeMetricFamily(name, text, labels=["server"])
    for server, value in values:
        family.add_metric([server], value)
    return family
