"""The processes that a sandbox starts: the real operator and the real dispatcher, with their output in files."""

import asyncio
import contextlib
import os
import signal
import sys
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

#: Time for an orderly end after SIGTERM; then the process is killed.
STOP_SECONDS: Final = 10.0
#: Lines of a dead child's log that are shown.
TAIL_LINES: Final = 15


class Child:
    """One process of the sandbox.

    It has a session of its own, so that a Ctrl-C at the terminal reaches the sandbox alone, which then ends its
    children in order. If the sandbox is killed, the kernel ends them (see `leash`).
    """

    def __init__(self, name: str, process: asyncio.subprocess.Process, log: Path) -> None:
        self.name = name
        self.log = log
        self._process = process

    @classmethod
    async def start(cls, name: str, arguments: Sequence[str], *, log: Path, env: Mapping[str, str]) -> "Child":
        """Start `haipool ARGUMENTS` with this Python.

        Args:
            name: what to call it in messages.
            arguments: subcommand and options.
            log: file that gets its standard output and error, appended.
            env: added to this process's own environment.
        """
        with log.open("ab") as output:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "controller.sandbox.leash",
                str(os.getpid()),
                *arguments,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, **env},
                start_new_session=True,
            )
        return cls(name, process, log)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.returncode is None

    async def wait(self) -> int:
        """Wait for its end and return its exit status (negative: the signal that killed it)."""
        return await self._process.wait()

    async def stop(self) -> int:
        """Ask it to end, wait, and kill it if it does not; returns its exit status."""
        if self.running:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(STOP_SECONDS):
                return await self._process.wait()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            return await self._process.wait()

    def obituary(self) -> str:
        """That it ended, how, and its last words."""
        status = self._process.returncode
        how = (
            f"was killed by {signal.Signals(-status).name}" if status and status < 0 else f"ended with status {status}"
        )
        return f"the {self.name} {how}; {self.last_words()}"

    def last_words(self) -> str:
        """Where its log is, and the end of it."""
        lines = "".join(f"\n  {line}" for line in self.tail())
        return f"the end of {self.log}:{lines}"

    def tail(self) -> list[str]:
        """The last lines of its log."""
        with self.log.open(encoding="utf-8", errors="replace") as text:
            return [line.rstrip() for line in deque(text, maxlen=TAIL_LINES)]
