"""The GPU server of the benchmarks: answers every request at once with the same small JSON, for next to no time.

A program of its own: prints its port, and ends when its standard input does.
"""

import asyncio
import sys
from typing import Final, cast

import uvloop

from tests.bench.wire import HEAD_END, RESULT, content_length

_HEAD: Final = (
    "HTTP/1.1 200 OK\r\nServer: bench\r\nDate: Wed, 01 Jan 2025 00:00:00 GMT\r\n"
    f"Content-Type: application/json\r\nContent-Length: {len(RESULT)}\r\n\r\n"
)
ANSWER: Final = _HEAD.encode() + RESULT
REFUSED: Final = b"HTTP/1.1 501 Not Implemented\r\nContent-Length: 0\r\n\r\n"


class Origin(asyncio.Protocol):
    """One connection. Keeps no state but the beginning of a request that is not there in whole yet."""

    def __init__(self) -> None:
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Answer every request that is complete."""
        data = self._rest + data
        while (end := data.find(HEAD_END)) >= 0:
            head = data[:end]
            if b"\r\ntransfer-encoding:" in head.lower():
                # A proxy that sends small bodies in chunks would be measured for another job than the others.
                self._transport.write(REFUSED)
                self._transport.close()
                return
            whole = end + len(HEAD_END) + (content_length(head) or 0)
            if len(data) < whole:
                break
            self._transport.write(ANSWER)
            data = data[whole:]
        self._rest = data


async def serve() -> None:
    """Serve until standard input ends."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Origin, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


if __name__ == "__main__":
    uvloop.run(serve())
