"""The operator process put together: start-up barrier, workers, servers, and an orderly end."""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from threading import Thread
from typing import Any, Final
from wsgiref.simple_server import WSGIServer

import aiohttp
from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from controller.cloud.cdn import Cdn
from controller.cloud.contract import Cloud
from controller.kube.client import KubeClient, KubeError, Resource
from controller.operator import instances, pools
from controller.operator.alerting import Alerting, office
from controller.operator.audit import Audit
from controller.operator.billing import Reconciliation
from controller.operator.cdn import CdnKeeper
from controller.operator.cloudview import CloudView
from controller.operator.context import Context, Settings
from controller.operator.cpu import CpuMonitor
from controller.operator.events import Recorder
from controller.operator.leaks import Leaks
from controller.operator.lease import RETRY_SECONDS, Lease
from controller.operator.lifecycle.services import Services
from controller.operator.metrics import OperatorMetrics
from controller.operator.money import bill
from controller.operator.moneymetrics import InstanceCosts
from controller.operator.objects import Objects
from controller.operator.observe import everyone_monitored
from controller.operator.presets import Presets
from controller.operator.recording import Recording
from controller.operator.scrape import Scraper
from controller.operator.sharing import SharedCloud
from controller.operator.store import Shelf, Store
from controller.operator.tokens import Tokens
from controller.operator.trafficwatch import TrafficWatch
from controller.operator.usage import UsageMonitor
from controller.operator.workers import Workers
from controller.records.metrics import RecordsCollector

logger = logging.getLogger(__name__)

NAMESPACES: Final = Resource("", "v1", "namespaces")
#: A pool whose last decision is older than this many intervals (and seconds) makes the liveness probe fail.
STUCK_INTERVALS: Final = 10
STUCK_SECONDS: Final = 300.0


class StartupError(Exception):
    """The operator cannot start; the text says what to do."""


class Operator:
    """Everything that runs between start-up and clean-up."""

    def __init__(
        self,
        ctx: Context,
        kube: KubeClient,
        exporter: tuple[WSGIServer, Thread] | None,
        lease: Lease | None,
        cdn: Cdn | None,
    ) -> None:
        self.ctx = ctx
        self._cdn = cdn
        self._kube = kube
        self._lease = lease
        #: Decides: holds the Lease, or goes without one.
        self._acting = False
        self._guard: asyncio.Task[None] | None = None
        #: Done once this process must end, with the reason.
        self.over: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._exporter = exporter
        self._audit = Audit(ctx)
        self._reconciliation = Reconciliation(ctx)
        presets = Presets(ctx)
        services = Services(ctx, presets)
        self._pools = Workers("GpuPool", lambda key: pools.reconcile(ctx, key), self._on_error("GpuPool"))
        self._presets = Workers("RegionPreset", presets.reconcile, self._on_error("RegionPreset"))
        self._instances = Workers(
            "GpuInstance", lambda key: instances.reconcile(services, key), self._on_error("GpuInstance")
        )
        ctx.wake_pool, ctx.wake_preset, ctx.wake_instance = (
            self._pools.wake,
            self._presets.wake,
            self._instances.wake,
        )
        self._workers = [self._pools, self._instances, self._presets]
        if cdn is not None:
            domains = Workers("CdnDomain", CdnKeeper(ctx, cdn).reconcile, self._on_error("CdnDomain"))
            self._workers.append(domains)
            ctx.wake_cdn = domains.wake

    def _on_error(self, kind: str) -> Any:
        return lambda _key, _error: self.ctx.metrics.errors.labels(kind).inc()

    @classmethod
    async def start(
        cls,
        kube: KubeClient,
        cloud: Cloud,
        settings: Settings,
        *,
        cdn: Cdn | None = None,
        clock: Callable[[], float] = time.time,
    ) -> "Operator":
        """Read everything there is, and only then start to decide.

        Args:
            kube: the API server.
            cloud: the account.
            settings: how the process runs.
            cdn: the CDN of the account, where there is one.
            clock: Unix seconds; it may be set while the process runs, forward or back.

        Raises:
            StartupError: the cluster's identity or our kinds cannot be read.
        """
        registry = CollectorRegistry()
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=registry)
        metrics = OperatorMetrics(registry)
        store, steady = Store(), asyncio.get_running_loop().time
        measured = SharedCloud(cloud, metrics, steady)
        objects = Objects(kube, store)
        events = Recorder(kube, clock)
        recording = Recording(settings.logs, clock)
        if recording.writer is not None:
            registry.register(RecordsCollector(recording.writer))
        ctx = Context(
            settings=settings,
            cluster_uid=await cluster_identity(kube),
            store=store,
            objects=objects,
            events=events,
            cloud=measured,
            view=CloudView(measured, steady, settings.cloud_interval),
            cpu=CpuMonitor(measured, clock, lambda region: everyone_monitored(store, region)),
            scraper=Scraper(clock, settings.dispatcher_url, Tokens(kube, clock)),
            recording=recording,
            alerting=Alerting(events, recording, office(kube, metrics, settings.webhook_networks), metrics),
            usage=UsageMonitor(measured, clock),
            metrics=metrics,
            traffic=TrafficWatch(measured, store, objects, clock),
            probes=aiohttp.ClientSession(),
            forget_region=measured.forget,
            clock=clock,
            steady=steady,
            leaks=Leaks(started=steady()),
        )
        registry.register(InstanceCosts(store.instances, lambda one: bill(one, now=clock()), clock))
        try:
            await ctx.objects.load(settings.namespace)
        except KubeError as error:
            await ctx.probes.close()
            await ctx.scraper.close()
            raise StartupError(
                f"cannot read haipool's kinds: {error}; are the CRDs installed (make install)?"
            ) from error
        exporter = (
            start_http_server(settings.metrics_port, addr="0.0.0.0", registry=registry)
            if settings.metrics_port
            else None
        )
        lease = Lease(kube, settings.namespace or kube.connection.namespace) if settings.lease else None
        operator = cls(ctx, kube, exporter, lease, cdn)
        if lease is None:
            operator._begin()
        else:
            operator._guard = asyncio.create_task(operator._guarded(lease), name="lease")
        return operator

    async def _guarded(self, lease: Lease) -> None:
        """Act while the Lease is held, and never again after it is lost: whoever starts this process starts it anew."""
        await lease.acquire()
        await self._loaded()
        self._begin()
        why = await lease.hold()
        logger.error("the lease is lost: %s; this operator ends", why)
        await self._halt()
        self.over.set_result(why)

    async def _loaded(self) -> None:
        """Read everything once more: much may have changed while another held the Lease."""
        while True:
            try:
                return await self.ctx.objects.load(self.ctx.settings.namespace)
            except KubeError as error:
                logger.warning("the objects could not be read: %s", error)
                await asyncio.sleep(RETRY_SECONDS)

    def _begin(self) -> None:
        self.ctx.blocks.restore(self.ctx.store.presets)
        self.ctx.metrics.blocks(self.ctx.blocks.active(now=self.ctx.clock()))
        for pool in self.ctx.store.pools:
            # The instances were listed after the pools, so what was decided for these has been seen.
            self.ctx.pool_memory(pool.metadata.uid).seen = pool.status.decision_counter
        self._acting = True
        self.ctx.recording.configure(self.ctx.store.pools)
        self._audit.begin()
        if self.ctx.settings.billing_reconciliation:
            self._reconciliation.begin()
        for shelf, workers in self._shelves():
            for model in shelf:
                workers.wake(model.metadata.key)
        for pool in self.ctx.store.pools:
            self.ctx.wake_cdn(pool.metadata.key)

    def _shelves(self) -> tuple[tuple[Shelf[Any], Workers], ...]:
        store = self.ctx.store
        return (
            (store.presets, self._presets),
            (store.instances, self._instances),
            (store.pools, self._pools),
        )

    def changed(self, kind: str, event: str | None, raw: Mapping[str, Any]) -> None:
        """The watch saw a change: take it in, and have a worker look if it is news."""
        shelf, workers = self._of(kind)
        meta = raw["metadata"]
        key = f"{meta['namespace']}/{meta['name']}"
        if event == "DELETED":
            shelf.drop(key, meta.get("uid", ""))
            news = True
        else:
            before = shelf.get(key)
            after = shelf.put(raw)
            news = after is not None and _is_news(before, after)
        if news and self._acting:
            workers.wake(key)

    def _of(self, kind: str) -> tuple[Shelf[Any], Workers]:
        store = self.ctx.store
        of: dict[str, tuple[Shelf[Any], Workers]] = {
            "GpuPool": (store.pools, self._pools),
            "RegionPreset": (store.presets, self._presets),
            "GpuInstance": (store.instances, self._instances),
        }
        return of[kind]

    def stuck(self) -> str:
        """Which pool has not been decided on for too long; empty when all is well."""
        now = asyncio.get_running_loop().time()
        for pool in self.ctx.store.pools:
            beat = self._pools.beats.get(pool.metadata.key)
            limit = max(STUCK_SECONDS, STUCK_INTERVALS * pool.spec.scaling.interval_seconds)
            if beat is not None and now - beat > limit:
                return f"pool {pool.metadata.key} was last decided on {now - beat:.0f} s ago"
        return ""

    async def _halt(self) -> None:
        """End all that decides and acts."""
        self._acting = False
        await self._audit.close()
        await self._reconciliation.close()
        for workers in self._workers:
            await workers.stop()

    async def stop(self) -> None:
        """End the workers, give the Lease back, then end the connections."""
        if self._guard is not None:
            self._guard.cancel()
            await asyncio.gather(self._guard, return_exceptions=True)
        held = self._acting
        await self._halt()
        if held and self._lease is not None:
            await self._lease.release()
        await self.ctx.alerting.close()
        await self.ctx.recording.close()
        await self.ctx.usage.close()
        await self.ctx.cpu.close()
        await self.ctx.traffic.close()
        await self.ctx.scraper.close()
        await self.ctx.probes.close()
        await self.ctx.cloud.close()
        if self._cdn is not None:
            await self._cdn.close()
        await self._kube.close()
        if self._exporter is not None:
            server, thread = self._exporter
            server.shutdown()
            server.server_close()
            thread.join()


def _is_news(before: Any, after: Any) -> bool:
    """Whether a person (or a deletion) changed something; the echo of the operator's own status patch is none."""
    if before is None:
        return True
    old, new = before.metadata, after.metadata
    return bool(
        old.uid != new.uid
        or old.generation != new.generation
        or old.deleting != new.deleting
        or old.annotations != new.annotations
        or old.labels != new.labels
        or old.finalizers != new.finalizers
    )


async def cluster_identity(kube: KubeClient) -> str:
    """UID of the namespace kube-system.

    Without it two clusters on one account could not tell their instances apart, so the operator refuses to start.

    Raises:
        StartupError: it cannot be read.
    """
    try:
        namespace = await kube.get(NAMESPACES, "kube-system")
    except KubeError as error:
        raise StartupError(
            f"cannot read the UID of the namespace kube-system, which names this cluster: {error}"
        ) from error
    return str(namespace["metadata"]["uid"])
