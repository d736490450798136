"""The simulated log service CLS, version 2020-10-16: `UploadLog` with its limits, decoded and kept to be compared."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from controller.sandbox.cloudsim.actions import Action, Call, Request
from controller.sandbox.cloudsim.errors import ApiError
from controller.sandbox.cloudsim.world import StoredLog

VERSION: Final = "2020-10-16"
MAX_BODY_BYTES: Final = 6_000_000
MAX_GROUPS: Final = 10
MAX_LOGS: Final = 10_000
MAX_VALUE_BYTES: Final = 1_000_000
MAX_VALUES_BYTES: Final = 5_000_000


class UploadLog(Request, frozen=True):
    """Nothing: its parameters travel in headers, its logs in the body."""


def upload_log(call: Call) -> dict[str, Any]:
    """Take the logs of a LogGroupList, all or none."""
    topic = call.headers.get("x-cls-topicid", "")
    if not topic:
        raise ApiError("MissingParameter", "X-CLS-TopicId is missing.")
    if (call.region, topic) not in call.world.config.log_topics:
        raise ApiError("ResourceNotFound.TopicNotExist", f"There is no topic {topic!r} in {call.region}.")
    if call.headers.get("content-type") != "application/octet-stream" or call.headers.get("x-cls-compresstype"):
        raise ApiError("InvalidParameter", "This simulator takes application/octet-stream, uncompressed.")
    if len(call.body) > MAX_BODY_BYTES:
        raise ApiError("LimitExceeded.LogSize", f"The body is larger than {MAX_BODY_BYTES} bytes.")
    try:
        groups = [_group(value) for _, value in _fields(call.body, {1: bytes})]
    except (ValueError, IndexError) as error:
        raise ApiError("InvalidParameter.Content", f"The body is no LogGroupList: {error}") from None
    if not 0 < len(groups) <= MAX_GROUPS:
        raise ApiError("FailedOperation.MissingContent", f"Between 1 and {MAX_GROUPS} groups may be sent.")
    for logs, _, _, _ in groups:
        _check(logs)
    call.world.logs += [
        StoredLog(call.region, topic, time, contents, filename, source, tags)
        for logs, filename, source, tags in groups
        for time, contents in logs
    ]
    return {}


ACTIONS: Final[Mapping[str, Action]] = {"UploadLog": Action(UploadLog, lambda call, _: upload_log(call), binary=True)}

_Log = tuple[int, dict[str, str]]


def _check(logs: list[_Log]) -> None:
    if not 0 < len(logs) <= MAX_LOGS:
        raise ApiError("FailedOperation.MissingContent", f"A group holds 1 to {MAX_LOGS} logs, not {len(logs)}.")
    values = [len(value.encode()) for _, contents in logs for value in contents.values()]
    if max(values, default=0) > MAX_VALUE_BYTES or sum(values) > MAX_VALUES_BYTES:
        raise ApiError("LimitExceeded.LogSize", "A value, or the values of a group, are too large.")
    if any(key.startswith("_") for _, contents in logs for key in contents):
        raise ApiError("InvalidParameter.Content", "A key begins with '_'.")


def _group(data: bytes) -> tuple[list[_Log], str, str, dict[str, str]]:
    logs: list[_Log] = []
    tags: dict[str, str] = {}
    filename = source = ""
    for field, value in _fields(data, {1: bytes, 2: bytes, 3: bytes, 4: bytes, 5: bytes}):
        match field:
            case 1:
                logs.append(_log(value))
            case 3:
                filename = value.decode()
            case 4:
                source = value.decode()
            case 5:
                tags.update([_pair(value)])
    return logs, filename, source, tags


def _log(data: bytes) -> _Log:
    time: int | None = None
    contents: dict[str, str] = {}
    for field, value in _fields(data, {1: int, 2: bytes}):
        if field == 1:
            time = value
        else:
            contents.update([_pair(value)])
    if time is None:
        raise ValueError("a log has no time")
    return time, contents


def _pair(data: bytes) -> tuple[str, str]:
    found = {field: value.decode() for field, value in _fields(data, {1: bytes, 2: bytes})}
    if set(found) != {1, 2}:
        raise ValueError("a pair needs key and value")
    return found[1], found[2]


def _fields(data: bytes, known: Mapping[int, type]) -> Iterator[tuple[int, Any]]:
    """Fields of one message in order; a field or wire type that the message does not have is an error."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        field, wire = tag >> 3, tag & 7
        if known.get(field) is not {0: int, 2: bytes}.get(wire, object):
            raise ValueError(f"field {field} with wire type {wire}")
        value, at = _varint(data, at)
        if wire == 0:
            yield field, value
            continue
        if at + value > len(data):
            raise ValueError("a field is cut off")
        yield field, data[at : at + value]
        at += value


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
        if shift > 63:
            raise ValueError("a varint is too long")
