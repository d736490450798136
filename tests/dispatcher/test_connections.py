"""The connections to servers, on real sockets: what goes over the wire, when one is used again, and how it ends."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
import pytest
import trustme
from multidict import CIMultiDict

from controller.dispatcher import connections as module
from controller.dispatcher.connections import Connections, UnreachableError, endpoint
from controller.dispatcher.upstream import AT_ONCE_BYTES

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Wire:
    """Connections, and small servers that answer as they are told."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self.connections = Connections()
        #: The request heads that servers got, and on which of their connections, counted from 1.
        self.heads: list[tuple[int, bytes]] = []
        self.closed = 0
        self._stack = stack
        self._count = 0

    async def server(self, serve: Serve, **options: Any) -> str:
        """Start a server; returns its base URL."""

        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                await serve(reader, writer)
            except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
                pass  # The client has gone, or the test is over.
            finally:
                self.closed += 1
                writer.close()

        server = await asyncio.start_server(connected, "127.0.0.1", 0, **options)
        self._stack.callback(server.close)
        scheme = "https" if options.get("ssl") else "http"
        return f"{scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}"

    def answering(self, *answers: bytes) -> Serve:
        """Answers one request after the other with these very bytes, then closes."""

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self._count += 1
            number = self._count
            for answer in answers:
                self.heads.append((number, await reader.readuntil(b"\r\n\r\n")))
                writer.write(answer)
                await writer.drain()

        return serve

    async def send(self, address: str, method: str = "GET", target: str = "/", **options: Any) -> tuple[int, bytes]:
        """One request and its whole answer."""
        headers: CIMultiDict[str] = CIMultiDict(options.pop("headers", {}))
        options.setdefault("repeatable", True)
        async with await self.connections.request(method, address, target, headers, **options) as reply:
            return reply.status, await reply.content.read()

    async def until(self, condition: Callable[[], bool]) -> None:
        while not condition():  # noqa: ASYNC110 - any state may be waited for
            await asyncio.sleep(0.005)


@pytest.fixture
async def wire() -> AsyncIterator[Wire]:
    async with AsyncExitStack() as stack:
        wire = Wire(stack)
        yield wire
        await wire.connections.close()


# --- what goes over the wire ---------------------------------------------------------------------------------------


async def test_a_request_is_written_to_the_letter(wire: Wire) -> None:
    address = await wire.server(wire.answering(OK))
    assert await wire.send(address, "GET", "/a%2Fb//?q=1&", headers={"Host": "h", "X-Odd": "1"}) == (200, b"ok")
    assert wire.heads == [(1, b"GET /a%2Fb//?q=1& HTTP/1.1\r\nHost: h\r\nX-Odd: 1\r\n\r\n")]


async def test_a_client_that_names_no_host_is_given_the_servers(wire: Wire) -> None:
    address = await wire.server(wire.answering(OK))
    await wire.send(address)
    assert f"Host: {address.removeprefix('http://')}\r\n".encode() in wire.heads[0][1]


@pytest.mark.parametrize(
    ("method", "framing"),
    [("POST", b"Content-Length: 0"), ("PUT", b"Content-Length: 0"), ("GET", b""), ("DELETE", b"")],
)
async def test_a_request_without_a_body_says_so_where_its_method_has_one(
    wire: Wire, method: str, framing: bytes
) -> None:
    address = await wire.server(wire.answering(OK))
    await wire.send(address, method, headers={"Host": "h"})
    assert wire.heads[0][1].partition(b"Host: h\r\n")[2].strip() == framing


async def parts(*data: bytes) -> AsyncIterator[bytes]:
    for part in data:
        yield part


@pytest.mark.parametrize("size", [1, AT_ONCE_BYTES, AT_ONCE_BYTES + 1, 3_000_000])
async def test_a_body_of_any_size_arrives_in_whole(wire: Wire, size: int) -> None:
    got = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        assert f"Content-Length: {size}\r\n".encode() in head
        got.append(await reader.readexactly(size))
        writer.write(OK)

    address = await wire.server(serve)
    body = bytes(range(256)) * (size // 256 + 1)
    assert await wire.send(address, "POST", body=lambda: body[:size], length=size) == (200, b"ok")
    assert got == [body[:size]]


async def test_a_body_of_unknown_length_is_sent_in_chunks(wire: Wire) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert b"Transfer-Encoding: chunked\r\n" in await reader.readuntil(b"\r\n\r\n")
        assert await reader.readuntil(b"0\r\n\r\n") == b"1\r\na\r\n2\r\nbc\r\n0\r\n\r\n"
        writer.write(OK)

    address = await wire.server(serve)
    assert await wire.send(address, "POST", body=lambda: parts(b"a", b"bc"), repeatable=False) == (200, b"ok")


@pytest.mark.parametrize(
    ("target", "headers"), [("/\r\nX: 1", {}), ("/", {"X-Bad": "1\r\nX: 1"}), ("/", {"X\nBad": "1"}), ("/\udcff", {})]
)
async def test_what_would_be_another_request_is_not_sent(wire: Wire, target: str, headers: dict[str, str]) -> None:
    address = await wire.server(wire.answering(OK))
    with pytest.raises(ValueError):
        await wire.send(address, "GET", target, headers=headers)
    await wire.until(lambda: wire.closed == 1)
    assert wire.heads == []


async def test_over_tls_the_servers_certificate_counts(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    authority, context = trustme.CA(), ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    address = await wire.server(wire.answering(OK, OK), ssl=context)
    with pytest.raises(UnreachableError, match=r"certificate|CERTIFICATE"):
        await wire.send(address)
    trusting = Connections()
    with authority.cert_pem.tempfile() as file:
        monkeypatch.setenv("SSL_CERT_FILE", file)
        async with await trusting.request("GET", address, "/", CIMultiDict(), repeatable=True) as reply:
            assert await reply.content.read() == b"ok"
    await trusting.close()


# --- what comes back -----------------------------------------------------------------------------------------------


async def test_interim_answers_are_passed_over(wire: Wire) -> None:
    interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    address = await wire.server(wire.answering(interim + OK))
    assert await wire.send(address) == (200, b"ok")


@pytest.mark.parametrize(
    "answer",
    [
        b"no HTTP at all\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: ten\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"",
    ],
    ids=["words", "length", "switch", "half", "nothing"],
)
async def test_what_is_no_answer_is_an_error_of_the_server(wire: Wire, answer: bytes) -> None:
    address = await wire.server(wire.answering(answer))
    with pytest.raises(aiohttp.ClientError):
        await wire.send(address)


async def test_an_answer_may_end_with_its_connection(wire: Wire) -> None:
    address = await wire.server(wire.answering(b"HTTP/1.0 200 OK\r\n\r\nall there is"))
    assert await wire.send(address) == (200, b"all there is")


async def test_the_answer_to_head_has_a_length_and_no_body(wire: Wire) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"
    address = await wire.server(wire.answering(head, OK))
    assert await wire.send(address, "HEAD") == (200, b"")
    assert await wire.send(address) == (200, b"ok")
    assert [number for number, _ in wire.heads] == [1, 1]


async def test_a_server_that_is_silent_for_too_long_is_given_up_and_not_asked_again(wire: Wire) -> None:
    address = await wire.server(wire.answering(OK, b"", OK))
    await wire.send(address)
    with pytest.raises(aiohttp.SocketTimeoutError):
        await wire.send(address, idle=0.05)
    await wire.until(lambda: wire.closed == 1)
    assert len(wire.heads) == 2


async def test_an_answer_that_comes_before_the_body_has_left_counts_and_ends_the_upload(wire: Wire) -> None:
    """A server may refuse a large body by its head."""
    ended = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        try:
            while True:
                yield b"x" * 65536
        finally:
            ended.set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno")
        await reader.read()

    address = await wire.server(serve)
    assert await wire.send(address, "POST", body=endless, repeatable=False) == (413, b"no")
    assert ended.is_set()
    await wire.until(lambda: wire.closed == 1)


async def test_a_body_that_cannot_be_read_to_its_end_is_told_and_not_sent_on_as_whole(wire: Wire) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"half"
        raise OSError("the disk is gone")

    rest = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        try:
            rest.append(await reader.read())
        except ConnectionError as error:
            rest.append(type(error).__name__.encode())

    address = await wire.server(serve)
    with pytest.raises(aiohttp.ClientConnectionError, match="the disk is gone"):
        await wire.send(address, "POST", body=broken, length=8, repeatable=False)
    await wire.until(lambda: bool(rest))
    assert rest[0] in (b"half", b"ConnectionResetError")


# --- connections that are used again -------------------------------------------------------------------------------


async def test_a_connection_is_used_again_when_its_answer_was_taken_in_whole(wire: Wire) -> None:
    address = await wire.server(wire.answering(OK, OK, OK))
    for _ in range(3):
        assert await wire.send(address) == (200, b"ok")
    assert [number for number, _ in wire.heads] == [1, 1, 1]


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        OK + b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nleft",
    ],
    ids=["close", "http-1.0", "one-answer-too-many"],
)
async def test_a_connection_that_is_spent_is_not_used_again(wire: Wire, answer: bytes) -> None:
    """An answer too many would be taken for that to the next request, of another client."""
    address = await wire.server(wire.answering(answer, answer))
    for _ in range(2):
        assert await wire.send(address) == (200, b"ok")
    assert [number for number, _ in wire.heads] == [1, 2]


async def test_bytes_that_come_on_an_idle_connection_spoil_it(wire: Wire) -> None:
    go_on, gone = asyncio.Event(), asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        wire.heads.append((len(wire.heads), await reader.readuntil(b"\r\n\r\n")))
        writer.write(OK)
        await go_on.wait()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
        await reader.read()
        gone.set()

    address = await wire.server(serve)
    await wire.send(address)
    go_on.set()
    link = wire.connections._idle[endpoint(address)][0]
    await wire.until(lambda: not link.is_usable())
    assert await wire.send(address) == (200, b"ok")
    assert len(wire.heads) == 2
    await gone.wait()


async def test_an_answer_that_nobody_reads_to_its_end_closes_its_connection(wire: Wire) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nsome")
        await reader.read()

    address = await wire.server(serve)
    async with await wire.connections.request("GET", address, "/", CIMultiDict(), repeatable=True) as reply:
        assert await reply.content.readany() == b"some"
    await wire.until(lambda: wire.closed == 1)


async def test_a_request_that_may_not_be_repeated_has_a_connection_of_its_own(wire: Wire) -> None:
    address = await wire.server(wire.answering(OK, OK))
    await wire.send(address)
    await wire.send(address, "POST", repeatable=False)
    assert [number for number, _ in wire.heads] == [1, 2]


async def test_a_connection_that_was_closed_meanwhile_costs_another_attempt_and_no_more(wire: Wire) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        wire.heads.append((0, await reader.readuntil(b"\r\n\r\n")))
        if len(wire.heads) == 1:
            writer.write(OK)
            await reader.read(1)

    address = await wire.server(serve)
    await wire.send(address)
    with pytest.raises(aiohttp.ServerDisconnectedError):
        # Over the old one, which ends; over a new one, which ends too: that is the server's answer.
        await wire.send(address)
    assert wire.closed == 2


async def test_idle_connections_are_closed_in_time(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEEPALIVE_SECONDS", 0.05)
    address = await wire.server(wire.answering(OK, OK))
    await wire.send(address)
    assert wire.connections._idle
    await wire.until(lambda: wire.closed == 1)
    assert not wire.connections._idle


async def test_a_connection_that_is_idle_for_too_long_is_not_used_even_before_it_is_closed(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = await wire.server(wire.answering(OK, OK))
    await wire.send(address)
    monkeypatch.setattr(module, "KEEPALIVE_SECONDS", 0.0)
    await wire.send(address)
    assert [number for number, _ in wire.heads] == [1, 2]


async def test_who_gives_up_closes_the_connection(wire: Wire) -> None:
    address = await wire.server(wire.answering(b"", OK))
    waiting = asyncio.create_task(wire.send(address))
    await wire.until(lambda: len(wire.heads) == 1)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await wire.until(lambda: wire.closed == 1)


# --- no connection -------------------------------------------------------------------------------------------------


async def test_where_nobody_listens_nothing_was_sent(wire: Wire) -> None:
    with pytest.raises(UnreachableError, match=r"no connection to 127\.0\.0\.1:1"):
        await wire.send("http://127.0.0.1:1")


async def test_who_takes_no_connection_is_given_up_in_time(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    """A TLS handshake that never comes to its end."""
    monkeypatch.setattr(module, "CONNECT_SECONDS", 0.05)

    async def silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    address = await wire.server(silent)
    with pytest.raises(UnreachableError, match=r"within 0.05 s"):
        await wire.send(address.replace("http:", "https:"))


@pytest.mark.parametrize("address", ["", "gpu-1", "http://", "unix:///run/x"])
async def test_an_address_without_a_host_is_refused(wire: Wire, address: str) -> None:
    with pytest.raises(ValueError, match="names no host and port"):
        await wire.send(address)


@pytest.mark.parametrize(
    ("address", "host", "port", "authority"),
    [
        ("http://192.0.2.1:7860", "192.0.2.1", 7860, "192.0.2.1:7860"),
        ("http://192.0.2.1", "192.0.2.1", 80, "192.0.2.1"),
        ("https://gpu.example", "gpu.example", 443, "gpu.example"),
        ("http://[2001:db8::1]:81", "2001:db8::1", 81, "[2001:db8::1]:81"),
    ],
)
def test_an_address_names_where_to_connect_and_what_the_host_header_says(
    address: str, host: str, port: int, authority: str
) -> None:
    found = endpoint(address)
    assert (found.host, found.port, found.authority) == (host, port, authority)
    assert found.tls == address.startswith("https:")
