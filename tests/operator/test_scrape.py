"""Reading a dispatcher: what counts as a measurement, and where the replicas are looked for."""

import asyncio
import gzip
from typing import Any

import pytest
from aiohttp import web

from controller.api import metrics
from controller.api.gpupool import GpuPool
from controller.api.model import read
from controller.operator.page import ScrapeError, parse
from controller.operator.scrape import Scraper, service_address

GOOD = {
    metrics.QUEUE_LENGTH: 4,
    metrics.QUEUE_OLDEST_AGE: 1.5,
    metrics.MEAN_RESPONSE: 0.7,
    metrics.DISPATCHER_STARTED: 1000.0,
    metrics.DISPATCHER_SYNCED: 1,
}


def page(**changes: Any) -> str:
    values = {name: value for name, value in (GOOD | changes).items() if value is not None}
    lines = [f"# TYPE {name} gauge\n{name} {value}" for name, value in values.items()]
    lines.append(
        f'{metrics.SERVER_IN_FLIGHT}{{server="a-1"}} 2\n{metrics.SERVER_TASKS}{{server="a-1"}} 1\n'
        f'{metrics.SERVER_SLOTS}{{server="a-1"}} 3\n{metrics.SERVER_UP}{{server="a-1"}} 1\n'
        f'{metrics.SERVER_DRAINING}{{server="a-1"}} 0'
    )
    return "\n".join(lines) + "\n"


def pool(**spec: Any) -> GpuPool:
    return read(GpuPool, {"metadata": {"name": "a", "namespace": "ns"}, "spec": spec})


def test_a_page_is_read_with_its_servers() -> None:
    found = parse("u", page(), at=5.0)
    assert (found.queue_length, found.oldest_age, found.mean_response, found.started) == (4, 1.5, 0.7, 1000.0)
    server = found.servers["a-1"]
    assert (server.in_flight, server.tasks, server.slots, server.up, server.draining) == (2, 1, 3, True, False)


TOTALS = dict(zip(metrics.TOTALS, (70, 60, 1800.5), strict=True))


def test_the_counters_of_demand_are_read() -> None:
    assert parse("u", page(**TOTALS), at=0.0).totals == (70.0, 60.0, 1800.5)


@pytest.mark.parametrize("name", metrics.TOTALS)
@pytest.mark.parametrize("value", [None, "NaN", "-1"])
def test_without_a_counter_only_demand_is_unknown(name: str, value: str | None) -> None:
    found = parse("u", page(**(TOTALS | {name: value})), at=0.0)
    assert (found.totals, found.queue_length) == (None, 4.0)


@pytest.mark.parametrize("name", metrics.REQUIRED)
def test_a_page_without_a_required_figure_is_a_failed_scrape(name: str) -> None:
    with pytest.raises(ScrapeError, match=name):
        parse("u", page(**{name: None}), at=0.0)


@pytest.mark.parametrize("value", ["NaN", "+Inf", "-1", "1e12"])
def test_a_figure_that_cannot_be_measured_is_a_failed_scrape(value: str) -> None:
    with pytest.raises(ScrapeError, match="cannot be a measurement"):
        parse("u", page(**{metrics.QUEUE_LENGTH: value}), at=0.0)


def test_a_server_with_a_missing_figure_is_a_failed_scrape_not_a_drained_server() -> None:
    text = "\n".join(line for line in page().splitlines() if metrics.SERVER_IN_FLIGHT not in line) + "\n"
    with pytest.raises(ScrapeError, match=r"in_flight.*a-1"):
        parse("u", text, at=0.0)


def test_a_replica_that_lost_the_api_server_does_not_count() -> None:
    with pytest.raises(ScrapeError, match="not caught up"):
        parse("u", page(**{metrics.DISPATCHER_SYNCED: 0}), at=0.0)


@pytest.mark.parametrize("value", ["NaN", "+Inf", "-1", "1e9"])
@pytest.mark.parametrize("name", [metrics.SERVER_IN_FLIGHT, metrics.SERVER_TASKS, metrics.SERVER_SLOTS])
def test_a_servers_figure_that_cannot_be_measured_is_a_failed_scrape(name: str, value: str) -> None:
    lines = [f'{name}{{server="a-1"}} {value}' if line.startswith(name) else line for line in page().splitlines()]
    with pytest.raises(ScrapeError, match=f"{name} of a-1 .* cannot be a measurement"):
        parse("u", "\n".join(lines) + "\n", at=0.0)


@pytest.mark.parametrize(
    "again", [f"{metrics.QUEUE_LENGTH} 0\n", f'{metrics.SERVER_UP}{{server="a-1"}} 0\n'], ids=["queue", "server"]
)
def test_a_figure_that_is_there_twice_is_a_failed_scrape(again: str) -> None:
    with pytest.raises(ScrapeError, match="more than once"):
        parse("u", page() + again, at=0.0)


def test_how_long_slots_were_taken_is_read_and_may_be_missing() -> None:
    assert parse("u", page(), at=0.0).servers["a-1"].busy_seconds is None
    counted = page() + f'# TYPE {metrics.SERVER_BUSY} counter\n{metrics.SERVER_BUSY}{{server="a-1"}} 12.5\n'
    assert parse("u", counted, at=0.0).servers["a-1"].busy_seconds == 12.5


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("<html><body>please log in</body></html>\n", "is missing: is this the dispatcher's admin port"),
        ("", "breaks off"),
        (page()[:-1], "breaks off"),
        (page().removesuffix(" 0\n"), "breaks off"),
        ("\n".join(page().splitlines()[:-1]) + "\n", "'draining' of server a-1 is missing"),
    ],
    ids=["html", "empty", "last-newline", "in-a-line", "after-a-line"],
)
def test_what_is_no_whole_page_is_a_failed_scrape(text: str, said: str) -> None:
    with pytest.raises(ScrapeError, match=said):
        parse("u", text, at=0.0)


def stamped(at: float) -> str:
    return page().replace(f"{metrics.QUEUE_LENGTH} 4", f"{metrics.QUEUE_LENGTH} 4 {at * 1000:.0f}")


@pytest.mark.parametrize(
    ("stamp", "said"), [(969.0, "31 s old"), (-1e9, "old by their timestamps"), (1031.0, "31 s ahead of this clock")]
)
def test_figures_with_an_old_timestamp_are_stale(stamp: float, said: str) -> None:
    with pytest.raises(ScrapeError, match=said):
        parse("u", stamped(stamp), at=1000.0)


def test_a_timestamp_of_a_moment_ago_is_when_it_was_read() -> None:
    assert parse("u", stamped(980.0), at=1000.0).at == 980.0
    assert parse("u", stamped(1003.0), at=1000.0).at == 1000.0, "another pod's clock may be a little ahead"


@pytest.mark.parametrize(
    ("service", "address"),
    [
        (None, ("a-dispatcher-headless.ns.svc", 9090)),
        ("other", ("other.ns.svc", 9090)),
        ("other:1234", ("other.ns.svc", 1234)),
        ("other.far", ("other.far.svc", 9090)),
        ("other.far.svc.cluster.local", ("other.far.svc.cluster.local", 9090)),
    ],
)
def test_where_the_service_is_looked_for(service: str | None, address: tuple[str, int]) -> None:
    metrics_spec = {} if service is None else {"service": service}
    assert service_address(pool(metrics=metrics_spec)) == address


async def serve(text: str, status: int = 200) -> tuple[web.AppRunner, str]:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(text=text, status=status)

    app = web.Application()
    app.router.add_get("/metrics", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    return runner, f"http://{host}:{port}/metrics"


async def test_one_replica_that_fails_is_named_and_the_others_still_count() -> None:
    good, good_url = await serve(page())
    bad, bad_url = await serve("no", status=500)
    scraper = Scraper(lambda: 7.0)
    try:
        found = await scraper.scrape(pool(metrics={"urls": [good_url, bad_url]}))
    finally:
        await scraper.close()
        await good.cleanup()
        await bad.cleanup()
    assert [r.url for r in found.replicas] == [good_url]
    assert found.replicas[0].at == 7.0
    assert found.failed == ((bad_url, "answered 500"),)
    assert not found.complete


async def test_a_dispatcher_that_is_not_there_is_a_failed_scrape_never_zero() -> None:
    scraper = Scraper(lambda: 0.0, "http://127.0.0.1:9/metrics")
    try:
        found = await scraper.scrape(pool())
    finally:
        await scraper.close()
    assert found.replicas == ()
    assert "ClientConnectorError" in found.failed[0][1]


async def whole(request: web.Request) -> web.StreamResponse:
    return web.Response(text=page())


async def redirect(_: web.Request) -> web.StreamResponse:
    return web.Response(status=302, headers={"Location": "http://127.0.0.1:9/"})


async def html(_: web.Request) -> web.StreamResponse:
    return web.Response(text="<!doctype html>\n<html>\n</html>\n", content_type="text/html")


async def binary(_: web.Request) -> web.StreamResponse:
    return web.Response(body=b"\x00\xff\xfe\n")


async def huge(request: web.Request) -> web.StreamResponse:
    return web.Response(text=page() + "# x\n" * (10 * 1024 * 1024 // 4))


async def bomb(_: web.Request) -> web.StreamResponse:
    body = gzip.compress(b"#" * 1_000_000)
    return web.Response(body=body, headers={"Content-Encoding": "gzip"})


async def cut(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": str(len(page()) + 1)})
    await response.prepare(request)
    await response.write(page().encode())
    assert request.transport is not None
    request.transport.close()
    return response


async def chunk_cut(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    response.enable_chunked_encoding()
    await response.prepare(request)
    await response.write(page().encode())
    assert request.transport is not None
    request.transport.close()
    return response


async def loris(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    response.enable_chunked_encoding()
    await response.prepare(request)
    while True:
        await response.write(b"#")
        await asyncio.sleep(0.01)


async def answering(handler: Any, host: str = "127.0.0.1", port: int = 0) -> tuple[web.AppRunner, int]:
    app = web.Application()
    app.router.add_get("/metrics", handler)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, host, port).start()
    return runner, runner.addresses[0][1]


@pytest.mark.parametrize(
    ("handler", "said"),
    [
        (redirect, "answered 302"),
        (html, "is missing: is this the dispatcher's admin port?"),
        (binary, "UnicodeDecodeError"),
        (huge, "answered with more than 8 MiB"),
        (bomb, "answered compressed, unasked"),
        (cut, "ClientPayloadError"),
        (chunk_cut, "ClientPayloadError"),
        (loris, "no whole answer within 0.5 s"),
    ],
)
async def test_whatever_a_replica_answers_is_bounded_and_a_failed_scrape(handler: Any, said: str) -> None:
    """And the other replica still counts: its trigger is not hidden, its idleness is not believed."""
    scraper = Scraper(lambda: 0.0, timeout=0.5 if handler is loris else 60.0)
    good, good_port = await answering(whole)
    bad, bad_port = await answering(handler)
    urls = [f"http://127.0.0.1:{port}/metrics" for port in (good_port, bad_port)]
    try:
        found = await scraper.scrape(pool(metrics={"urls": urls}))
    finally:
        await scraper.close()
        await good.cleanup()
        await bad.cleanup()
    assert [r.url for r in found.replicas] == urls[:1]
    [(url, why)] = found.failed
    assert url == urls[1]
    assert said in why


async def test_a_page_whose_length_nobody_tells_is_refused() -> None:
    """It ends with the connection, so one that breaks off between two lines would pass for a whole one."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\n" + page().encode())
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    scraper = Scraper(lambda: 0.0, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/metrics")
    try:
        found = await scraper.scrape(pool())
    finally:
        await scraper.close()
        server.close()
        await server.wait_closed()
    assert "without saying how long" in found.failed[0][1]


async def test_dns_gives_three_replicas_and_two_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    first, port = await answering(whole, "127.0.7.1")
    second, _ = await answering(whole, "127.0.7.2", port)
    resolved = [(0, 0, 0, "", (f"127.0.7.{n}", port)) for n in (3, 1, 2, 1)]

    async def resolve(host: str, asked: int, **_: Any) -> list[Any]:
        assert (host, asked) == ("replicas.ns.svc", port)
        return resolved

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolve)
    scraper = Scraper(lambda: 0.0)
    try:
        found = await scraper.scrape(pool(metrics={"service": f"replicas:{port}"}))
    finally:
        await scraper.close()
        await first.cleanup()
        await second.cleanup()
    assert [r.url for r in found.replicas] == [f"http://127.0.7.{n}:{port}/metrics" for n in (1, 2)]
    assert [url for url, _ in found.failed] == [f"http://127.0.7.3:{port}/metrics"]


async def test_a_service_without_replicas_is_a_failed_scrape() -> None:
    scraper = Scraper(lambda: 0.0)
    try:
        found = await scraper.scrape(pool(metrics={"service": "nobody.there.invalid"}))
    finally:
        await scraper.close()
    [(where, why)] = found.failed
    assert where == "nobody.there.invalid"
    assert why.startswith("cannot be resolved: ")
