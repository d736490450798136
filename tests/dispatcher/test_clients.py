"""Who is who, through the running dispatcher: keys and headers behind one address, and what proxies say."""

import asyncio
import hashlib
import logging
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from controller.dispatcher.apikeys import parse_keys

ALICE, BOB = {"Authorization": "Bearer a-key"}, {"Authorization": "Bearer b-key"}
KEYS = "".join(f"{name}: {hashlib.sha256(key).hexdigest()}\n" for name, key in (("alice", b"a-key"), ("bob", b"b-key")))


class Server:
    """Works on one task at a time, each when it is let go."""

    def __init__(self) -> None:
        self.started: list[str] = []
        self._go = asyncio.Semaphore(0)

    def let_go(self, tasks: int) -> None:
        for _ in range(tasks):
            self._go.release()

    async def __call__(self, request: web.Request) -> web.Response:
        self.started.append(await request.text())
        await self._go.acquire()
        return web.Response()


async def order(bench: Any, sent: list[tuple[str, dict[str, str]]]) -> list[str]:
    """In which order a server starts on these tasks, all from one address, that wait behind another one's."""
    server = Server()
    await bench.upstream(server)
    tasks = [asyncio.create_task(bench.send("first", of="127.0.0.9"))]
    await bench.until(lambda: server.started == ["first"])
    for number, (body, headers) in enumerate(sent, start=1):
        tasks.append(asyncio.create_task(bench.send(body, headers=headers)))
        await bench.until(lambda waiting=number: bench.scheduler.waiting == waiting)
    server.let_go(len(tasks))
    assert {answer.status for answer in await asyncio.gather(*tasks)} == {200}
    return server.started[1:]


async def test_two_users_behind_one_address_with_keys_take_turns(bench: Any) -> None:
    bench.state.take_keys(parse_keys(KEYS))
    sent = [("a1", ALICE), ("a2", ALICE), ("a3", ALICE), ("b1", BOB), ("b2", BOB)]
    assert await order(bench, sent) == ["a1", "b1", "a2", "b2", "a3"]


async def test_without_keys_they_are_one_user(bench: Any) -> None:
    sent = [("a1", ALICE), ("a2", ALICE), ("b1", BOB), ("b2", BOB)]
    assert await order(bench, sent) == ["a1", "a2", "b1", "b2"]


async def test_a_header_tells_the_users_of_one_address_apart(bench: Any) -> None:
    bench.spec(queue={"userHeader": "X-User"})
    sent = [(body, {"X-User": body[0]}) for body in ("a1", "a2", "a3", "b1", "b2")]
    assert await order(bench, sent) == ["a1", "b1", "a2", "b2", "a3"]


async def test_who_makes_up_names_gains_nothing_on_another_address(bench: Any) -> None:
    bench.spec(queue={"userHeader": "X-User"})
    server = Server()
    await bench.upstream(server)
    tasks = [asyncio.create_task(bench.send("first", of="127.0.0.9"))]
    await bench.until(lambda: server.started == ["first"])
    for name in ("1", "2", "3", "4"):
        eve = bench.send(f"eve{name}", of="127.0.0.2", headers={"X-User": name})
        tasks.append(asyncio.create_task(eve))
    await bench.until(lambda: bench.scheduler.waiting == 4)
    tasks += [asyncio.create_task(bench.send(f"honest{number}", of="127.0.0.3")) for number in range(2)]
    await bench.until(lambda: bench.scheduler.waiting == 6)
    server.let_go(len(tasks))
    await asyncio.gather(*tasks)
    assert [body[:3] for body in server.started[1:]] == ["eve", "hon", "eve", "hon", "eve", "eve"]


async def test_an_unknown_key_is_no_error_and_goes_on_to_the_application(bench: Any) -> None:
    bench.state.take_keys(parse_keys(KEYS))
    seen = []

    async def serve(request: web.Request) -> web.Response:
        seen.append(request.headers["Authorization"])
        return web.Response()

    await bench.upstream(serve)
    answer = await bench.send(headers={"Authorization": "Bearer for-the-application"})
    assert (answer.status, answer.headers["X-Haipool-User"]) == (200, "user_127.0.0.1_1")
    assert (await bench.send(headers=ALICE)).headers["X-Haipool-User"] == "user_127.0.0.1+alice_1"
    assert seen == ["Bearer for-the-application", "Bearer a-key"]


async def test_sharing_by_user_a_name_is_believed_only_from_a_trusted_proxy(bench: Any) -> None:
    bench.spec(queue={"shareBy": "User", "userHeader": "X-User", "trustedNetworks": ["127.0.0.7/32"]})
    await bench.upstream(lambda _: asyncio.sleep(0, web.Response()))
    headers = {"X-User": "bob", "X-Forwarded-For": "203.0.113.9"}
    assert (await bench.send(of="127.0.0.7", headers=headers)).headers["X-Haipool-User"] == "user_203.0.113.9+~bob_1"
    assert (await bench.send(of="127.0.0.8", headers=headers)).headers["X-Haipool-User"] == "user_127.0.0.8_1"


# --- what proxies say, and what goes on ------------------------------------------------------------------------------


async def said_to_the_server(bench: Any, headers: dict[str, str]) -> dict[str, str]:
    seen: list[dict[str, str]] = []

    async def serve(request: web.Request) -> web.Response:
        seen.append(dict(request.headers))
        return web.Response()

    await bench.upstream(serve)
    assert (await bench.send(of="127.0.0.7", headers=headers)).status == 200
    return seen[0]


BOTH = {"Forwarded": "for=203.0.113.9;proto=https", "X-Forwarded-For": "198.51.100.1"}


@pytest.mark.parametrize(
    ("believed", "user", "sent"),
    [
        ("XForwardedFor", "198.51.100.1", {"X-Forwarded-For": "198.51.100.1, 127.0.0.7"}),
        (
            "Forwarded",
            "203.0.113.9",
            {
                "X-Forwarded-For": "203.0.113.9, 127.0.0.7",
                "Forwarded": "for=203.0.113.9;proto=https, for=127.0.0.7",
            },
        ),
    ],
)
async def test_the_header_that_is_not_believed_deceives_the_server_neither(
    bench: Any, believed: str, user: str, sent: dict[str, str]
) -> None:
    bench.spec(queue={"trustedNetworks": ["127.0.0.7"], "forwardedHeader": believed})
    said = await said_to_the_server(bench, BOTH)
    assert {name: value for name, value in said.items() if name in ("Forwarded", "X-Forwarded-For")} == sent
    answer = await bench.send(of="127.0.0.7", headers=BOTH)
    assert answer.headers["X-Haipool-User"] == f"user_{user}_1"


async def test_a_stranger_cannot_start_a_chain_in_either_header(bench: Any) -> None:
    bench.spec(queue={"forwardedHeader": "Forwarded"})
    said = await said_to_the_server(bench, BOTH)
    assert said["X-Forwarded-For"] == "127.0.0.7"
    assert "Forwarded" not in said


# --- one address that dominates --------------------------------------------------------------------------------------


async def test_an_untrusted_proxy_in_front_is_told_once_and_measured(
    bench: Any, caplog: pytest.LogCaptureFixture
) -> None:
    await bench.upstream(lambda _: asyncio.sleep(0, web.Response()))
    for number in range(200):
        await bench.send(None, method="GET", headers={"X-Forwarded-For": f"203.0.113.{number}"})
    with caplog.at_level(logging.WARNING, "controller.dispatcher.app"):
        bench.wall += 60
        await bench.send(None, method="GET")
        bench.wall += 60
        await bench.send(None, method="GET")
    (said,) = caplog.messages
    assert "100% of the last 201 requests came from 127.0.0.1" in said
    assert "queue.trustedNetworks" in said
    async with aiohttp.ClientSession() as session, session.get(bench.admin_url + "/metrics") as page:
        assert "haipool_client_dominance_ratio 1.0\n" in await page.text()


async def test_made_up_names_open_no_second_allowance_and_keys_do(bench: Any) -> None:
    bench.spec(queue={"userHeader": "X-User", "maxTasksPerUser": 1})
    bench.state.take_keys(parse_keys(KEYS))
    tasks = [asyncio.create_task(bench.send("waits", headers={"X-User": "first"}))]
    await bench.until(lambda: bench.scheduler.waiting == 1)
    (await bench.send("more", headers={"X-User": "made-up"})).problem(429)
    tasks.append(asyncio.create_task(bench.send("mine", headers=ALICE)))
    await bench.until(lambda: bench.scheduler.waiting == 2)
    (await bench.send("more", headers=ALICE)).problem(429)
    for task in tasks:
        task.cancel()
    await bench.until(lambda: bench.scheduler.waiting == 0)


async def test_a_weight_is_a_share(bench: Any) -> None:
    bench.spec(queue={"weights": [{"apiKey": "alice", "weight": 2}]})
    bench.state.take_keys(parse_keys(KEYS))
    sent = [(f"{name}{n}", key) for n in range(1, 5) for name, key in (("a", ALICE), ("b", BOB))]
    started = await order(bench, sent)
    assert sum(body.startswith("a") for body in started[:6]) == 4, started


async def test_a_route_may_cost_several_turns(bench: Any) -> None:
    bench.spec(queue={"routes": [{"name": "dear", "pathPrefix": "/dear", "cost": 3}]})
    server = Server()
    await bench.upstream(server)
    tasks = [asyncio.create_task(bench.send("first", of="127.0.0.9"))]
    await bench.until(lambda: server.started == ["first"])
    for number in range(3):
        for body, of, path in ((f"d{number}", "127.0.0.2", "/dear"), (f"c{number}", "127.0.0.3", "/run")):
            waiting = len(tasks)
            tasks.append(asyncio.create_task(bench.send(body, of=of, path=path)))
            await bench.until(lambda waiting=waiting: bench.scheduler.waiting == waiting)
    server.let_go(len(tasks))
    await asyncio.gather(*tasks)
    assert server.started[1:] == ["d0", "c0", "c1", "c2", "d1", "d2"]
