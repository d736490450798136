"""What the writer says of itself: numbers, and at most one error a minute."""

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Final, Literal

from controller.records.lines import RecordType

logger = logging.getLogger(__name__)

DropReason = Literal["backlog", "cap", "invalid", "closed"]
#: Why a record is not written: no room in memory while the disk takes nothing; the files of today alone fill
#: `maxBytes`; it cannot be put into JSON; the writer was closed, or could not write in the time it had for its end.
DROP_REASONS: Final[tuple[DropReason, ...]] = ("backlog", "cap", "invalid", "closed")

#: Trouble is told this often; it may last for days.
QUIET_SECONDS: Final = 60.0


class Counters:
    """Counts of one writer. Any thread may read them and count."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.written: Counter[RecordType] = Counter()
        self.dropped: Counter[tuple[RecordType, DropReason]] = Counter()
        #: Failed attempts to write, to sync or to tidy up.
        self.errors = 0
        #: What the last of them said; None once writing works again.
        self.last_error: str | None = None
        self._clock = clock
        self._told: float | None = None
        self._lock = threading.Lock()

    def drop(self, kind: RecordType, reason: DropReason, count: int = 1) -> None:
        """Count records that will not be written."""
        with self._lock:
            self.dropped[kind, reason] += count

    @property
    def all_dropped(self) -> int:
        """Records dropped since the start, for whatever reason."""
        with self._lock:
            return sum(self.dropped.values())

    def complain(self, message: str, *arguments: object) -> None:
        """Log an error, unless one was logged within the last minute; how many were dropped is added."""
        with self._lock:
            now = self._clock()
            if self._told is not None and now - self._told < QUIET_SECONDS:
                return
            self._told = now
        logger.error("%s; %d records were dropped since the start", message % arguments, self.all_dropped)

    def calm(self) -> None:
        """Trouble is over: the next one is told at once."""
        self._told = None
        self.last_error = None
