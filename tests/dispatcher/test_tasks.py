"""Tasks through the running dispatcher: order, slots, retries, limits, over real sockets."""

import asyncio
import gzip
import io
import json
import logging
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from yarl import URL


async def echo(request: web.Request) -> web.Response:
    return web.Response(body=await request.read(), headers={"X-Seen": request.path_qs})


class Gate:
    """A server that holds every task until it is let go."""

    def __init__(self) -> None:
        self.started: list[str] = []
        self.ended: list[str] = []
        self.slots = asyncio.Semaphore(0)

    async def __call__(self, request: web.Request) -> web.Response:
        name = (await request.read()).decode()
        self.started.append(name)
        try:
            await self.slots.acquire()
        finally:
            self.ended.append(name)
        return web.Response(text=name)

    def let_go(self, count: int = 1) -> None:
        for _ in range(count):
            self.slots.release()


async def test_a_task_is_answered_by_a_server_and_told_what_became_of_it(bench: Any) -> None:
    await bench.upstream(echo)
    response = await bench.send(b"prompt", path=URL("/run?a=1&b=%2F%20x", encoded=True))
    assert (response.status, response.body) == (200, b"prompt")
    assert response.headers["X-Seen"] == "/run?a=1&b=%2F%20x"
    assert response.headers["X-Haipool-User"] == "user_127.0.0.1_1"
    assert response.headers["X-Haipool-User-Sequence"] == "1"
    assert response.headers["X-Haipool-Start-Sequence"] == "1"
    assert response.headers["X-Haipool-Server"] == "demo-1"
    assert float(response.headers["X-Haipool-Wait-Seconds"]) >= 0
    assert response.headers["X-Haipool-Task"]


async def test_tasks_start_in_turns_over_users_in_the_order_of_their_coming(bench: Any) -> None:
    """A 5, B 2 and C 3 queue while one server is busy: A1 B1 C1 A2 B2 C2 A3 C3 A4 A5."""
    gate = Gate()
    await bench.upstream(gate)
    addresses = {"A": "127.0.1.1", "B": "127.0.1.2", "C": "127.0.1.3"}
    first = asyncio.create_task(bench.send("busy", of="127.0.1.9"))
    await bench.until(lambda: gate.started == ["busy"])
    tasks = []
    for user, count in (("A", 5), ("B", 2), ("C", 3)):
        for number in range(1, count + 1):
            waiting = len(bench.scheduler.queue)
            tasks.append(asyncio.create_task(bench.send(f"{user}{number}", of=addresses[user])))
            await bench.until(lambda waiting=waiting: len(bench.scheduler.queue) == waiting + 1)
    gate.let_go(1 + len(tasks))
    answers = await asyncio.gather(first, *tasks)
    assert gate.started[1:] == ["A1", "B1", "C1", "A2", "B2", "C2", "A3", "C3", "A4", "A5"]
    by_start = sorted(answers[1:], key=lambda a: int(a.headers["X-Haipool-Start-Sequence"]))
    named = {address: user for user, address in addresses.items()}
    order = [named[a.headers["X-Haipool-User"].split("_")[1]] + a.headers["X-Haipool-User-Sequence"] for a in by_start]
    assert order == gate.started[1:]


async def test_a_server_never_has_more_tasks_than_slots_and_free_slots_are_used(bench: Any) -> None:
    gate = Gate()
    await bench.upstream(gate, slots=3)
    tasks = [asyncio.create_task(bench.send(str(number))) for number in range(7)]
    await bench.until(lambda: len(gate.started) == 3 and len(bench.scheduler.queue) == 4)
    for done in range(1, 5):
        gate.let_go()
        await bench.until(lambda done=done: len(gate.started) == 3 + done)
        assert bench.in_flight() == 3
    gate.let_go(3)
    await asyncio.gather(*tasks)
    assert bench.in_flight() == 0


async def test_tasks_wait_for_the_first_server_and_go_to_it_when_it_comes(bench: Any) -> None:
    waiting = asyncio.create_task(bench.send("early"))
    await bench.until(lambda: len(bench.scheduler.queue) == 1)
    await bench.upstream(echo)
    assert (await waiting).body == b"early"


async def test_a_task_is_bound_to_a_server_only_when_a_slot_is_free(bench: Any) -> None:
    gate = Gate()
    await bench.upstream(gate, "demo-1")
    busy = asyncio.create_task(bench.send("busy"))
    await bench.until(lambda: gate.started == ["busy"])
    late = asyncio.create_task(bench.send("late"))
    await bench.until(lambda: len(bench.scheduler.queue) == 1)
    await bench.upstream(echo, "demo-2")
    assert (await late).headers["X-Haipool-Server"] == "demo-2"
    gate.let_go()
    await busy


async def test_a_slow_upload_holds_no_slot(bench: Any) -> None:
    await bench.upstream(echo)
    reader, writer = await asyncio.open_connection("127.0.0.1", bench.port)
    writer.write(b"POST /run HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\nConnection: close\r\n\r\nhalf.")
    await writer.drain()
    assert (await bench.send("quick")).status == 200
    assert bench.in_flight() == 0
    writer.write(b"whole")
    assert (await reader.read()).endswith(b"half.whole")
    writer.close()


async def test_a_chunked_upload_is_a_task_too(bench: Any) -> None:
    async def chunks() -> Any:
        yield b"one "
        yield b"two"

    await bench.upstream(echo)
    assert (await bench.send(chunks())).body == b"one two"


async def test_a_compressed_body_reaches_the_server_as_it_was_sent(bench: Any) -> None:
    async def raw(request: web.Request) -> web.Response:
        return web.json_response({"encoding": request.headers.get("Content-Encoding"), "body": await request.text()})

    bench.spec(queue={"maxBodyBytes": 1000})
    await bench.upstream(raw)
    body = gzip.compress(b"a" * 5000)
    answer = await bench.send(body, headers={"Content-Encoding": "gzip"})
    assert json.loads(answer.body) == {"encoding": "gzip", "body": "a" * 5000}


@pytest.mark.parametrize("target", [b"http://x/run?a=%2Fb", b"/run?a=%2Fb"], ids=["absolute-form", "origin-form"])
async def test_only_path_and_query_of_the_target_count_and_they_arrive_byte_for_byte(bench: Any, target: bytes) -> None:
    await bench.upstream(echo)
    answer = await bench.raw(
        b"POST " + target + b" HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    )
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"X-Seen: /run?a=%2Fb\r\n" in answer


@pytest.mark.parametrize("target", [b"@elsewhere.example/", b"elsewhere.example:80", b"*"])
async def test_a_target_that_is_no_path_leads_nowhere(bench: Any, target: bytes) -> None:
    await bench.upstream(echo)
    answer = await bench.raw(
        b"POST " + target + b" HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    )
    assert answer.split(b" ", 2)[1] == b"400"
    assert bench.scheduler.figures.started == 0


async def test_asking_for_an_upgrade_is_no_way_around_the_queue(bench: Any) -> None:
    gate = Gate()
    await bench.upstream(gate)
    busy = asyncio.create_task(bench.send("busy"))
    await bench.until(lambda: gate.started == ["busy"])
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket"}
    waiting = asyncio.create_task(bench.send("waiting", headers=upgrade))
    await bench.until(lambda: len(bench.scheduler.queue) == 1)
    assert gate.started == ["busy"]
    gate.let_go(2)
    assert [(await task).status for task in (busy, waiting)] == [200, 200]


# --- clients that go away ------------------------------------------------------------------------------------------


async def test_a_client_that_goes_away_while_waiting_leaves_the_queue(bench: Any) -> None:
    gone = asyncio.create_task(bench.send("gone"))
    await bench.until(lambda: len(bench.scheduler.queue) == 1)
    gone.cancel()
    await bench.until(lambda: len(bench.scheduler.queue) == 0)
    await bench.upstream(echo)
    assert (await bench.send("next")).status == 200


async def test_a_client_that_goes_away_while_served_ends_the_request_and_frees_the_slot(bench: Any) -> None:
    gate = Gate()
    await bench.upstream(gate)
    gone = asyncio.create_task(bench.send("gone"))
    await bench.until(lambda: gate.started == ["gone"])
    gone.cancel()
    await bench.until(lambda: gate.ended == ["gone"] and bench.in_flight() == 0)
    gate.let_go()
    assert (await bench.send("next")).status == 200


# --- servers that fail ---------------------------------------------------------------------------------------------


async def hang_up(request: web.Request) -> web.Response:
    await request.read()
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def test_a_task_whose_server_dies_is_done_by_another_with_its_whole_body(bench: Any) -> None:
    await bench.upstream(hang_up, "demo-1", speed=9.0)
    await bench.upstream(echo, "demo-2")
    body = bytes(range(256)) * 16_384  # 4 MiB: on disk by then
    response = await bench.send(io.BytesIO(body))
    assert response.status == 200
    assert response.headers["X-Haipool-Server"] == "demo-2"
    assert response.body == body
    assert bench.in_flight("demo-1") == 0


async def test_a_task_that_may_not_be_repeated_is_told_that_its_server_died(bench: Any) -> None:
    bench.spec(queue={"routes": [{"name": "once", "idempotent": False}]})
    await bench.upstream(hang_up, "demo-1", speed=9.0)
    await bench.upstream(echo, "demo-2")
    assert "demo-1" in (await bench.send("x")).problem(502)


async def test_a_task_of_which_nothing_was_sent_goes_elsewhere_even_if_it_may_not_be_repeated(bench: Any) -> None:
    bench.spec(queue={"routes": [{"name": "once", "idempotent": False}]})
    bench.server("demo-1", "http://127.0.0.1:1", speed=9.0)
    await bench.upstream(echo, "demo-2")
    assert (await bench.send("x")).headers["X-Haipool-Server"] == "demo-2"


async def test_when_every_server_failed_a_task_it_gets_502_and_no_slot_leaks(bench: Any) -> None:
    for name in ("demo-1", "demo-2", "demo-3"):
        await bench.upstream(hang_up, name)
    (await bench.send("x")).problem(502)
    assert [bench.in_flight(name) for name in ("demo-1", "demo-2", "demo-3")] == [0, 0, 0]


@pytest.mark.parametrize("idempotent", [True, False])
async def test_a_connection_that_the_server_had_closed_meanwhile_is_no_failure_of_the_server(
    bench: Any, idempotent: bool
) -> None:
    """Application servers close idle connections after some seconds, and a request can meet that very moment."""
    bench.spec(queue={"routes": [{"name": "run", "idempotent": idempotent}]})
    answered = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal answered
        await reader.readuntil(b"\r\n\r\n")
        answered += 1
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        await reader.read(1)  # A second request on this connection finds it closed.
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        bench.server("demo-1", f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        assert [(await bench.send()).status for _ in range(3)] == [200, 200, 200]
        assert answered == 3


async def test_a_server_that_dies_in_the_middle_cuts_the_answer_short_without_a_traceback(
    bench: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def half(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"half")
        assert request.transport is not None
        request.transport.abort()
        return response

    await bench.upstream(half, "demo-1", speed=9.0)
    await bench.upstream(echo, "demo-2")
    with caplog.at_level(logging.INFO), pytest.raises(aiohttp.ClientError):
        await bench.send("x")
    await bench.until(lambda: bench.in_flight() == 0)
    assert [record for record in caplog.records if record.exc_info] == []
    assert (await bench.raw(b"POST /run HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")).count(
        b"HTTP/1.1"
    ) == 1


async def test_an_error_of_the_application_is_the_applications_answer(bench: Any) -> None:
    async def broken(_: web.Request) -> web.Response:
        return web.json_response({"error": "out of memory"}, status=500)

    await bench.upstream(broken)
    response = await bench.send("x")
    assert (response.status, json.loads(response.body)) == (500, {"error": "out of memory"})


async def test_a_server_that_fails_quickly_is_not_taken_for_a_fast_one(bench: Any) -> None:
    """Choosing by the time answers take must not send everything to a server that errs at once."""

    async def broken(_: web.Request) -> web.Response:
        return web.Response(status=500)

    async def slow(_: web.Request) -> web.Response:
        await asyncio.sleep(0.05)
        return web.Response()

    await bench.upstream(slow, "demo-1")
    await bench.upstream(broken, "demo-2")
    answers = [await bench.send() for _ in range(8)]
    assert sum(a.status == 500 for a in answers) <= 4


# --- servers that come and go --------------------------------------------------------------------------------------


async def test_a_draining_server_finishes_what_it_has_and_gets_nothing_new(bench: Any) -> None:
    gate = Gate()
    await bench.upstream(gate, "demo-1")
    running = asyncio.create_task(bench.send("running"))
    await bench.until(lambda: gate.started == ["running"])
    bench.change("demo-1", draining=True)
    waiting = asyncio.create_task(bench.send("waiting"))
    await bench.until(lambda: len(bench.scheduler.queue) == 1)
    gate.let_go()
    assert (await running).status == 200
    assert gate.started == ["running"]
    bench.change("demo-1", draining=False)
    gate.let_go()
    assert (await waiting).status == 200


async def test_a_task_at_a_server_that_the_pool_withdraws_is_done_by_another(bench: Any) -> None:
    gate = Gate()
    await bench.upstream(gate, "demo-1")
    task = asyncio.create_task(bench.send("moved"))
    await bench.until(lambda: gate.started == ["moved"])
    await bench.upstream(echo, "demo-2")
    bench.withdraw("demo-1")
    assert (await task).headers["X-Haipool-Server"] == "demo-2"
    await bench.until(lambda: gate.ended == ["moved"])


async def test_an_address_used_again_is_another_server(bench: Any) -> None:
    gate = Gate()
    upstream = await bench.upstream(gate, "demo-1")
    task = asyncio.create_task(bench.send("at the first"))
    await bench.until(lambda: gate.started == ["at the first"])
    bench.withdraw("demo-1")
    bench.server("demo-2", f"http://127.0.0.1:{upstream.port}")
    assert bench.scheduler.servers.get("demo-1") is None
    await bench.until(lambda: gate.started == ["at the first", "at the first"])
    assert bench.in_flight("demo-2") == 1
    gate.let_go(2)
    assert (await task).headers["X-Haipool-Server"] == "demo-2"
    assert bench.in_flight("demo-2") == 0


# --- limits --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("declared", [True, False])
async def test_a_body_above_the_limit_is_refused_before_it_queues(bench: Any, declared: bool) -> None:
    bench.spec(queue={"maxBodyBytes": 100})

    async def chunks() -> Any:
        for _ in range(20):
            yield b"0123456789"

    await bench.upstream(echo)
    body: Any = b"x" * 101 if declared else chunks()
    assert "100" in (await bench.send(body)).problem(413)
    assert bench.scheduler.figures.started == 0
    assert (await bench.send(b"x" * 100)).status == 200


async def test_too_many_tasks_of_one_user_are_refused_and_others_are_not(bench: Any) -> None:
    bench.spec(queue={"maxTasksPerUser": 2, "maxTasks": 3})
    gate = Gate()
    tasks = [asyncio.create_task(bench.send(str(n), of="127.0.1.1")) for n in range(2)]
    await bench.until(lambda: len(bench.scheduler.queue) == 2)
    refused = await bench.send("x", of="127.0.1.1")
    assert "maxTasksPerUser" in refused.problem(429)
    assert int(refused.headers["Retry-After"]) >= 1
    tasks.append(asyncio.create_task(bench.send("other", of="127.0.1.2")))
    await bench.until(lambda: len(bench.scheduler.queue) == 3)
    assert "maxTasks" in (await bench.send("x", of="127.0.1.3")).problem(429)
    gate.let_go(3)
    await bench.upstream(gate, slots=3)
    assert [r.status for r in await asyncio.gather(*tasks)] == [200, 200, 200]


async def test_a_task_that_waited_too_long_is_answered_even_if_nothing_ever_happens(bench: Any) -> None:
    bench.spec(queue={"maxWaitSeconds": 1})
    response = await bench.send("x")
    assert "maxWaitSeconds" in response.problem(503)
    assert int(response.headers["Retry-After"]) >= 1
    assert len(bench.scheduler.queue) == 0


async def test_a_task_that_takes_longer_than_its_route_allows_is_ended_at_the_server_too(bench: Any) -> None:
    bench.spec(queue={"routes": [{"name": "run", "timeoutSeconds": 1}]})
    gate = Gate()
    await bench.upstream(gate)
    assert "demo-1" in (await bench.send("x")).problem(504)
    await bench.until(lambda: gate.ended == ["x"])
    assert bench.in_flight() == 0


# --- the pool itself -----------------------------------------------------------------------------------------------


async def test_before_the_pool_is_known_requests_are_told_to_come_again(bench: Any) -> None:
    bench.state.view = None
    response = await bench.send("x")
    assert "demo" in response.problem(503)
    assert int(response.headers["Retry-After"]) >= 1


async def test_limits_changed_in_the_pool_apply_at_once(bench: Any) -> None:
    await bench.upstream(echo)
    assert (await bench.send(b"x" * 200)).status == 200
    bench.spec(queue={"maxBodyBytes": 100})
    assert (await bench.send(b"x" * 200)).status == 413


async def test_a_new_window_is_a_new_user_with_numbers_of_its_own(bench: Any) -> None:
    await bench.upstream(echo)
    assert (await bench.send()).headers["X-Haipool-User-Sequence"] == "1"
    assert (await bench.send()).headers["X-Haipool-User-Sequence"] == "2"
    bench.wall += 3600
    response = await bench.send()
    assert response.headers["X-Haipool-User"] == "user_127.0.0.1_2"
    assert response.headers["X-Haipool-User-Sequence"] == "1"


async def test_a_trusted_proxy_names_the_client_and_an_untrusted_one_does_not(bench: Any) -> None:
    await bench.upstream(echo)
    headers = {"X-Forwarded-For": "203.0.113.7"}
    assert (await bench.send(headers=headers)).headers["X-Haipool-User"] == "user_127.0.0.1_1"
    bench.spec(queue={"trustedNetworks": ["127.0.0.0/8"]})
    assert (await bench.send(headers=headers)).headers["X-Haipool-User"] == "user_203.0.113.7_1"


async def test_when_it_shuts_down_waiting_tasks_are_told_and_running_ones_finish(bench: Any) -> None:
    gate = Gate()
    await bench.upstream(gate)
    running = asyncio.create_task(bench.send("running"))
    await bench.until(lambda: gate.started == ["running"])
    waiting = asyncio.create_task(bench.send("waiting"))
    await bench.until(lambda: len(bench.scheduler.queue) == 1)
    bench.state.closing = True
    bench.scheduler.shut_out()
    assert int((await waiting).headers["Retry-After"]) >= 1
    (await waiting).problem(503)
    (await bench.send("late")).problem(503)
    gate.let_go()
    assert (await running).status == 200
