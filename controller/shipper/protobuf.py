"""CLS's LogGroupList in protobuf's wire format (proto2), written by hand: four messages of strings and one integer.

LogGroupList { repeated LogGroup logGroupList = 1; }
LogGroup { repeated Log logs = 1; string contextFlow = 2; string filename = 3; string source = 4;
repeated LogTag logTags = 5; }
Log { int64 time = 1; repeated Content contents = 2; }      Content, LogTag { string key = 1; string value = 2; }
"""

from collections.abc import Iterable, Mapping


def log(time_ms: int, contents: Mapping[str, str]) -> bytes:
    """One Log.

    Args:
        time_ms: Unix milliseconds.
        contents: keys must not start with `_`.
    """
    fields = b"".join(_bytes(2, _pair(key, value)) for key, value in contents.items())
    return b"\x08" + _varint(time_ms & 0xFFFF_FFFF_FFFF_FFFF) + fields


def log_group_list(logs: Iterable[bytes], *, filename: str, source: str, tags: Mapping[str, str]) -> bytes:
    """A LogGroupList of one group, from encoded logs."""
    group = b"".join(_bytes(1, one) for one in logs) + _text(3, filename) + _text(4, source)
    return _bytes(1, group + b"".join(_bytes(5, _pair(key, value)) for key, value in tags.items()))


def size_of(encoded: bytes) -> int:
    """Bytes that an encoded log takes in its group."""
    return 1 + len(_varint(len(encoded))) + len(encoded)


def _pair(key: str, value: str) -> bytes:
    return _text(1, key) + _text(2, value)


def _text(field: int, value: str) -> bytes:
    return _bytes(field, value.encode())


def _bytes(field: int, value: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
