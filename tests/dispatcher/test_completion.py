"""Tasks whose end shows only in the server's account of them: reading it, and holding the slot until then."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import pytest
from aiohttp import web
from multidict import CIMultiDict

from controller.api.queue import Poll
from controller.dispatcher.answer import next_part
from controller.dispatcher.completion import LONGEST_ID, End, Places, ended, mentions, pointed, task_id
from controller.dispatcher.execute import Job
from controller.dispatcher.forward import Outgoing
from controller.dispatcher.identity import Identity
from controller.dispatcher.routesets import COMFYUI
from controller.dispatcher.servers import Server, ServerSpec
from controller.dispatcher.upstream import Reply

_POLL = COMFYUI[0].poll
assert _POLL is not None
HISTORY: Poll = _POLL


# --- reading -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "name"),
    [
        (b'{"id": "a-1"}', "a-1"),
        (b'{"id": 7}', "7"),
        (b'{"id": ""}', None),
        (b'{"id": true}', None),
        (b'{"id": null}', None),
        (b'{"id": ["a"]}', None),
        (b'{"ids": "a"}', None),
        (b'["a"]', None),
        (b"queued", None),
        (b"", None),
        (b"\xff", None),
        (json.dumps({"id": "x" * (LONGEST_ID + 1)}).encode(), None),
    ],
)
def test_the_id_is_where_the_pointer_says_or_nowhere(answer: bytes, name: str | None) -> None:
    assert task_id(Poll(path="/tasks/{id}"), answer) == name


@pytest.mark.parametrize(
    ("pointer", "found"),
    [
        ("/a/b", 1),
        ("/list/1", "second"),
        ("/{id}", "by id"),
        ("/t~1s~0u", "escaped"),
        ("/a", {"b": 1}),
    ],
)
def test_a_json_pointer_leads_through_objects_and_lists(pointer: str, found: Any) -> None:
    document = {"a": {"b": 1}, "list": ["first", "second"], "we/ird~": "by id", "t/s~u": "escaped"}
    assert pointed(document, pointer, "we/ird~") == found


@pytest.mark.parametrize("pointer", ["/b", "/a/b/c", "/list/2", "/list/-1", "/list/x", "/list/²"])
def test_a_json_pointer_to_nothing_is_an_error(pointer: str) -> None:
    with pytest.raises(KeyError):
        pointed({"a": {"b": 1}, "list": [1, 2]}, pointer)


def entry(status: Any) -> dict[str, Any]:
    return {"n": {"outputs": {}, "status": status}}


@pytest.mark.parametrize(
    ("account", "end"),
    [
        ({}, None),
        ({"other": {}}, None),
        ({"n": None}, None),
        ([], None),
        ("n", None),
        (entry({"status_str": "success"}), End("success")),
        (entry({"status_str": "error"}), End("failed", "the server reports error")),
        (entry(None), End("success")),
        ({"n": {}}, End("success")),
    ],
)
def test_a_task_is_over_once_it_is_in_the_account_and_as_it_says_there(account: Any, end: End | None) -> None:
    assert ended(HISTORY, "n", account) == end


def test_an_outcome_may_be_anything_that_json_can_say() -> None:
    poll = Poll(path="/{id}", done_pointer="/ended", failed_pointer="/ok", failed_values=("false", "0"))
    assert ended(poll, "n", {"ended": 1, "ok": False}) == End("failed", "the server reports false")
    assert ended(poll, "n", {"ended": 1, "ok": 0}) == End("failed", "the server reports 0")
    assert ended(poll, "n", {"ended": 1, "ok": True}) == End("success")


@pytest.mark.parametrize(
    ("document", "there"),
    [
        ({"queue_running": [[0, "n", {}]], "queue_pending": []}, True),
        ({"n": 1}, True),
        ([7, {"x": ["n"]}], True),
        ({"queue_running": [[0, "nn", {}]]}, False),
        ("not n", False),
        (None, False),
    ],
)
def test_an_id_stands_in_a_document_as_a_whole_value(document: Any, there: bool) -> None:
    assert mentions(document, "n") is there
    assert mentions([7], "7")


def test_places_are_bounded_and_the_oldest_are_forgotten() -> None:
    places, server = Places(limit=3), Server(ServerSpec("s", "u", "http://h"))
    for name in ("a", "b", "c", "a", "d"):
        places.put(name, server)
    assert [places.get(name) is server for name in ("a", "b", "c", "d")] == [True, False, True, True]
    assert len(places) == 3


# --- holding the slot ----------------------------------------------------------------------------------------------


class Jobs:
    """A server that takes jobs at once and says at `/jobs/{id}` how they are; a test decides."""

    def __init__(self) -> None:
        self.states: dict[str, Any] = {}
        self.listed: set[str] = set()
        self.looks: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.status = 201
        self.trouble = False
        self.answer: bytes | None = None
        self.hold = asyncio.Event()
        self.hold.set()

    async def __call__(self, request: web.Request) -> web.Response:
        if request.method == "POST":
            name = (await request.read()).decode()
            await self.hold.wait()
            self.listed.add(name)
            body = self.answer if self.answer is not None else json.dumps({"id": name}).encode()
            return web.Response(status=self.status, body=body, content_type="application/json")
        self.looks.append(request.path)
        self.headers.append(dict(request.headers))
        if self.trouble:
            return web.Response(status=500)
        if request.path == "/jobs":
            return web.json_response(sorted(self.listed))
        name = request.path.removeprefix("/jobs/")
        return web.json_response({name: self.states[name]} if name in self.states else {})

    def end(self, name: str, outcome: str = "ok") -> None:
        self.listed.discard(name)
        self.states[name] = {"outcome": outcome}


POLL = {"path": "/jobs/{id}", "failedPointer": "/{id}/outcome", "failedValues": ["bad"], "intervalSeconds": 0.05}


def spec(poll: dict[str, Any] | None = None, server: dict[str, Any] | None = None, **route: Any) -> dict[str, Any]:
    jobs = {"name": "jobs", "methods": ["POST"], "completion": "Poll", "poll": POLL | (poll or {}), **route}
    return {"queue": {"routes": [jobs]}, "server": server or {}}


@pytest.fixture
async def jobs(bench: Any) -> Jobs:
    bench.spec(**spec())
    server = Jobs()
    await bench.upstream(server)
    return server


def counted(bench: Any, status: str) -> float:
    value = bench.state.metrics.registry.get_sample_value("haipool_tasks_total", {"status": status})
    assert value is not None
    return float(value)


async def test_the_client_has_its_answer_at_once_and_the_slot_stays_taken_until_the_end(bench: Any, jobs: Jobs) -> None:
    answer = await bench.send("a")
    assert (answer.status, json.loads(answer.body)) == (201, {"id": "a"})
    second = asyncio.create_task(bench.send("b"))
    await bench.until(lambda: len(jobs.looks) >= 3)
    assert bench.in_flight() == 1
    assert bench.scheduler.waiting == 1
    assert not second.done()
    jobs.end("a")
    assert (await second).status == 201
    jobs.end("b")
    await bench.until(lambda: bench.in_flight() == 0)
    assert counted(bench, "success") == 2
    assert bench.scheduler.idle.is_set()


async def test_a_failure_that_the_server_reports_is_one(bench: Any, jobs: Jobs) -> None:
    await bench.send("a")
    jobs.end("a", "bad")
    await bench.until(lambda: bench.in_flight() == 0)
    assert (counted(bench, "failed"), counted(bench, "success")) == (1, 0)


async def test_it_goes_on_when_the_client_has_gone(bench: Any, jobs: Jobs) -> None:
    jobs.hold.clear()
    client = asyncio.create_task(bench.send("a", of="127.0.0.3"))
    await bench.until(lambda: bench.in_flight() == 1)
    await bench.client("127.0.0.3").close()
    await asyncio.gather(client, return_exceptions=True)
    jobs.hold.set()
    await bench.until(lambda: len(jobs.looks) >= 2)
    assert bench.in_flight() == 1
    jobs.end("a")
    await bench.until(lambda: bench.in_flight() == 0)
    assert counted(bench, "success") == 1


async def test_a_client_that_goes_while_it_waits_takes_its_task_along(bench: Any, jobs: Jobs) -> None:
    await bench.send("a")
    client = asyncio.create_task(bench.send("b", of="127.0.0.3"))
    await bench.until(lambda: bench.scheduler.waiting == 1)
    await bench.client("127.0.0.3").close()
    await asyncio.gather(client, return_exceptions=True)
    await bench.until(lambda: bench.scheduler.waiting == 0)
    jobs.end("a")
    await bench.until(lambda: bench.in_flight() == 0)
    assert jobs.listed == set()
    assert counted(bench, "cancelled") == 1


@pytest.mark.parametrize(
    ("status", "answer", "outcome"),
    [(400, None, "success"), (500, None, "failed"), (200, b"{}", "success"), (200, b"taken", "success")],
)
async def test_what_was_not_taken_or_got_no_id_is_over_at_once(
    bench: Any, jobs: Jobs, status: int, answer: bytes | None, outcome: str
) -> None:
    jobs.status, jobs.answer = status, answer
    assert (await bench.send("a")).status == status
    await bench.until(lambda: bench.in_flight() == 0)
    assert jobs.looks == []
    assert counted(bench, outcome) == 1


async def test_the_server_is_not_asked_for_a_compressed_answer(bench: Any) -> None:
    """Its answer is read here, so it is asked for as plain text."""
    seen: list[str | None] = []

    async def note(request: web.Request) -> web.Response:
        seen.append(request.headers.get("Accept-Encoding"))
        return web.json_response({})

    bench.spec(**spec())
    await bench.upstream(note)
    await bench.send("a", headers={"Accept-Encoding": "gzip"})
    assert seen == [None]


async def test_the_server_is_asked_with_the_clients_credentials(bench: Any, jobs: Jobs) -> None:
    await bench.send("a", headers={"Authorization": "Bearer t", "Cookie": "c=1", "X-Other": "1"})
    await bench.until(lambda: len(jobs.headers) >= 1)
    jobs.end("a")
    assert {"Authorization": "Bearer t", "Cookie": "c=1"}.items() <= jobs.headers[0].items()
    assert "X-Other" not in jobs.headers[0]


async def test_an_id_of_any_characters_is_asked_after_by_itself_alone(bench: Any, jobs: Jobs) -> None:
    jobs.answer = json.dumps({"id": "../x?y#z/ä"}).encode()
    await bench.send("a")
    await bench.until(lambda: len(jobs.looks) >= 1)
    assert jobs.looks[0] == "/jobs/../x?y#z/ä"  # decoded by the server, so it was one segment
    jobs.end("../x?y#z/ä")
    await bench.until(lambda: bench.in_flight() == 0)


async def test_what_the_server_neither_lists_nor_knows_is_gone(bench: Any, jobs: Jobs) -> None:
    bench.spec(**spec({"pendingPath": "/jobs"}))
    await bench.send("a")
    await bench.until(lambda: jobs.looks.count("/jobs") >= 2)
    assert bench.in_flight() == 1
    jobs.listed.clear()
    await bench.until(lambda: bench.in_flight() == 0)
    assert counted(bench, "cancelled") == 1


async def test_what_ends_between_two_looks_is_not_gone(bench: Any, jobs: Jobs) -> None:
    """The list is read after the account: a task that ends in between is in neither, for this look."""
    bench.spec(**spec({"pendingPath": "/jobs"}))
    await bench.send("a")

    class EndsAfterFirstLook(list[str]):
        def append(self, path: str) -> None:
            super().append(path)
            if path == "/jobs":
                jobs.end("a")

    jobs.looks = EndsAfterFirstLook()
    await bench.until(lambda: bench.in_flight() == 0)
    assert (counted(bench, "success"), counted(bench, "cancelled")) == (1, 0)


async def test_a_server_that_cannot_be_asked_for_a_while_keeps_its_task(bench: Any, jobs: Jobs) -> None:
    await bench.send("a")
    jobs.trouble = True
    await bench.until(lambda: len(jobs.looks) >= 8)
    assert bench.in_flight() == 1
    jobs.trouble = False
    jobs.end("a")
    await bench.until(lambda: bench.in_flight() == 0)
    assert counted(bench, "success") == 1


async def test_a_server_that_cannot_be_asked_for_as_long_as_dead_ones_take_has_lost_it(bench: Any, jobs: Jobs) -> None:
    bench.spec(**spec(server={"failureThreshold": 1, "probeIntervalSeconds": 1}))
    await bench.send("a")
    jobs.trouble = True
    await bench.until(lambda: bench.in_flight() == 0)
    assert counted(bench, "failed") == 1


async def test_a_server_that_died_without_a_word_has_lost_it(bench: Any) -> None:
    bench.spec(**spec(server={"failureThreshold": 1, "probeIntervalSeconds": 1}))
    server = await bench.upstream(Jobs())
    await bench.send("a")
    await server.close()
    await bench.until(lambda: bench.in_flight() == 0)
    assert counted(bench, "failed") == 1


async def test_a_server_that_is_withdrawn_takes_its_task_along(bench: Any, jobs: Jobs) -> None:
    await bench.send("a")
    await bench.until(lambda: len(jobs.looks) >= 1)
    bench.withdraw("demo-1")
    await bench.until(bench.scheduler.idle.is_set)
    assert counted(bench, "failed") == 1


async def test_a_task_that_takes_longer_than_its_route_allows_has_failed(bench: Any, jobs: Jobs) -> None:
    bench.spec(**spec(timeoutSeconds=1))
    await bench.send("a")
    await bench.until(lambda: bench.in_flight() == 0)
    assert counted(bench, "failed") == 1


async def test_a_server_that_drains_is_busy_until_the_end(bench: Any, jobs: Jobs) -> None:
    await bench.send("a")
    bench.change("demo-1", draining=True)
    await bench.until(lambda: len(jobs.looks) >= 3)
    assert bench.in_flight() == 1
    jobs.end("a")
    await bench.until(lambda: bench.in_flight() == 0)


async def test_the_end_of_the_dispatcher_waits_for_it_and_then_gives_it_up(bench: Any, jobs: Jobs) -> None:
    await bench.send("a")
    bench.state.closing = True
    bench.scheduler.shut_out()
    assert not bench.scheduler.idle.is_set()
    await bench.proxy.close()
    assert bench.scheduler.idle.is_set()
    assert counted(bench, "cancelled") == 1


class Kept:
    """A sink that keeps the answer, as a store does."""

    def __init__(self) -> None:
        self.begun, self.status, self.body, self.finished = False, 0, b"", 0

    async def take(self, server: Server, upstream: Reply, extra: Mapping[str, str]) -> None:
        self.begun, self.status = True, upstream.status
        while part := await next_part(server, upstream):
            self.body += part

    async def finish(self) -> None:
        self.finished += 1


async def test_whoever_runs_such_a_task_without_a_client_waits_for_its_end(bench: Any, jobs: Jobs) -> None:
    """As asynchronous tasks do: the result is the server's answer, and it is there once the work is done."""
    user = Identity("u_1", "u", "n", "n", "192.0.2.1", 1, None, "ip_time_window", 1.0, 1.0)
    queue, headers = bench.state.view.spec.queue, CIMultiDict({"Host": "h"})
    sent, sink = Outgoing("POST", "/run", headers, lambda: b"a", 1, repeatable=True), Kept()
    job = Job(bench.scheduler.submit("t-1", user), queue.routes[0], queue, sent, sink)
    running = asyncio.create_task(bench.proxy.executor.run(job))
    await bench.until(lambda: len(jobs.looks) >= 2)
    assert not running.done()
    assert json.loads(sink.body) == {"id": "a"}
    jobs.end("a")
    outcome = await running
    assert (outcome.status, outcome.problem) == ("success", None)
    assert sink.finished == 1


async def test_whoever_asks_after_a_task_is_led_to_its_server(bench: Any) -> None:
    bench.spec(**spec())
    servers = {name: Jobs() for name in ("demo-1", "demo-2", "demo-3")}
    for name, server in servers.items():
        await bench.upstream(server, name)
    where = {task: (await bench.send(task)).headers["X-Haipool-Server"] for task in ("a", "b", "c")}
    assert set(where.values()) == set(servers)
    for task, name in where.items():
        servers[name].end(task)
    await bench.until(bench.scheduler.idle.is_set)
    for address in ("127.0.0.5", "127.0.0.6", "127.0.0.7", "127.0.0.8"):
        for task in where:
            answer = await bench.send(None, method="GET", path=f"/jobs/{task}", of=address)
            assert json.loads(answer.body) == {task: {"outcome": "ok"}}
    bench.change(where["a"], draining=True)
    assert json.loads((await bench.send(None, method="GET", path="/jobs/a")).body) == {"a": {"outcome": "ok"}}
    bench.withdraw(where["a"])
    assert json.loads((await bench.send(None, method="GET", path="/jobs/a")).body) == {}


async def test_its_slot_counts_as_taken_for_as_long_as_the_server_works(bench: Any, jobs: Jobs) -> None:
    """Its duration is that of the work, not that of the answer."""
    await bench.send("a")
    await bench.until(lambda: len(jobs.looks) >= 4)
    jobs.end("a")
    await bench.until(lambda: bench.in_flight() == 0)
    server = bench.scheduler.servers.get("demo-1")
    assert server.ewma >= 4 * 0.05
