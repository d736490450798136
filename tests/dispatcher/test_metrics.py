"""The metrics contract: code, page and exporter say the same, and the figures are what they are called."""

import asyncio
import re
from pathlib import Path
from typing import Any

import aiohttp

from controller.api import metrics

PAGE = Path(__file__).parents[2] / "docs" / "metrics-contract.md"
NAMES = [value for name, value in vars(metrics).items() if name.isupper() and str(value).startswith("haipool_")]


async def scrape(bench: Any) -> dict[str, float]:
    """Name, with labels, and value of every sample."""
    async with aiohttp.ClientSession() as session, session.get(bench.admin_url + "/metrics") as page:
        text = await page.text()
    return {m[1]: float(m[2]) for m in re.finditer(r"^(haipool_\S+) (\S+)$", text, re.MULTILINE)}


async def test_the_page_has_every_name_of_the_contract_and_every_other_metric(bench: Any) -> None:
    page = PAGE.read_text(encoding="utf-8")
    rows = set(re.findall(r"^\| `(haipool_\w+)` \|", page, re.MULTILINE))
    exported = {
        family.name + ("_total" if family.type == "counter" else "")
        for family in bench.state.metrics.registry.collect()
        if family.name.startswith("haipool_")
    }
    assert rows == exported
    assert {re.sub(r"_(sum|count)$", "", name) for name in NAMES} <= exported


def test_what_the_operator_insists_on_is_named_on_the_page() -> None:
    rule = PAGE.read_text(encoding="utf-8").partition("**Unknown is not zero.**")[2].partition("must be there")[0]
    assert {*re.findall(r"`(\w+)`", rule)} == {*metrics.REQUIRED}


async def test_an_idle_pool_is_measured_as_idle(bench: Any) -> None:
    figures = await scrape(bench)
    assert figures[metrics.QUEUE_LENGTH] == figures[metrics.QUEUE_OLDEST_AGE] == figures[metrics.MEAN_RESPONSE] == 0
    assert figures[metrics.DISPATCHER_SYNCED] == 1
    assert figures['haipool_tasks_total{status="success"}'] == 0, "a rate needs its zero"


async def test_waiting_and_running_tasks_are_told_apart(bench: Any) -> None:
    go = asyncio.Event()

    async def serve(_: Any) -> aiohttp.web.Response:
        await go.wait()
        return aiohttp.web.Response()

    await bench.upstream(serve, slots=2)
    tasks = [asyncio.create_task(bench.send(of=f"127.0.0.{n}")) for n in (2, 2, 2, 3, 3)]
    through = asyncio.create_task(bench.send(None, method="GET"))
    await bench.until(lambda: bench.in_flight() == 3 and bench.scheduler.waiting == 3)
    figures = await scrape(bench)
    assert figures[metrics.QUEUE_LENGTH] == 3
    assert figures[metrics.QUEUE_OLDEST_AGE] > 0
    assert 1 <= figures[metrics.QUEUE_USERS] <= 2
    assert figures[metrics.SERVER_TASKS + '{server="demo-1"}'] == 2
    assert figures[metrics.SERVER_IN_FLIGHT + '{server="demo-1"}'] == 3
    assert figures[metrics.SERVER_SLOTS + '{server="demo-1"}'] == 2
    go.set()
    await asyncio.gather(*tasks, through)
    figures = await scrape(bench)
    assert figures['haipool_tasks_total{status="success"}'] == figures["haipool_task_wait_seconds_count"] == 5
    assert figures['haipool_passthrough_requests_total{outcome="ok"}'] == 1
    assert figures[metrics.TASKS_SUBMITTED] == figures[metrics.TASKS_ENDED] == 5
    assert figures[metrics.TASKS_SECONDS] > 0


async def test_a_flood_of_one_user_is_no_demand(bench: Any) -> None:
    bench.spec(queue={"maxSignalTasksPerUser": 2})
    tasks = [asyncio.create_task(bench.send(of=f"127.0.0.{n}")) for n in (2, 2, 2, 2, 2, 3)]
    await bench.until(lambda: bench.scheduler.waiting == 6)
    assert (await scrape(bench))[metrics.TASKS_SUBMITTED] == 3
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def hang_up(request: aiohttp.web.Request) -> aiohttp.web.Response:
    assert request.transport is not None
    request.transport.abort()
    return aiohttp.web.Response()


async def test_how_tasks_ended_is_counted(bench: Any) -> None:
    bench.spec(queue={"maxWaitSeconds": 1, "maxTasksPerUser": 1, "maxBodyBytes": 10, "maxAttempts": 1})
    (await bench.send("x" * 11)).problem(413)
    expiring = asyncio.create_task(bench.send("x"))
    await bench.until(lambda: bench.scheduler.waiting == 1)
    (await bench.send("x")).problem(429)
    (await expiring).problem(503)
    leaving = asyncio.create_task(bench.send("x"))
    await bench.until(lambda: bench.scheduler.waiting == 1)
    leaving.cancel()
    await bench.until(lambda: bench.scheduler.waiting == 0)
    await bench.upstream(hang_up)
    (await bench.send("x")).problem(502)
    figures = await scrape(bench)
    for status in ("expired", "cancelled", "failed"):
        assert figures[f'haipool_tasks_total{{status="{status}"}}'] == 1, status
    assert figures['haipool_requests_shed_total{reason="body_too_large"}'] == 1
    assert figures['haipool_requests_shed_total{reason="user_cap"}'] == 1
    assert figures["haipool_tasks_quarantined_total"] == 1


async def test_a_drain_and_a_loss_of_sync_are_told(bench: Any) -> None:
    bench.server("demo-1", "http://127.0.0.1:1")
    bench.change("demo-1", draining=True)
    bench.state.synced = False
    figures = await scrape(bench)
    assert figures[metrics.SERVER_DRAINING + '{server="demo-1"}'] == 1
    assert figures[metrics.DISPATCHER_SYNCED] == 0
    bench.withdraw("demo-1")
    assert not any("demo-1" in name for name in await scrape(bench))
