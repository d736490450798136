"""Answers of servers as they are in the wild: interim ones, without a length, broken, or more than was asked for."""

import asyncio
import io
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@pytest.fixture
async def wire(bench: Any) -> AsyncIterator[Callable[[Script], Awaitable[None]]]:
    """Makes the pool's server one that writes what a script says, after each request's head."""
    servers: list[asyncio.Server] = []
    writers: list[asyncio.StreamWriter] = []

    async def start(script: Script) -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writers.append(writer)
            try:
                while True:
                    await reader.readuntil(b"\r\n\r\n")
                    await script(reader, writer)
            except (asyncio.IncompleteReadError, ConnectionError):
                writer.close()

        servers.append(await asyncio.start_server(serve, "127.0.0.1", 0))
        bench.server("demo-1", f"http://127.0.0.1:{servers[-1].sockets[0].getsockname()[1]}")

    yield start
    for writer in writers:
        writer.close()
    for server in servers:
        server.close()
        await server.wait_closed()


def says(*parts: bytes, close: bool = False) -> Script:
    async def script(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for part in parts:
            writer.write(part)
            await writer.drain()
        if close:
            raise ConnectionError

    return script


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    "interim",
    [
        b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n",
        b"HTTP/1.1 102 Processing\r\n\r\n" * 3,
        b"HTTP/1.1 100 Continue\r\n\r\n",
    ],
    ids=["103", "102", "100"],
)
async def test_interim_answers_are_no_answers(bench: Any, wire: Any, method: str, interim: bytes) -> None:
    await wire(says(interim + OK))
    for _ in range(2):
        answer = await bench.send(None, method=method)
        assert (answer.status, answer.body) == (200, b"ok")
        assert "Link" not in answer.headers


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_an_answer_without_a_length_ends_with_its_connection(bench: Any, wire: Any, method: str) -> None:
    await wire(says(b"HTTP/1.1 200 OK\r\n\r\nfirst ", b"second", close=True))
    assert (await bench.send(None, method=method)).body == b"first second"


async def test_an_answer_in_http_1_0_is_one(bench: Any, wire: Any) -> None:
    await wire(says(b"HTTP/1.0 200 OK\r\nX-A: 1\r\n\r\nbody", close=True))
    answer = await bench.send(None, method="GET")
    assert (answer.headers["X-A"], answer.body) == ("1", b"body")


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_trailers_of_an_answer_are_left_out(bench: Any, wire: Any, method: str) -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n"
    await wire(says(head + b"2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n"))
    for _ in range(2):
        answer = await bench.send(None, method=method)
        assert answer.body == b"ok"
        assert not {"Trailer", "X-Sum"} & set(answer.headers)


@pytest.mark.parametrize("method", ["HEAD", "GET"])
@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
async def test_an_answer_that_can_have_no_body_has_none_whatever_it_says(
    bench: Any, wire: Any, method: str, status: bytes
) -> None:
    await wire(says(b"HTTP/1.1 " + status + b"\r\nContent-Length: 10\r\n\r\n"))
    async with asyncio.timeout(10):
        answer = await bench.send(None, method=method)
    assert (answer.status, answer.body) == (int(status[:3]), b"")


BROKEN = {
    "no HTTP": b"SSH-2.0-OpenSSH_9.6\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
    "a negative length": b"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nok",
    "a header that is none": b"HTTP/1.1 200 OK\r\nX A\r\n\r\n",
    "a status that is none": b"HTTP/1.1 2000 OK\r\n\r\n",
    "a protocol nobody asked for": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
}


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("answer", BROKEN.values(), ids=BROKEN)
async def test_what_is_no_answer_is_the_servers_failure(bench: Any, wire: Any, method: str, answer: bytes) -> None:
    bench.spec(queue={"maxAttempts": 1})
    await wire(says(answer, close=True))
    assert "demo-1" in (await bench.send(None, method=method)).problem(502)
    assert bench.in_flight() == 0


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_what_a_server_says_too_much_goes_to_nobody(bench: Any, wire: Any, method: str) -> None:
    """A second answer behind the first would be taken for that to the next client's request."""
    await wire(says(OK + b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nevil!"))
    for _ in range(3):
        assert (await bench.send(None, method=method)).body == b"ok"


async def test_nor_what_it_says_later_on_an_idle_connection(bench: Any, wire: Any) -> None:
    said = asyncio.Event()

    async def late(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(OK)
        await writer.drain()
        if not said.is_set():
            await asyncio.sleep(0.05)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nevil!")
            await writer.drain()
            said.set()

    await wire(late)
    assert (await bench.send(None, method="GET")).body == b"ok"
    await said.wait()
    for _ in range(3):
        assert (await bench.send(None, method="GET")).body == b"ok"


@pytest.mark.parametrize("path", ["/run", "/through"])
async def test_a_server_may_answer_before_it_has_the_whole_body(bench: Any, wire: Any, path: str) -> None:
    """It refuses a large upload, say, and closes."""
    bench.spec(queue={"routes": [{"name": "through", "pathPrefix": "/through", "kind": "PassThrough"}]})
    refusal = b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig"

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(refusal)
        await writer.drain()
        await reader.read(64 * 1024)
        await asyncio.sleep(0.05)
        writer.write_eof()
        while await reader.read(1024 * 1024):
            pass
        raise ConnectionError

    await wire(refuse)
    answer = await bench.send(io.BytesIO(b"x" * 4 * 1024 * 1024), path=path)
    assert (answer.status, answer.body) == (413, b"big")
    await bench.until(lambda: bench.in_flight() == 0)


async def test_a_large_upload_waits_on_disk_and_is_gone_afterwards(bench: Any, wire: Any, tmp_path: Path) -> None:
    size = 8 * 1024 * 1024
    got: list[int] = []

    async def count(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        got.append(len(await reader.readexactly(size)))
        writer.write(OK)
        await writer.drain()

    sending = asyncio.create_task(bench.send(io.BytesIO(b"x" * size)))
    await bench.until(lambda: bench.scheduler.waiting == 1)
    assert spooled(tmp_path) == [size]
    await wire(count)
    assert (await sending).status == 200
    assert got == [size]
    await bench.until(lambda: spooled(tmp_path) == [])


def spooled(folder: Path) -> list[int]:
    """Sizes of this process's open files in a folder."""
    sizes = []
    for link in Path("/proc/self/fd").iterdir():
        try:
            if str(link.readlink()).startswith(str(folder)):
                sizes.append(link.stat().st_size)
        except FileNotFoundError:
            continue
    return sizes


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_an_answer_whose_chunks_break_is_cut(bench: Any, wire: Any, method: str) -> None:
    begun = asyncio.Event()

    async def breaks(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n")
        await begun.wait()
        writer.write(b"ZZ\r\n")
        await writer.drain()

    await wire(breaks)
    async with bench.client().request(method, "/run") as answer:
        assert await answer.content.readexactly(2) == b"ok"
        begun.set()
        with pytest.raises(aiohttp.ClientPayloadError):
            await answer.content.read()
    await bench.until(lambda: bench.in_flight() == 0)


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_an_answer_shorter_than_it_says_is_cut(bench: Any, wire: Any, method: str) -> None:
    await wire(says(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", close=True))
    with pytest.raises(aiohttp.ClientPayloadError):
        await bench.send(None, method=method)
    await bench.until(lambda: bench.in_flight() == 0)


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_client_of_a_silent_stream_that_goes_away_frees_the_slot(bench: Any, wire: Any, method: str) -> None:
    """The server says nothing by which the loss would show."""
    ended = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n")
        await writer.drain()
        assert await reader.read() == b""
        ended.set()
        raise ConnectionError

    await wire(silent)
    answer = await bench.client().request(method, "/events")
    assert await answer.content.readuntil(b"\n\n") == b"data: 1\n\n"
    answer.close()
    await ended.wait()
    await bench.until(lambda: bench.in_flight() == 0)
