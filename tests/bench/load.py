"""The clients of the benchmarks: a fixed number of requests over some connections, one at a time on each.

A program of its own, for it must not share a core with what it measures. It reads one order a line (JSON, see `Order`)
and answers each with one line (see `Outcome`); it ends when its standard input does. An answer with another status or
length than expected, or a connection that ends, fails the order.
"""

import asyncio
import gc
import resource
import sys
from time import perf_counter
from typing import cast

import msgspec
import uvloop

from tests.bench.wire import ADDRESSES, HEAD_END, RESULT, content_length, request_bytes


class Order(msgspec.Struct):
    """What to send."""

    port: int
    #: `task` or `pass`.
    kind: str
    connections: int
    #: Measured requests, over all connections.
    requests: int
    #: Requests before these, which open the connections and fill the caches.
    warmup: int


class Outcome(msgspec.Struct):
    """What came of it; with an error nothing else means anything."""

    error: str = ""
    #: From the first measured request to the last answer.
    seconds: float = 0.0
    p50_ms: float = 0.0
    p99_ms: float = 0.0
    #: CPU time this program itself used meanwhile, seconds: near `seconds`, it would be what is measured.
    own_cpu: float = 0.0


class Run:
    """One order under way: hands requests out, warm-up first; the clock starts when that is answered."""

    def __init__(self, order: Order) -> None:
        self.request = request_bytes(order.kind, order.port)
        self.latencies: list[float] = []
        self.done: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self._order = order
        self._warmup = order.warmup
        self._left = order.requests
        self._parked: list[Client] = []
        self._began = 0.0

    def fail(self, why: str) -> None:
        """The order has failed; the first reason stays."""
        if not self.done.done():
            self.done.set_exception(RuntimeError(why))

    def next(self, client: "Client") -> None:
        """The client is free: give it a request, let it wait for the others, or let it rest."""
        if self._began:
            if self._left:
                self._left -= 1
                client.send()
            elif len(self.latencies) == self._order.requests and not self.done.done():
                self.done.set_result(perf_counter() - self._began)
            return
        if self._warmup > 0:
            self._warmup -= 1
            client.send()
            return
        self._parked.append(client)
        if len(self._parked) == self._order.connections:
            self._start()

    def _start(self) -> None:
        self.latencies.clear()
        self._began = perf_counter()
        for client in self._parked:
            self.next(client)


class Client(asyncio.Protocol):
    """One connection."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._rest = b""
        self._sent = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connected: ready for a request."""
        self.transport = cast("asyncio.Transport", transport)

    def send(self) -> None:
        """Send one request."""
        self._sent = perf_counter()
        self.transport.write(self._run.request)

    def data_received(self, data: bytes) -> None:
        """Take in an answer; when it is whole, ask for the next request."""
        if self._rest:
            data = self._rest + data
        end = data.find(HEAD_END)
        if end < 0:
            self._rest = data
            return
        length = content_length(data[:end])
        if not data.startswith(b"HTTP/1.1 200 ") or length != len(RESULT):
            self._run.fail(f"unexpected answer: {data[:300]!r}")
            return
        missing = end + len(HEAD_END) + length - len(data)
        if missing > 0:
            self._rest = data
            return
        if missing < 0 or not data.endswith(RESULT):
            self._run.fail(f"an answer with another body than the server's: {data[:900]!r}")
            return
        self._rest = b""
        self._run.latencies.append(perf_counter() - self._sent)
        self._run.next(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """The proxy must not end a connection."""
        self._run.fail(f"a connection ended: {exc}")


async def carry_out(order: Order) -> Outcome:
    """Carry out one order.

    Raises:
        OSError: the proxy takes no connections.
        RuntimeError: an answer was not as expected.
    """
    loop, run, clients = asyncio.get_running_loop(), Run(order), []
    try:
        for number in range(order.connections):
            address = ADDRESSES[number % len(ADDRESSES)]
            _, client = await loop.create_connection(
                lambda: Client(run), "127.0.0.1", order.port, local_addr=(address, 0)
            )
            clients.append(client)
        for client in clients:
            run.next(client)
        cpu = _cpu()
        seconds = await run.done
        own_cpu = _cpu() - cpu
    finally:
        run.done.cancel()
        for client in clients:
            client.transport.abort()
    ranked = sorted(run.latencies)
    p50, p99 = (ranked[min(len(ranked) - 1, int(len(ranked) * share))] * 1000 for share in (0.5, 0.99))
    return Outcome(seconds=seconds, p50_ms=p50, p99_ms=p99, own_cpu=own_cpu)


def _cpu() -> float:
    """CPU time of this process, seconds."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


async def serve() -> None:
    """Carry out orders as they come."""
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        try:
            outcome = await carry_out(msgspec.json.decode(line, type=Order))
        except (OSError, RuntimeError) as error:
            outcome = Outcome(error=str(error))
        gc.collect()
        print(msgspec.json.encode(outcome).decode(), flush=True)


if __name__ == "__main__":
    # A collection in the middle of a run would be measured as latency of the proxy.
    gc.disable()
    uvloop.run(serve())
