"""From lines of a record file to what one upload carries. Pure.

Each field of a record's `data` becomes a key of the log, so that CLS can index it; beside them stand `type`,
`timestamp` and `line_id`, which is the same whenever a line is sent again: duplicates can be counted, and left out of
a query.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

import msgspec

from controller.shipper import protobuf

#: CLS takes 10 000 logs in a group, 5 MB of values, and 6 MB in a request; an encoded group counts all of it.
MAX_LOGS: Final = 10_000
MAX_BODY_BYTES: Final = 4_500_000
#: CLS's limit for one value.
MAX_VALUE_BYTES: Final = 1_000_000

Unfit = Literal["invalid", "too_large"]


@dataclass(frozen=True, slots=True)
class Line:
    """One whole line of a file."""

    #: Without its newline; None if it is longer than any record is.
    text: bytes | None
    #: Byte at which it begins.
    offset: int
    #: Byte behind its newline.
    end: int


@dataclass(frozen=True, slots=True)
class Entry:
    """One line as a log of CLS, or why it can be none."""

    line: Line
    log: bytes = b""
    unfit: Unfit | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """Consecutive lines of one file that are sent together."""

    entries: tuple[Entry, ...]

    @property
    def end(self) -> int:
        """How far the file is dealt with once this is sent."""
        return self.entries[-1].line.end

    @property
    def logs(self) -> list[bytes]:
        """The encoded logs."""
        return [e.log for e in self.entries if e.unfit is None]

    @property
    def unfit(self) -> list[Entry]:
        """The lines that CLS cannot take."""
        return [e for e in self.entries if e.unfit is not None]

    def halves(self) -> "tuple[Batch, Batch] | None":
        """The batch in two; None for a single line."""
        middle = len(self.entries) // 2
        return (Batch(self.entries[:middle]), Batch(self.entries[middle:])) if middle else None


def entry(line: Line, *, source: str, filename: str) -> Entry:
    """A line as a log.

    Args:
        line: of a record file.
        source: the pod.
        filename: of the record file, as it is called in its folder.
    """
    if line.text is None:
        return Entry(line, unfit="too_large")
    try:
        record = msgspec.json.decode(line.text)
        contents = _contents(record)
        time_ms = round(datetime.fromisoformat(record["timestamp"]).timestamp() * 1000)
    except (ValueError, TypeError, KeyError, AttributeError):
        return Entry(line, unfit="invalid")
    contents["line_id"] = f"{source}/{filename}/{line.offset}"
    if any(len(value.encode()) > MAX_VALUE_BYTES for value in contents.values()):
        return Entry(line, unfit="too_large")
    log = protobuf.log(time_ms, contents)
    return Entry(line, log) if protobuf.size_of(log) < MAX_BODY_BYTES else Entry(line, unfit="too_large")


def batches(entries: Iterable[Entry]) -> Iterator[Batch]:
    """Entries in order, cut where CLS's limits want it."""
    waiting: list[Entry] = []
    size = 0
    for one in entries:
        more = protobuf.size_of(one.log)
        if waiting and (len(waiting) >= MAX_LOGS or size + more > MAX_BODY_BYTES):
            yield Batch(tuple(waiting))
            waiting, size = [], 0
        waiting.append(one)
        size += more
    if waiting:
        yield Batch(tuple(waiting))


def _contents(record: dict[str, Any]) -> dict[str, str]:
    """Keys and values. Text stands as it is, everything else as JSON; null is left out, as CLS knows none."""
    contents = {"type": record["type"] + "", "timestamp": record["timestamp"] + ""}
    for key, value in record["data"].items():
        if value is not None:
            contents[_key(key)] = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return contents


def _key(name: str) -> str:
    """CLS keeps keys that begin with `_` for itself, and a field may not replace what every log has."""
    return f"data.{name}" if name.startswith("_") or name in ("type", "timestamp", "line_id") else name
