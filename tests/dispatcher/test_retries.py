"""What becomes of a task whose server dies, and of tasks when there is no server: over real sockets."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from controller.dispatcher.health import HealthChecks


async def echo(request: web.Request) -> web.Response:
    return web.Response(body=await request.read())


async def hang_up(request: web.Request) -> web.Response:
    """Die, as far as a task can tell; answer everything else."""
    if request.method == "POST":
        await request.read()
        assert request.transport is not None
        request.transport.abort()
    return web.Response()


class Deadly:
    """Dies under the task `killer`, and holds every other one until it is let go."""

    def __init__(self) -> None:
        self.started: list[str] = []
        self.go = asyncio.Semaphore(0)
        self.die = asyncio.Event()

    async def __call__(self, request: web.Request) -> web.Response:
        if request.method != "POST":
            return web.Response()
        name = (await request.read()).decode()
        self.started.append(name)
        if name == "killer":
            return await hang_up(request)
        if name == "victim":
            await self.die.wait()
            return await hang_up(request)
        await self.go.acquire()
        return web.Response(text=name)


@asynccontextmanager
async def probes(bench: Any) -> AsyncIterator[None]:
    """The servers are probed meanwhile, once a second."""
    checks = HealthChecks(bench.state)
    running = asyncio.create_task(checks.run())
    try:
        yield
    finally:
        running.cancel()
        await asyncio.wait([running])
        await checks.close()


def title(answer: Any) -> str:
    return str(json.loads(answer.body)["title"])


async def test_a_task_under_which_so_many_servers_died_is_not_given_to_another(bench: Any) -> None:
    bench.spec(queue={"maxAttempts": 2})
    servers = [Deadly() for _ in range(4)]
    for number, server in enumerate(servers):
        await bench.upstream(server, f"demo-{number}")
    answer = await bench.send("killer")
    assert "maxAttempts" in answer.problem(502)
    assert title(answer) == "Task quarantined"
    assert [len(server.started) for server in servers] == [1, 1, 0, 0]
    assert bench.state.metrics.quarantined._value.get() == 1
    assert bench.scheduler.retries.under_way == 0


async def test_servers_that_could_not_be_reached_quarantine_nothing(bench: Any) -> None:
    bench.spec(queue={"maxAttempts": 1})
    for name in ("demo-1", "demo-2", "demo-3"):
        bench.server(name, "http://127.0.0.1:1", speed=9.0)
    await bench.upstream(echo, "demo-4")
    assert (await bench.send("x")).headers["X-Haipool-Server"] == "demo-4"


async def test_the_death_of_one_server_uses_up_no_budget_however_many_tasks_it_had(bench: Any) -> None:
    bench.spec(queue={"retryBudgetPercent": 0})
    dying = Deadly()
    await bench.upstream(dying, "demo-1", slots=8)
    tasks = [asyncio.create_task(bench.send("victim")) for _ in range(8)]
    await bench.until(lambda: len(dying.started) == 8)
    await bench.upstream(echo, "demo-2", slots=8)
    dying.die.set()
    assert [answer.status for answer in await asyncio.gather(*tasks)] == [200] * 8


async def test_when_servers_die_like_flies_only_so_many_tasks_are_repeated(bench: Any) -> None:
    bench.spec(queue={"retryBudgetPercent": 0, "maxAttempts": 9})
    dying = [Deadly() for _ in range(6)]
    for number, server in enumerate(dying):
        await bench.upstream(server, f"demo-{number}")
    tasks = [asyncio.create_task(bench.send("victim")) for _ in dying]
    await bench.until(lambda: sum(len(server.started) for server in dying) == 6)
    spare = Deadly()
    await bench.upstream(spare, "demo-9")
    busy = asyncio.create_task(bench.send("busy"))
    await bench.until(lambda: spare.started == ["busy"])
    for server in dying:
        server.die.set()
    refused = []
    for task in asyncio.as_completed(tasks):
        refused.append(await task)
        if len(refused) == 3:
            break
    assert {title(answer) for answer in refused} <= {"Server failed", "Task quarantined"}
    assert any("retryBudgetPercent" in answer.problem(502) for answer in refused)
    assert bench.scheduler.retries.under_way <= 3
    for task in tasks:
        task.cancel()
    spare.go.release()
    await busy
    await bench.until(lambda: bench.scheduler.retries.under_way == 0 and bench.scheduler.waiting == 0)


async def test_a_task_whose_only_server_died_goes_first_when_that_is_back(bench: Any) -> None:
    bench.spec(server={"probeIntervalSeconds": 1})
    server = Deadly()
    await bench.upstream(server)
    first = asyncio.create_task(bench.send("victim"))
    await bench.until(lambda: server.started == ["victim"])
    second = asyncio.create_task(bench.send("other"))
    await bench.until(lambda: bench.scheduler.waiting == 1)
    server.die.set()
    await bench.until(lambda: server.started == ["victim", "other"])  # what it failed it does not get again
    assert bench.scheduler.waiting == 1
    server.go.release()
    assert (await second).status == 200
    # That has shown that the server works.
    await bench.until(lambda: "victim" in server.started[2:])
    first.cancel()


async def test_nor_is_a_task_lost_that_found_nobody_at_home(bench: Any) -> None:
    bench.spec(server={"probeIntervalSeconds": 1, "healthPath": "/"})
    bench.server("demo-1", "http://127.0.0.1:1")
    task = asyncio.create_task(bench.send("x"))
    await bench.until(lambda: bench.scheduler.servers.get("demo-1").failures > 0)
    async with probes(bench):
        await bench.until(lambda: not bench.scheduler.servers.get("demo-1").up)
        assert bench.scheduler.waiting == 1
        await bench.upstream(echo, "demo-1")
        assert (await task).body == b"x"


async def test_a_server_that_fails_its_tasks_gets_no_more_of_them_than_it_takes_to_see_that(bench: Any) -> None:
    async def broken(_: web.Request) -> web.Response:
        return web.Response(status=500)

    bench.spec(server={"ejection": {"consecutiveFailures": 2}})
    await bench.upstream(broken, "demo-1", slots=2)
    await bench.upstream(echo, "demo-2", slots=2)
    answers = await asyncio.gather(*(bench.send(str(number)) for number in range(40)))
    assert [answer.status for answer in answers].count(200) >= 36
    server = bench.scheduler.servers.get("demo-1")
    assert server.health.ejected
    assert [(await bench.send("x")).status for _ in range(5)] == [200] * 5


# --- no server at all --------------------------------------------------------------------------------------------


async def test_without_any_server_tasks_are_held_and_then_told_so_by_the_clock_alone(bench: Any) -> None:
    bench.spec(queue={"noServerWaitSeconds": 1})
    answers = await asyncio.gather(*(bench.send("x", of=f"127.0.2.{n}") for n in range(3)))
    for answer in answers:
        assert "noServerWaitSeconds" in answer.problem(503)
        assert title(answer) == "No server"
        assert int(answer.headers["Retry-After"]) >= 1
    assert bench.scheduler.waiting == bench.scheduler.queue_length() == 0


@pytest.mark.parametrize("how", ["draining", "not ready"])
async def test_servers_that_take_no_work_are_none(bench: Any, how: str) -> None:
    bench.spec(queue={"noServerWaitSeconds": 1})
    await bench.upstream(echo)
    bench.change("demo-1", **({"draining": True} if how == "draining" else {"ready": False}))
    assert title(await bench.send("x")) == "No server"


async def test_a_busy_server_is_a_server(bench: Any) -> None:
    bench.spec(queue={"noServerWaitSeconds": 1, "maxWaitSeconds": 2})
    server = Deadly()
    await bench.upstream(server)
    busy = asyncio.create_task(bench.send("busy"))
    await bench.until(lambda: server.started == ["busy"])
    assert title(await bench.send("x")) == "Waited too long"
    server.go.release()
    await busy


# --- who may queue -----------------------------------------------------------------------------------------------


async def test_when_to_come_again_follows_from_what_servers_do(bench: Any) -> None:
    """One server, 20 s a task. A user at its limit has room after its own next start; a full queue drains in whole."""
    bench.spec(queue={"maxTasksPerUser": 3, "maxTasks": 4})
    server = Deadly()
    await bench.upstream(server)
    busy = asyncio.create_task(bench.send("busy"))
    await bench.until(lambda: server.started == ["busy"])
    bench.scheduler.servers.get("demo-1").ewma = 20.0
    waiting = [asyncio.create_task(bench.send("x", of="127.0.2.1")) for _ in range(3)]
    await bench.until(lambda: bench.scheduler.waiting == 3)
    refused = await bench.send("x", of="127.0.2.1")
    assert (title(refused), refused.headers["Retry-After"]) == ("Too many tasks", "20")
    waiting.append(asyncio.create_task(bench.send("x", of="127.0.2.2")))
    await bench.until(lambda: bench.scheduler.waiting == 4)
    refused = await bench.send("x", of="127.0.2.3")
    assert (title(refused), refused.headers["Retry-After"]) == ("Queue full", "80")
    for _ in range(5):
        server.go.release()
    await asyncio.gather(busy, *waiting)


# --- affinity, and what scaling sees -----------------------------------------------------------------------------


async def test_with_affinity_a_networks_tasks_wait_for_its_server_and_hold_nobody_up(bench: Any) -> None:
    bench.spec(queue={"affinity": "Network"})
    servers = {name: Deadly() for name in ("demo-1", "demo-2")}
    for name, server in servers.items():
        await bench.upstream(server, name)
    mine = asyncio.create_task(bench.send("mine-1", of="127.0.2.1"))
    await bench.until(lambda: any(server.started for server in servers.values()))
    home = next(name for name, server in servers.items() if server.started)
    other = next(name for name in servers if name != home)
    more = [asyncio.create_task(bench.send(f"mine-{n}", of="127.0.2.1")) for n in (2, 3)]
    await bench.until(lambda: bench.scheduler.waiting == 2)
    theirs = asyncio.create_task(bench.send("theirs", of="127.0.2.2"))
    await bench.until(lambda: servers[other].started == ["theirs"])
    assert (await bench.send(None, method="GET", of="127.0.2.1")).status == 200
    for server in servers.values():
        for _ in range(4):
            server.go.release()
    answers = await asyncio.gather(mine, *more)
    assert {answer.headers["X-Haipool-Server"] for answer in answers} == {home}
    assert (await theirs).headers["X-Haipool-Server"] == other


async def test_with_affinity_a_network_whose_server_is_drained_moves_on_at_once(bench: Any) -> None:
    bench.spec(queue={"affinity": "Network"})
    first = Deadly()
    await bench.upstream(first, "demo-1")
    running = asyncio.create_task(bench.send("1"))
    await bench.until(lambda: first.started == ["1"])
    waiting = asyncio.create_task(bench.send("2"))
    await bench.until(lambda: bench.scheduler.waiting == 1)
    await bench.upstream(echo, "demo-2")
    bench.change("demo-1", draining=True)
    assert (await waiting).headers["X-Haipool-Server"] == "demo-2"
    first.go.release()
    assert (await running).status == 200


async def test_a_flood_of_one_user_weighs_no_more_for_scaling_than_its_first_tasks(bench: Any) -> None:
    bench.spec(queue={"maxSignalTasksPerUser": 3})
    tasks = [asyncio.create_task(bench.send("x", of="127.0.2.1")) for _ in range(20)]
    await bench.until(lambda: bench.scheduler.waiting == 20)
    assert bench.scheduler.queue_length() == 3
    other = asyncio.create_task(bench.send("x", of="127.0.2.2"))
    await bench.until(lambda: bench.scheduler.waiting == 21)
    assert bench.scheduler.queue_length() == 4
    await bench.upstream(echo, slots=21)
    await asyncio.gather(*tasks, other)
    assert bench.scheduler.queue_length() == 0
