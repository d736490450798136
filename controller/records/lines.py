"""What a line looks like, and which file it belongs to. Pure."""

import datetime
import re
from functools import lru_cache
from typing import Any, Final, Literal, NamedTuple, cast, get_args

import msgspec

RecordType = Literal["task_processing", "server_status", "cost_traffic", "alerts"]
#: What is recorded. Only files of these types are ever repaired, counted or removed: a folder may hold others' files.
TYPES: Final = cast("tuple[RecordType, ...]", get_args(RecordType))

_FILE_NAME: Final = re.compile(rf"({'|'.join(TYPES)})_(\d{{4}}-\d{{2}}-\d{{2}})\.log")


@lru_cache(64)
def file_key(type_: RecordType, day: str) -> "FileKey":
    """The key of the file of one type and one UTC day; the same few are asked for again and again."""
    return FileKey(type_, day)


class FileKey(NamedTuple):
    """The file of one type and one UTC day."""

    type: RecordType
    #: `2025-01-31`. In this form the order of the text is the order of the days.
    day: str

    @property
    def name(self) -> str:
        """`task_processing_2025-01-31.log`."""
        return f"{self.type}_{self.day}.log"


def parse_name(name: str) -> FileKey | None:
    """The key of a file's name; None for a file that is none of ours."""
    match = _FILE_NAME.fullmatch(name)
    return FileKey(cast("RecordType", match[1]), match[2]) if match else None


@lru_cache(256)
def _whole_second(second: int) -> str:
    return datetime.datetime.fromtimestamp(second, datetime.UTC).isoformat()[:19]


def stamp(t: float) -> str:
    """Unix seconds as RFC 3339 in UTC, always with six decimals, so that the order of the text is that of time."""
    second, micros = divmod(round(t * 1e6), 1_000_000)
    return f"{_whole_second(second)}.{micros:06d}Z"


def utc_day(t: float) -> str:
    """The UTC day of a moment, `YYYY-MM-DD`: the day that its `stamp` shows."""
    return stamp(t)[:10]


def days_before(day: str, count: int) -> str:
    """The day so many days earlier."""
    try:
        return (datetime.date.fromisoformat(day) - datetime.timedelta(days=count)).isoformat()
    except OverflowError:
        return datetime.date.min.isoformat()


class Line(msgspec.Struct, frozen=True, gc=False):
    """One line of a file."""

    timestamp: str
    type: RecordType
    data: Any


_encoder: Final = msgspec.json.Encoder()


def encode(line: Line) -> bytes:
    r"""The line as it stands in the file, with its `\n` (which JSON has nowhere else).

    Raises:
        TypeError: the data cannot be written as JSON.
    """
    try:
        return _encoder.encode(line) + b"\n"
    except UnicodeEncodeError:
        # Headers of requests may hold bytes that are no UTF-8; they reach us as lone surrogates.
        return _encoder.encode(_printable(msgspec.to_builtins(line))) + b"\n"


def entry(type_: RecordType, at: float, data: Any) -> tuple[FileKey, bytes]:
    """A record as it is written, and where to.

    Args:
        type_: of the record.
        at: the moment it speaks of, Unix seconds.
        data: what msgspec can write as a JSON object.

    Raises:
        TypeError, ValueError, OverflowError, RecursionError: it cannot be written as JSON.
    """
    time = stamp(at)
    return file_key(type_, time[:10]), encode(Line(time, type_, data))


def _printable(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {_printable(key): _printable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_printable(item) for item in value]
    return value


def is_whole(fragment: bytes) -> bool:
    """Whether what stands behind a file's last newline is a line that lacks its newline only."""
    try:
        return isinstance(msgspec.json.decode(fragment), dict)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False
