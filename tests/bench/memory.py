"""Memory: of a dispatcher that does nothing, and of a scheduler that holds very many tasks.

Called as a program, `python -m tests.bench.memory TASKS` fills a scheduler and prints what it takes.
"""

import asyncio
import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from typing import Any, Final

import uvloop
from multidict import CIMultiDict, CIMultiDictProxy

from controller.api.queue import Queue
from controller.dispatcher.apikeys import ApiKeys
from controller.dispatcher.identity import Identifier
from controller.dispatcher.scheduler import Scheduler
from tests.bench.processes import ROOT, Processes, memory_mb
from tests.bench.targets import start_dispatcher, start_origin

#: Any time will do, Unix seconds.
NOW: Final = 1_750_000_000.0
#: Tasks of each user, where very many wait.
TASKS_PER_USER: Final = 10
#: The first health checks are over by then, seconds.
SETTLE_SECONDS: Final = 2.0


def measure_idle(tell: Callable[[str], None]) -> tuple[dict[str, float], Any]:
    """Memory of a dispatcher with a pool and servers, before the first request."""
    tell("a dispatcher without work")
    with Processes() as processes:
        dispatcher = start_dispatcher(processes, start_origin(processes))
        urllib.request.urlopen(f"http://127.0.0.1:{dispatcher.admin_port}/-/ready", timeout=10).close()
        time.sleep(SETTLE_SECONDS)
        figures = {f"idle_{field.lower()}_mb": memory_mb(dispatcher.pid, field) for field in ("Rss", "Pss")}
    return figures, figures


def measure_queued(tasks: int, tell: Callable[[str], None]) -> tuple[dict[str, float], Any]:
    """Memory of a process whose scheduler holds so many tasks."""
    tell(f"{tasks} waiting tasks")
    command = [sys.executable, "-m", "tests.bench.memory", str(tasks)]
    raw = json.loads(subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout)
    return {f"rss_mb_at_{tasks}_tasks": raw["rss_mb"]}, raw


async def fill(tasks: int) -> dict[str, float]:
    """Submit so many tasks to a scheduler without servers."""
    before = memory_mb(os.getpid(), "Rss")
    scheduler = Scheduler(asyncio.get_running_loop().time)
    identifier, headers, keys = Identifier(Queue(), NOW), CIMultiDictProxy(CIMultiDict[str]()), ApiKeys()
    users = max(1, tasks // TASKS_PER_USER)
    began = time.perf_counter()
    for number in range(tasks):
        # Users send by turns: each request is told anew whose it is, as it comes.
        user = number % users
        caller = identifier.identify(f"10.{user >> 16 & 255}.{user >> 8 & 255}.{user & 255}", headers, keys, NOW)
        assert caller is not None
        scheduler.submit(f"{number:016x}", caller.identity)
    seconds = time.perf_counter() - began
    assert scheduler.waiting == tasks
    after = memory_mb(os.getpid(), "Rss")
    return {
        "rss_mb": after,
        "bytes_per_task": (after - before) * 1e6 / tasks,
        "submit_us": seconds / tasks * 1e6,
    }


if __name__ == "__main__":
    print(json.dumps(uvloop.run(fill(int(sys.argv[1])))))
