"""The loop: what is new in the files goes to CLS, batch by batch, and the offset is saved when CLS has it.

At least once: a crash between CLS's answer and the saved offset sends one batch again, and so does a lost answer.
What the cloud cannot take now waits in the files; what it can never take is dropped, counted, and told as an alert.
"""

import asyncio
import logging
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from controller.cloud.errors import (
    CloudError,
    IncompleteError,
    RejectedError,
    ThrottledError,
    TooLargeError,
    UnavailableError,
    UnclearError,
)
from controller.cloud.logs import LogSink
from controller.shipper import protobuf, source
from controller.shipper.batch import Batch, Entry, batches, entry
from controller.shipper.offsets import Offsets
from controller.shipper.source import RecordFile

logger = logging.getLogger(__name__)

#: First and longest pause while the cloud is busy or out of reach; it doubles in between.
BACKOFF_SECONDS: Final = 1.0
BACKOFF_MAX_SECONDS: Final = 60.0
#: Pause while a person has to act: the topic is gone, the permission missing, the account in arrears.
HELD_SECONDS: Final = 60.0
#: CLS takes 5 MB a second for each partition of a topic; a topic has one at least.
BYTES_PER_SECOND: Final = 5_000_000
#: Errors that pass by themselves.
_PASSING: Final = (ThrottledError, UnavailableError, UnclearError, IncompleteError)

DropReason = Literal["invalid", "too_large", "rejected", "removed"]


@dataclass(slots=True)
class Tally:
    """What has been done, for metrics and alerts. Numbers only grow, but for the backlog."""

    shipped: int = 0
    shipped_bytes: int = 0
    requests: dict[str, int] = field(default_factory=lambda: {"ok": 0, "retry": 0, "held": 0, "split": 0})
    #: Records (for `removed`: bytes) that will never arrive, by reason.
    dropped: dict[DropReason, int] = field(
        default_factory=lambda: {"invalid": 0, "too_large": 0, "rejected": 0, "removed": 0}
    )
    backlog_bytes: int = 0
    #: Why nothing is shipped until a person acts; empty when it is.
    held: str = ""
    #: What the last drop was, for people.
    last_drop: str = ""


class Shipper:
    """Ships one folder to one topic."""

    def __init__(self, folder: Path, sink: LogSink, offsets: Offsets, *, pod: str) -> None:
        self._folder = folder
        self._sink = sink
        self._offsets = offsets
        self._pod = pod
        self._sizes: dict[str, tuple[int, int]] = {}
        self._failures = 0
        self.tally = Tally()

    async def run(self, stop: asyncio.Event, *, interval: float, grace: float) -> None:
        """Ship until told to stop, and then what is left, for as long as that takes but no longer than `grace`.

        Args:
            stop: set from outside.
            interval: seconds between two looks at the folder.
            grace: seconds for the end.
        """
        loop = asyncio.get_running_loop()
        ends: float | None = None
        while True:
            pause, done = await self._attempt(interval)
            if stop.is_set():
                ends = ends or loop.time() + grace
                if done or loop.time() + pause >= ends:
                    return
                await asyncio.sleep(pause)
            else:
                await _wait(stop, pause)

    async def _attempt(self, interval: float) -> tuple[float, bool]:
        """One round; returns how long to wait for the next, and whether everything is shipped."""
        try:
            await self.round()
        except _PASSING as error:
            self.tally.requests["retry"] += 1
            return self._back_off(f"CLS takes nothing now: {error}"), False
        except CloudError as error:
            self.tally.requests["held"] += 1
            if not self.tally.held:
                logger.warning("nothing is shipped until this is put right, it waits in the files: %s", error)
            self.tally.held = str(error)
            return HELD_SECONDS, False
        except OSError as error:
            return self._back_off(f"{self._folder} cannot be read, or the offsets not written: {error}"), False
        self._failures = 0
        return interval, True

    def _back_off(self, why: str) -> float:
        pause = min(BACKOFF_SECONDS * 2.0**self._failures, BACKOFF_MAX_SECONDS)
        self._failures = min(self._failures + 1, 10)
        logger.warning("%s; again in %.0f s", why, pause)
        return pause * random.uniform(0.5, 1.0)  # noqa: S311 - jitter

    async def round(self) -> None:
        """Ship everything there is now.

        Raises:
            CloudError: the cloud does not take it; what it took is remembered.
            OSError: a file or the offsets could not be read or written.
        """
        found = source.files(self._folder)
        self._notice_removed(found)
        waiting = {file.name: file.size - self._offsets.of(file) for file in found}
        self.tally.backlog_bytes = sum(waiting.values())
        for file in found:
            if waiting[file.name] > 0:
                await self._ship(file)

    async def _ship(self, file: RecordFile) -> None:
        done = self._offsets.of(file)
        for batch in batches(self._entries(file, done)):
            await self._send(file, batch)
            self._offsets.save(file, batch.end)
            self.tally.backlog_bytes = max(0, self.tally.backlog_bytes - (batch.end - done))
            done = batch.end
            self._sizes[file.name] = (max(file.size, done), done)

    def _entries(self, file: RecordFile, offset: int) -> Iterator[Entry]:
        for line in source.lines(self._folder / file.name, offset):
            yield entry(line, source=self._pod, filename=file.name)

    async def _send(self, file: RecordFile, batch: Batch) -> None:
        """Send a batch; in halves if that is what it takes. Lines that nobody will ever take are dropped."""
        for one in batch.unfit:
            self._drop(file, one, one.unfit or "invalid", "the line is no record, or too large for CLS")
        logs = batch.logs
        if not logs:
            return
        body = protobuf.log_group_list(logs, filename=file.name, source=self._pod, tags={"app": "haipool"})
        try:
            await self._sink.upload(body)
        except (TooLargeError, RejectedError) as error:
            await self._split(file, batch, error)
            return
        self.tally.requests["ok"] += 1
        self.tally.shipped += len(logs)
        self.tally.shipped_bytes += len(body)
        if self.tally.held:
            logger.info("records are shipped again")
        self.tally.held = ""
        await asyncio.sleep(len(body) / BYTES_PER_SECOND)

    async def _split(self, file: RecordFile, batch: Batch, error: CloudError) -> None:
        self.tally.requests["split"] += 1
        fit = Batch(tuple(e for e in batch.entries if e.unfit is None))
        halves = fit.halves()
        if halves is None:
            reason: DropReason = "too_large" if isinstance(error, TooLargeError) else "rejected"
            self._drop(file, fit.entries[0], reason, str(error))
            return
        for half in halves:
            await self._send(file, half)
            # Half a batch that is through need not be sent again after a crash.
            self._offsets.save(file, half.end)

    def _drop(self, file: RecordFile, one: Entry, reason: DropReason, why: str) -> None:
        self.tally.dropped[reason] += 1
        self.tally.last_drop = f"{file.name}, byte {one.line.offset}: {why}"
        logger.error("not shipped: %s", self.tally.last_drop)

    def _notice_removed(self, found: list[RecordFile]) -> None:
        """A file that retention took before it was shipped is a loss, and is told."""
        present = {file.name for file in found}
        for name in [n for n in self._sizes if n not in present]:
            size, done = self._sizes.pop(name)
            if size > done:
                self.tally.dropped["removed"] += size - done
                self.tally.last_drop = f"{name} was removed with {size - done} bytes unshipped"
                logger.error("not shipped: %s", self.tally.last_drop)
        self._offsets.gone(found)
        self._sizes |= {file.name: (file.size, self._offsets.of(file)) for file in found}


async def _wait(stop: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        return
