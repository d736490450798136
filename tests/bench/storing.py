"""What a store of asynchronous tasks takes: tasks acknowledged, and whole lives (kept, claimed, ended), a second.

The store alone, with as many clients at a time as the proxies have connections. SQLite writes under `build/`, on a real
disk: what it gives is the disk's word as much as its own.

Called as a program, `python -m tests.bench.storing KIND TASKS FOLDER` measures one kind.
"""

import asyncio
import itertools
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any, Final

import uvloop
from multidict import CIMultiDict, CIMultiDictProxy

from controller.api.queue import Queue, Route
from controller.dispatcher.apikeys import ApiKeys
from controller.dispatcher.identity import Identifier
from controller.dispatcher.stores.base import NewTask, Outcome, Request, Store, TaskState
from controller.dispatcher.stores.memory import MemoryStore
from controller.dispatcher.stores.sqlite import SqliteStore
from tests.bench.processes import ROOT
from tests.bench.wire import PROMPT, RESULT

KINDS: Final = ("memory", "sqlite")
#: Clients that wait for their acknowledgement at a time.
CLIENTS: Final = 32
#: More bytes than are ever stored.
PLENTY: Final = 10**12
#: Any time will do, Unix seconds.
NOW: Final = 1_750_000_000.0


def measure(tasks: int, tell: Callable[[str], None]) -> tuple[dict[str, float], Any]:
    """Measure all stores."""
    figures: dict[str, float] = {}
    build = ROOT / "build"
    build.mkdir(exist_ok=True)
    for kind in KINDS:
        tell(f"the {kind} store")
        with tempfile.TemporaryDirectory(dir=build, prefix="bench-store-") as folder:
            command = [sys.executable, "-m", "tests.bench.storing", kind, str(tasks), folder]
            said = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout
        figures |= {f"{kind}_store_{name}": value for name, value in json.loads(said).items()}
    return figures, figures


async def rates(kind: str, tasks: int, folder: Path) -> dict[str, float]:
    """Tasks acknowledged, and lives, a second."""
    if kind == "memory":
        return await _rates(MemoryStore(), tasks)
    store = await SqliteStore.open(folder)
    try:
        return await _rates(store, tasks)
    finally:
        await store.close()


async def _rates(store: Store, tasks: int) -> dict[str, float]:
    caller = Identifier(Queue(), NOW).identify("127.0.0.1", CIMultiDictProxy(CIMultiDict[str]()), ApiKeys(), NOW)
    assert caller is not None
    request = Request("POST", "/v1/generate", (("Host", "bench"), ("Content-Type", "application/json")))
    answer = Outcome(TaskState.SUCCEEDED, 200, (("Content-Type", "application/json"),))
    identity, route = caller.identity, Route(name="task")

    async def add(number: int) -> None:
        body = store.blob()
        await body.write(PROMPT)
        added = await store.add(NewTask(f"{number:016x}", request, identity, route, NOW), body, limit=PLENTY)
        assert added.new

    async def live(number: int) -> None:
        await add(number)
        claim = await store.claim(f"{number:016x}", "gpu-1", NOW)
        assert claim is not None
        claim.body.close()
        body = store.blob()
        await body.write(RESULT)
        assert await store.finish(claim, answer, body, now=NOW, limit=PLENTY)

    acknowledged = await _per_second(add, range(tasks))
    lives = await _per_second(live, range(tasks, 2 * tasks))
    assert store.figures.tasks[TaskState.QUEUED] == store.figures.tasks[TaskState.SUCCEEDED] == tasks
    return {"acknowledged_per_second": acknowledged, "lives_per_second": lives}


async def _per_second(work: Callable[[int], Awaitable[None]], numbers: Iterable[int]) -> float:
    """How often the work is done a second, by so many clients at a time."""
    waiting, done = iter(numbers), itertools.count()

    async def client() -> None:
        for number in waiting:
            await work(number)
            next(done)

    began = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(CLIENTS)))
    return next(done) / (time.perf_counter() - began)


if __name__ == "__main__":
    print(json.dumps(uvloop.run(rates(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])))))
