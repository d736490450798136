"""A dispatcher with a store that lasts, and short ways to hand tasks in and come back for them."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from controller.dispatcher.stores.sqlite import SqliteStore

ASYNC = {"Prefer": "respond-async"}

Restart = Callable[..., Awaitable[None]]


class Gate:
    """A server that holds every task until it is let go."""

    def __init__(self) -> None:
        self.started: list[str] = []
        self.ended: list[str] = []
        self.slots = asyncio.Semaphore(0)

    async def __call__(self, request: web.Request) -> web.Response:
        name = (await request.read()).decode()
        self.started.append(name)
        try:
            await self.slots.acquire()
        finally:
            self.ended.append(name)
        return web.Response(text=f"done {name}", headers={"X-Made-By": "gate"})

    def let_go(self, count: int = 1) -> None:
        for _ in range(count):
            self.slots.release()


class Desk:
    """What a client of asynchronous tasks does."""

    def __init__(self, bench: Any) -> None:
        self.bench = bench

    async def open(self, folder: Path) -> "asyncio.Task[None]":
        """Give the dispatcher a store that lasts; returns what looks after its tasks."""
        self.bench.state.store = await SqliteStore.open(folder)
        return asyncio.create_task(self.bench.tasks.run_timers())

    async def close(self, timers: "asyncio.Task[None]") -> None:
        timers.cancel()
        await asyncio.gather(timers, return_exceptions=True)

    async def hand_in(self, body: Any = "", *, headers: Any = None, **options: Any) -> str:
        """Hand a task in; returns where it is."""
        answer = await self.bench.send(body, headers=ASYNC | (headers or {}), **options)
        assert answer.status == 202, answer.body
        return str(answer.headers["Location"])

    async def get(self, path: str, method: str = "GET", **options: Any) -> Any:
        return await self.bench.send(None, path=path, method=method, **options)

    async def status(self, where: str) -> dict[str, Any]:
        answer = await self.get(where)
        assert answer.status == 200, answer.body
        document: dict[str, Any] = json.loads(answer.body)
        return document

    async def until(self, where: str, state: str) -> dict[str, Any]:
        """The task once it is in this state; the test's time-out is the limit."""
        while (document := await self.status(where))["state"] != state:
            assert document["state"] in ("queued", "running"), document
            await asyncio.sleep(0.005)
        return document

    async def delete(self, where: str) -> int:
        return int((await self.get(where, "DELETE")).status)


@pytest.fixture
async def desk(bench: Any, tmp_path: Path) -> AsyncIterator[Desk]:
    """A dispatcher with an SQLite store."""
    desk = Desk(bench)
    timers = await desk.open(tmp_path / "data")
    yield desk
    await desk.close(timers)


@pytest.fixture
async def gate(bench: Any) -> AsyncIterator[Gate]:
    """A server of the pool with one slot."""
    gate = Gate()
    await bench.upstream(gate)
    yield gate
    gate.let_go(1000)


@pytest.fixture
async def restart(desk: Desk, tmp_path: Path) -> AsyncIterator[Restart]:
    """Ends the dispatcher, and starts another one with its folder and its servers."""
    timers: list[asyncio.Task[None]] = []
    benches: list[Any] = []

    async def again(prepare: Callable[[Any], None] = lambda bench: bench.spec()) -> None:
        old = desk.bench
        await old.tasks.close()
        desk.bench = bench = type(old)(tmp_path)
        benches.append(bench)
        bench.wall = old.wall
        prepare(bench)
        await bench.start()
        timers.append(await desk.open(tmp_path / "data"))
        await bench.tasks.recover()
        for spec in old.scheduler.servers:
            bench.server(spec.spec.name, spec.spec.address)

    yield again
    for timer, bench in zip(timers, benches, strict=True):
        await desk.close(timer)
        await bench.close()
