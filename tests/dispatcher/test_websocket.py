"""WebSockets through the dispatcher: both ways, closed on both sides alike, and no leak of what is in flight."""

import asyncio
from typing import Any

import aiohttp
import pytest
from aiohttp import WSCloseCode, WSMsgType, web


class Upstream:
    """A WebSocket application: echoes, closes when told `close CODE REASON`, and notes how it was closed."""

    def __init__(self) -> None:
        self.requests: list[web.Request] = []
        self.sockets: list[web.WebSocketResponse] = []
        self.closed: asyncio.Queue[tuple[int | None, str]] = asyncio.Queue()

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request)
        socket = web.WebSocketResponse(protocols=["haipool.v2", "haipool.v1"], max_msg_size=0)
        await socket.prepare(request)
        self.sockets.append(socket)
        while True:
            message = await socket.receive()
            if message.type is WSMsgType.TEXT and message.data.startswith("close "):
                _, code, reason = message.data.split(" ", 2)
                await socket.close(code=int(code), message=reason.encode())
            elif message.type is WSMsgType.TEXT:
                await socket.send_str(message.data)
            elif message.type is WSMsgType.BINARY:
                await socket.send_bytes(message.data)
            else:
                self.closed.put_nowait((socket.close_code, str(message.extra or "")))
                return socket


async def test_messages_of_both_kinds_and_any_size_travel_both_ways(bench: Any) -> None:
    await bench.upstream(Upstream())
    async with bench.client().ws_connect("/ws?room=1", max_msg_size=0) as socket:
        await socket.send_str("你好")
        assert await socket.receive_str() == "你好"
        await socket.send_bytes(bytes(8 * 1024 * 1024))
        assert await socket.receive_bytes() == bytes(8 * 1024 * 1024)
        assert bench.in_flight() == 1
    await bench.until(lambda: bench.in_flight() == 0)


async def test_the_server_sees_target_cookies_and_who_asked(bench: Any) -> None:
    upstream = Upstream()
    await bench.upstream(upstream)
    headers = {"Cookie": "session=1", "Origin": "https://ui.example"}
    async with bench.client("127.0.0.7").ws_connect("/ws%2F1?a=%20", headers=headers):
        pass
    request = upstream.requests[0]
    assert request.raw_path == "/ws%2F1?a=%20"
    assert headers.items() <= dict(request.headers).items()
    assert request.headers["X-Forwarded-For"] == "127.0.0.7"


async def test_the_subprotocol_is_the_one_the_server_chose(bench: Any) -> None:
    await bench.upstream(Upstream())
    async with bench.client().ws_connect("/ws", protocols=("other", "haipool.v1")) as socket:
        assert socket.protocol == "haipool.v1"
    async with bench.client().ws_connect("/ws") as socket:
        assert socket.protocol is None


async def test_a_close_of_the_client_reaches_the_server_with_code_and_reason(bench: Any) -> None:
    upstream = Upstream()
    await bench.upstream(upstream)
    socket = await bench.client().ws_connect("/ws")
    await socket.close(code=4001, message=b"done")
    assert await upstream.closed.get() == (4001, "done")


async def test_a_close_of_the_server_reaches_the_client_with_code_and_reason(bench: Any) -> None:
    await bench.upstream(Upstream())
    async with bench.client().ws_connect("/ws") as socket:
        await socket.send_str("close 4002 queue is full")
        message = await socket.receive()
        assert (message.type, message.data, message.extra) == (WSMsgType.CLOSE, 4002, "queue is full")
    await bench.until(lambda: bench.in_flight() == 0)


async def test_a_client_that_vanishes_is_no_silence_for_the_server(bench: Any) -> None:
    upstream = Upstream()
    await bench.upstream(upstream)
    session = bench.client("127.0.0.9")
    await session.ws_connect("/ws")
    await session.close()
    code, _ = await upstream.closed.get()
    assert code in (WSCloseCode.GOING_AWAY, WSCloseCode.ABNORMAL_CLOSURE)
    await bench.until(lambda: bench.in_flight() == 0)


async def test_a_server_that_vanishes_closes_the_client_with_a_code_that_may_be_sent(bench: Any) -> None:
    async def vanish(request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        assert request.transport is not None
        request.transport.abort()
        return socket

    await bench.upstream(vanish)
    async with bench.client().ws_connect("/ws") as socket:
        message = await socket.receive()
        assert (message.type, message.data) == (WSMsgType.CLOSE, WSCloseCode.BAD_GATEWAY)
    await bench.until(lambda: bench.in_flight() == 0)


@pytest.mark.parametrize("status", [401, 403, 404])
async def test_a_refusal_of_the_server_is_a_refusal_to_the_client(bench: Any, status: int) -> None:
    async def refuse(_: web.Request) -> web.Response:
        return web.Response(status=status)

    await bench.upstream(refuse)
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await bench.client().ws_connect("/ws")
    assert refused.value.status == status
    assert bench.in_flight() == 0


async def test_a_server_that_cannot_be_reached_is_502_and_none_at_all_503(bench: Any) -> None:
    for status in (503, 502):
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await bench.client().ws_connect("/ws")
        assert refused.value.status == status
        bench.server("demo-1", "http://127.0.0.1:1")


async def test_an_incomplete_handshake_is_a_problem_and_troubles_no_server(bench: Any) -> None:
    upstream = Upstream()
    await bench.upstream(upstream)
    upgrade = {"Connection": "upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "99"}
    (await bench.send(None, method="GET", path="/ws", headers=upgrade)).problem(400)
    assert upstream.requests == []


async def test_a_message_above_the_body_limit_ends_the_connection(bench: Any) -> None:
    bench.spec(queue={"maxBodyBytes": 1000})
    await bench.upstream(Upstream())
    async with bench.client().ws_connect("/ws") as socket:
        await socket.send_str("x" * 1001)
        message = await socket.receive()
        assert (message.type, message.data) == (WSMsgType.CLOSE, WSCloseCode.MESSAGE_TOO_BIG)
    await bench.until(lambda: bench.in_flight() == 0)


async def test_it_passes_even_where_all_requests_are_tasks(bench: Any) -> None:
    bench.spec(queue={"routes": [{"name": "all"}]})
    await bench.upstream(Upstream())
    async with bench.client().ws_connect("/ws") as socket:
        await socket.send_str("x")
        assert await socket.receive_str() == "x"


async def test_at_the_end_clients_are_told_that_the_dispatcher_goes_away(bench: Any) -> None:
    upstream = Upstream()
    await bench.upstream(upstream)
    async with bench.client().ws_connect("/ws") as socket:
        await socket.send_str("x")
        await socket.receive_str()
        closing = asyncio.create_task(bench.proxy.close_websockets())
        message = await socket.receive()
        assert (message.type, message.data) == (WSMsgType.CLOSE, WSCloseCode.GOING_AWAY)
        await closing
    await upstream.closed.get()
    await bench.until(lambda: bench.in_flight() == 0)
