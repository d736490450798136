"""Clients that are slow: with their request's head, with its body, and with taking the answer."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from controller.api.queue import SlowClients
from controller.dispatcher.slow import patience

MIB = 1024 * 1024


@pytest.mark.parametrize(
    ("size", "waited", "seconds"),
    [
        (0, 0, 10),  # its first ten seconds are for coming to speed, but not for nothing at all
        (0, 9, 1),
        (0, 10, 0),
        (100, 9, 1),
        (1000, 5, 5),
        (1999, 5, 14.99),  # at 100 bytes a second it may have taken 19.99 s
        (100_000, 5, 30),  # never longer than idleSeconds
        (100_000, 999, 1),
        (100_000, 1001, -1),
    ],
)
def test_how_long_the_next_part_of_a_body_is_waited_for(size: int, waited: float, seconds: float) -> None:
    settings = SlowClients(idle_seconds=30, min_bytes_per_second=100)
    assert patience(settings, size, waited) == pytest.approx(seconds)


def test_without_a_least_rate_only_standing_still_is_too_slow() -> None:
    settings = SlowClients(idle_seconds=30, min_bytes_per_second=0)
    assert patience(settings, 1, 100_000) == 30


@pytest.fixture
async def watched(bench: Any) -> AsyncIterator[Any]:
    """A dispatcher that looks after slow clients, and waits one second for them."""
    bench.spec(queue={"slowClients": {"idleSeconds": 1}})
    watching = asyncio.create_task(bench.data.watch())
    yield bench
    watching.cancel()
    await asyncio.wait([watching])


async def answer_to(bench: Any, *parts: bytes) -> bytes:
    """What comes back to these bytes until the dispatcher ends the connection; the client sends no more and waits."""
    reader, writer = await asyncio.open_connection("127.0.0.1", bench.port)
    try:
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0.05)
        return await reader.read()
    except ConnectionResetError:
        return b""
    finally:
        writer.close()


HEAD = b"POST /run HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n"


@pytest.mark.parametrize("parts", [(), (HEAD,), (b"G", b"E", b"T")], ids=["nothing", "half a head", "byte by byte"])
async def test_a_connection_that_sends_no_whole_head_is_ended(watched: Any, parts: tuple[bytes, ...]) -> None:
    assert await answer_to(watched, *parts) == b""


async def test_so_is_one_that_sends_half_a_head_after_a_whole_request(watched: Any) -> None:
    await watched.upstream(hello)
    answer = await answer_to(watched, HEAD + b"\r\n0123456789", HEAD)
    assert answer.count(b"HTTP/1.1 200") == 1


async def test_one_that_is_idle_between_two_requests_is_kept(watched: Any) -> None:
    await watched.upstream(hello)
    reader, writer = await asyncio.open_connection("127.0.0.1", watched.port)
    for pause in (1.5, 0):  # longer than a head may take
        writer.write(HEAD + b"\r\n0123456789")
        assert await reader.readuntil(b"hello")
        await asyncio.sleep(pause)
    writer.close()


async def echo(request: web.Request) -> web.Response:
    return web.Response(body=await request.read())


async def hello(_: web.Request) -> web.Response:
    return web.Response(text="hello")


@pytest.mark.parametrize("method", [b"POST", b"DELETE"], ids=["task", "pass-through"])
async def test_a_body_that_stands_still_is_answered_with_408_and_troubles_no_server(bench: Any, method: bytes) -> None:
    bench.spec(queue={"slowClients": {"idleSeconds": 1}})
    await bench.upstream(echo)
    answer = await answer_to(bench, HEAD.replace(b"POST", method) + b"\r\n", b"01234")
    assert answer.startswith(b"HTTP/1.1 408 ")
    problem = json.loads(answer.partition(b"\r\n\r\n")[2])
    assert "slowClients" in problem["detail"]
    assert bench.in_flight() == bench.scheduler.waiting == 0
    assert bench.scheduler.servers.get("demo-1").suspicion == 0


async def test_a_body_that_comes_slowly_but_comes_is_a_task(bench: Any) -> None:
    bench.spec(queue={"slowClients": {"idleSeconds": 1}})
    await bench.upstream(hello)
    parts = [b"%d" % n for n in range(10)]
    reader, writer = await asyncio.open_connection("127.0.0.1", bench.port)
    writer.write(HEAD + b"\r\n")
    for part in parts:
        await asyncio.sleep(0.15)
        writer.write(part)
    assert (await reader.readline()).startswith(b"HTTP/1.1 200 ")
    writer.close()


class Large:
    """Answers with so much, at once, and notes when it is done with it."""

    def __init__(self, size: int) -> None:
        self.part = bytes(range(256)) * 1024
        self.parts = size // len(self.part)
        self.done = 0

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(self.parts):
            await response.write(self.part)
        await response.write_eof()
        self.done += 1
        return response


class SlowReader:
    """A client that asks and does not read until it is told to: neither it nor its kernel has room for much."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock

    async def ask(self, bench: Any, method: str) -> None:
        """Send a request."""
        loop = asyncio.get_running_loop()
        await loop.sock_connect(self._socket, ("127.0.0.1", bench.port))
        request = f"{method} /run HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        await loop.sock_sendall(self._socket, request.encode())

    async def read(self) -> bytes:
        """Everything until the connection ends."""
        parts = []
        while part := await asyncio.get_running_loop().sock_recv(self._socket, 1 << 20):
            parts.append(part)
        return b"".join(parts)


@asynccontextmanager
async def slow_reader(bench: Any, method: str = "POST") -> AsyncIterator[SlowReader]:
    """A client that has asked for something."""
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        sock.setblocking(False)
        reader = SlowReader(sock)
        await reader.ask(bench, method)
        yield reader


def body_of(answer: bytes) -> bytes:
    """The body of a chunked answer, which must be whole."""
    rest = memoryview(answer)[answer.index(b"\r\n\r\n") + 4 :]
    parts: list[bytes] = []
    while True:
        size, _, _ = bytes(rest[:20]).partition(b"\r\n")
        length, begin = int(size, 16), len(size) + 2
        if not length:
            assert bytes(rest[begin:]) == b"\r\n"
            return b"".join(parts)
        parts.append(bytes(rest[begin : begin + length]))
        rest = rest[begin + length + 2 :]


@pytest.mark.parametrize("method", ["POST", "GET"])
async def test_a_client_that_takes_its_answer_slowly_holds_no_slot_and_gets_all_of_it(bench: Any, method: str) -> None:
    server = Large(24 * MIB)
    await bench.upstream(server)
    async with slow_reader(bench, method) as client:
        await bench.until(lambda: server.done == 1 and bench.in_flight() == 0)
        assert (await bench.send(method=method)).status == 200, "the server is free for others meanwhile"
        answer = await client.read()
    assert body_of(answer) == server.part * server.parts, "nothing is lost, doubled or out of order"
    await bench.until(lambda: bench.proxy._spool.in_memory == 0)


async def test_an_answer_above_what_is_kept_waits_for_its_client_and_comes_whole(bench: Any) -> None:
    bench.spec(queue={"maxBodyBytes": 2 * MIB})
    server = Large(24 * MIB)
    await bench.upstream(server)
    async with slow_reader(bench) as client:
        await bench.until(lambda: bench.in_flight() == 1 and bench.proxy._spool.in_memory > 0)
        assert server.done == 0
        assert body_of(await client.read()) == server.part * server.parts
    await bench.until(lambda: server.done == 1 and bench.in_flight() == 0)


async def test_a_client_that_takes_nothing_any_more_is_cut_and_its_task_has_failed(bench: Any) -> None:
    bench.spec(queue={"slowClients": {"idleSeconds": 1}})
    await bench.upstream(Large(24 * MIB))
    failed = bench.state.metrics.ended["failed"]
    async with slow_reader(bench) as client:
        await bench.until(lambda: failed._value.get() == 1)
        assert bench.in_flight() == 0
        assert not (await client.read()).endswith(b"\r\n0\r\n\r\n"), "what it has got is not the whole answer"
    await bench.until(lambda: bench.proxy._spool.in_memory == 0)


async def test_a_client_that_leaves_its_answer_lying_is_cut_by_the_watch(watched: Any) -> None:
    """The answer is done with as far as the dispatcher is concerned: what lies there is a connection and its memory."""
    await watched.upstream(Large(8 * MIB))
    async with slow_reader(watched):
        await watched.until(lambda: len(watched.data.connections) == 1)
        await watched.until(lambda: len(watched.data.connections) == 0)


async def test_a_stream_is_passed_on_part_by_part(bench: Any) -> None:
    go = asyncio.Semaphore(1)

    async def tokens(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for number in range(5):
            await go.acquire()
            await response.write(b"data: %d\n\n" % number)
        return response

    await bench.upstream(tokens)
    async with bench.client().post("/v1/chat") as answer:
        for number in range(5):
            assert await answer.content.readuntil(b"\n\n") == b"data: %d\n\n" % number
            go.release()  # the next one is made only now
