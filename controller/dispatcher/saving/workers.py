"""The processes that re-encode images: few of them, made when needed, killed when they hang."""

import asyncio
import importlib.util
import logging
import sys
from asyncio.subprocess import PIPE
from collections.abc import Sequence
from typing import Final, Literal

from prometheus_client import Counter

from controller.api.transfer import Reencoding
from controller.dispatcher.saving.imagejobs import HEAD, Recipe

logger = logging.getLogger(__name__)

#: Worker processes at a time.
WORKERS: Final = 2
#: A worker is replaced after so many jobs, whatever a library may have leaked by then.
JOBS: Final = 200
#: Answers held back until they are re-encoded take so much memory at most; further ones pass as they are.
HELD_BYTES: Final = 256 * 1024 * 1024
#: Address space of a worker: Python and its libraries, and then so much for each pixel and each byte of an answer. An
#: image of 16.8 million pixels with transparency took 456 MB in all when it became WebP, one of 40 million without 552.
BASE_BYTES: Final = 256 * 1024 * 1024
BYTES_PER_PIXEL: Final = 32
BYTES_PER_BYTE: Final = 6

Outcome = Literal["smaller", "unchanged", "late", "failed", "unavailable"]


def memory_limit(settings: Reencoding) -> int:
    """Bytes of address space for a worker."""
    return BASE_BYTES + BYTES_PER_PIXEL * settings.max_pixels + BYTES_PER_BYTE * settings.max_bytes


def _arguments(settings: Reencoding) -> Sequence[str]:
    """The command line of a worker for these settings."""
    recipe = Recipe("webp" if settings.format == "WebP" else "jpeg", settings.quality, settings.max_pixels)
    return recipe.arguments(memory_limit(settings))


class _Worker:
    """One process, made for one way of encoding."""

    def __init__(self, process: asyncio.subprocess.Process, arguments: Sequence[str]) -> None:
        self._process = process
        self._left = JOBS
        self._arguments = arguments

    @classmethod
    async def start(cls, settings: Reencoding) -> "_Worker":
        """Start one.

        Raises:
            OSError: the system has no process for it.
        """
        command, arguments = (sys.executable, "-m", "controller.dispatcher.saving.imageworker"), _arguments(settings)
        # In a session of its own: Ctrl-C is for the dispatcher, with which its workers end.
        process = await asyncio.create_subprocess_exec(
            *command, *arguments, stdin=PIPE, stdout=PIPE, start_new_session=True
        )
        return cls(process, arguments)

    def takes(self, settings: Reencoding) -> bool:
        """Whether it takes another job, with these settings."""
        alive = self._process.returncode is None and self._left > 0
        return alive and self._arguments == _arguments(settings)

    async def do(self, body: bytes, *, is_json: bool) -> bytes | None:
        """What a body becomes; None: it stays.

        Raises:
            OSError, asyncio.IncompleteReadError: the process is no more.
        """
        self._left -= 1
        jobs, results = self._process.stdin, self._process.stdout
        assert jobs is not None  # noqa: S101 - as it was started
        assert results is not None  # noqa: S101 - as it was started
        jobs.write(HEAD.pack(is_json, len(body)))
        jobs.write(body)
        await jobs.drain()
        changed, size = HEAD.unpack(await results.readexactly(HEAD.size))
        result = await results.readexactly(size)
        return result if changed else None

    async def end(self) -> None:
        """Kill it."""
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()


class ImageWorkers:
    """Re-encodes images. One per process; close it."""

    def __init__(self, outcomes: Counter, saved: Counter) -> None:
        #: Bytes of answers that are held back now.
        self.held = 0
        self._outcomes = outcomes
        self._saved = saved.labels("reencoding")
        self._slots = asyncio.Semaphore(WORKERS)
        self._idle: list[_Worker] = []
        self._ending: set[asyncio.Task[None]] = set()
        self._has_library: bool | None = None

    def available(self) -> bool:
        """Whether the imaging library is there; says so once if not."""
        if self._has_library is None:
            self._has_library = importlib.util.find_spec("PIL") is not None
            if not self._has_library:
                logger.error("images are not re-encoded: Pillow is missing; install haipool[reencode]")
        if not self._has_library:
            self._count("unavailable")
        return self._has_library

    def hold(self, size: int) -> bool:
        """Take room for an answer that is held back; False: there is none."""
        if self.held + size > HELD_BYTES:
            return False
        self.held += size
        return True

    async def reencode(self, body: bytes, settings: Reencoding, *, is_json: bool) -> bytes | None:
        """What a body becomes; None: it stays as it is, for whatever reason."""
        try:
            async with asyncio.timeout(settings.timeout_seconds), self._slots:
                result = await self._done(body, settings, is_json=is_json)
        except TimeoutError:
            logger.warning("an answer of %d bytes could not be re-encoded in %d s", len(body), settings.timeout_seconds)
            self._count("late")
            return None
        except (OSError, asyncio.IncompleteReadError) as error:
            logger.warning("an answer of %d bytes could not be re-encoded: its worker ended: %s", len(body), error)
            self._count("failed")
            return None
        self._count("unchanged" if result is None else "smaller")
        if result is not None:
            self._saved.inc(len(body) - len(result))
        return result

    async def _done(self, body: bytes, settings: Reencoding, *, is_json: bool) -> bytes | None:
        worker = self._take(settings)
        if worker is not None:
            try:
                return await self._at(worker, body, settings, is_json=is_json)
            except (OSError, asyncio.IncompleteReadError):
                # It may have ended for want of work in this very moment; a new one has the last word.
                logger.debug("an idle worker has ended")
        return await self._at(await _Worker.start(settings), body, settings, is_json=is_json)

    def _take(self, settings: Reencoding) -> _Worker | None:
        while self._idle:
            worker = self._idle.pop()
            if worker.takes(settings):
                return worker
            self._end(worker)
        return None

    async def _at(self, worker: _Worker, body: bytes, settings: Reencoding, *, is_json: bool) -> bytes | None:
        done = False
        try:
            result = await worker.do(body, is_json=is_json)
            done = True
            return result
        finally:
            if done and worker.takes(settings):
                self._idle.append(worker)
            else:
                self._end(worker)

    def _end(self, worker: _Worker) -> None:
        ending = asyncio.create_task(worker.end())
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)

    def _count(self, outcome: Outcome) -> None:
        self._outcomes.labels(outcome).inc()

    async def close(self) -> None:
        """End all workers."""
        while self._idle:
            self._end(self._idle.pop())
        await asyncio.gather(*self._ending)
