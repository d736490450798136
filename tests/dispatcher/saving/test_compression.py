"""Compressed transfer, over real sockets: fewer bytes, the same content, and headers that tell the truth."""

import asyncio
import gzip
import json
import zlib
from collections.abc import Callable
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from controller.dispatcher.saving.gzips import GZIP, STEP_BYTES

DOCUMENT = json.dumps({"images": ["iVBORw0KGgo" + "A" * 5000], "info": "ß" * 200}).encode()
TEXT = {"Content-Type": "application/json", "ETag": '"abc"'}
PLAIN = {"Accept-Encoding": "identity"}
ZIPPED = {"Accept-Encoding": "gzip"}


@pytest.fixture
def save(bench: Any) -> Callable[..., None]:
    """Switches compression on."""

    def switch(**compression: str) -> None:
        bench.spec(traffic={"optimization": {"compression": {"fromServers": "Never"} | compression}})

    return switch


@pytest.fixture(params=["GET", "POST"])
def method(request: pytest.FixtureRequest) -> str:
    """Passed through, and a task."""
    return str(request.param)


class Service:
    """A server that compresses for whoever accepts it, as those behind GZipMiddleware do."""

    def __init__(self, body: bytes = DOCUMENT, headers: dict[str, str] | None = None) -> None:
        self.body = body
        self.headers = TEXT | (headers or {})
        self.asked: list[str | None] = []

    async def __call__(self, request: web.Request) -> web.Response:
        await request.read()
        self.asked.append(request.headers.get("Accept-Encoding"))
        if "gzip" not in (self.asked[-1] or ""):
            return web.Response(body=self.body, headers=self.headers)
        packed = gzip.compress(self.body)
        return web.Response(body=packed, headers=self.headers | {"Content-Encoding": "gzip", "Vary": "Accept-Encoding"})


def saved(bench: Any, by: str) -> float:
    value = bench.state.metrics.registry.get_sample_value("haipool_saved_bytes_total", {"by": by})
    assert value is not None
    return float(value)


# --- from servers -----------------------------------------------------------------------------------------------------


async def test_a_client_that_cannot_unpack_gets_what_it_would_have_got(bench: Any, save: Any, method: str) -> None:
    save(fromServers="Always")
    service = Service()
    await bench.upstream(service)
    answer = await bench.send(method=method, headers=PLAIN)
    assert service.asked == ["gzip"]
    assert answer.body == DOCUMENT
    assert "Content-Encoding" not in answer.headers
    assert "Content-Length" not in answer.headers
    assert answer.headers["ETag"] == 'W/"abc"'
    assert answer.headers["Vary"] == "Accept-Encoding"
    assert saved(bench, "compression_from_servers") == len(DOCUMENT) - len(gzip.compress(DOCUMENT))


async def test_a_client_that_says_nothing_cannot_unpack(bench: Any, save: Any, method: str) -> None:
    save(fromServers="Always")
    service = Service()
    await bench.upstream(service)
    answer = await bench.send(method=method, skip_auto_headers=("Accept-Encoding",))
    assert service.asked == ["gzip"]
    assert answer.body == DOCUMENT


async def test_a_client_that_accepts_gzip_gets_the_servers_very_bytes(bench: Any, save: Any, method: str) -> None:
    save(fromServers="Always", toClients="Always")
    service = Service()
    await bench.upstream(service)
    answer = await bench.send(method=method, headers={"Accept-Encoding": "br;q=0.5, gzip"})
    assert service.asked == ["br;q=0.5, gzip"]
    assert answer.body == gzip.compress(DOCUMENT)
    assert answer.headers["ETag"] == '"abc"'
    assert answer.headers["Content-Length"] == str(len(answer.body))


@pytest.mark.parametrize(
    ("accepts", "asked"),
    [
        ("br", "gzip, br;q=1"),
        ("gzip;q=0, br;q=0.3", "gzip, br;q=0.3"),
        ("identity, gzip;q=0.1", "gzip"),
        ("br, identity;q=0", "br, identity;q=0"),
    ],
)
async def test_servers_are_asked_for_what_helps(bench: Any, save: Any, accepts: str, asked: str) -> None:
    save(fromServers="Always")
    service = Service()
    await bench.upstream(service)
    await bench.send(headers={"Accept-Encoding": accepts})
    assert service.asked == [asked]


@pytest.mark.parametrize(
    "headers", [{"Range": "bytes=0-99"}, {"Cache-Control": "no-transform"}], ids=["a range", "no-transform"]
)
async def test_who_needs_the_very_bytes_is_left_alone(bench: Any, save: Any, headers: Any, method: str) -> None:
    save(fromServers="Always", toClients="Always")
    service = Service()
    await bench.upstream(service)
    answer = await bench.send(method=method, headers=PLAIN | headers)
    assert service.asked == ["identity"]
    assert (answer.body, answer.headers["ETag"]) == (DOCUMENT, '"abc"')


async def test_at_no_level_nothing_changes(bench: Any, method: str) -> None:
    service = Service()
    await bench.upstream(service)
    answer = await bench.send(method=method, headers=PLAIN)
    bench.spec(level="Optimize")
    later = await bench.send(method=method, headers=PLAIN)
    bench.spec(level="Normal")
    await bench.send(method=method, headers=PLAIN)
    assert service.asked == ["identity", "gzip", "identity"]
    assert (answer.headers["ETag"], later.headers["ETag"]) == ('"abc"', 'W/"abc"')
    assert answer.headers["Content-Length"] == str(len(DOCUMENT))
    assert answer.body == later.body == DOCUMENT


async def test_what_is_sent_in_gzip_unasked_is_not_ours_to_unpack(bench: Any, save: Any, method: str) -> None:
    save(fromServers="Never", toClients="Always")

    async def stubborn(request: web.Request) -> web.Response:
        return web.Response(body=gzip.compress(DOCUMENT), headers={"Content-Encoding": "gzip"})

    await bench.upstream(stubborn)
    answer = await bench.send(method=method, headers=PLAIN)
    assert (answer.headers["Content-Encoding"], answer.body) == ("gzip", gzip.compress(DOCUMENT))


async def test_what_was_asked_for_here_is_unpacked_though_it_is_not_to_be_transformed(bench: Any, save: Any) -> None:
    save(fromServers="Always")
    await bench.upstream(Service(headers={"Cache-Control": "no-transform"}))
    answer = await bench.send(headers=PLAIN)
    assert answer.body == DOCUMENT
    assert "Content-Encoding" not in answer.headers


@pytest.mark.parametrize("status", [204, 304])
async def test_answers_without_a_body_pass_as_they_are(bench: Any, save: Any, status: int) -> None:
    save(fromServers="Always", toClients="Always")

    async def serve(request: web.Request) -> web.Response:
        return web.Response(status=status, headers={"ETag": '"abc"', "Content-Encoding": "gzip"})

    await bench.upstream(serve)
    answer = await bench.send(method="GET", headers=PLAIN | {"If-None-Match": 'W/"abc"'})
    assert (answer.status, answer.body, answer.headers["ETag"]) == (status, b"", '"abc"')


@pytest.mark.parametrize("accepts", ["identity", "gzip"])
async def test_a_head_request_learns_what_get_would_bring(bench: Any, save: Any, accepts: str) -> None:
    save(fromServers="Always", toClients="Always")
    for kind in ("application/json", "image/png"):
        await bench.upstream(Service(headers={"Content-Type": kind}))
        answers = [await bench.send(None, method=m, headers={"Accept-Encoding": accepts}) for m in ("GET", "HEAD")]
        of_get, of_head = (
            {name: answer.headers.get(name) for name in ("Content-Encoding", "ETag", "Vary", "Content-Type")}
            for answer in answers
        )
        assert of_get == of_head
        assert answers[1].body == b""


async def test_an_empty_body_is_no_broken_one(bench: Any, save: Any, method: str) -> None:
    save(fromServers="Always")

    async def serve(request: web.Request) -> web.Response:
        return web.Response(body=b"", headers={"Content-Encoding": "gzip"})

    await bench.upstream(serve)
    answer = await bench.send(method=method, headers=PLAIN)
    assert (answer.status, answer.body) == (200, b"")


@pytest.mark.parametrize(
    ("packed", "expected"),
    [
        (gzip.compress(b"one ") + gzip.compress(b"two"), b"one two"),
        (gzip.compress(b"one") + b"\0" * 100, b"one"),
        (gzip.compress(b"one") + b"\x1f", b"one"),
        (gzip.compress(b"one") + b"trailing", b"one"),
    ],
    ids=["two members", "zeros", "half a magic", "a rest"],
)
async def test_odd_gzip_is_read_as_clients_read_it(bench: Any, save: Any, packed: bytes, expected: bytes) -> None:
    save(fromServers="Always")

    async def serve(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Encoding": "gzip"})
        await response.prepare(request)
        for at in range(len(packed)):
            await response.write(packed[at : at + 1])
            await asyncio.sleep(0)
        return response

    await bench.upstream(serve)
    assert (await bench.send(headers=PLAIN)).body == expected


@pytest.mark.parametrize(
    "packed",
    [gzip.compress(DOCUMENT)[:-9], gzip.compress(DOCUMENT)[:-8] + b"\0" * 8, b"this is no gzip"],
    ids=["cut", "wrong checksum", "none"],
)
async def test_broken_gzip_is_a_broken_answer(bench: Any, save: Any, packed: bytes, method: str) -> None:
    save(fromServers="Always")

    async def serve(request: web.Request) -> web.Response:
        return web.Response(body=packed, headers={"Content-Encoding": "gzip"})

    await bench.upstream(serve)
    with pytest.raises(aiohttp.ClientError):
        await bench.send(method=method, headers=PLAIN)


async def test_a_bomb_goes_off_in_small_steps(bench: Any, save: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """However much comes out of it, no more than a step of it is in memory before it is passed on."""
    save(fromServers="Always")
    size, largest = 64 * STEP_BYTES, 0
    bomb = gzip.compress(bytes(size))

    async def serve(request: web.Request) -> web.Response:
        return web.Response(body=bomb, headers={"Content-Encoding": "gzip"})

    await bench.upstream(serve)
    write = aiohttp.http.StreamWriter.write

    async def measured(self: Any, chunk: Any, **options: Any) -> None:
        nonlocal largest
        largest = max(largest, len(chunk))
        await write(self, chunk, **options)

    monkeypatch.setattr(aiohttp.http.StreamWriter, "write", measured)
    answer = await bench.send(headers=PLAIN)
    assert answer.body == bytes(size)
    assert largest <= STEP_BYTES


# --- to clients -------------------------------------------------------------------------------------------------------


async def test_clients_get_compressed_what_servers_did_not_compress(bench: Any, save: Any, method: str) -> None:
    save(toClients="Always")

    async def serve(request: web.Request) -> web.Response:
        return web.Response(body=DOCUMENT, headers=TEXT | {"Vary": "Origin", "Accept-Ranges": "bytes"})

    await bench.upstream(serve)
    answer = await bench.send(method=method, headers=ZIPPED)
    assert gzip.decompress(answer.body) == DOCUMENT
    assert answer.headers["Content-Encoding"] == "gzip"
    assert answer.headers["Vary"] == "Origin, Accept-Encoding"
    assert answer.headers["ETag"] == 'W/"abc"'
    assert {"Content-Length", "Accept-Ranges"}.isdisjoint(answer.headers)
    assert saved(bench, "compression_to_clients") == len(DOCUMENT) - len(answer.body)


async def test_caches_learn_that_others_would_get_it_compressed(bench: Any, save: Any) -> None:
    save(toClients="Always")
    await bench.upstream(Service())
    answer = await bench.send(headers=PLAIN)
    assert (answer.body, answer.headers["Vary"], answer.headers["ETag"]) == (DOCUMENT, "Accept-Encoding", '"abc"')


@pytest.mark.parametrize(
    ("kind", "compressed"),
    [
        ("application/json", True),
        ("Application/JSON; charset=utf-8", True),
        ("application/problem+json", True),
        ("application/x-ndjson", True),
        ("text/html", True),
        ("text/event-stream", True),
        ("image/svg+xml", True),
        ("application/javascript", True),
        ("image/png", False),
        ("video/mp4", False),
        ("application/zip", False),
        ("application/octet-stream", False),
        ("", False),
    ],
)
async def test_only_what_compresses_is_compressed(bench: Any, save: Any, kind: str, compressed: bool) -> None:
    save(toClients="Always")

    async def serve(request: web.Request) -> web.Response:
        return web.Response(body=DOCUMENT, headers={"Content-Type": kind})

    await bench.upstream(serve)
    answer = await bench.send(headers=ZIPPED)
    assert answer.headers.get("Content-Encoding") == ("gzip" if compressed else None)
    assert (gzip.decompress(answer.body) if compressed else answer.body) == DOCUMENT


@pytest.mark.parametrize(
    "answer",
    [
        {"body": b"x" * 1023},
        {"body": b"x" * 5000, "headers": {"Cache-Control": "no-transform"}},
        {"body": b"x" * 5000, "headers": {"Content-Encoding": "br"}},
        {"body": b"x" * 5000, "headers": {"Content-Digest": "sha-256=:AAAA:"}},
        {"body": b"x" * 5000, "headers": {"Content-Range": "bytes 0-4999/9000"}, "status": 206},
    ],
    ids=["small", "no-transform", "coded", "digest", "a part"],
)
async def test_what_must_not_change_does_not(bench: Any, save: Any, answer: Any) -> None:
    save(toClients="Always")

    async def serve(request: web.Request) -> web.Response:
        return web.Response(**answer | {"headers": {"Content-Type": "text/plain"} | answer.get("headers", {})})

    await bench.upstream(serve)
    got = await bench.send(method="GET", headers=ZIPPED)
    assert got.body == answer["body"]
    assert got.headers["Content-Length"] == str(len(got.body))
    assert "Vary" not in got.headers


@pytest.mark.parametrize("kind", ["text/event-stream", "application/x-ndjson"])
async def test_each_part_of_a_stream_arrives_before_the_next_is_made(bench: Any, save: Any, kind: str) -> None:
    save(toClients="Always")
    go_on = asyncio.Semaphore(0)

    async def serve(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": kind})
        await response.prepare(request)
        for number in range(3):
            await response.write(f"data: {number}\n\n".encode())
            await go_on.acquire()
        return response

    await bench.upstream(serve)
    unpacker = zlib.decompressobj(GZIP)
    async with bench.client().post("/run", headers=ZIPPED) as answer:
        assert answer.headers["Content-Encoding"] == "gzip"
        for number in range(3):
            text = b""
            while text != f"data: {number}\n\n".encode():
                text += unpacker.decompress(await answer.content.readany())
            go_on.release()
        assert unpacker.decompress(await answer.content.read()) == b""
        assert unpacker.eof


async def test_each_part_of_a_compressed_stream_is_unpacked_as_it_comes(bench: Any, save: Any) -> None:
    save(fromServers="Always")
    go_on = asyncio.Semaphore(0)

    async def serve(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Content-Encoding": "gzip"})
        await response.prepare(request)
        packer = zlib.compressobj(wbits=GZIP)
        for number in range(3):
            await response.write(packer.compress(f"data: {number}\n\n".encode()) + packer.flush(zlib.Z_SYNC_FLUSH))
            await go_on.acquire()
        await response.write(packer.flush())
        return response

    await bench.upstream(serve)
    async with bench.client().post("/run", headers=PLAIN) as answer:
        for number in range(3):
            assert await answer.content.readexactly(9) == f"data: {number}\n\n".encode()
            go_on.release()
        assert await answer.content.read() == b""


async def test_an_old_client_knows_the_end_by_the_connections_end(bench: Any, save: Any) -> None:
    save(fromServers="Always", toClients="Always")
    await bench.upstream(Service())
    for accepts in ("identity", "gzip"):
        raw = await bench.raw(f"GET / HTTP/1.0\r\nHost: h\r\nAccept-Encoding: {accepts}\r\n\r\n".encode())
        head, _, body = raw.partition(b"\r\n\r\n")
        assert b"chunked" not in head.lower()
        assert (gzip.decompress(body) if accepts == "gzip" else body) == DOCUMENT


async def test_a_server_that_breaks_off_is_not_covered_up(bench: Any, save: Any, method: str) -> None:
    save(toClients="Always")

    async def serve(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers=TEXT)
        await response.prepare(request)
        await response.write(DOCUMENT)
        assert request.transport is not None
        request.transport.abort()
        return response

    await bench.upstream(serve)
    with pytest.raises(aiohttp.ClientError):
        await bench.send(method=method, headers=ZIPPED)


async def test_large_answers_come_whole_both_ways(bench: Any, save: Any, method: str) -> None:
    save(fromServers="Always", toClients="Always")
    body = json.dumps([f"node {n * 7919 % 1000}" for n in range(300_000)]).encode()
    service = Service(body)
    await bench.upstream(service)
    assert (await bench.send(method=method, headers=PLAIN)).body == body
    save(toClients="Always")

    async def plain(request: web.Request) -> web.Response:
        return web.Response(body=body, headers=TEXT)

    await bench.upstream(plain)
    assert gzip.decompress((await bench.send(method=method, headers=ZIPPED)).body) == body


async def test_a_client_that_goes_away_frees_the_slot(bench: Any, save: Any) -> None:
    save(fromServers="Always")
    began = asyncio.Event()

    async def serve(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Encoding": "gzip"})
        await response.prepare(request)
        await response.write(gzip.compress(b"x" * 100)[:-8])
        began.set()
        await asyncio.Event().wait()
        return response

    await bench.upstream(serve)
    sending = asyncio.create_task(bench.send(headers=PLAIN, of="127.0.0.2"))
    await began.wait()
    await bench.client("127.0.0.2").close()
    await asyncio.gather(sending, return_exceptions=True)
    await bench.until(lambda: bench.in_flight() == 0)
