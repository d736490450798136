"""Requests that two servers could understand differently: refused, the connection ended, nothing of them forwarded."""

import asyncio
import re
from typing import Any

import pytest
from aiohttp import web

#: To a server that ends the first request here, this is a second one.
SMUGGLED = b"0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n"
POST = b"POST /run HTTP/1.1\r\nHost: h\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n"
END = b"Connection: close\r\n\r\n"


@pytest.fixture
async def reached(bench: Any) -> list[dict[str, Any]]:
    """The requests that got through."""
    seen: list[dict[str, Any]] = []

    async def note(request: web.Request) -> web.Response:
        body = await request.read()
        seen.append({"line": f"{request.method} {request.raw_path}", "headers": request.headers, "body": body})
        return web.json_response({"n": len(seen)})

    await bench.upstream(note)
    return seen


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


LENGTHS = {
    "zero and chunked": b"Content-Length: 0\r\nTransfer-Encoding: chunked\r\n",
    "the same twice": b"Content-Length: 5\r\nContent-Length: 5\r\n",
    "a list": b"Content-Length: 5, 5\r\n",
    "hexadecimal": b"Content-Length: 0x5\r\n",
    "underscore": b"Content-Length: 1_0\r\n",
    "empty": b"Content-Length: \r\n",
    "two numbers": b"Content-Length: 5 5\r\n",
    "other digits": "Content-Length: ٥\r\n".encode(),
    "more than any machine counts": b"Content-Length: 99999999999999999999999\r\n",
    "a space before the colon": b"Content-Length : 5\r\n",
}


@pytest.mark.parametrize("header", LENGTHS.values(), ids=LENGTHS)
async def test_an_ambiguous_length_is_refused(bench: Any, reached: list[Any], header: bytes) -> None:
    assert status(await bench.raw(POST + header + b"\r\n" + SMUGGLED)) == 400
    assert reached == []


CODINGS = {
    "identity": b"Transfer-Encoding: identity\r\n",
    "identity with a length": b"Transfer-Encoding: identity\r\nContent-Length: 5\r\n",
    "something like chunked": b"Transfer-Encoding: xchunked\r\n",
    "a vertical tab": b"Transfer-Encoding: \x0bchunked\r\n",
    "quotes": b'Transfer-Encoding: "chunked"\r\n',
    "a parameter": b"Transfer-Encoding: chunked;q=1\r\n",
    "chunked twice": b"Transfer-Encoding: chunked, chunked\r\n",
    "chunked, then identity": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
    "identity, then chunked": b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n",
    "on a second line": b"Transfer-Encoding:\r\n chunked\r\n",
    "compressed": b"Transfer-Encoding: gzip, chunked\r\n",
    "empty, with a length": b"Transfer-Encoding: \r\nContent-Length: 5\r\n",
}


@pytest.mark.parametrize("header", CODINGS.values(), ids=CODINGS)
async def test_a_coding_that_is_not_plainly_chunked_is_refused(bench: Any, reached: list[Any], header: bytes) -> None:
    assert status(await bench.raw(POST + header + b"\r\n" + SMUGGLED)) in (400, 501)
    assert reached == []


@pytest.mark.parametrize("header", [b"Transfer-Encoding:\tchunked \r\n", b"transfer-encoding: CHUNKED\r\n"])
async def test_plainly_chunked_it_is_in_any_case_and_with_space_around(
    bench: Any, reached: list[Any], header: bytes
) -> None:
    await bench.raw(POST + header + b"\r\n2\r\nab\r\n0\r\n\r\nGET /next HTTP/1.1\r\nHost: h\r\n" + END)
    assert [(r["line"], r["body"]) for r in reached] == [("POST /run", b"ab"), ("GET /next", b"")]


async def test_http_1_0_has_no_chunks(bench: Any, reached: list[Any]) -> None:
    for more in (b"", b"Content-Length: 5\r\n"):
        request = b"POST /run HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n" + more + b"\r\n" + SMUGGLED
        assert status(await bench.raw(request)) == 400
    assert reached == []


CHUNKS = {
    "negative": b"-2\r\nab\r\n0\r\n\r\n",
    "plus": b"+2\r\nab\r\n0\r\n\r\n",
    "0x": b"0x2\r\nab\r\n0\r\n\r\n",
    "space behind": b"2 \r\nab\r\n0\r\n\r\n",
    "space before": b" 2\r\nab\r\n0\r\n\r\n",
    "underscore": b"1_0\r\nabababababababab\r\n0\r\n\r\n",
    "no size": b"\r\nab\r\n0\r\n\r\n",
    "more than any machine counts": b"ffffffffffffffffff\r\nab\r\n0\r\n\r\n",
    "longer than said": b"2\r\nabXX0\r\n\r\n",
    "bare line feeds": b"2\nab\n0\n\n",
    "a line feed in an extension": b"2;a\nxx\r\nab\r\n0\r\n\r\n",
    "a length in the trailers": b"2\r\nab\r\n0\r\nContent-Length: 50\r\n\r\n",
}


@pytest.mark.parametrize("chunks", CHUNKS.values(), ids=CHUNKS)
async def test_a_broken_chunk_is_refused(bench: Any, reached: list[Any], chunks: bytes) -> None:
    assert status(await bench.raw(CHUNKED + b"\r\n" + chunks)) == 400
    assert reached == []
    assert bench.in_flight() == 0


@pytest.mark.parametrize("chunks", [b"2;name=value\r\nab\r\n0\r\n\r\n", b"2\r\nab\r\n0\r\nX-Checksum: 1\r\n\r\n"])
async def test_extensions_and_trailers_are_left_out(bench: Any, reached: list[Any], chunks: bytes) -> None:
    assert status(await bench.raw(CHUNKED + END + chunks)) == 200
    (request,) = reached
    assert request["body"] == b"ab"
    assert "X-Checksum" not in request["headers"]


HEADERS = {
    "on a second line": b"X-A: a\r\n b\r\n",
    "a bare line feed": b"X-A: a\nX-B: b\r\n",
    "a bare carriage return": b"X-A: a\rX-B: b\r\n",
    "NUL in a value": b"X-A: a\0b\r\n",
    "NUL in a name": b"X\0A: a\r\n",
    "another control character": b"X-A: a\x01b\r\n",
    "no name": b": a\r\n",
    "no colon": b"X-A\r\n",
    "a name that is no token": b"X(A): a\r\n",
}


@pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS)
async def test_a_malformed_header_is_refused(bench: Any, reached: list[Any], header: bytes) -> None:
    assert status(await bench.raw(POST + header + b"Content-Length: 0\r\n\r\n")) == 400
    assert reached == []


LINES = {
    "bare line feeds": b"POST /run HTTP/1.1\nHost: h\nContent-Length: 0\n\n",
    "a header before the first": b"POST /run HTTP/1.1\r\n Host: h\r\nContent-Length: 0\r\n\r\n",
    "a space in the target": b"GET /a b HTTP/1.1\r\nHost: h\r\n" + END,
    "tabs": b"GET\t/run\tHTTP/1.1\r\nHost: h\r\n" + END,
    "a control character in the target": b"GET /a\x01b HTTP/1.1\r\nHost: h\r\n" + END,
    "a lower-case method": b"get /run HTTP/1.1\r\nHost: h\r\n" + END,
    "no Host": b"GET /run HTTP/1.1\r\n" + END,
    "two Hosts": b"GET /run HTTP/1.1\r\nHost: a\r\nHost: b\r\n" + END,
    "a Host with a path": b"GET /run HTTP/1.1\r\nHost: a/b\r\n" + END,
    "a Host with a user": b"GET /run HTTP/1.1\r\nHost: u@a\r\n" + END,
    "another Host than the target's": b"GET http://a.example/run HTTP/1.1\r\nHost: b.example\r\n" + END,
    "a target with a user": b"GET http://u:p@h/run HTTP/1.1\r\nHost: h\r\n" + END,
}


@pytest.mark.parametrize("request_", LINES.values(), ids=LINES)
async def test_a_malformed_request_line_or_host_is_refused(bench: Any, reached: list[Any], request_: bytes) -> None:
    answer = await bench.raw(request_)
    assert status(answer) == 400
    assert b"application/problem+json" in answer
    assert reached == []


@pytest.mark.parametrize(
    "line", [b"GET /run\r\n", b"GET /run HTTP/2.0\r\nHost: h\r\n", b"GET /run HTTP/1.2\r\nHost: h\r\n"]
)
async def test_other_versions_are_not_spoken(bench: Any, reached: list[Any], line: bytes) -> None:
    assert status(await bench.raw(line + b"\r\n")) in (400, 505)
    assert reached == []


@pytest.mark.parametrize(
    "host", [b"h", b"h:80", b"images.example", b"[2001:db8::1]:8080", b"[fe80::1%25eth0]", b"xn--fiq228c.example", b""]
)
async def test_a_host_is_a_name_or_an_address_with_or_without_port(bench: Any, reached: list[Any], host: bytes) -> None:
    assert status(await bench.raw(b"GET / HTTP/1.1\r\nHost: " + host + b"\r\n" + END)) == 200
    assert reached[0]["headers"]["Host"] == host.decode()


async def test_an_absolute_target_may_write_its_host_in_another_case(bench: Any, reached: list[Any]) -> None:
    assert status(await bench.raw(b"GET HTTP://H:80/x HTTP/1.1\r\nHost: h:80\r\n" + END)) == 200
    assert reached[0]["line"] == "GET /x"


async def test_the_connection_header_takes_off_nothing_that_says_what_a_request_is(
    bench: Any, reached: list[Any]
) -> None:
    options = b"Connection: close, Host, Content-Length, X-Forwarded-For, Via\r\nContent-Length: 2\r\n\r\nab"
    assert status(await bench.raw(POST + options)) == 200
    headers = reached[0]["headers"]
    assert (headers["Host"], headers["Content-Length"], headers["X-Forwarded-For"]) == ("h", "2", "127.0.0.1")
    assert headers["Via"] == "1.1 haipool"


@pytest.mark.parametrize(
    "name", ["X_Forwarded_For", "X-Forwarded_For", "Content_Length", "Transfer_Encoding", "x_real_ip"]
)
async def test_an_underscore_is_no_way_to_say_what_one_may_not(bench: Any, reached: list[Any], name: str) -> None:
    """WSGI and CGI make one variable of both spellings."""
    bench.spec(queue={"trustedNetworks": ["127.0.0.0/8"]})
    await bench.send("ab", headers={name: "9", "X_Custom": "1"})
    assert name not in reached[0]["headers"]
    assert reached[0]["headers"]["X_Custom"] == "1"


async def test_after_an_upgrade_that_nobody_agreed_on_the_connection_ends(bench: Any, reached: list[Any]) -> None:
    """curl --http2 asks for h2c like this."""
    request = b"GET /run HTTP/1.1\r\nHost: h\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\r\n"
    answer = await bench.raw(request + b"GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n")
    assert status(answer) == 200
    assert b"connection: close" in answer.lower()
    assert [r["line"] for r in reached] == ["GET /run"]
    assert "Upgrade" not in reached[0]["headers"]


async def test_a_post_is_no_websocket_whatever_it_says(bench: Any, reached: list[Any]) -> None:
    upgrade = b"Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 5\r\n\r\n"
    await bench.raw(POST + upgrade + SMUGGLED)
    assert reached[0]["line"] == "POST /run"
    assert reached[0]["body"] == b"0\r\n\r\n"
    assert "/smuggled" not in [r["line"] for r in reached]


async def test_line_ends_in_a_target_stay_encoded(bench: Any, reached: list[Any]) -> None:
    target = b"/a?x=%0d%0aX-Injected:%201"
    assert status(await bench.raw(b"GET " + target + b" HTTP/1.1\r\nHost: h\r\n" + END)) == 200
    assert reached[0]["line"] == f"GET {target.decode()}"
    assert "X-Injected" not in reached[0]["headers"]


@pytest.mark.parametrize("method", [b"GET", b"DELETE", b"OPTIONS"])
async def test_a_body_where_none_is_usual_is_a_body_to_both(bench: Any, reached: list[Any], method: bytes) -> None:
    request = (
        method + b" /run HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n0\r\n\r\nGET /next HTTP/1.1\r\nHost: h\r\n"
    )
    await bench.raw(request + END)
    assert [(r["line"], r["body"]) for r in reached] == [(f"{method.decode()} /run", b"0\r\n\r\n"), ("GET /next", b"")]


async def test_pipelined_requests_are_answered_in_their_order(bench: Any, reached: list[Any]) -> None:
    """A task between two pass-throughs: the third does not overtake the second on one connection."""
    get = b"GET /%d HTTP/1.1\r\nHost: h\r\n"
    task = POST + b"Content-Length: 2\r\n\r\nab"
    answer = await bench.raw(get % 1 + b"\r\n" + task + get % 3 + END)
    assert re.findall(rb'{"n": (\d)}', answer) == [b"1", b"2", b"3"]
    assert [r["line"] for r in reached] == ["GET /1", "POST /run", "GET /3"]


async def test_what_comes_after_a_request_that_was_refused_is_never_read_as_one(bench: Any, reached: list[Any]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", bench.port)
    writer.write(POST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n")
    assert status(await reader.read()) == 400
    writer.write(b"GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n")
    writer.close()
    await bench.send(None, method="GET", path="/after")
    assert [r["line"] for r in reached] == ["GET /after"]
