"""From lines to the disk, step by step: write, sync, tidy up, and wait longer each time the disk fails.

Without a thread and without a clock of its own, so that every step can be tried alone.
"""

import logging
from collections.abc import Callable, Iterable
from functools import partial
from typing import Final

from controller.api.records import Records
from controller.records.backlog import Backlog
from controller.records.counters import Counters
from controller.records.folder import RecordFolder
from controller.records.lines import FileKey, utc_day

logger = logging.getLogger(__name__)

#: Records gather for so long and are written together. Less than what a person notices, much more than a write takes.
LINGER_SECONDS: Final = 0.1
#: First and longest time from a failure to the next attempt.
RETRY_SECONDS: Final = 0.2
MAX_RETRY_SECONDS: Final = 10.0
#: Between two looks at the folder: for a new day, and for what others did there.
TIDY_SECONDS: Final = 60.0


class Pump:
    """Moves lines into their files. For one thread."""

    def __init__(self, folder: RecordFolder, counters: Counters, wall: Callable[[], float], backlog: Backlog) -> None:
        self.settings = Records()
        self.backlog = backlog
        self._folder = folder
        self._counters = counters
        self._wall = wall
        self._prepared = False
        self._unsynced_since: float | None = None
        self._tidy_at = 0.0
        self._retry_at = 0.0
        self._retry_seconds = 0.0

    @property
    def idle(self) -> bool:
        """Whether everything is written and on the disk."""
        return not self.backlog.lines and not self._folder.unsynced

    def take(self, entries: Iterable[tuple[FileKey, bytes]]) -> None:
        """Take lines over; `work` writes them."""
        for key, line in entries:
            if not self.backlog.add(key, line):
                self._counters.drop(key.type, "backlog")

    def due(self, now: float) -> float:
        """Seconds until `work` has something to do even if no record comes."""
        moments = [self._tidy_at]
        if (sync_at := self._sync_at()) is not None:
            moments.append(sync_at)
        if self.backlog.lines:
            moments.append(now)
        return max(0.0, max(min(moments), self._retry_at) - now)

    def _sync_at(self) -> float | None:
        if self._unsynced_since is None:
            return None
        # What is lost at most has lingered, too.
        return self._unsynced_since + max(0.0, self.settings.fsync_seconds - LINGER_SECONDS)

    def work(self, now: float, *, last: bool = False) -> None:
        """Do what is due.

        Args:
            now: seconds of any clock that only goes forward.
            last: everything is due, whatever failed a moment ago.
        """
        if now < self._retry_at and not last:
            return
        failure = None
        # Each for itself: a full disk keeps nothing from being synced, nor what is too old from making room.
        for step in (self._prepare, self._write_all, partial(self._sync, last=last), self._tidy):
            try:
                step(now)
            except OSError as error:
                failure = failure or error
        if failure is None:
            self._succeeded()
        else:
            self._failed(failure, now)

    def tidy_soon(self) -> None:
        """The settings have changed: look at the folder with the next `work`."""
        self._tidy_at = 0.0

    def _prepare(self, now: float) -> None:
        if not self._prepared:
            self._folder.prepare()
            self._prepared = True

    def _sync(self, now: float, *, last: bool) -> None:
        sync_at = self._sync_at()
        if sync_at is not None and (last or now >= sync_at):
            self._folder.sync()
            self._unsynced_since = None

    def _tidy(self, now: float) -> None:
        if now >= self._tidy_at:
            settings = self.settings
            self._folder.tidy(
                today=utc_day(self._wall()), retention_days=settings.retention_days, max_bytes=settings.max_bytes
            )
            self._tidy_at = now + TIDY_SECONDS

    def _write_all(self, now: float) -> None:
        """Write what is here; a file that fails keeps no other one from being written."""
        failure: OSError | None = None
        for key in self.backlog:
            failure = self._write(key, now) or failure
        if failure is not None:
            raise failure

    def _write(self, key: FileKey, now: float) -> OSError | None:
        while chunk := self.backlog.chunk(key):
            if not self._has_room(chunk):
                chunk = chunk[:1]
                if not self._has_room(chunk):
                    self._drop_over_cap(key)
                    continue
            appended = self._folder.append(key, b"".join(chunk))
            if appended.lines:
                self.backlog.forget(key, appended.lines)
                self._counters.written[key.type] += appended.lines
                if self._unsynced_since is None:
                    self._unsynced_since = now
            if appended.error is not None:
                return appended.error
        return None

    def _has_room(self, chunk: list[bytes]) -> bool:
        size = sum(map(len, chunk))
        return self._folder.has_room(size, today=utc_day(self._wall()), max_bytes=self.settings.max_bytes)

    def _drop_over_cap(self, key: FileKey) -> None:
        self.backlog.forget(key, 1)
        self._counters.drop(key.type, "cap")
        self._counters.complain(
            "today's records fill the %d bytes of records.maxBytes, no more are written to %s",
            self.settings.max_bytes,
            self._folder.path,
        )

    def _failed(self, error: OSError, now: float) -> None:
        self._counters.errors += 1
        self._counters.last_error = str(error)
        self._retry_seconds = min(MAX_RETRY_SECONDS, self._retry_seconds * 2 or RETRY_SECONDS)
        self._retry_at = now + self._retry_seconds
        self._counters.complain(
            "records cannot be written to %s: %s; %d wait in memory", self._folder.path, error, self.backlog.lines
        )

    def _succeeded(self) -> None:
        if self._retry_seconds:
            logger.warning(
                "records are written to %s again; %d were dropped since the start",
                self._folder.path,
                self._counters.all_dropped,
            )
            self._counters.calm()
        self._retry_at = self._retry_seconds = 0.0
