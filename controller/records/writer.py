"""The thread that writes records: whoever has one to write appends it to a queue and goes on."""

import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from controller.api.records import Records
from controller.records.backlog import Backlog
from controller.records.counters import Counters
from controller.records.folder import RecordFolder
from controller.records.lines import FileKey, RecordType, entry
from controller.records.pump import LINGER_SECONDS, RETRY_SECONDS, Pump

logger = logging.getLogger(__name__)

#: A record that waits for the thread: type, Unix seconds, data or what makes it.
Raw = tuple[RecordType, float, Any]

#: Records that are encoded without letting other threads go on: about a tenth of a millisecond.
AT_ONCE: Final = 16
#: Records that wait for the thread. They pile up only while the thread hangs in a write that does not return.
MAX_QUEUED: Final = 65536


class RecordWriter:
    """Writes JSON lines into `{type}_{UTC day}.log` files of one folder.

    `append` takes less than a microsecond and never fails: what cannot be written is counted and told, and the caller's
    work goes on. A process that is killed loses what came within the last `LINGER_SECONDS`, a machine that stops what
    came within the last `fsync_seconds`; `close` loses nothing.
    """

    def __init__(
        self, path: Path, *, types: tuple[RecordType, ...], wall: Callable[[], float] = time.time,
        max_queued: int = MAX_QUEUED, backlog: Backlog | None = None,
    ) -> None:  # fmt: skip
        """Nothing is touched before `start`.

        Args:
            path: the folder; it is made when needed.
            types: what this process writes.
            wall: Unix seconds; says which day is today.
            max_queued: records that may wait for the thread.
            backlog: where encoded lines wait; by default one of `backlog.MAX_BYTES`.
        """
        self.types = types
        self.counters = Counters()
        self.folder = RecordFolder(path)
        self._pump = Pump(self.folder, self.counters, wall, backlog or Backlog())
        self._queue: deque[Raw] = deque()
        self._max_queued = max_queued
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._deadline = 0.0
        self._settled_until = 0.0
        # A daemon: a disk that hangs for ever must not keep the process from ending.
        self._thread = threading.Thread(target=self._run, name="records", daemon=True)

    def start(self, settings: Records) -> None:
        """Start the thread. It first repairs what an earlier process left torn, and removes what is too old."""
        self._pump.settings = settings
        self._thread.start()

    def append(self, kind: RecordType, at: float, data: Any) -> None:
        """Have a record written soon.

        Args:
            kind: one of `types`.
            at: the moment it speaks of, Unix seconds; it goes into the file of this moment's UTC day.
            data: what msgspec can write as a JSON object, or a function that makes it, for the thread to call. What
                they refer to must not change afterwards.
        """
        if self._closing.is_set():
            self.counters.drop(kind, "closed")
        elif len(self._queue) >= self._max_queued:
            self.counters.drop(kind, "backlog")
            self.counters.complain("the disk under %s does not answer, %d records wait", self.folder.path, self.backlog)
        else:
            self._queue.append((kind, at, data))
            if not self._wake.is_set():
                self._wake.set()

    def configure(self, settings: Records) -> None:
        """Write and keep records like this from now on."""
        if settings != self._pump.settings:
            self._pump.settings = settings
            self._pump.tidy_soon()
            self._wake.set()

    def settled(self, since: float) -> bool:
        """Whether everything appended by then (seconds of `time.monotonic`) is on the disk, or counted as lost."""
        return self._settled_until > since

    @property
    def backlog(self) -> int:
        """Records that are in memory only."""
        return len(self._queue) + self._pump.backlog.lines

    def close(self, timeout: float) -> bool:
        """Take no more, write and sync everything.

        Args:
            timeout: seconds; while the disk fails it is tried again until they are over.

        Returns:
            Whether everything is on the disk. What is not is counted and told.
        """
        self._deadline = time.monotonic() + timeout
        self._closing.set()
        self._wake.set()
        if self._thread.ident is not None:
            self._thread.join(timeout + RETRY_SECONDS)
        lost = self.backlog
        for kind, _, _ in self._waiting():
            # Came from another thread while this one closed, or the disk hangs.
            self.counters.drop(kind, "closed")
        if lost or self._thread.is_alive() or not self._pump.idle:
            logger.error("%d records could not be written to %s in time", lost, self.folder.path)
            return False
        return True

    def _run(self) -> None:
        while not self._closing.is_set():
            if self._wake.wait(self._pump.due(time.monotonic())):
                self._wake.clear()
                self._closing.wait(min(LINGER_SECONDS, self._pump.settings.fsync_seconds))
            self._turn(last=False)
        self._turn(last=True)
        while not self._pump.idle and time.monotonic() < self._deadline:
            time.sleep(RETRY_SECONDS)
            self._turn(last=True)
        self.folder.close()

    def _turn(self, *, last: bool) -> None:
        began = time.monotonic()
        self._pump.take(self._entries())
        self._pump.work(time.monotonic(), last=last)
        if self._pump.idle:
            self._settled_until = began

    def _entries(self) -> Iterator[tuple[FileKey, bytes]]:
        """What waits, as lines. Others get the interpreter in between: a second's records take some milliseconds."""
        for number, (kind, at, data) in enumerate(self._waiting(), start=1):
            try:
                yield entry(kind, at, data() if callable(data) else data)
            except (TypeError, ValueError, OverflowError, RecursionError):
                self.counters.drop(kind, "invalid")
                logger.exception("a %s record cannot be written as JSON", kind)
            if number % AT_ONCE == 0:
                time.sleep(0)

    def _waiting(self) -> Iterator[Raw]:
        # Two threads may take from it at the very end; looking first would be a race.
        with contextlib.suppress(IndexError):
            while True:
                yield self._queue.popleft()
