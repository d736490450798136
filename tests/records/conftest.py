"""A writer on a folder of its own, and what is in its files afterwards."""

import json
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from controller.api.records import Records
from controller.records.writer import RecordWriter


class Clock:
    """A wall clock that a test sets."""

    def __init__(self, text: str) -> None:
        self.now = 0.0
        self.set(text)

    def set(self, text: str) -> None:
        """It is this moment (RFC 3339) now."""
        self.now = datetime.fromisoformat(text).timestamp()

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def read() -> Callable[[Path], list[Any]]:
    """Every line of a file, each of which has to be JSON and to end."""

    def lines(path: Path) -> list[Any]:
        text = path.read_bytes()
        assert not text or text.endswith(b"\n")
        return [json.loads(line) for line in text.splitlines()]

    return lines


@pytest.fixture
def clock() -> Clock:
    """Noon of a day."""
    return Clock("2025-01-31T12:00:00Z")


@pytest.fixture
def writer(tmp_path: Path, clock: Clock) -> Iterator[Callable[..., RecordWriter]]:
    """Starts writers; what a failed test leaves open is closed."""
    started: list[RecordWriter] = []

    def start(folder: Path | None = None, **options: Any) -> RecordWriter:
        path = tmp_path / "logs" if folder is None else folder
        writer = RecordWriter(path, types=("task_processing", "alerts"), wall=clock, **options)
        writer.start(Records())
        started.append(writer)
        return writer

    yield start
    for one in started:
        one.close(1.0)
