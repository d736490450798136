"""Clients that send or take too slowly: a connection, and whatever it holds, must not be held for nothing."""

import asyncio
from collections.abc import AsyncIterator
from typing import Final, cast

import aiohttp
from aiohttp import web
from aiohttp.http import StreamWriter

from controller.api.queue import SlowClients

#: The average rate of a body counts from here on: a connection needs some seconds to come to its speed.
AVERAGE_FROM_SECONDS: Final = 10.0


class SlowBodyError(Exception):
    """A request's body comes too slowly."""


class SlowClientError(ConnectionError):
    """The client does not take its answer, and does not go away either."""


def patience(settings: SlowClients, size: int, waited: float) -> float:
    """How long to wait for the next part of a body, seconds.

    Args:
        settings: `queue.slowClients`.
        size: bytes of it that are here.
        waited: seconds that it was waited for so far.

    Returns:
        0 or less: it is too slow already.
    """
    if not settings.min_bytes_per_second:
        return float(settings.idle_seconds)
    allowed = max(AVERAGE_FROM_SECONDS, size / settings.min_bytes_per_second)
    return min(float(settings.idle_seconds), allowed - waited)


async def paced(content: aiohttp.StreamReader, settings: SlowClients) -> AsyncIterator[bytes]:
    """A request body as it comes. Only the time counts in which the client was waited for.

    Raises:
        SlowBodyError: it comes too slowly.
        aiohttp.web.RequestPayloadError: it is malformed.
    """
    clock, size, waited = asyncio.get_running_loop().time, 0, 0.0
    while True:
        began = clock()
        try:
            async with asyncio.timeout(patience(settings, size, waited)):
                part = await content.readany()
        except TimeoutError as error:
            raise SlowBodyError(f"of the request body, {size} bytes came within {waited:.0f} s and more") from error
        if not part:
            return
        waited += clock() - began
        size += len(part)
        yield part


def is_behind(request: web.BaseRequest) -> bool:
    """Whether the client takes its answer more slowly than it comes."""
    return request.protocol.writing_paused


async def catch_up(request: web.BaseRequest, idle: float) -> None:
    """Wait until the client has taken most of what was written to it.

    Args:
        request: its request.
        idle: seconds within which it has to take something.

    Raises:
        SlowClientError: it took nothing for so long.
        ConnectionError: it has gone.
    """
    if not is_behind(request):
        return
    # A task of its own, and never cancelled before its connection ends: who waits after it would be cancelled too.
    writer = cast("StreamWriter", request.writer)
    drained = asyncio.ensure_future(writer.drain())
    drained.add_done_callback(_forget)
    while not drained.done():
        left = unsent(request)
        await asyncio.wait({drained}, timeout=idle)
        if not drained.done() and unsent(request) >= left:
            raise SlowClientError(f"the client took nothing of its answer for {idle:g} s")
    drained.result()


def unsent(request: web.BaseRequest) -> int:
    """Bytes written to the client that have not left this process."""
    return 0 if request.transport is None else request.transport.get_write_buffer_size()


def _forget(drained: "asyncio.Future[None]") -> None:
    """What ends it is the end of the connection, which is known to all others."""
    if not drained.cancelled():
        drained.exception()
