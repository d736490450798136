"""The dispatchers of the fleet, as far as the operator sees them: one metrics page for each pool.

A page is that of a real dispatcher (its text is given at the start) in which the figures of the contract are the
benchmark's own. They change with each look, as those of a living pool do; a pool's load is one of three kinds, and a
schedule says when a pool's queue is long enough to buy a server.

A program of its own: prints its port, and ends when its standard input does.
"""

import asyncio
import random
import sys
import time
from pathlib import Path
from typing import Any, Final, cast

import uvloop

from controller.api import metrics
from tests.bench.fleet.orders import say_hello, serve_orders
from tests.bench.wire import HEAD_END

#: Waiting tasks of a pool that is to buy: above `scaling.up.queueLength`.
LONG_QUEUE: Final = 40
#: (waiting tasks, mean response in seconds), each drawn anew between these, by kind of pool. A quiet pool has nothing
#: to do, a busy one stays between the thresholds, a wavering one crosses the lower ones.
KINDS: Final = {
    "quiet": ((0, 0), (0.0, 0.0)),
    "busy": ((4, 12), (1.2, 2.5)),
    "wavering": ((0, 8), (0.2, 1.8)),
}
#: Of ten pools so many are of each kind.
MIX: Final = ("quiet", "busy", "quiet", "busy", "wavering", "quiet", "busy", "quiet", "busy", "wavering")
_OWN: Final = (*metrics.REQUIRED, metrics.QUEUE_USERS, metrics.TASKS_SUBMITTED)
#: Stands for the seconds for which a server's slots were taken: a quarter of the time, each of two.
_BUSY: Final = "BUSY"
_PER_SERVER: Final = {
    metrics.SERVER_IN_FLIGHT: 1,
    metrics.SERVER_TASKS: 1,
    metrics.SERVER_SLOTS: 2,
    metrics.SERVER_UP: 1,
    metrics.SERVER_DRAINING: 0,
    metrics.SERVER_BUSY: _BUSY,
}


class Pages:
    """All pages."""

    def __init__(self, template: str) -> None:
        self._template = _without_own(template)
        self._random = random.Random(0)
        self._started = time.time()
        #: (kind, lines about its servers), by the path of the page.
        self._pools: dict[str, tuple[str, str]] = {}
        #: Unix seconds from and until which a pool's queue is long, by path.
        self._schedule: dict[str, tuple[float, float]] = {}
        #: How often pages were read.
        self.reads = 0

    def add(self, path: str, servers: list[str]) -> None:
        """A page for one more pool."""
        kind = MIX[len(self._pools) % len(MIX)]
        lines = [f'{name}{{server="{s}"}} {value}\n' for name, value in _PER_SERVER.items() for s in servers]
        self._pools[path] = (kind, "".join(lines))

    def schedule(self, times: dict[str, list[float]]) -> None:
        """When which pool's queue is long: path to (from, until) in Unix seconds."""
        self._schedule |= {path: (begin, end) for path, (begin, end) in times.items()}

    def page(self, path: str) -> bytes | None:
        """The page of a pool now; None if there is none."""
        if path not in self._pools:
            return None
        self.reads += 1
        kind, servers = self._pools[path]
        (least, most), (quick, slow) = KINDS[kind]
        queue, response = self._random.randint(least, most), self._random.uniform(quick, slow)
        begin, end = self._schedule.get(path, (0.0, 0.0))
        now = time.time()
        if begin <= now < end:
            queue = LONG_QUEUE
        figures = {
            metrics.QUEUE_LENGTH: queue,
            metrics.QUEUE_OLDEST_AGE: response if queue else 0.0,
            metrics.MEAN_RESPONSE: response,
            metrics.QUEUE_USERS: queue,
            metrics.DISPATCHER_STARTED: self._started,
            metrics.DISPATCHER_SYNCED: 1,
        }
        lines = "".join(f"# TYPE {name} gauge\n{name} {value}\n" for name, value in figures.items())
        submitted = metrics.TASKS_SUBMITTED
        lines += f"# TYPE {submitted} counter\n{submitted} {(now - self._started) * 2.0:.0f}\n"
        return (self._template + lines + servers.replace(_BUSY, f"{(now - self._started) / 2.0:.3f}")).encode()


def _without_own(template: str) -> str:
    """A dispatcher's page without what this program says itself, and without the dispatcher's own servers."""
    dropped = (*_OWN, *_PER_SERVER)

    def kept(line: str) -> bool:
        if "{server=" in line:
            return False
        name = line.split()[2] if line.startswith("#") else line.partition("{")[0].split()[0]
        return name not in dropped and f"{name}_total" not in dropped

    return "".join(f"{line}\n" for line in template.splitlines() if line and kept(line))


class Reader(asyncio.Protocol):
    """One connection of the operator."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Answer the requests that are complete; they are GETs, without bodies."""
        *heads, self._rest = (self._rest + data).split(HEAD_END)
        for head in heads:
            page = self._pages.page(head.split(b" ", 2)[1].decode())
            status = b"404 Not Found" if page is None else b"200 OK"
            body = page or b""
            kind = b"Content-Type: text/plain; version=0.0.4; charset=utf-8"
            length = b"Content-Length: %d" % len(body)
            self._transport.write(b"HTTP/1.1 " + status + b"\r\n" + kind + b"\r\n" + length + HEAD_END + body)


async def serve(template: str) -> None:
    """Serve until standard input ends."""
    pages = Pages(template)
    server = await asyncio.get_running_loop().create_server(lambda: Reader(pages), "127.0.0.1", 0, backlog=256)
    say_hello(port=server.sockets[0].getsockname()[1])
    handlers: dict[str, Any] = {"add": pages.add, "schedule": pages.schedule, "reads": lambda: pages.reads}
    await serve_orders(handlers)
    server.close()


if __name__ == "__main__":
    uvloop.run(serve(Path(sys.argv[1]).read_text()))
