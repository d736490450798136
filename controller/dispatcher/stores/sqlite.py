"""Tasks in an SQLite file and a folder beside it: they outlive the process, on one machine.

One thread writes, one reads; the event loop waits for neither. Bodies above `INLINE_BYTES` are files of their own, on
disk before a row names them, so that a crash can leave a file too many, never one too few. What is too many is swept
at the start.
"""

import asyncio
import fcntl
import functools
import logging
import os
import sqlite3
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, TypeVar

from controller.dispatcher.stores import operations
from controller.dispatcher.stores.base import (
    BODY_LOST,
    Added,
    Claim,
    Figures,
    NewTask,
    Outcome,
    Recovered,
    StoredTask,
    TaskState,
)
from controller.dispatcher.stores.blobs import Blob, Content, sync_folder
from controller.dispatcher.stores.errors import StoreError, of_disk, of_sqlite
from controller.dispatcher.stores.operations import Stored
from controller.dispatcher.stores.schema import open_reader
from controller.dispatcher.stores.writer import Writer

logger = logging.getLogger(__name__)

T = TypeVar("T")

#: Tasks read at once at the start.
PAGE: Final = 1000
#: Answers dropped in one transaction: others wait meanwhile.
PURGED_AT_ONCE: Final = 200

_NOTHING: Final = Stored(0, b"", None)


class SqliteStore:
    """A store in a folder, which belongs to one process at a time."""

    durable = True

    def __init__(self, folder: Path, observe: Callable[[float], None] = lambda _: None) -> None:
        self._bodies = folder / "bodies"
        self._file = folder / "tasks.sqlite"
        self._lock_file = folder / "lock"
        self._lock = -1
        self._writer = Writer(self._file, self._bodies, observe)
        self._reader = ThreadPoolExecutor(1, "store-reader")
        self._reading: sqlite3.Connection | None = None
        self._closed = False

    @classmethod
    async def open(cls, folder: Path, observe: Callable[[float], None] = lambda _: None) -> "SqliteStore":
        """The store of a folder, which is made if it is not there.

        Args:
            folder: for the file, large bodies and the lock.
            observe: told the seconds that each commit took; called on another thread.

        Raises:
            StoreError: it cannot be used; the message says why and what to do.
        """
        store = cls(folder, observe)
        try:
            await asyncio.to_thread(store._take)
            await store._writer.open()
            await store._read(store._sweep)
        except BaseException:
            await store.close()
            raise
        return store

    def _take(self) -> None:
        """Make the folder and have it for this process alone."""
        folder = self._file.parent
        try:
            self._bodies.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = os.open(self._lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # SQLite would make it readable for all; its log takes over what it finds here.
            os.close(os.open(self._file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            for name in (folder.parent, folder):
                sync_folder(name)
        except BlockingIOError as error:
            raise StoreError(f"{folder} is in use by another dispatcher; give each its own with --data") from error
        except OSError as error:
            raise of_disk(error, f"tasks cannot be kept in {folder}") from error

    def _sweep(self, db: sqlite3.Connection) -> None:
        """Remove bodies that came in, but whose task did not."""
        known = operations.files(db)
        swept = [path for path in self._bodies.iterdir() if path.name not in known]
        for path in swept:
            path.unlink()
        if swept:
            logger.info("%d bodies without a task were removed from %s", len(swept), self._bodies)

    async def close(self) -> None:
        """Commit what was asked for, and give everything back."""
        self._closed = True
        # The writer goes last: only it can merge the log into the file.
        if self._reading is not None:
            await asyncio.get_running_loop().run_in_executor(self._reader, self._reading.close)
            self._reading = None
        self._reader.shutdown()
        await self._writer.close()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    # --- writing -----------------------------------------------------------------------------------------------------

    @property
    def figures(self) -> Figures:
        """What it holds, as of the last commit."""
        return self._writer.figures

    def blob(self) -> Blob:
        """A place for content that is coming in."""
        return Blob(self._bodies)

    async def add(self, task: NewTask, body: Blob, *, limit: int) -> Added:
        """Keep a task; see `Store.add`."""

        async def add() -> tuple[StoredTask, bool]:
            sealed = await _seal(body)
            return await self._writer.do(lambda tx: operations.add(tx, task, sealed, limit))

        added, new = await _to_the_end(add(), body, lambda result: result[1])
        return Added(added, new)

    async def claim(self, task_id: str, server: str, now: float) -> Claim | None:
        """A queued task runs from now on; see `Store.claim`."""
        claimed = await self._writer.do(lambda tx: operations.claim(tx, task_id, server, now))
        if claimed is None:
            return None
        task, request, body, token = claimed
        content = await self._content(lambda _: self._open(body))
        if content is not None:
            return Claim(task, request, content, token)
        logger.error("task %s: its body is missing: %s", task_id, self._bodies / str(body.file))
        lost = Claim(task, request, Content(0, data=b""), token)
        await self.finish(lost, Outcome(TaskState.FAILED, failure=BODY_LOST), None, now=now, limit=sys.maxsize)
        return None

    async def give_back(self, claim: Claim) -> bool:
        """A claimed task is queued again; see `Store.give_back`."""
        return await self._writer.do(lambda tx: operations.give_back(tx, claim.task.task_id, claim.token))

    async def finish(
        self, claim: Claim, outcome: Outcome, body: Blob | None, *, now: float, limit: int
    ) -> StoredTask | None:
        """A claimed task has ended; see `Store.finish`."""
        task_id, token = claim.task.task_id, claim.token

        async def finish() -> tuple[StoredTask | None, bool]:
            sealed = _NOTHING if body is None else await _seal(body)
            return await self._writer.do(
                lambda tx: operations.finish(tx, task_id, token, outcome, sealed, now=now, limit=limit)
            )

        return (await _to_the_end(finish(), body, lambda result: result[1]))[0]

    async def cancel(self, task_id: str, now: float) -> StoredTask | None:
        """The client does not want it any more; see `Store.cancel`."""
        return await self._writer.do(lambda tx: operations.cancel(tx, task_id, now))

    async def expire(self, task_ids: list[str], now: float) -> list[StoredTask]:
        """Those of these tasks that were queued have expired; see `Store.expire`."""
        return await self._writer.do(lambda tx: operations.expire(tx, task_ids, now))

    async def recover(self, now: float) -> Recovered:
        """Settle what ran when the last process ended; see `Store.recover`."""
        return await self._writer.do(lambda tx: operations.recover(tx, now))

    async def purge(self, now: float, ttl: float) -> int:
        """Drop old answers; see `Store.purge`."""
        dropped, step = 0, functools.partial(
            operations.purge, before=now - ttl, long_before=now - 2 * ttl, at_most=PURGED_AT_ONCE
        )  # fmt: skip
        while True:
            forgotten, deleted = await self._writer.do(step)
            dropped += forgotten
            if max(forgotten, deleted) < PURGED_AT_ONCE:
                return dropped

    # --- reading -----------------------------------------------------------------------------------------------------

    async def get(self, task_id: str) -> StoredTask | None:
        """The task of this id."""
        return await self._read(lambda db: operations.get(db, task_id))

    async def result(self, task_id: str) -> Content | None:
        """The body of a task's answer; see `Store.result`."""

        def find(db: sqlite3.Connection) -> Content | None:
            found = operations.answer(db, task_id)
            return None if found is None else self._open(found)

        return await self._content(find)

    async def queued(self) -> AsyncIterator[list[StoredTask]]:
        """All queued tasks in the order of their submission, some at a time."""
        last = 0
        while page := await self._read(functools.partial(operations.queued, after=last, at_most=PAGE)):
            yield page
            last = page[-1].sequence

    async def _read(self, look: Callable[[sqlite3.Connection], T]) -> T:
        """Something of the last commit.

        Raises:
            StoreError: it cannot be read.
        """

        def read() -> T:
            if self._reading is None:
                self._reading = open_reader(self._file)
            try:
                return look(self._reading)
            except sqlite3.Error as error:
                raise of_sqlite(error, f"{self._file} cannot be read") from error
            except OSError as error:
                raise of_disk(error, f"{self._bodies} cannot be read") from error

        if self._closed:
            raise StoreError(f"{self._file} is closed")
        return await asyncio.get_running_loop().run_in_executor(self._reader, read)

    async def _content(self, find: Callable[[sqlite3.Connection], Content | None]) -> Content | None:
        """Read content; it is closed if the caller is cancelled meanwhile."""
        job = asyncio.ensure_future(self._read(find))
        try:
            return await asyncio.shield(job)
        except asyncio.CancelledError:
            job.add_done_callback(_close)
            raise

    def _open(self, stored: Stored) -> Content | None:
        """The content; None if its file was removed in this very moment."""
        if stored.file is None:
            return Content(stored.size, data=stored.data)
        try:
            return Content.open(self._bodies / stored.file)
        except FileNotFoundError:
            return None


def _close(job: "asyncio.Future[Content | None]") -> None:
    """Close what nobody waits for any more."""
    if not job.cancelled() and job.exception() is None and (content := job.result()) is not None:
        content.close()


async def _seal(body: Blob) -> Stored:
    await body.seal()
    return Stored(body.size, body.data, body.file)


async def _to_the_end(work: Coroutine[Any, Any, T], body: Blob | None, kept: Callable[[T], bool]) -> T:
    """The work, which goes on if its caller is cancelled: what becomes of the body is not known before its end."""
    abandoned = False

    async def settle() -> T:
        try:
            result = await work
        except BaseException:
            if abandoned and body is not None:
                body.discard()
            raise
        if body is not None and not kept(result):
            body.discard()
        return result

    job = asyncio.ensure_future(settle())
    try:
        return await asyncio.shield(job)
    except asyncio.CancelledError:
        abandoned = True
        await asyncio.wait([job])
        if not job.cancelled():
            job.exception()
        raise
