"""Both kinds of store, and tasks for them."""

import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from controller.api.queue import Route
from controller.dispatcher.identity import Identity
from controller.dispatcher.stores.base import Added, IdempotencyKey, NewTask, Request, Store
from controller.dispatcher.stores.blobs import Blob, Content
from controller.dispatcher.stores.memory import MemoryStore
from controller.dispatcher.stores.sqlite import SqliteStore

#: More than any test stores.
PLENTY = 10**12

WHO = Identity(
    user="user_192.0.2.1_1",
    flow="user_192.0.2.1",
    network="192.0.2.1",
    quota="192.0.2.1",
    ip="192.0.2.1",
    window=1,
    name=None,
    method="ip_time_window",
    network_weight=1.0,
    user_weight=1.0,
)


class Shelf:
    """A store and short ways to use it."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._numbers = itertools.count(1)

    async def blob(self, body: bytes) -> Blob:
        blob = self.store.blob()
        # In pieces, as bodies come.
        for start in range(0, len(body), 100_000):
            await blob.write(body[start : start + 100_000])
        return blob

    async def add(
        self,
        task_id: str = "",
        body: bytes = b"a prompt",
        *,
        limit: int = PLENTY,
        key: str = "",
        idempotent: bool = True,
        **fields: Any,
    ) -> Added:
        number = next(self._numbers)
        given: dict[str, Any] = {
            "request": Request("POST", "/run?a=%2F", (("Host", "x"), ("X-Two", "1"), ("X-Two", "2"))),
            "identity": WHO,
            "route": Route(name="task", idempotent=idempotent),
            "submitted": float(number),
            "key": IdempotencyKey("192.0.2.1", key, b"hash") if key else None,
        } | fields
        task = NewTask(task_id or f"task-{number}", **given)
        return await self.store.add(task, await self.blob(body), limit=limit)

    async def queued(self) -> list[str]:
        return [task.task_id async for page in self.store.queued() for task in page]

    async def answer(self, task_id: str) -> bytes | None:
        content = await self.store.result(task_id)
        return None if content is None else await whole(content)


async def whole(content: Content) -> bytes:
    """Content, read in whole and closed."""
    payload = content.payload()
    try:
        return payload if isinstance(payload, bytes) else b"".join([chunk async for chunk in payload])
    finally:
        content.close()


@pytest.fixture(params=["memory", "sqlite"])
async def shelf(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Shelf]:
    """An empty store of each kind."""
    store: Store = MemoryStore() if request.param == "memory" else await SqliteStore.open(tmp_path / "data")
    yield Shelf(store)
    await store.close()


@pytest.fixture
async def reopen(tmp_path: Path) -> AsyncIterator[Callable[[], Awaitable[Shelf]]]:
    """Opens the SQLite store of this test's folder, after closing the one that is open."""
    last: list[Store] = []

    async def open_() -> Shelf:
        while last:
            await last.pop().close()
        last.append(await SqliteStore.open(tmp_path / "data"))
        return Shelf(last[0])

    yield open_
    while last:
        await last.pop().close()
