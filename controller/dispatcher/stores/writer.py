"""The thread that writes: what is asked for while a commit runs goes into the next one, all of it together.

A commit waits for the disk (some milliseconds), whether it holds one task or hundreds. Grouped, a dispatcher that is
asked for more simply has larger commits.
"""

import asyncio
import logging
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from controller.dispatcher.stores import operations
from controller.dispatcher.stores.base import Figures
from controller.dispatcher.stores.errors import StoreError, of_sqlite
from controller.dispatcher.stores.operations import Transaction
from controller.dispatcher.stores.schema import open_writer

logger = logging.getLogger(__name__)

T = TypeVar("T")

#: Steps in one commit: a bound on what has to be done again when one of them fails.
MAX_STEPS: Final = 512

#: A part of a transaction. It may be done more than once. If it raises a StoreError, it has changed nothing.
Step = Callable[[Transaction], T]


@dataclass(frozen=True, slots=True)
class _Job:
    step: Step[Any]
    future: "asyncio.Future[Any]"


@dataclass(slots=True)
class _Done:
    """What became of a job."""

    future: "asyncio.Future[Any]"
    result: Any = None
    error: Exception | None = None

    def tell(self) -> None:
        if self.future.done():
            return  # whoever asked has gone
        if self.error is None:
            self.future.set_result(self.result)
        else:
            self.future.set_exception(self.error)


class Writer:
    """The only one who writes to the file."""

    def __init__(self, path: Path, bodies: Path, observe: Callable[[float], None]) -> None:
        self._path = path
        self._bodies = bodies
        #: Told the seconds that each commit took, on the writer's thread.
        self._observe = observe
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._run, name="store", daemon=True)
        self._opened: asyncio.Future[None] = self._loop.create_future()
        self._closed = False
        #: As of the last commit.
        self.figures = Figures()

    async def open(self) -> None:
        """Open the file.

        Raises:
            StoreError: it cannot be used.
        """
        self._thread.start()
        await asyncio.shield(self._opened)

    async def do(self, step: Step[T]) -> T:
        """Have a step committed.

        It is done even if the caller does not wait for it.

        Raises:
            StoreError: it was not done.
        """
        if self._closed:
            raise StoreError(f"{self._path} is closed")
        future: asyncio.Future[T] = self._loop.create_future()
        self._jobs.put(_Job(step, future))
        return await future

    async def close(self) -> None:
        """Commit what was asked for, and close the file."""
        if not self._closed:
            self._closed = True
            self._jobs.put(None)
        if self._thread.ident is not None:
            await asyncio.to_thread(self._thread.join)

    # --- on the thread -----------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            db = open_writer(self._path)
            try:
                self.figures = operations.figures(db)
            except BaseException:
                db.close()
                raise
        except (StoreError, sqlite3.Error) as error:
            wrapped = error if isinstance(error, StoreError) else of_sqlite(error, str(self._path))
            self._tell([_Done(self._opened, error=wrapped)])
            return
        self._tell([_Done(self._opened)])
        try:
            while (jobs := self._next()) is not None:
                self._tell(self._commit(db, jobs))
        finally:
            db.close()

    def _next(self) -> list[_Job] | None:
        """What is to be committed next; None at the end."""
        first = self._jobs.get()
        if first is None:
            return None
        jobs = [first]
        while len(jobs) < MAX_STEPS:
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                break
            if job is None:
                self._jobs.put(None)
                break
            jobs.append(job)
        return jobs

    def _commit(self, db: sqlite3.Connection, jobs: Sequence[_Job]) -> list[_Done]:
        """All jobs in one transaction; where one fails, each in its own, so that it alone has failed."""
        try:
            return self._transact(db, jobs)
        except Exception as error:  # noqa: BLE001 - it belongs to whoever asked for the step
            if len(jobs) > 1:
                return [done for job in jobs for done in self._commit(db, [job])]
            if isinstance(error, sqlite3.Error):
                error = of_sqlite(error, f"{self._path} does not take it")
            return [_Done(jobs[0].future, error=error)]

    def _transact(self, db: sqlite3.Connection, jobs: Sequence[_Job]) -> list[_Done]:
        began, tx = time.monotonic(), Transaction(db)
        try:
            db.execute("BEGIN IMMEDIATE")
            done = [_do(job, tx) for job in jobs]
            figures = operations.figures(db)
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise
        self.figures = figures
        self._observe(time.monotonic() - began)
        self._remove(tx.superfluous)
        return done

    def _remove(self, names: Sequence[str]) -> None:
        for name in names:
            try:
                (self._bodies / name).unlink(missing_ok=True)
            except OSError as error:
                # It is swept at the next start.
                logger.warning("%s cannot be removed: %s", self._bodies / name, error)

    def _tell(self, done: Sequence[_Done]) -> None:
        """Wake up who waits, in the order in which they asked."""

        def tell() -> None:
            for one in done:
                one.tell()

        try:
            self._loop.call_soon_threadsafe(tell)
        except RuntimeError:
            logger.debug("the loop ended before the store did")


def _do(job: _Job, tx: Transaction) -> _Done:
    try:
        return _Done(job.future, job.step(tx))
    except StoreError as error:
        return _Done(job.future, error=error)
