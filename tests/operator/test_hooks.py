"""Traffic hooks against a small Stable Diffusion WebUI: sent, told of when they fail, undone to the last setting."""

import contextlib
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any, cast

import aiohttp
import pytest
from aiohttp import web
from prometheus_client import CollectorRegistry

from controller.api.gpuinstance import GpuInstance
from controller.api.traffic import TrafficLevel
from controller.cloud.contract import Cloud
from controller.kube.client import KubeClient
from controller.kube.connect import Connection
from controller.operator.alerting import Alerting
from controller.operator.cloudview import CloudView
from controller.operator.context import Context, Settings
from controller.operator.cpu import CpuMonitor
from controller.operator.events import EVENTS, Recorder
from controller.operator.lifecycle import optimize as subject
from controller.operator.lifecycle.optimize import before_ready, doubt, optimize
from controller.operator.lifecycle.services import Services
from controller.operator.metrics import OperatorMetrics
from controller.operator.objects import INSTANCES, POOLS, Objects
from controller.operator.presets import Presets
from controller.operator.recording import Recording
from controller.operator.scrape import Scraper
from controller.operator.store import Store
from controller.operator.tokens import Tokens
from controller.operator.trafficwatch import TrafficWatch
from controller.operator.usage import UsageMonitor
from controller.sandbox import shipped
from controller.sandbox.kubeapi.server import LocalKubernetes
from tests.dispatcher.services.a1111 import A1111, SETTINGS

WEBUI = {"hookSet": "StableDiffusionWebUI"}
#: 2026-01-15 12:00 in Beijing.
NOON = 1768449600.0
KEY = "default/pool-1"


class Crash(BaseException):
    """The process is gone."""


class Mortal:
    """Something whose calls of some names are, one of them, the death of the process: before it or after it."""

    def __init__(self, inner: Any, names: tuple[str, ...], burn: Callable[[], None]) -> None:
        self._inner, self._names, self._burn = inner, names, burn

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if name not in self._names:
            return found
        return self._context(found) if name == "request" else self._call(found)

    def _call(self, found: Any) -> Any:
        async def call(*arguments: Any, **options: Any) -> Any:
            self._burn()
            answer = await found(*arguments, **options)
            self._burn()
            return answer

        return call

    def _context(self, found: Any) -> Any:
        @contextlib.asynccontextmanager
        async def request(*arguments: Any, **options: Any) -> AsyncIterator[Any]:
            self._burn()
            async with found(*arguments, **options) as response:
                self._burn()
                yield response

        return request


@dataclass
class Bench:
    """A pool with one server, on a real API and a real socket; the operator around it can die and start again."""

    kube: KubeClient
    session: aiohttp.ClientSession
    webui: A1111
    address: str
    now: float = NOON
    #: At how many moments from now the process dies; None: never.
    fuse: int | None = None
    passed: int = 0
    services: Services = field(init=False)

    def _burn(self) -> None:
        if self.fuse is not None and self.passed >= self.fuse:
            raise Crash
        self.passed += 1

    async def restart(self, *, fuse: int | None = None) -> None:
        """A process that knows only what is written."""
        self.fuse, self.passed = fuse, 0
        kube = cast("KubeClient", Mortal(self.kube, ("patch", "create"), self._burn))
        cloud, store = cast("Cloud", None), Store()
        clock = lambda: self.now  # noqa: E731
        objects = Objects(kube, store)
        await objects.load(None)
        ctx = Context(
            settings=Settings(),
            cluster_uid="c",
            store=store,
            objects=objects,
            events=Recorder(kube, clock),
            cloud=cloud,
            view=CloudView(cloud, clock, 5.0),
            cpu=CpuMonitor(cloud, clock),
            scraper=Scraper(clock, None, Tokens(kube, clock)),
            recording=Recording(None, clock),
            alerting=cast("Alerting", None),
            usage=UsageMonitor(cloud, clock),
            metrics=OperatorMetrics(CollectorRegistry()),
            traffic=TrafficWatch(cloud, store, objects, clock),
            probes=cast("aiohttp.ClientSession", Mortal(self.session, ("request",), self._burn)),
            clock=clock,
        )
        with contextlib.suppress(AttributeError):
            await self.services.ctx.scraper.close()
        self.services = Services(ctx, Presets(ctx))

    async def level(self, level: TrafficLevel, month: str = "2026-01") -> None:
        """What the pool's handler would write."""
        pool = self.services.ctx.store.pools.get("default/pool")
        assert pool is not None
        await self.services.ctx.objects.pool_status(pool, {"traffic": {"level": level, "month": month}})

    async def hooks(self, hooks: dict[str, Any] | None, **spec: Any) -> None:
        """What a person would apply."""
        body = {"spec": {"traffic": {"optimization": {"hooks": hooks}}, **spec}}
        await self.kube.patch(POOLS, "pool", body, namespace="default")
        pool = self.services.ctx.store.pools.get("default/pool")
        assert pool is not None
        await self.services.ctx.objects.refresh_pool(pool)

    def instance(self) -> GpuInstance:
        found = self.services.ctx.store.instances.get(KEY)
        assert found is not None
        return found

    async def look(self) -> GpuInstance:
        """One look of the instance's worker."""
        return await optimize(self.services, self.instance(), self.address)

    def condition(self) -> tuple[str, str]:
        found = {c.type: (c.status, c.reason) for c in self.instance().status.conditions}
        return found.get("TrafficOptimized", ("", ""))

    async def events(self) -> list[str]:
        return [e["reason"] for e in (await self.kube.list(EVENTS, namespace="default")).items]

    def posts(self) -> int:
        return self.webui.seen.count("POST /sdapi/v1/options")


POOL = {
    "apiVersion": "haipool.io/v1alpha1",
    "kind": "GpuPool",
    "metadata": {"name": "pool"},
    "spec": {"traffic": {"optimization": {"hooks": WEBUI}}},
}


def gpu_instance(pool_uid: str) -> dict[str, Any]:
    return {
        "apiVersion": "haipool.io/v1alpha1",
        "kind": "GpuInstance",
        "metadata": {"name": "pool-1"},
        "spec": {
            "pool": "pool", "poolUID": pool_uid, "region": "ap-beijing", "bundle": "XL",
            "applicationId": "app-a1b2c3d4", "pricePerHour": 0.88, "launchNumber": 1,
        },
    }  # fmt: skip


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    async with contextlib.AsyncExitStack() as stack:
        kubernetes = LocalKubernetes()
        kubernetes.install(shipped.definitions())
        stack.push_async_callback(kubernetes.stop)
        kube = KubeClient(Connection(await kubernetes.start("127.0.0.1", 0)))
        stack.push_async_callback(kube.close)
        webui = A1111()
        runner = web.AppRunner(webui.app, access_log=None, shutdown_timeout=0)
        stack.push_async_callback(runner.cleanup)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        session = await stack.enter_async_context(aiohttp.ClientSession())
        made = Bench(kube, session, webui, f"http://127.0.0.1:{runner.addresses[0][1]}")
        pool = await kube.create(POOLS, POOL, namespace="default")
        await kube.create(INSTANCES, gpu_instance(pool["metadata"]["uid"]), namespace="default")
        await made.restart()
        yield made
        await made.services.ctx.scraper.close()


class TestTheWebUI:
    async def test_at_300_gb_it_makes_webp_and_when_the_month_turns_what_it_made_before(self, bench: Bench) -> None:
        bench.webui.options["samples_format"] = "jpg"
        await bench.level("Optimize")
        status = (await bench.look()).status.optimization
        assert bench.webui.options == SETTINGS | {"samples_format": "webp"}
        assert (status.level, status.error, bench.condition()) == ("Optimize", "", ("True", "Optimize"))
        assert json.loads(status.saved[0].values) == {"samples_format": "jpg"}
        assert "TrafficOptimizeEntered" in await bench.events()
        bench.now = NOON + 17 * 24 * 3600  # February; the level of January holds no more, even before it is rewritten
        status = (await bench.look()).status.optimization
        assert bench.webui.options == SETTINGS | {"samples_format": "jpg"}
        assert (status.level, status.saved, status.hooks) == ("Normal", (), "")
        assert "TrafficOptimizeLeft" in await bench.events()

    async def test_at_450_gb_it_saves_more_and_each_stage_is_undone_to_the_one_below(self, bench: Bench) -> None:
        bench.webui.options["jpeg_quality"] = 90
        await bench.level("Critical")
        await bench.look()
        assert bench.webui.options == SETTINGS | {"samples_format": "webp", "jpeg_quality": 60}
        await bench.level("Warning")
        await bench.look()
        assert bench.webui.options == SETTINGS | {"samples_format": "webp", "jpeg_quality": 90}
        assert type(bench.webui.options["jpeg_quality"]) is int  # as a float it could encode no JPEG any more
        await bench.level("Normal")
        await bench.look()
        assert bench.webui.options == SETTINGS | {"jpeg_quality": 90}

    async def test_while_the_level_stays_nothing_is_sent(self, bench: Bench) -> None:
        await bench.level("Optimize")
        await bench.look()
        before = len(bench.webui.seen)
        await bench.level("Warning")
        await bench.look()
        await bench.restart()
        await bench.look()
        assert len(bench.webui.seen) == before

    async def test_a_server_that_was_down_gets_them_again(self, bench: Bench) -> None:
        await bench.level("Optimize")
        await bench.look()
        bench.webui.options["samples_format"] = "png"  # came back without what it was told
        await optimize(bench.services, await doubt(bench.services, bench.instance()), bench.address)
        assert bench.webui.options["samples_format"] == "webp"
        await bench.level("Normal")
        await bench.look()
        assert bench.webui.options == SETTINGS

    async def test_under_the_scope_instance_a_servers_own_traffic_decides(self, bench: Bench) -> None:
        await bench.hooks(WEBUI)
        await bench.kube.patch(POOLS, "pool", {"spec": {"traffic": {"scope": "Instance"}}}, namespace="default")
        pool = bench.services.ctx.store.pools.get("default/pool")
        assert pool is not None
        await bench.services.ctx.objects.refresh_pool(pool)
        await bench.level("Emergency")
        await bench.look()
        assert bench.posts() == 0
        used = {"traffic": {"month": "2026-01", "usedGB": 301.0}}
        await bench.services.ctx.objects.instance_status(bench.instance(), used)
        await bench.look()
        assert bench.webui.options["samples_format"] == "webp"


class TestTrouble:
    async def test_a_server_that_refuses_is_told_of_at_the_third_try_and_served_on(self, bench: Bench) -> None:
        bench.webui.frozen.add("samples_format")
        await bench.level("Optimize")
        told = []
        for _ in range(3):
            await bench.look()
            told.append(bench.condition())
            bench.now += 600.0
        assert told == [("Unknown", "Retrying"), ("Unknown", "Retrying"), ("False", "HookFailed")]
        assert "answered 500" in bench.instance().status.optimization.error
        assert (await bench.events()).count("HookFailed") == 1
        bench.webui.frozen.clear()
        await bench.look()
        assert (bench.condition(), bench.instance().status.optimization.error) == (("True", "Optimize"), "")

    async def test_between_failed_tries_it_is_left_alone_for_longer_and_longer(self, bench: Bench) -> None:
        bench.webui.frozen.add("samples_format")
        await bench.level("Optimize")
        posts = []
        for _ in range(120):
            await bench.look()
            posts.append(bench.posts())
            bench.now += 5.0
        tries = [k * 5.0 for k in range(1, 120) if posts[k] > posts[k - 1]]
        assert tries == [10.0, 30.0, 70.0, 150.0, 310.0]

    async def test_another_level_is_not_kept_waiting_by_failures_of_the_one_before(self, bench: Bench) -> None:
        bench.webui.frozen.add("samples_format")
        await bench.level("Optimize")
        await bench.look()
        bench.webui.frozen.clear()
        await bench.level("Normal")
        status = (await bench.look()).status.optimization
        assert (status.level, status.error, bench.webui.options) == ("Normal", "", SETTINGS)

    async def test_what_was_half_done_when_it_failed_is_undone_all_the_same(self, bench: Bench) -> None:
        bench.webui.options["samples_format"] = "jpg"
        bench.webui.hidden.add("jpeg_quality")
        own = {"onEnter": [{"path": "/sdapi/v1/options", "restore": True,
                            "body": '{"samples_format": "webp", "jpeg_quality": 30}'}]}  # fmt: skip
        await bench.hooks({"hookSet": "None", "optimize": own})
        await bench.level("Optimize")
        for _ in range(2):
            status = (await bench.look()).status.optimization
            bench.now += 600.0
        assert (status.level, status.applied_at, bench.webui.options["samples_format"]) == ("Optimize", None, "webp")
        assert "jpeg_quality did not change" in status.error
        await bench.level("Normal")
        await bench.look()
        assert bench.webui.options == SETTINGS | {"samples_format": "jpg"}

    async def test_a_setting_that_the_server_silently_keeps_is_an_error(self, bench: Bench) -> None:
        bench.webui.hidden.add("samples_format")
        await bench.level("Optimize")
        await bench.look()
        assert "samples_format did not change" in bench.instance().status.optimization.error

    async def test_a_setting_that_the_server_does_not_have_is_an_error_and_nothing_is_sent(self, bench: Bench) -> None:
        await bench.hooks({"hookSet": "None", "optimize": {"onEnter": [
            {"path": "/sdapi/v1/options", "body": '{"sample_format": "webp"}', "restore": True}]}})  # fmt: skip
        await bench.level("Optimize")
        await bench.look()
        assert bench.instance().status.optimization.error.endswith("shows no sample_format")
        assert bench.posts() == 0

    @pytest.mark.parametrize(
        ("hook", "error"),
        [
            ({"path": "/nothing"}, "answered 404"),
            ({"path": "/sdapi/v1/options", "body": "{", "restore": True}, "not valid JSON"),
            ({"path": "/file=a", "body": "{}", "method": "PUT", "restore": True}, "not JSON"),
            ({"path": "/sdapi/v1/sd-models", "body": "{}", "restore": True}, "no JSON object"),
        ],
    )
    async def test_what_went_wrong_is_said(self, bench: Bench, hook: dict[str, Any], error: str) -> None:
        await bench.hooks({"hookSet": "None", "optimize": {"onEnter": [hook]}})
        await bench.level("Optimize")
        await bench.look()
        assert error in bench.instance().status.optimization.error

    async def test_a_server_that_does_not_answer(self, bench: Bench) -> None:
        await bench.level("Optimize")
        await optimize(bench.services, bench.instance(), "http://127.0.0.1:1")
        assert "failed" in bench.instance().status.optimization.error


class TestNewServers:
    async def test_they_get_the_hooks_of_the_level_before_they_are_ready(self, bench: Bench) -> None:
        await bench.level("Critical")
        await before_ready(bench.services, bench.instance(), bench.address)
        assert bench.webui.options == SETTINGS | {"samples_format": "webp", "jpeg_quality": 60}

    async def test_failing_hooks_keep_none_from_being_ready(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(subject, "BEFORE_READY_PAUSES", (0.0, 0.0))
        bench.webui.frozen.add("samples_format")
        await bench.level("Optimize")
        instance = await before_ready(bench.services, bench.instance(), bench.address)
        assert (bench.posts(), bench.condition()) == (3, ("False", "HookFailed"))
        assert instance.status.optimization.error

    async def test_without_a_level_nothing_is_sent_or_written(self, bench: Bench) -> None:
        version = bench.instance().metadata.resource_version
        await before_ready(bench.services, bench.instance(), bench.address)
        assert (bench.webui.seen, bench.instance().metadata.resource_version) == ([], version)


class TestWhatPeopleChange:
    async def test_own_requests_run_in_order_and_after_the_ready_ones(self, bench: Bench) -> None:
        requests = {"onEnter": [{"path": "/run/predict", "body": '{"data": []}'}],
                    "onLeave": [{"method": "GET", "path": "/sdapi/v1/sd-models"}]}  # fmt: skip
        await bench.hooks(WEBUI | {"optimize": requests})
        await bench.level("Optimize")
        await bench.look()
        assert bench.webui.seen == [
            "GET /sdapi/v1/options", "POST /sdapi/v1/options", "GET /sdapi/v1/options", "POST /run/predict",
        ]  # fmt: skip
        bench.webui.seen.clear()
        await bench.level("Normal")
        await bench.look()
        assert bench.webui.seen[:2] == ["GET /sdapi/v1/sd-models", "POST /sdapi/v1/options"]

    async def test_hooks_taken_out_of_the_pool_are_undone(self, bench: Bench) -> None:
        await bench.level("Critical")
        await bench.look()
        await bench.hooks(None)
        await bench.look()
        assert bench.webui.options == SETTINGS
        assert bench.instance().status.optimization.level == "Normal"

    async def test_hooks_that_are_changed_are_undone_and_the_new_ones_sent(self, bench: Bench) -> None:
        await bench.level("Critical")
        await bench.look()
        own = {"onEnter": [{"path": "/sdapi/v1/options", "body": '{"jpeg_quality": 30}', "restore": True}]}
        await bench.hooks({"hookSet": "None", "optimize": own})
        await bench.look()
        assert bench.webui.options == SETTINGS | {"jpeg_quality": 30}
        await bench.level("Normal")
        await bench.look()
        assert bench.webui.options == SETTINGS

    async def test_a_pool_that_only_recommends_sends_nothing(self, bench: Bench) -> None:
        await bench.hooks(WEBUI, mode="Recommend")
        await bench.level("Critical")
        await bench.look()
        assert bench.webui.seen == []


async def looked(bench: Bench, level: TrafficLevel, *, fuse: int | None) -> int | None:
    """The level moves and the worker looks; the process may die. Returns the moments it passed, None if it died."""
    await bench.restart()
    await bench.level(level)
    await bench.restart(fuse=fuse)
    try:
        await bench.look()
    except Crash:
        return None
    return bench.passed


@pytest.mark.crash
async def test_a_death_at_any_moment_of_entering_or_leaving_is_made_good(bench: Bench) -> None:
    bench.webui.options |= {"samples_format": "jpg", "jpeg_quality": 90}
    before = dict(bench.webui.options)
    moments = await looked(bench, "Critical", fuse=None)
    assert moments is not None
    assert await looked(bench, "Normal", fuse=None)
    for k in range(moments + 1):
        # Died while it entered; the level falls before another process takes up the work.
        await looked(bench, "Critical", fuse=k)
        assert await looked(bench, "Normal", fuse=None) is not None
        assert bench.webui.options == before, k
        # Died while it entered, and another one goes on; then died while it left, and another one goes on.
        await looked(bench, "Critical", fuse=k)
        assert await looked(bench, "Critical", fuse=None) is not None
        assert bench.webui.options == before | {"samples_format": "webp", "jpeg_quality": 60}, k
        await looked(bench, "Normal", fuse=k)
        # The level rises again before another process takes up the work.
        assert await looked(bench, "Optimize", fuse=None) is not None
        assert bench.webui.options == before | {"samples_format": "webp"}, k
        await looked(bench, "Normal", fuse=k)
        assert await looked(bench, "Normal", fuse=None) is not None
        assert bench.webui.options == before, k
        assert bench.instance().status.optimization.saved == ()
