"""Asynchronous tasks over HTTP: handed in, looked at, fetched, called off."""

import asyncio
import json
import os
import re
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from controller.dispatcher.stores.errors import StoreError, StoreFullError

ASYNC = {"Prefer": "respond-async"}
LARGE = os.urandom(700_001)


async def echo(request: web.Request) -> web.Response:
    return web.Response(body=await request.read(), headers={"X-Seen": request.path_qs})


async def hang_up(request: web.Request) -> web.Response:
    await request.read()
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


# --- handing in -----------------------------------------------------------------------------------------------------


async def test_a_client_that_asks_for_it_is_told_where_its_task_is(desk: Any) -> None:
    answer = await desk.bench.send("prompt", headers=ASYNC)
    assert answer.status == 202
    assert answer.headers["Preference-Applied"] == "respond-async"
    assert int(answer.headers["Retry-After"]) >= 1
    assert answer.headers["Cache-Control"] == "no-store"
    where, task = answer.headers["Location"], json.loads(answer.body)
    assert task == await desk.status(where)
    assert where == f"/-/tasks/{task['id']}" == task["links"]["self"]
    assert len(bytes.fromhex(task["id"])) == 16
    assert (task["state"], task["position"], task["attempts"]) == ("queued", 0, 0)
    assert (task["submitted"], task["started"], task["completed"]) == ("1970-01-01T00:01:40.000Z", None, None)
    assert (task["user"], task["route"], task["result"]) == ("user_127.0.0.1_1", "task", "pending")


@pytest.mark.parametrize("body", [b"", b"prompt", LARGE], ids=["empty", "small", "large"])
async def test_the_answer_is_the_servers_to_the_letter(desk: Any, body: bytes) -> None:
    await desk.bench.upstream(echo)
    where = await desk.hand_in(body, path="/run?a=1")
    done = await desk.until(where, "succeeded")
    assert (done["result"], done["answerStatus"], done["server"], done["attempts"]) == ("available", 200, "demo-1", 1)
    assert done["started"]
    assert done["completed"]
    for _ in range(2):
        answer = await desk.get(where + "/result")
        assert (answer.status, answer.body) == (200, body)
        assert answer.headers["X-Seen"] == "/run?a=1"
        assert answer.headers["Content-Length"] == str(len(body))
        assert answer.headers["X-Haipool-Task"] == done["id"]
        assert answer.headers["X-Haipool-Server"] == "demo-1"
        assert answer.headers["Via"] == "1.1 haipool"
    head = await desk.get(where + "/result", "HEAD")
    assert (head.status, head.headers["Content-Length"], head.body) == (200, str(len(body)), b"")


async def test_without_a_store_that_lasts_the_preference_is_ignored(bench: Any) -> None:
    await bench.upstream(echo)
    answer = await bench.send("prompt", headers=ASYNC)
    assert (answer.status, answer.body) == (200, b"prompt")
    assert "Preference-Applied" not in answer.headers
    (await bench.send(None, method="GET", path="/-/tasks/0")).problem(404)


async def test_only_tasks_are_taken_and_only_from_who_asks(desk: Any) -> None:
    await desk.bench.upstream(echo)
    assert (await desk.bench.send("x")).status == 200
    assert (await desk.bench.send("x", headers={"Prefer": "wait=5"})).status == 200
    assert (await desk.bench.send(None, method="GET", headers=ASYNC)).status == 200
    assert desk.bench.state.store.figures.bytes == 0


async def test_the_server_is_not_asked_to_answer_asynchronously_in_its_turn(desk: Any) -> None:
    async def prefer(request: web.Request) -> web.Response:
        return web.json_response([request.headers.getall("Prefer", []), request.headers.get("X-Forwarded-For")])

    await desk.bench.upstream(prefer)
    where = await desk.hand_in("x", headers={"Prefer": "respond-async, return=minimal"})
    await desk.until(where, "succeeded")
    assert json.loads((await desk.get(where + "/result")).body) == [["return=minimal"], "127.0.0.1"]


async def test_limits_hold_for_these_tasks_as_for_all_others(desk: Any) -> None:
    desk.bench.spec(queue={"maxBodyBytes": 100, "maxTasksPerUser": 2})
    (await desk.bench.send(b"x" * 101, headers=ASYNC)).problem(413)
    answers = await asyncio.gather(*(desk.bench.send("x", headers=ASYNC) for _ in range(10)))
    assert sorted(answer.status for answer in answers) == [202] * 2 + [429] * 8
    desk.bench.state.closing = True
    (await desk.bench.send("x", headers=ASYNC)).problem(503)


async def test_tasks_of_both_kinds_start_in_the_same_order(desk: Any, gate: Any) -> None:
    bench = desk.bench
    await desk.hand_in("busy", of="127.0.1.9")
    await bench.until(lambda: gate.started == ["busy"])
    waiting = []
    for number, (user, kind) in enumerate([("A", 1), ("A", 0), ("A", 1), ("B", 0), ("B", 1), ("C", 1)]):
        of, name = f"127.0.1.{ord(user) - 64}", f"{user}{number}"
        if kind:
            await desk.hand_in(name, of=of)
        else:
            waiting.append(asyncio.create_task(bench.send(name, of=of)))
        await bench.until(lambda number=number: len(bench.scheduler.queue) == number + 1)
    gate.let_go(7)
    assert [answer.status for answer in await asyncio.gather(*waiting)] == [200, 200]
    await bench.until(lambda: len(gate.ended) == 7)
    assert gate.started[1:] == ["A0", "B3", "C5", "A1", "B4", "A2"]


async def test_a_task_whose_client_goes_away_before_it_is_told_is_kept_or_not_but_never_half(desk: Any) -> None:
    desk.bench.spec(queue={"maxTasksPerUser": 100})
    for delay in range(12):
        task = asyncio.create_task(desk.bench.send(b"x" * 300_000, headers=ASYNC))
        await asyncio.sleep(delay * 0.002)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    await desk.bench.until(lambda: desk.bench.tasks.arriving("127.0.0.1")[0] == 0)
    stored = [task.task_id async for page in desk.bench.state.store.queued() for task in page]
    assert [ticket.task_id for ticket in desk.bench.scheduler.queue] == stored


# --- waiting for a while first --------------------------------------------------------------------------------------


async def test_who_would_rather_wait_gets_the_answer_if_it_is_there_in_time(desk: Any) -> None:
    await desk.bench.upstream(echo)
    answer = await desk.bench.send("prompt", headers={"Prefer": "respond-async, wait=100"})
    assert (answer.status, answer.body) == (200, b"prompt")
    assert answer.headers["Preference-Applied"] == "respond-async, wait=100"
    assert (await desk.status(f"/-/tasks/{answer.headers['X-Haipool-Task']}"))["state"] == "succeeded"


@pytest.mark.parametrize("wait", [0, 1])
async def test_and_is_told_where_its_task_is_if_not(desk: Any, gate: Any, wait: int) -> None:
    answer = await desk.bench.send("slow", headers={"Prefer": f"respond-async, wait={wait}"})
    assert (answer.status, answer.headers["Preference-Applied"]) == (202, "respond-async")
    gate.let_go()
    await desk.until(answer.headers["Location"], "succeeded")


async def test_who_waits_when_the_dispatcher_ends_is_told_where_its_task_is(desk: Any) -> None:
    bench = desk.bench
    waiting = asyncio.create_task(bench.send("x", headers={"Prefer": "respond-async, wait=100"}))
    await bench.until(lambda: len(bench.scheduler.queue) == 1)
    bench.state.closing = True
    bench.scheduler.shut_out()
    bench.tasks.board.all_changed()
    assert (await waiting).status == 202
    assert bench.scheduler.waiting == 0


# --- looking --------------------------------------------------------------------------------------------------------


async def test_who_waits_is_told_how_many_tasks_start_before_and_when_it_probably_starts(desk: Any, gate: Any) -> None:
    bench = desk.bench
    first = await desk.hand_in("first")
    await desk.until(first, "running")
    second, third = await desk.hand_in("a"), await desk.hand_in("b")
    other = await desk.hand_in("c", of="127.0.1.2")
    assert [(await desk.status(where))["position"] for where in (second, third, other)] == [1, 2, 0]
    assert (await desk.status(third))["estimatedStart"] is None, "nothing is known of the server yet"
    gate.let_go()
    await desk.until(other, "running")
    bench.scheduler.servers.get("demo-1").ewma = 10.0
    task = await desk.status(third)
    assert task["position"] == 1
    assert 15 < task["estimatedStartSeconds"] <= 20
    assert "1970-01-01T00:01:55" < task["estimatedStart"] <= "1970-01-01T00:02:00.000Z"
    assert 15 <= int((await desk.get(third)).headers["Retry-After"]) <= 20
    head = await desk.get(third, "HEAD")
    assert (head.status, head.body) == (200, b"")


async def test_an_unfinished_task_has_no_answer_yet(desk: Any, gate: Any) -> None:
    running, queued = await desk.hand_in("a"), await desk.hand_in("b")
    await desk.until(running, "running")
    for where, state in ((running, "running"), (queued, "queued")):
        answer = await desk.get(where + "/result")
        assert state in answer.problem(409)
        assert int(answer.headers["Retry-After"]) >= 1


@pytest.mark.parametrize("path", ["", "/result", "/events"])
async def test_a_task_that_never_was_is_not_there(desk: Any, path: str) -> None:
    (await desk.get(f"/-/tasks/{'0' * 32}{path}")).problem(404)


async def test_deleting_a_task_that_never_was_says_so(desk: Any) -> None:
    (await desk.get(f"/-/tasks/{'0' * 32}", "DELETE")).problem(404)


@pytest.mark.parametrize("path", ["/-/tasks", "/-/tasks/", "/-/tasks/x/y", "/-/tasks/x/result/", "/-/else"])
async def test_nothing_else_is_there(desk: Any, path: str) -> None:
    (await desk.get(path)).problem(404)


@pytest.mark.parametrize(
    ("path", "method", "allowed"),
    [("", "POST", "GET, HEAD, DELETE"), ("/result", "DELETE", "GET, HEAD"), ("/events", "HEAD", "GET")],
)
async def test_what_cannot_be_done_is_said_with_what_can(desk: Any, path: str, method: str, allowed: str) -> None:
    where = await desk.hand_in()
    answer = await desk.get(where + path, method)
    assert (answer.status, answer.headers["Allow"]) == (405, allowed)


async def test_an_error_of_the_application_is_its_answer_and_the_task_has_failed(desk: Any) -> None:
    async def broken(_: web.Request) -> web.Response:
        return web.json_response({"error": "out of memory"}, status=500)

    await desk.bench.upstream(broken)
    where = await desk.hand_in("x")
    failed = await desk.until(where, "failed")
    assert (failed["answerStatus"], failed["result"], failed["failure"]) == (500, "available", None)
    answer = await desk.get(where + "/result")
    assert (answer.status, json.loads(answer.body)) == (500, {"error": "out of memory"})


async def test_a_task_that_no_server_could_do_tells_the_problem(desk: Any) -> None:
    desk.bench.spec(queue={"maxAttempts": 2})
    await desk.bench.upstream(hang_up, "demo-1", speed=9.0)
    await desk.bench.upstream(hang_up, "demo-2")
    where = await desk.hand_in("x")
    failed = await desk.until(where, "failed")
    assert (failed["result"], failed["attempts"], failed["server"]) == ("none", 2, "demo-2")
    assert failed["failure"]["title"] == "Task quarantined"
    assert "demo-2" in (await desk.get(where + "/result")).problem(502)


async def test_a_task_whose_server_dies_even_in_the_middle_of_its_answer_is_done_by_another(desk: Any) -> None:
    async def half(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"X-From": "the first"})
        await response.prepare(request)
        await response.write(b"half")
        assert request.transport is not None
        request.transport.abort()
        return response

    await desk.bench.upstream(half, "demo-1", speed=9.0)
    await desk.bench.upstream(echo, "demo-2")
    where = await desk.hand_in(LARGE)
    done = await desk.until(where, "succeeded")
    assert (done["attempts"], done["server"]) == (2, "demo-2")
    answer = await desk.get(where + "/result")
    assert answer.body == LARGE
    assert "X-From" not in answer.headers


async def test_an_answer_that_is_too_large_fails_the_task(desk: Any) -> None:
    desk.bench.spec(queue={"asyncTasks": {"maxResultBytes": 1000}})
    await desk.bench.upstream(echo)
    where = await desk.hand_in(b"x" * 1001)
    await desk.until(where, "failed")
    assert "maxResultBytes" in (await desk.get(where + "/result")).problem(502)
    await desk.until(await desk.hand_in(b"x" * 1000), "succeeded")
    server = desk.bench.scheduler.servers.get("demo-1")
    assert (server.failures, server.up) == (0, True), "the server is not to blame"


async def test_a_bodiless_answer_is_one(desk: Any) -> None:
    async def nothing(_: web.Request) -> web.Response:
        return web.Response(status=204)

    await desk.bench.upstream(nothing)
    where = await desk.hand_in("x")
    await desk.until(where, "succeeded")
    answer = await desk.get(where + "/result")
    assert (answer.status, answer.body) == (204, b"")


# --- calling off ----------------------------------------------------------------------------------------------------


async def test_a_queued_task_that_is_deleted_leaves_the_queue(desk: Any) -> None:
    bench = desk.bench
    where = await desk.hand_in("x")
    assert [await desk.delete(where) for _ in range(3)] == [204, 204, 204]
    assert len(bench.scheduler.queue) == 0
    assert bench.scheduler.idle.is_set()
    assert (await desk.status(where))["state"] == "cancelled"
    assert "cancelled" in (await desk.get(where + "/result")).problem(410)
    assert bench.state.metrics.registry.get_sample_value("haipool_tasks_total", {"status": "cancelled"}) == 1


async def test_a_running_task_that_is_deleted_leaves_its_server_alone_and_frees_the_slot(desk: Any, gate: Any) -> None:
    where = await desk.hand_in("gone")
    await desk.bench.until(lambda: gate.started == ["gone"])
    assert await desk.delete(where) == 204
    assert desk.bench.in_flight() == 0
    await desk.bench.until(lambda: gate.ended == ["gone"])
    assert (await desk.status(where))["state"] == "cancelled"
    gate.let_go()
    await desk.until(await desk.hand_in("next"), "succeeded")
    assert desk.bench.state.metrics.registry.get_sample_value("haipool_tasks_total", {"status": "cancelled"}) == 1


async def test_of_a_finished_task_that_is_deleted_the_answer_is_forgotten(desk: Any) -> None:
    await desk.bench.upstream(echo)
    where = await desk.hand_in("secret")
    await desk.until(where, "succeeded")
    assert [await desk.delete(where) for _ in range(2)] == [204, 204]
    task = await desk.status(where)
    assert (task["state"], task["result"]) == ("succeeded", "gone")
    (await desk.get(where + "/result")).problem(410)


async def test_deleting_in_any_instant_ends_the_task_once_and_leaks_no_slot(desk: Any) -> None:
    bench = desk.bench
    bench.spec(queue={"maxTasksPerUser": 1000})
    await bench.upstream(echo, slots=3)

    async def life(number: int) -> str:
        where = await desk.hand_in(str(number))
        for _ in range(number % 7):
            await asyncio.sleep(0.001)
        assert await desk.delete(where) == 204
        return str((await desk.status(where))["state"])

    states = await asyncio.gather(*(life(number) for number in range(60)))
    assert set(states) <= {"cancelled", "succeeded"}
    await bench.until(lambda: bench.in_flight() == 0 and bench.scheduler.idle.is_set())
    sample = bench.state.metrics.registry.get_sample_value
    assert sum(sample("haipool_tasks_total", {"status": status}) for status in ("success", "cancelled")) == 60


# --- time -----------------------------------------------------------------------------------------------------------


async def test_a_task_that_waited_too_long_expires_though_nothing_else_happens(desk: Any) -> None:
    desk.bench.spec(queue={"maxWaitSeconds": 1})
    where = await desk.hand_in("x")
    await desk.bench.until(lambda: len(desk.bench.scheduler.queue) == 0)
    assert (await desk.status(where))["state"] == "expired"
    assert "maxWaitSeconds" in (await desk.get(where + "/result")).problem(410)
    assert desk.bench.state.metrics.registry.get_sample_value("haipool_tasks_total", {"status": "expired"}) == 1


async def test_an_answer_whose_time_is_over_is_gone_at_once(desk: Any) -> None:
    desk.bench.spec(queue={"asyncTasks": {"resultTtlSeconds": 60}})
    await desk.bench.upstream(echo)
    where = await desk.hand_in("x")
    await desk.until(where, "succeeded")
    desk.bench.wall += 61
    (await desk.get(where + "/result")).problem(410)
    await desk.bench.tasks.purge()
    assert (await desk.status(where))["result"] == "gone"
    desk.bench.wall += 61
    await desk.bench.tasks.purge()
    (await desk.get(where)).problem(404)


# --- idempotency keys -----------------------------------------------------------------------------------------------


async def test_a_task_that_is_handed_in_twice_with_one_key_is_one_task(desk: Any, gate: Any) -> None:
    key = {"Idempotency-Key": '"8e03978e"'}
    where = await desk.hand_in("x", headers=key)
    assert await desk.hand_in("x", headers={"Idempotency-Key": "8e03978e"}) == where
    gate.let_go(5)
    await desk.until(where, "succeeded")
    assert await desk.hand_in("x", headers=key) == where
    assert gate.started == ["x"]
    answer = await desk.bench.send("x", headers=key | {"Prefer": "respond-async, wait=100"})
    assert (answer.status, answer.body) == (200, b"done x")


@pytest.mark.parametrize("other", [{"body": "y"}, {"path": "/run?b"}, {"method": "PUT"}])
async def test_another_request_under_the_same_key_is_refused(desk: Any, other: dict[str, str]) -> None:
    request: dict[str, Any] = {"body": "x", "path": "/run", "headers": ASYNC | {"Idempotency-Key": "k"}}
    assert (await desk.bench.send(**request)).status == 202
    (await desk.bench.send(**request | other)).problem(422)
    assert len(desk.bench.scheduler.queue) == 1


async def test_keys_of_different_clients_are_different_keys(desk: Any) -> None:
    key = {"Idempotency-Key": "k"}
    assert await desk.hand_in("x", headers=key) != await desk.hand_in("y", headers=key, of="127.0.1.2")


async def test_a_key_is_the_same_in_the_next_window(desk: Any) -> None:
    key = {"Idempotency-Key": "k"}
    where = await desk.hand_in("x", headers=key)
    desk.bench.wall += 3600
    assert await desk.hand_in("x", headers=key) == where


async def test_what_is_no_key_is_refused_before_the_body_is_read(desk: Any) -> None:
    (await desk.bench.send("x", headers=ASYNC | {"Idempotency-Key": "k" * 256})).problem(400)


async def test_a_key_without_the_preference_means_nothing_here_and_is_passed_on(desk: Any) -> None:
    async def keys(request: web.Request) -> web.Response:
        return web.Response(text=request.headers.get("Idempotency-Key", ""))

    await desk.bench.upstream(keys)
    answers = [await desk.bench.send(body, headers={"Idempotency-Key": "k"}) for body in "ab"]
    assert [answer.body for answer in answers] == [b"k", b"k"]


# --- a store in trouble ---------------------------------------------------------------------------------------------


def broken(error: Exception) -> Callable[..., Awaitable[Any]]:
    async def fail(*_: Any, **__: Any) -> Any:
        raise error

    return fail


@pytest.mark.parametrize(("error", "status"), [(StoreFullError("disk full"), 507), (StoreError("no disk"), 503)])
async def test_a_task_that_cannot_be_kept_is_refused_and_synchronous_ones_go_on(
    desk: Any, monkeypatch: pytest.MonkeyPatch, error: StoreError, status: int
) -> None:
    await desk.bench.upstream(echo)
    monkeypatch.setattr(desk.bench.state.store, "add", broken(error))
    answer = await desk.bench.send("x", headers=ASYNC)
    answer.problem(status)
    assert int(answer.headers["Retry-After"]) >= 1
    assert (await desk.bench.send("x")).status == 200
    assert desk.bench.tasks.arriving("127.0.0.1") == (0, 0)


async def test_above_what_may_be_stored_tasks_are_refused_until_there_is_room(desk: Any, gate: Any) -> None:
    desk.bench.spec(queue={"asyncTasks": {"maxStoredBytes": 50_000}})
    first = await desk.hand_in("a" * 40_000)
    assert "maxStoredBytes" in (await desk.bench.send("b" * 40_000, headers=ASYNC)).problem(507)
    gate.let_go()
    await desk.until(first, "succeeded")
    await desk.hand_in("b" * 40_000)
    (await desk.get(first + "/result")).problem(410)


async def test_an_end_that_the_store_does_not_take_is_told_again_until_it_does(
    desk: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = desk.bench.state.store
    finish, failed = store.finish, asyncio.Event()

    async def once(*arguments: Any, **options: Any) -> bool:
        if not failed.is_set():
            failed.set()
            raise StoreFullError("disk full")
        return bool(await finish(*arguments, **options))

    monkeypatch.setattr(store, "finish", once)
    await desk.bench.upstream(echo)
    where = await desk.hand_in("x")
    task = await desk.until(where, "failed")
    assert task["failure"]["title"] == "No room for the answer"
    assert desk.bench.in_flight() == 0


async def test_what_is_in_the_store_stands_on_the_admin_port(desk: Any, gate: Any) -> None:
    first = await desk.hand_in("a")
    await desk.hand_in("b")
    await desk.until(first, "running")
    async with aiohttp.ClientSession(desk.bench.admin_url) as http, http.get("/-/queue") as answer:
        page = (await answer.json())["asyncTasks"]
    assert page["durable"]
    assert page["states"] == {"queued": 1, "running": 1, "succeeded": 0, "failed": 0, "cancelled": 0, "expired": 0}
    assert page["storedBytes"] > 1000
    sample = desk.bench.state.metrics.registry.get_sample_value
    assert sample("haipool_async_tasks", {"state": "queued"}) == 1
    assert sample("haipool_async_stored_bytes") == page["storedBytes"]


# --- tasks that go on after their answer ----------------------------------------------------------------------------


@pytest.mark.parametrize(("outcome", "state"), [("success", "succeeded"), ("error", "failed")])
async def test_a_task_whose_end_is_polled_has_ended_when_its_server_says_so(
    desk: Any, outcome: str, state: str
) -> None:
    history: dict[str, Any] = {}

    async def comfy(request: web.Request) -> web.Response:
        return web.json_response(history if request.method == "GET" else {"prompt_id": "p1"})

    poll = {"path": "/history/{id}", "idPointer": "/prompt_id", "intervalSeconds": 0.05}
    poll |= {"failedPointer": "/{id}/status", "failedValues": ["error"]}
    route = {"name": "prompt", "methods": ["POST"], "pathPrefix": "/prompt", "completion": "Poll", "poll": poll}
    desk.bench.spec(queue={"routes": [route]})
    await desk.bench.upstream(comfy)
    where = await desk.hand_in("x", path="/prompt")
    await desk.until(where, "running")
    (await desk.get(where + "/result")).problem(409)
    history["p1"] = {"status": outcome}
    task = await desk.until(where, state)
    assert (task["result"], task["answerStatus"]) == ("available", 200)
    assert bool(task["failure"]) == (state == "failed")
    assert json.loads((await desk.get(where + "/result")).body) == {"prompt_id": "p1"}


# --- a CDN in front of answers --------------------------------------------------------------------------------------


async def test_links_to_answers_are_made_on_a_cdn_that_serves_and_answers_may_be_kept_there(desk: Any) -> None:
    await desk.bench.upstream(echo)
    where = await desk.hand_in(b"prompt")
    done = await desk.until(where, "succeeded")
    assert done["links"]["result"] == where + "/result"
    assert "Cache-Control" not in (await desk.get(where + "/result")).headers
    view = desk.bench.state.view
    desk.bench.state.view = replace(view, links_on="https://cdn.example.com", cdn_serves=True)
    links = (await desk.status(where))["links"]
    assert links == {
        "self": where,
        "result": f"https://cdn.example.com{where}/result",
        "events": where + "/events",
    }
    kept = (await desk.get(where + "/result")).headers["Cache-Control"]
    life = view.spec.queue.async_tasks.result_ttl_seconds
    assert re.fullmatch(r"public, max-age=(\d+), immutable", kept)
    assert 0 < int(kept.split("=")[1].split(",")[0]) <= life
    desk.bench.state.view = replace(view, cdn_serves=True)
    assert (await desk.status(where))["links"]["result"] == where + "/result"
    assert "public" in (await desk.get(where + "/result")).headers["Cache-Control"]


async def test_what_a_server_says_of_keeping_its_answer_holds_on_a_cdn_too(desk: Any) -> None:
    async def secret(request: web.Request) -> web.Response:
        return web.Response(body=await request.read(), headers={"Cache-Control": "no-store"})

    await desk.bench.upstream(secret)
    where = await desk.hand_in(b"prompt")
    await desk.until(where, "succeeded")
    desk.bench.state.view = replace(desk.bench.state.view, links_on="https://cdn.example.com", cdn_serves=True)
    assert (await desk.get(where + "/result")).headers["Cache-Control"] == "no-store"
