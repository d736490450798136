"""Reading a dispatcher: what counts as a measurement, and where the replicas are looked for."""

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


@pytest.mark.parametrize("value", ["NaN", "+Inf", "-1"])
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
