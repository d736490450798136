"""Signals from a Prometheus: a real one, healthy, with dead targets and killed; and whatever else may answer there."""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from controller.api.gpupool import GpuPool
from controller.api.model import read
from controller.operator.prometheus import PrometheusClient
from controller.sandbox.children import Child
from controller.sandbox.loopback import free_port
from controller.scaling.promql import age_query
from controller.scaling.signals import Asked, Figure
from controller.scaling.snapshot import Missing
from tests.operator.prom import HOST, exporter, needs_prometheus, prometheus

REPOSITORY = Path(__file__).parents[2]
Ask = Callable[..., Awaitable[Asked]]


@pytest.fixture
async def ask() -> AsyncIterator[Ask]:
    """What a pool with this `spec.metrics.prometheus` is told."""
    asking = PrometheusClient()

    async def of(url: str, **source: Any) -> Asked:
        spec = {"metrics": {"prometheus": {"url": url, **source}}}
        return await asking.ask(read(GpuPool, {"metadata": {"name": "a", "namespace": "ns"}, "spec": spec}))

    yield of
    await asking.close()


async def until(look: Callable[[], Awaitable[Any]], wanted: Callable[[Any], bool]) -> Any:
    """Look until it is as wanted."""
    loop = asyncio.get_running_loop()
    end = loop.time() + 60.0
    while not wanted(found := await look()):
        assert loop.time() < end, f"never as wanted: {found}"
        await asyncio.sleep(0.1)
    return found


def value(figure: Figure | Missing | None) -> float | None:
    return figure.signal.value if isinstance(figure, Figure) else None


def why(figure: Figure | Missing | None) -> str:
    return figure.message if isinstance(figure, Missing) else ""


@needs_prometheus
@pytest.mark.processes
class TestRealPrometheus:
    async def test_figures_are_read_until_the_target_dies_and_are_unknown_then(self, ask: Ask, tmp_path: Path) -> None:
        page = 'gpu{server="1"} 40\ngpu{server="2"} 60\nbacklog 7\n'
        queries = {"cpuPercent": "avg(gpu)", "queueLength": "backlog", "longestWaitSeconds": "sum(backlog) / 2"}
        async with exporter(page) as gpus, prometheus(tmp_path, gpus=[gpus.target]) as server:
            found = await until(lambda: ask(server.url, queries=queries), lambda found: value(found["cpu"]) is not None)
            assert [value(found[name]) for name in ("cpu", "queue_length", "longest_wait")] == [50.0, 7.0, 3.5]
            assert "mean_response" not in found, "it is read from the dispatchers"
            backlog = found["queue_length"]
            assert isinstance(backlog, Figure)
            assert (backlog.signal.source, backlog.signal.age < 60.0) == ("prometheus", True)
            several = await ask(server.url, queries={"cpuPercent": "gpu"})
            assert "gives 2 samples, not one" in why(several["cpu"])
            await gpus.die()
            found = await until(lambda: ask(server.url, queries=queries), lambda found: why(found["cpu"]) != "")
            assert why(found["cpu"]) == (
                "spec.metrics.prometheus.queries.cpuPercent gives no sample: "
                "the series do not exist, or their targets are down: avg(gpu)"
            )

    async def test_zero_by_default_is_unknown_where_nothing_was_measured(self, ask: Ask, tmp_path: Path) -> None:
        async with prometheus(tmp_path) as server:
            found = await ask(server.url, queries={"queueLength": "sum(gone) or vector(0)"})
        assert "gives 0 with no sample behind it" in why(found["queue_length"])

    async def test_old_samples_that_prometheus_still_answers_with_are_stale(self, ask: Ask, tmp_path: Path) -> None:
        """Samples with timestamps of their own get no mark of staleness: Prometheus answers with them for 5 minutes."""
        old = int((time.time() - 120.0) * 1000)
        async with exporter(f"gpu 40 {old}\n") as gpus, prometheus(tmp_path, gpus=[gpus.target]) as server:
            look = {"cpuPercent": "avg(gpu)", "queueLength": "gpu"}
            found = await until(
                lambda: ask(server.url, queries=look), lambda found: "old" in why(found["cpu"]) + why(found["cpu"])
            )
            assert "s old, more than maxAgeSeconds 60: avg(gpu)" in why(found["cpu"])
            found = await ask(server.url, queries=look, maxAgeSeconds=3600)
            assert value(found["queue_length"]) == 40.0
            cpu = found["cpu"]
            assert isinstance(cpu, Figure)
            assert cpu.signal.age > 110.0

    async def test_a_prometheus_that_was_killed_is_no_zero(self, ask: Ask, tmp_path: Path) -> None:
        async with prometheus(tmp_path) as server:
            await server.kill()
            found = await ask(server.url, queries={"queueLength": "backlog"})
        assert "ClientConnectorError" in why(found["queue_length"])

    async def test_what_is_wrong_with_a_query_is_said_in_prometheus_words(self, ask: Ask, tmp_path: Path) -> None:
        async with prometheus(tmp_path) as server:
            found = await ask(server.url, queries={"queueLength": "sum(a", "cpuPercent": "a[5m]"})
        assert "answered 400" in why(found["queue_length"])
        assert "unclosed left parenthesis" in why(found["queue_length"])
        assert "matrix" in why(found["cpu"])

    @pytest.mark.parametrize(
        "query",
        [
            'sum by (job) (rate(a{x="}", y!~`b"`}[5m])) / on (job) group_left(n) sum without (n) (b) * 2 ^ 1e2',
            "histogram_quantile(0.9, sum by (le) (rate(a_bucket[2m]))) or (a unless b) and c > bool 3",
            "max_over_time((a + b)[10m:30s]) + a offset 5m - c # the rest",
            '{__name__=~"a|b", c="\\"d\\""} == 3 or label_replace(e, "x", "$1", "y", "(.*)")',
        ],
    )
    async def test_the_question_for_the_age_is_one_that_it_understands(
        self, ask: Ask, tmp_path: Path, query: str
    ) -> None:
        age = age_query(query)
        assert age is not None
        async with prometheus(tmp_path) as server:
            found = await ask(server.url, queries={"queueLength": age, "cpuPercent": query})
        assert "gives no sample" in why(found["queue_length"]), "it is empty, not refused"
        assert "gives no sample" in why(found["cpu"])

    async def test_it_understands_every_query_of_the_document_and_the_one_for_its_age(
        self, ask: Ask, tmp_path: Path
    ) -> None:
        lines = (REPOSITORY / "docs" / "signals.md").read_text(encoding="utf-8").splitlines()
        written = [q for line in lines if line.startswith("| ") for q in re.findall(r"`([^`]*\([^`]*\)[^`]*)`", line)]
        assert len(written) == 7
        async with prometheus(tmp_path) as server:
            for query in written:
                found = await ask(server.url, queries={"queueLength": query, "cpuPercent": age_query(query)})
                assert "gives no sample" in why(found["queue_length"]), query
                assert "gives no sample" in why(found["cpu"]), age_query(query)

    async def test_a_zero_that_is_tied_to_a_living_target_is_one_and_dies_with_it(
        self, ask: Ask, tmp_path: Path
    ) -> None:
        query = {"queueLength": 'sum(my_queue) or 0 * (max(up{job="queue"}) == 1)'}
        async with exporter("other 1\n") as queue, prometheus(tmp_path, queue=[queue.target]) as server:
            await until(lambda: ask(server.url, queries=query), lambda found: value(found["queue_length"]) == 0.0)
            queue.page = "my_queue 7\n"
            await until(lambda: ask(server.url, queries=query), lambda found: value(found["queue_length"]) == 7.0)
            await queue.die()
            await until(lambda: ask(server.url, queries=query), lambda found: why(found["queue_length"]) != "")

    async def test_the_dispatchers_own_figures_are_asked_for_by_their_labels(self, ask: Ask, tmp_path: Path) -> None:
        admin, dead = free_port(), free_port()
        file = tmp_path / "servers.yaml"
        file.write_text("servers: [{name: gpu-1, address: 'http://127.0.0.1:9'}]\n", encoding="utf-8")
        arguments = ["dispatcher", "--pool", "a", "--servers-file", str(file), "--host", HOST, "--port", "0"]
        dispatcher = await Child.start(
            "dispatcher",
            [*arguments, "--admin-host", HOST, "--admin-port", str(admin), "--logs", str(tmp_path / "logs")],
            log=tmp_path / "dispatcher.log",
            env={},
        )
        try:
            async with prometheus(tmp_path, alone=[f"{HOST}:{admin}"], both=[f"{HOST}:{admin}", f"{HOST}:{dead}"]) as p:
                alone = await until(
                    lambda: ask(p.url, dispatchers='job="alone"'), lambda found: not why(found["queue_length"])
                )
                assert {name: (value(f), f.lacks) for name, f in alone.items()} == dict.fromkeys(
                    ("mean_response", "queue_length", "longest_wait"), (0.0, "")
                )
                both = await until(
                    lambda: ask(p.url, dispatchers='job="both"'),
                    lambda found: isinstance(found["queue_length"], Figure) and bool(found["queue_length"].lacks),
                )
                assert both["queue_length"].lacks == "1 dispatchers are not scraped, or not current"
        finally:
            await dispatcher.stop()


async def serve(answer: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> tuple[web.AppRunner, str]:
    app = web.Application()
    app.router.add_post("/prefix/api/v1/query", answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, HOST, 0).start()
    host, port = runner.addresses[0][:2]
    return runner, f"http://{host}:{port}/prefix/"


async def html(_: web.Request) -> web.Response:
    return web.Response(text="<html>please log in</html>", content_type="text/html")


async def login(_: web.Request) -> web.Response:
    return web.Response(status=302, headers={"Location": "http://127.0.0.1:9/login"})


async def secret(_: web.Request) -> web.Response:
    return web.Response(status=401, text="who are you")


async def broken(_: web.Request) -> web.Response:
    return web.Response(status=503, text='{"status":"error","errorType":"timeout","error":"query timed out"}')


async def huge(_: web.Request) -> web.Response:
    return web.Response(body=b" " * (10 * 1024 * 1024))


async def cut(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": "1000"})
    await response.prepare(request)
    await response.write(b'{"status": "success"')
    assert request.transport is not None
    request.transport.close()
    return response


async def loris(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    while True:
        await response.write(b" ")
        await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (html, "no answer of a Prometheus"),
        (login, "answered 302"),
        (secret, "answered 401: see metrics.prometheus.tokenSecret"),
        (broken, "answered 503: query timed out"),
        (huge, "answered with more than 1024 kiB"),
        (cut, "ClientPayloadError"),
        (loris, "no answer within 0.5 s"),
    ],
)
async def test_whatever_answers_there_is_bounded_and_unknown(answer: Any, said: str) -> None:
    asking = PrometheusClient(timeout=0.5 if answer is loris else 60.0)
    runner, url = await serve(answer)
    spec = {"metrics": {"prometheus": {"url": url, "queries": {"queueLength": "q"}}}}
    try:
        found = await asking.ask(read(GpuPool, {"metadata": {"name": "a"}, "spec": spec}))
    finally:
        await asking.close()
        await runner.cleanup()
    assert said in why(found["queue_length"])
    assert "queries.queueLength" in why(found["queue_length"])


async def test_a_pool_without_prometheus_asks_nobody() -> None:
    asking = PrometheusClient()
    try:
        assert await asking.ask(read(GpuPool, {"metadata": {"name": "a"}})) == {}
    finally:
        await asking.close()
