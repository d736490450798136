"""WebSockets through the dispatcher: messages both ways, closed on one side as on the other."""

import asyncio
import logging
from typing import Final, NamedTuple

import aiohttp
from aiohttp import WSCloseCode, WSMsgType, web
from multidict import CIMultiDict
from yarl import URL

from controller.dispatcher.forward import ServerLostError

logger = logging.getLogger(__name__)

#: A side that answers no ping for about as long is gone; nothing else would say so.
HEARTBEAT_SECONDS: Final = 30.0
#: For an answer to a close frame.
CLOSE_SECONDS: Final = 5.0

Side = web.WebSocketResponse | aiohttp.ClientWebSocketResponse


class RefusedError(Exception):
    """The server answered the handshake with an error, which the client should see."""

    def __init__(self, status: int) -> None:
        super().__init__(f"the server refused the WebSocket with status {status}")
        self.status = status


class Close(NamedTuple):
    """How a side closed."""

    code: int
    reason: bytes


def offered_protocols(request: web.BaseRequest) -> list[str]:
    """The subprotocols that the client offers."""
    return [p.strip() for v in request.headers.getall("Sec-WebSocket-Protocol", ()) for p in v.split(",") if p.strip()]


async def connect(
    session: aiohttp.ClientSession, url: URL, headers: CIMultiDict[str], protocols: list[str], limit: int
) -> aiohttp.ClientWebSocketResponse:
    """The WebSocket to the server.

    Args:
        session: connections to the servers.
        url: where to.
        headers: the client's.
        protocols: what the client offers.
        limit: largest message, bytes.

    Raises:
        RefusedError: the server answered something else.
        ServerLostError: it did not answer.
    """
    try:
        return await session.ws_connect(
            url,
            headers=headers,
            protocols=protocols,
            max_msg_size=limit,
            autoclose=False,
            heartbeat=HEARTBEAT_SECONDS,
            timeout=aiohttp.ClientWSTimeout(ws_close=CLOSE_SECONDS),
        )
    except aiohttp.WSServerHandshakeError as error:
        raise RefusedError(error.status) from error
    except (aiohttp.ClientError, ConnectionError) as error:
        raise ServerLostError(f"no WebSocket: {error}") from error


def accept(upstream: aiohttp.ClientWebSocketResponse, limit: int) -> web.WebSocketResponse:
    """The client's side, with the subprotocol that the server chose."""
    return web.WebSocketResponse(
        protocols=[upstream.protocol] if upstream.protocol else (),
        max_msg_size=limit,
        autoclose=False,
        heartbeat=HEARTBEAT_SECONDS,
        timeout=CLOSE_SECONDS,
    )


async def relay(downstream: web.WebSocketResponse, upstream: aiohttp.ClientWebSocketResponse) -> None:
    """Copy messages both ways; when one side ends, the other is closed with the same code and reason."""
    down = asyncio.create_task(_copy(downstream, upstream, vanished=WSCloseCode.GOING_AWAY))
    up = asyncio.create_task(_copy(upstream, downstream, vanished=WSCloseCode.BAD_GATEWAY))
    try:
        await asyncio.wait({down, up}, return_when=asyncio.FIRST_COMPLETED)
    finally:  # also when this is cancelled, which is how a client that vanished shows
        for task in (down, up):
            task.cancel()
        await asyncio.gather(down, up, return_exceptions=True)
        how = _how(down) or _how(up) or Close(WSCloseCode.GOING_AWAY, b"")
        await asyncio.gather(*(side.close(code=how.code, message=how.reason) for side in (downstream, upstream)))


def _how(copying: "asyncio.Task[Close]") -> Close | None:
    """How the side that this task read from closed; None if it did not."""
    if copying.cancelled():
        return None
    error = copying.exception()
    if error is None:
        return copying.result()
    if not isinstance(error, ConnectionError):
        logger.error("a WebSocket broke", exc_info=error)
    return None


async def _copy(source: Side, target: Side, *, vanished: int) -> Close:
    """Copy until the source closes.

    Args:
        source: where messages come from.
        target: where they go.
        vanished: the code that the target is closed with if the source is gone without one.
    """
    while True:
        message = await source.receive()
        if message.type is WSMsgType.TEXT:
            await target.send_str(message.data)
        elif message.type is WSMsgType.BINARY:
            await target.send_bytes(message.data)
        elif message.type is WSMsgType.CLOSE:
            # A close frame without a code says 0 here; none may be sent as such.
            return Close(message.data or WSCloseCode.OK, str(message.extra or "").encode())
        else:
            code = source.close_code
            return Close(vanished if code in (None, 0, WSCloseCode.ABNORMAL_CLOSURE) else int(code or vanished), b"")
