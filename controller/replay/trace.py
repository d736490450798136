"""Traces: who sent which task when, and how long a server works on it."""

import csv
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from math import floor, inf
from random import Random
from typing import Final

#: Columns of a trace in haipool's own form. Others are ignored, and their order does not matter.
COLUMNS: Final = ("arrival_s", "user", "service_s")
#: Columns of the public traces of Azure's LLM services (AzurePublicDataset).
AZURE_COLUMNS: Final = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")
#: A copy of a task, where a load is multiplied, comes up to this much later: not at the same instant.
COPY_SPREAD_SECONDS: Final = 60.0


class TraceError(ValueError):
    """A trace cannot be read; the text names line and column."""


@dataclass(frozen=True, slots=True)
class Trace:
    """Tasks in the order of their arrival; columns of equal length."""

    #: Seconds since the start of the trace, never decreasing.
    arrivals: "array[float]"
    #: Seconds that a server of speed 1 works on the task.
    services: "array[float]"
    #: Index into `names`.
    users: "array[int]"
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.arrivals)

    @classmethod
    def of(cls, tasks: Iterable[tuple[float, str, float]]) -> "Trace":
        """A trace of (arrival, user, service) in any order; those that come at the same time keep theirs."""
        numbers: dict[str, int] = {}
        arrivals, services, users = array("d"), array("d"), array("L")
        for arrival, user, service in tasks:
            arrivals.append(arrival)
            services.append(service)
            users.append(numbers.setdefault(user, len(numbers)))
        if any(a > b for a, b in pairwise(arrivals)):
            order = sorted(range(len(arrivals)), key=arrivals.__getitem__)
            arrivals = array("d", map(arrivals.__getitem__, order))
            services = array("d", map(services.__getitem__, order))
            users = array("L", map(users.__getitem__, order))
        return cls(arrivals, services, users, tuple(numbers))

    @property
    def seconds(self) -> float:
        """From the start of the trace to its last task."""
        return self.arrivals[-1] if self.arrivals else 0.0

    @property
    def work(self) -> float:
        """Server-seconds of all tasks, on servers of speed 1."""
        return sum(self.services)


def read_trace(lines: Iterable[str]) -> Trace:
    """A trace in haipool's own form: CSV with a header that names `arrival_s`, `user` and `service_s`.

    Raises:
        TraceError: a column is missing or a value cannot be right.
    """
    return Trace.of(
        (_number(row[0], at, COLUMNS[0]), _name(row[1], at), _number(row[2], at, COLUMNS[2], above_zero=True))
        for at, row in _rows(lines, COLUMNS)
    )


@dataclass(frozen=True, slots=True)
class TokenModel:
    """How long a server works on a request to a language model: linear in its tokens."""

    #: Reading the prompt: thousands of tokens per second.
    per_context_token: float = 0.0002
    #: Writing the answer: fifty tokens per second.
    per_generated_token: float = 0.02

    def seconds(self, context: float, generated: float) -> float:
        """Service time; never 0, since giving a server a task takes time too."""
        return max(0.001, context * self.per_context_token + generated * self.per_generated_token)


def read_azure_trace(lines: Iterable[str], model: TokenModel, *, users: int, seed: int) -> Trace:
    """A trace in the form of Azure's public LLM traces: CSV with TIMESTAMP, ContextTokens and GeneratedTokens.

    Such a trace names no users: each request is given to one of `users` at random.

    Raises:
        TraceError: a column is missing or a value cannot be right.
    """
    chance = Random(seed)  # noqa: S311 - no secret, and the same for the same seed
    tasks = [
        (
            _timestamp(row[0], at),
            f"user{chance.randrange(users) + 1}",
            model.seconds(_number(row[1], at, AZURE_COLUMNS[1]), _number(row[2], at, AZURE_COLUMNS[2])),
        )
        for at, row in _rows(lines, AZURE_COLUMNS)
    ]
    start = min((task[0] for task in tasks), default=0.0)
    return Trace.of((arrival - start, user, service) for arrival, user, service in tasks)


def multiplied(trace: Trace, factor: float, *, seed: int) -> Trace:
    """The trace `factor` times as heavy: each task comes so many times, its copies from users of their own.

    The fraction of a factor is the chance of one copy more, so that a factor below 1 thins a trace out.

    Args:
        trace: the trace.
        factor: above 0.
        seed: of the chance, and of the copies' delays.
    """
    if factor == 1:
        return trace
    return Trace.of(_copies(trace, factor, Random(seed)))  # noqa: S311 - as above


def _copies(trace: Trace, factor: float, chance: Random) -> Iterator[tuple[float, str, float]]:
    for arrival, service, number in zip(trace.arrivals, trace.services, trace.users, strict=True):
        name = trace.names[number]
        copies = floor(factor) + (chance.random() < factor - floor(factor))
        for copy in range(copies):
            if copy == 0:
                yield arrival, name, service
            else:
                yield arrival + chance.uniform(0.0, COPY_SPREAD_SECONDS), f"{name}#{copy + 1}", service


def _rows(lines: Iterable[str], columns: Sequence[str]) -> Iterator[tuple[int, list[str]]]:
    """Line number and the values of these columns, of every line that is not empty."""
    reader = csv.reader(lines)
    try:
        header = [name.strip() for name in next(reader, [])]
        header[:1] = [name.removeprefix("\ufeff") for name in header[:1]]
        missing = [name for name in columns if name not in header]
        if missing:
            raise TraceError(f"line 1: the header must name {', '.join(columns)}; missing: {', '.join(missing)}")
        pick, width = [header.index(name) for name in columns], len(header)
        for row in reader:
            if len(row) == width:
                yield reader.line_num, [row[i] for i in pick]
            elif row:
                raise TraceError(f"line {reader.line_num}: {len(row)} values, the header names {width} columns")
    except csv.Error as error:
        raise TraceError(f"line {reader.line_num}: {error}") from error


def _number(text: str, line: int, column: str, *, above_zero: bool = False) -> float:
    try:
        value = float(text)
    except ValueError:
        raise TraceError(f"line {line}, column {column}: {text!r} is not a number") from None
    if not 0 <= value < inf or (above_zero and value == 0):
        least = "above 0" if above_zero else "0 or more"
        raise TraceError(f"line {line}, column {column}: {text} is not a number {least}")
    return value


def _name(text: str, line: int) -> str:
    name = text.strip()
    if not name:
        raise TraceError(f"line {line}, column {COLUMNS[1]}: empty; every task belongs to a user")
    return name


def _timestamp(text: str, line: int) -> float:
    """Unix seconds; a time without a zone is taken for UTC."""
    try:
        at = datetime.fromisoformat(text.strip())
    except ValueError:
        what = f"{text!r} is not a time such as 2023-11-16 18:17:03.97"
        raise TraceError(f"line {line}, column {AZURE_COLUMNS[0]}: {what}") from None
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
