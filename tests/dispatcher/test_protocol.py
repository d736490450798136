"""The data port as an HTTP proxy: what it passes untouched, what it adds, and what it refuses, on real sockets."""

import asyncio
import gzip
import json
from typing import Any

import aiohttp
import pytest
from aiohttp import web

KIB = 1024


async def mirror(request: web.Request) -> web.Response:
    """Says what it was asked."""
    body = await request.read()
    return web.json_response(
        {
            "method": request.method,
            "target": request.raw_path,
            "headers": [[name, value] for name, value in request.headers.items()],
            "size": len(body),
        }
    )


def problem_of(answer: bytes, status: int) -> dict[str, Any]:
    """The problem that a raw answer is."""
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.split(b" ", 2)[1] == str(status).encode(), answer
    assert b"content-type: application/problem+json" in head.lower()
    problem: dict[str, Any] = json.loads(body)
    assert problem["status"] == status
    assert problem["title"]
    assert problem["detail"]
    return problem


async def seen(bench: Any, **options: Any) -> dict[str, Any]:
    """What the server saw of a request."""
    answer = await bench.send(**options)
    assert answer.status == 200
    said: dict[str, Any] = json.loads(answer.body)
    return said


# --- what passes untouched -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "DELETE", "OPTIONS", "POST", "PUT", "PATCH"])
async def test_method_and_end_to_end_headers_reach_the_server(bench: Any, method: str) -> None:
    await bench.upstream(mirror)
    headers = {"Host": "images.example", "Authorization": "Bearer t", "Cookie": "a=1; b=2", "X-Custom": "ü"}
    said = await seen(bench, method=method, path="/x", headers=headers)
    assert said["method"] == method
    assert headers.items() <= dict(said["headers"]).items()


async def test_a_header_that_comes_twice_goes_on_twice(bench: Any) -> None:
    async def two_cookies(request: web.Request) -> web.Response:
        response = web.Response(text=",".join(request.headers.getall("X-Twice")))
        response.headers.add("Set-Cookie", "a=1")
        response.headers.add("Set-Cookie", "b=2")
        return response

    await bench.upstream(two_cookies)
    answer = await bench.send(headers=[("X-Twice", "1"), ("X-Twice", "2")])
    assert answer.body == b"1,2"
    assert answer.headers.getall("Set-Cookie") == ["a=1", "b=2"]


async def test_headers_for_one_connection_only_stay_on_it(bench: Any) -> None:
    async def closing(request: web.Request) -> web.Response:
        headers = {"Keep-Alive": "timeout=1", "Connection": "X-Hop", "X-Hop": "1", "Proxy-Authenticate": "Basic"}
        return web.Response(text=json.dumps(dict(request.headers)), headers=headers)

    await bench.upstream(closing)
    sent = {
        "Connection": "X-Private",
        "X-Private": "1",
        "TE": "trailers",
        "Proxy-Authorization": "x",
        "Keep-Alive": "1",
    }
    answer = await bench.send(headers=sent)
    assert not sent.keys() - {"Connection"} & json.loads(answer.body).keys()
    assert not {"Keep-Alive", "X-Hop", "Proxy-Authenticate"} & set(answer.headers)


async def test_nothing_is_added_that_the_client_did_not_say(bench: Any) -> None:
    """An added Accept-Encoding or Content-Type would change what the application does."""
    await bench.upstream(mirror)
    answer = await bench.raw(b"POST /run HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nConnection: close\r\n\r\nx")
    said = json.loads(answer.partition(b"\r\n\r\n")[2])
    assert {name for name, _ in said["headers"]} == {
        "Host", "Content-Length", "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "Via",
    } | ({"Connection"} & {name for name, _ in said["headers"]})  # fmt: skip


@pytest.mark.parametrize(
    "target",
    [
        "/a%2Fb/%7Euser/%e4%bd%a0?q=a%20b+c&q=%2B&empty=&=x",
        "//double//slash",
        "/a/../b/./c",
        "/;p=1,2?a[]=1&b='",
    ],
)
@pytest.mark.parametrize("method", [b"GET", b"POST"])
async def test_the_target_arrives_to_the_letter(bench: Any, target: str, method: bytes) -> None:
    await bench.upstream(mirror)
    request = (
        method + b" " + target.encode() + b" HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    )
    answer = await bench.raw(request)
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["target"] == target


async def test_an_absolute_target_leads_to_the_pools_server_and_nowhere_else(bench: Any) -> None:
    await bench.upstream(mirror)
    answer = await bench.raw(
        b"GET http://other.example/p?q=1 HTTP/1.1\r\nHost: other.example\r\nConnection: close\r\n\r\n"
    )
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["target"] == "/p?q=1"


async def test_compressed_bodies_travel_as_they_are_both_ways(bench: Any) -> None:
    packed = gzip.compress(b"prompt" * 1000)

    async def unpack(request: web.Request) -> web.Response:
        assert request.headers["Content-Encoding"] == "gzip"
        return web.Response(body=packed, headers={"Content-Encoding": "gzip"})

    await bench.upstream(unpack)
    answer = await bench.send(packed, headers={"Content-Encoding": "gzip", "Accept-Encoding": "gzip"})
    assert answer.headers["Content-Encoding"] == "gzip"
    assert answer.body == packed


async def test_head_keeps_the_length_and_has_no_body(bench: Any) -> None:
    async def sized(_: web.Request) -> web.Response:
        return web.Response(body=b"x" * 12345)

    await bench.upstream(sized)
    answer = await bench.send(None, method="HEAD", path="/file")
    assert (answer.status, answer.headers["Content-Length"], answer.body) == (200, "12345", b"")


@pytest.mark.parametrize("status", [204, 304])
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_answers_without_a_body_end_with_their_headers(bench: Any, status: int, method: str) -> None:
    async def empty(_: web.Request) -> web.Response:
        return web.Response(status=status, headers={"ETag": '"1"'})

    await bench.upstream(empty)
    for _ in range(2):  # the second on the same connection: nothing was left over on it
        answer = await bench.send(None, method=method)
        assert (answer.status, answer.headers["ETag"], answer.body) == (status, '"1"', b"")


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_an_answer_is_streamed_as_it_comes(bench: Any, method: str) -> None:
    """Each event is seen by the client before the server writes the next one."""
    go_on = asyncio.Event()

    async def events(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for number in range(3):
            await response.write(f"data: {number}\n\n".encode())
            await go_on.wait()
            go_on.clear()
        return response

    await bench.upstream(events)
    async with bench.client().request(method, "/events") as answer:
        for number in range(3):
            assert await answer.content.readuntil(b"\n\n") == f"data: {number}\n\n".encode()
            go_on.set()
        assert await answer.content.read() == b""


async def test_redirects_are_the_clients_business(bench: Any) -> None:
    async def elsewhere(_: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": "/elsewhere"})

    await bench.upstream(elsewhere)
    answer = await bench.send(allow_redirects=False)
    assert (answer.status, answer.headers["Location"]) == (302, "/elsewhere")


async def test_a_body_on_disk_is_sent_with_its_length(bench: Any) -> None:
    """Many application servers do not take chunked requests."""
    await bench.upstream(mirror)

    async def chunks() -> Any:
        for _ in range(48):
            yield b"x" * 64 * KIB

    said = await seen(bench, body=chunks())
    assert said["size"] == 3072 * KIB
    assert dict(said["headers"])["Content-Length"] == str(3072 * KIB)
    assert "Transfer-Encoding" not in dict(said["headers"])


async def test_bytes_in_headers_that_are_no_text_are_not_the_servers_fault(bench: Any) -> None:
    await bench.upstream(mirror)
    answer = await bench.raw(b"POST /run HTTP/1.1\r\nHost: h\r\nX-Odd: \xff\xfe\r\nContent-Length: 0\r\n"
        b"Connection: close\r\n\r\n")  # fmt: skip
    assert answer.split(b" ", 2)[1] in (b"200", b"400")
    assert bench.scheduler.servers.get("demo-1").failures == 0


# --- who asked, through whom ---------------------------------------------------------------------------------------


async def test_the_server_is_told_who_asked_and_how(bench: Any) -> None:
    await bench.upstream(mirror)
    said = dict((await seen(bench, of="127.0.0.7", headers={"Host": "images.example"}))["headers"])
    assert said["X-Forwarded-For"] == "127.0.0.7"
    assert said["X-Forwarded-Proto"] == "http"
    assert said["X-Forwarded-Host"] == "images.example"
    assert said["Via"] == "1.1 haipool"


FORGED = {
    "X-Forwarded-For": "203.0.113.9",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Host": "bank.example",
    "X-Real-IP": "203.0.113.9",
    "Forwarded": "for=203.0.113.9",
}


async def test_what_a_stranger_says_of_earlier_hops_is_dropped(bench: Any) -> None:
    await bench.upstream(mirror)
    said = dict((await seen(bench, of="127.0.0.7", headers={**FORGED, "Host": "h"}))["headers"])
    assert said["X-Forwarded-For"] == "127.0.0.7"
    assert said["X-Forwarded-Proto"] == "http"
    assert said["X-Forwarded-Host"] == "h"
    assert not {"Forwarded", "X-Real-IP"} & said.keys()


async def test_what_a_trusted_proxy_says_goes_on_with_the_proxy_named(bench: Any) -> None:
    bench.spec(queue={"trustedNetworks": ["127.0.0.7/32"]})
    await bench.upstream(mirror)
    said = dict((await seen(bench, of="127.0.0.7", headers=FORGED))["headers"])
    assert said["X-Forwarded-For"] == "203.0.113.9, 127.0.0.7"
    assert said["X-Forwarded-Proto"] == "https"
    assert said["X-Forwarded-Host"] == "bank.example"


# --- what is refused -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "request_",
    [
        b"NOT HTTP AT ALL\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"BREW /pot HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost : h\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: ten\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: -1\r\n\r\n",
        b"CONNECT elsewhere.example:443 HTTP/1.1\r\nHost: h\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
    ],
    ids=["words", "tls", "method", "space", "length", "negative", "connect", "asterisk"],
)
async def test_what_is_no_request_is_answered_with_a_problem(bench: Any, request_: bytes) -> None:
    await bench.upstream(mirror)
    problem_of(await bench.raw(request_), 400)
    assert bench.scheduler.servers.get("demo-1").failures == 0


@pytest.mark.parametrize(
    "framing",
    [
        b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n",
        b"Content-Length: 4\r\nContent-Length: 5\r\n",
        b"Transfer-Encoding: identity, chunked, gzip\r\n",
        b"Transfer-Encoding : chunked\r\n",
        b"Content-Length: +4\r\n",
    ],
)
async def test_a_request_that_two_servers_could_frame_differently_is_refused(bench: Any, framing: bytes) -> None:
    reached = []

    async def note(request: web.Request) -> web.Response:
        reached.append(request.raw_path)
        return web.Response()

    await bench.upstream(note)
    smuggled = b"0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n"
    problem_of(await bench.raw(b"POST /run HTTP/1.1\r\nHost: h\r\n" + framing + b"\r\n" + smuggled), 400)
    assert reached == []


@pytest.mark.parametrize("path", [b"/run", b"/x"])
async def test_a_broken_chunked_body_is_refused_and_no_slot_leaks(bench: Any, path: bytes) -> None:
    bench.spec(queue={"routes": [{"name": "through", "pathPrefix": "/x", "kind": "PassThrough"}]})
    await bench.upstream(mirror)
    problem_of(
        await bench.raw(
            b"POST " + path + b" HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\nZZ\r\n"
        ),
        400,
    )
    await bench.until(lambda: bench.in_flight() == 0)
    assert bench.scheduler.servers.get("demo-1").failures == 0


async def test_the_dispatchers_own_paths_are_not_the_applications(bench: Any) -> None:
    await bench.upstream(mirror)
    for path in ("/-/metrics", "/-/queue"):
        (await bench.send(None, method="GET", path=path)).problem(404)
    assert (await bench.send(None, method="GET", path="/-")).status == 200


# --- limits of bodies ----------------------------------------------------------------------------------------------


async def read_head(reader: asyncio.StreamReader) -> bytes:
    return await reader.readuntil(b"\r\n\r\n")


async def test_a_client_that_asks_first_is_told_no_before_it_sends_the_body(bench: Any) -> None:
    bench.spec(queue={"maxBodyBytes": 10})
    await bench.upstream(mirror)
    reader, writer = await asyncio.open_connection("127.0.0.1", bench.port)
    writer.write(b"POST /run HTTP/1.1\r\nHost: h\r\nContent-Length: 11\r\nExpect: 100-continue\r\n\r\n")
    head = await read_head(reader)
    assert head.startswith(b"HTTP/1.1 413")
    # The client's next request on this connection would be taken for the body.
    assert b"connection: close" in head.lower()
    writer.close()


@pytest.mark.parametrize("path", [b"/run", b"/x"])
async def test_a_client_that_asks_first_is_asked_for_the_body(bench: Any, path: bytes) -> None:
    bench.spec(queue={"routes": [{"name": "through", "pathPrefix": "/x", "kind": "PassThrough"}]})
    await bench.upstream(mirror)
    reader, writer = await asyncio.open_connection("127.0.0.1", bench.port)
    writer.write(b"POST " + path + b" HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\nExpect: 100-continue\r\n"
        b"Connection: close\r\n\r\n")  # fmt: skip
    assert await read_head(reader) == b"HTTP/1.1 100 Continue\r\n\r\n"
    writer.write(b"body")
    assert (await read_head(reader)).startswith(b"HTTP/1.1 200")
    assert json.loads(await reader.read())["size"] == 4
    writer.close()


async def test_a_chunked_body_above_the_limit_is_refused_on_the_way_through_too(bench: Any) -> None:
    bench.spec(queue={"maxBodyBytes": 100, "routes": [{"name": "through", "kind": "PassThrough"}]})
    await bench.upstream(mirror)

    async def chunks() -> Any:
        for _ in range(3):
            yield b"x" * 50

    answer = await bench.send(chunks(), method="POST")
    assert "maxBodyBytes" in answer.problem(413)
    assert bench.in_flight() == 0
    assert bench.scheduler.servers.get("demo-1").failures == 0


async def test_the_connection_is_good_for_more_after_a_body_that_was_too_large(bench: Any) -> None:
    bench.spec(queue={"maxBodyBytes": 10})
    await bench.upstream(mirror)
    answer = await bench.raw(
        b"POST /run HTTP/1.1\r\nHost: h\r\nContent-Length: 11\r\n\r\n" + b"x" * 11
        + b"GET /next HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
    )  # fmt: skip
    assert answer.startswith(b"HTTP/1.1 413")
    assert b'"target": "/next"' in answer


# --- pass-through --------------------------------------------------------------------------------------------------


async def test_what_is_no_task_never_waits_behind_tasks(bench: Any) -> None:
    blocked = asyncio.Event()

    async def serve(request: web.Request) -> web.Response:
        if request.method == "POST":
            await blocked.wait()
        return web.Response()

    await bench.upstream(serve)
    tasks = [asyncio.create_task(bench.send()) for _ in range(3)]
    await bench.until(lambda: bench.scheduler.waiting == 2)
    assert (await bench.send(None, method="GET", path="/assets/app.js")).status == 200
    blocked.set()
    assert [answer.status for answer in await asyncio.gather(*tasks)] == [200] * 3


async def test_a_network_keeps_its_server_while_that_lasts(bench: Any) -> None:
    def named(name: str) -> Any:
        async def say(_: web.Request) -> web.Response:
            return web.Response(text=name)

        return say

    for name in (f"demo-{number}" for number in range(4)):
        await bench.upstream(named(name), name)

    async def of(address: str) -> bytes:
        body: bytes = (await bench.send(None, method="GET", of=address)).body
        return body

    homes = {f"127.0.1.{n}": await of(f"127.0.1.{n}") for n in range(1, 9)}
    assert all([await of(address) == home for address, home in homes.items()])
    assert len(set(homes.values())) > 1
    gone = homes["127.0.1.1"].decode()
    bench.change(gone, draining=True)
    moved = {address for address, home in homes.items() if await of(address) != home}
    assert moved == {address for address, home in homes.items() if home.decode() == gone}


async def test_without_a_server_it_is_refused_at_once(bench: Any) -> None:
    answer = await bench.send(None, method="GET")
    answer.problem(503)
    assert int(answer.headers["Retry-After"]) > 0


async def test_it_counts_as_in_flight_until_the_client_has_it_all(bench: Any) -> None:
    blocked = asyncio.Event()

    async def slow(request: web.Request) -> web.Response:
        await blocked.wait()
        return web.Response()

    await bench.upstream(slow)
    running = asyncio.create_task(bench.send(None, method="GET"))
    await bench.until(lambda: bench.in_flight() == 1)
    blocked.set()
    await running
    await bench.until(lambda: bench.in_flight() == 0)


async def test_a_client_that_goes_away_ends_it_at_the_server(bench: Any) -> None:
    ended = asyncio.Event()

    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while True:
                await response.write(b"x")
                await asyncio.sleep(0.01)
        finally:
            ended.set()

    await bench.upstream(endless)
    async with bench.client().get("/stream") as answer:
        await answer.content.readany()
        answer.close()
    await ended.wait()
    await bench.until(lambda: bench.in_flight() == 0)


async def test_a_server_that_cannot_be_reached_gives_502_and_is_left_alone_after_some(bench: Any) -> None:
    bench.server("demo-1", "http://127.0.0.1:1")
    for _ in range(3):
        (await bench.send(None, method="GET")).problem(502)
    (await bench.send(None, method="GET")).problem(503)


async def test_an_answer_that_breaks_off_is_cut_and_never_continued_with_another(bench: Any) -> None:
    async def half(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "1000"})
        await response.prepare(request)
        await response.write(b"half")
        assert request.transport is not None
        request.transport.abort()
        return response

    await bench.upstream(half)
    with pytest.raises(aiohttp.ClientPayloadError):
        await bench.send(None, method="GET")
