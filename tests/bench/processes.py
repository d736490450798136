"""Processes on cores of their own: the proxy under test alone on one, load and origin on the others."""

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final, Self

ROOT: Final = Path(__file__).parents[2]
#: A process that was told to end may take so long, seconds.
PATIENCE: Final = 20.0


class BenchError(Exception):
    """The benchmark cannot go on; the message says why."""


def cores() -> tuple[set[int], set[int]]:
    """The core of the proxies, and those of load and origin; the same ones where there is but one."""
    usable = sorted(os.sched_getaffinity(0))
    return {usable[-1]}, set(usable[:-1] or usable)


@contextmanager
def pinned(to: set[int]) -> Iterator[None]:
    """What is started inside runs on these cores only, with all its threads."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, to)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def cpu_seconds(pid: int) -> float:
    """CPU time a process has used so far, all threads, seconds."""
    # The name in field 2 may hold spaces; what follows it does not.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory_mb(pid: int, field: str) -> float:
    """`Rss` or `Pss` of a process now, MB (10^6 bytes)."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    found = re.search(rf"^{field}:\s+(\d+) kB$", text, re.MULTILINE)
    assert found, text
    return int(found[1]) * 1024 / 1e6


class Processes:
    """Starts processes and ends them all. A context manager."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self.proxy_cores, self.other_cores = cores()
        #: Theirs to write to, gone with them.
        self.folder = Path()

    def __enter__(self) -> Self:
        self.folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="haipool-bench-")))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def start(self, command: Sequence[str], *, on: set[int], **options: Any) -> "subprocess.Popen[str]":
        """Start a process on these cores; it is ended with the others."""
        with pinned(on):
            process = subprocess.Popen(command, text=True, cwd=ROOT, **options)
        self._stack.callback(end, process)
        return process

    def module(self, name: str, *arguments: str, on: set[int]) -> "subprocess.Popen[str]":
        """Start a program of this folder, which ends when its standard input does."""
        command = [sys.executable, "-m", f"tests.bench.{name}", *arguments]
        return self.start(command, on=on, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def end(process: "subprocess.Popen[str]") -> None:
    """End a process and wait for it."""
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
    if process.stdin is None:
        process.terminate()
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
