"""The alert hub: what fires is compared with what was told, written down, and only then told.

Order of one decision: the alerts as they stand now go into `status.alerts`; once that is written, the log, the events
and the destinations hear what they have not heard; what they have heard goes into the status with the next decision. A
crash after any of these steps leads to the same comparison again: nothing is lost, and what was told but not yet
written down is told once more.
"""

import logging
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from controller.api.alerts import AlertStatus
from controller.api.gpupool import GpuPool
from controller.api.model import ConditionModel
from controller.api.times import unix
from controller.kube.client import KubeClient
from controller.operator.events import Recorder
from controller.operator.metrics import OperatorMetrics
from controller.operator.notify.courier import Office, Times
from controller.operator.notify.guard import Guard, Network
from controller.operator.notify.notifier import Notifier
from controller.operator.notify.pace import Paces
from controller.operator.notify.sender import Sender
from controller.operator.notify.texts import Notice
from controller.operator.recording import Recording
from controller.operator.secrets import Secrets
from controller.records.alert import AlertRecord
from controller.records.lines import stamp
from controller.scaling.alerts import Alert
from controller.scaling.alertstate import EVENT, MAX_ENTRIES, RECORD, RESOLVED, Destination, advance, due

logger = logging.getLogger(__name__)


def office(kube: KubeClient, metrics: OperatorMetrics, networks: Sequence[Network]) -> Office:
    """What the couriers of one operator share; `networks` may be called although they are not public."""
    return Office(
        sender=Sender(Guard(networks)),
        secrets=Secrets(kube, time.time),
        paces=Paces(),
        times=Times(),
        wall=time.time,
        count=lambda kind, outcome: metrics.notifications.labels(kind, outcome).inc(),
    )


class Alerting:
    """Tells of the alerts of all pools."""

    def __init__(self, events: Recorder, recording: Recording, office: Office, metrics: OperatorMetrics) -> None:
        self._events = events
        self._recording = recording
        self._notifier = Notifier(office, self._hear)
        self._metrics = metrics
        #: By the pool's UID: what was heard since it was last written down.
        self._heard: defaultdict[str, dict[tuple[str, str, str], str]] = defaultdict(dict)
        #: Label values that are exported, by the pool's UID.
        self._shown: dict[str, set[tuple[str, ...]]] = {}

    def _hear(self, uid: str, name: str, notice: Notice) -> None:
        """A destination has heard something."""
        self._heard[uid][*notice.key, name] = notice.news

    def condition(self, pool: GpuPool) -> ConditionModel:
        """The pool's condition NotificationsDelivered; its destinations are served from now on."""
        self._notifier.serve(pool)
        return self._notifier.condition(pool)

    def advance(
        self, pool: GpuPool, firing: Iterable[Alert], *, unknown: Iterable[str], now: float
    ) -> tuple[AlertStatus, ...]:
        """The alerts as they stand after this decision, for `status.alerts`."""
        known, heard = pool.status.alerts, self._heard[pool.metadata.uid]
        for entry in known:
            for name, what in entry.told.items():
                if heard.get((*entry.key, name)) == what:
                    del heard[*entry.key, name]
        alerts = advance(
            known, firing, destinations=self._destinations(pool), heard=heard, unknown=frozenset(unknown), now=now
        )
        if len(known) == len(alerts) == MAX_ENTRIES:
            logger.warning("pool %s: ends of alerts may be dropped, %d wait to be told", pool.metadata.key, len(alerts))
        return alerts

    def _destinations(self, pool: GpuPool) -> list[Destination]:
        own = [Destination(EVENT), *([Destination(RECORD)] if self._recording.active else [])]
        return own + [Destination(one.name, one.min_level, one.resolved) for one in pool.spec.notifications]

    async def tell(self, pool: GpuPool, alerts: Sequence[AlertStatus]) -> None:
        """Tell what is due. The alerts have been written to the pool's status."""
        self._export(pool, alerts)
        heard = self._heard[pool.metadata.uid]
        wanted: defaultdict[str, dict[tuple[str, str], Notice]] = defaultdict(dict)
        for destination in self._destinations(pool):
            for alert in alerts:
                news = due(alert, destination)
                if not news or heard.get((*alert.key, destination.name)) == news:
                    continue
                if destination.name == RECORD:
                    self._record(pool, alert)
                elif destination.name == EVENT:
                    await self._event(pool, alert)
                else:
                    notice = Notice(pool.metadata.namespace, pool.metadata.name, alert, news)
                    wanted[destination.name][alert.key] = notice
        self._notifier.want(pool, wanted)

    def _record(self, pool: GpuPool, alert: AlertStatus) -> None:
        uid, at = pool.metadata.uid, unix(alert.changed_at) or 0.0
        key = ("alert", uid, alert.key, alert.news, alert.changed_at)
        if self._recording.once(key, lambda: [("alerts", at, record(pool, alert))]):
            self._heard[uid][*alert.key, RECORD] = alert.news

    async def _event(self, pool: GpuPool, alert: AlertStatus) -> None:
        subject = f"{alert.subject}: " if alert.subject else ""
        if alert.news == RESOLVED:
            written = await self._events.normal(pool, f"{alert.rule}Resolved", f"{subject}over: {alert.message}")
        else:
            written = await self._events.warning(pool, alert.rule, f"{subject}{alert.level}: {alert.message}")
        if written:
            self._heard[pool.metadata.uid][*alert.key, EVENT] = alert.news

    def _export(self, pool: GpuPool, alerts: Sequence[AlertStatus]) -> None:
        meta, gauge = pool.metadata, self._metrics.alerts
        counts = Counter((meta.namespace, meta.name, a.rule, a.level) for a in alerts if a.state == "Firing")
        for labels in self._shown.get(meta.uid, set()) - counts.keys():
            gauge.remove(*labels)
        for labels, count in counts.items():
            gauge.labels(*labels).set(count)
        self._shown[meta.uid] = set(counts)

    async def close(self) -> None:
        """Stop telling. What is not told yet is due again at the next start."""
        await self._notifier.close()

    def forget(self, pool: GpuPool) -> None:
        """The pool is gone."""
        self._notifier.forget(pool.metadata.uid)
        self._heard.pop(pool.metadata.uid, None)
        for labels in self._shown.pop(pool.metadata.uid, ()):
            self._metrics.alerts.remove(*labels)


def record(pool: GpuPool, alert: AlertStatus) -> AlertRecord:
    """The record of the alert's last crossing."""
    return AlertRecord(
        namespace=pool.metadata.namespace,
        pool=pool.metadata.name,
        rule=alert.rule,
        subject=alert.subject,
        state=alert.state,
        level=alert.level,
        peak=alert.peak,
        since=stamp(unix(alert.since) or 0.0),
        value=alert.value,
        threshold=alert.threshold,
        unit=alert.unit,
        message=alert.message,
        message_zh=alert.message_zh,
    )
