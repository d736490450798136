"""Errors as the API server words them: `Status` objects that kubectl and the clients know how to read."""

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

JsonObject = dict[str, Any]


class Cause(NamedTuple):
    """One fault of an object: where, and what is wrong there."""

    reason: str
    field: str
    message: str


class ApiError(Exception):
    """A request the API refuses. `code` is the HTTP status, `reason` the word clients switch on."""

    def __init__(self, code: int, reason: str, message: str, details: JsonObject | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.details = details

    def status(self) -> JsonObject:
        """The `Status` object for the response body."""
        written: JsonObject = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": str(self),
            "reason": self.reason,
        }
        return written | ({"details": self.details} if self.details is not None else {}) | {"code": self.code}


def success(group: str, plural: str, name: str, uid: str) -> JsonObject:
    """The `Status` that answers a deletion which is complete."""
    details = {"name": name, "group": group, "kind": plural, "uid": uid}
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Success",
        "details": {key: value for key, value in details.items() if value},
    }


def qualified(name: str, group: str) -> str:
    """`plural.group`, or the plural alone in the core group."""
    return f"{name}.{group}" if group else name


def _details(group: str, kind: str, name: str) -> JsonObject:
    details = {"name": name, "group": group, "kind": kind}
    return {key: value for key, value in details.items() if value}


def bad_request(message: str) -> ApiError:
    """400: the request itself is malformed."""
    return ApiError(400, "BadRequest", message)


def not_found(group: str, plural: str, name: str) -> ApiError:
    """404: no such object."""
    message = f'{qualified(plural, group)} "{name}" not found'
    return ApiError(404, "NotFound", message, _details(group, plural, name))


def path_not_found() -> ApiError:
    """404: nothing is served at this path."""
    return ApiError(404, "NotFound", "the server could not find the requested resource", {})


def method_not_allowed() -> ApiError:
    """405: the path is served, but not with this method."""
    return ApiError(405, "MethodNotAllowed", "the server does not allow this method on the requested resource", {})


def already_exists(group: str, plural: str, name: str, *, deleting: bool) -> ApiError:
    """409: the name is taken, perhaps by an object whose deletion waits for finalizers."""
    prefix = "object is being deleted: " if deleting else ""
    message = f'{prefix}{qualified(plural, group)} "{name}" already exists'
    return ApiError(409, "AlreadyExists", message, _details(group, plural, name))


def conflict(
    group: str,
    plural: str,
    name: str,
    why: str = "the object has been modified; please apply your changes to the latest version and try again",
) -> ApiError:
    """409: the request was made for another state of the object."""
    message = f'Operation cannot be fulfilled on {qualified(plural, group)} "{name}": {why}'
    return ApiError(409, "Conflict", message, _details(group, plural, name))


def forbidden(group: str, plural: str, name: str, why: str) -> ApiError:
    """403: the object may not be treated like this."""
    message = f'{qualified(plural, group)} "{name}" is forbidden: {why}'
    return ApiError(403, "Forbidden", message, _details(group, plural, name))


def expired(message: str) -> ApiError:
    """410: the resource version asked for is no longer kept; the client has to list again."""
    return ApiError(410, "Expired", message)


def too_large_version(asked: int, current: int) -> ApiError:
    """504: the resource version asked for has not happened yet."""
    details = {
        "causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}],
        "retryAfterSeconds": 1,
    }
    return ApiError(504, "Timeout", f"Timeout: Too large resource version: {asked}, current: {current}", details)


def unsupported_media(accepted: Sequence[str]) -> ApiError:
    """415: the body has a content type that is not read here."""
    message = f"the body of the request was in an unknown format - accepted media types include: {', '.join(accepted)}"
    return ApiError(415, "UnsupportedMediaType", message)


def not_acceptable() -> ApiError:
    """406: the client accepts nothing that is spoken here."""
    return ApiError(406, "NotAcceptable", "only the following media types are accepted: application/json")


def invalid(group: str, kind: str, name: str, causes: Sequence[Cause]) -> ApiError:
    """422: the object does not fit its kind; every fault is a cause of its own."""
    texts = [f"{cause.field}: {cause.message}" for cause in causes]
    listed = texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
    details = _details(group, kind, name) | {"causes": [_cause(cause) for cause in causes]}
    return ApiError(422, "Invalid", f'{qualified(kind, group)} "{name}" is invalid: {listed}', details)


def _cause(cause: Cause) -> JsonObject:
    return {"reason": cause.reason, "message": cause.message, "field": cause.field}


def invalid_value(field: str, value: Any, message: str) -> Cause:
    """A value that breaks a rule; `value` is shown as JSON."""
    return Cause("FieldValueInvalid", field, f"Invalid value: {json.dumps(value, ensure_ascii=False)}: {message}")


def required(field: str, message: str = "") -> Cause:
    """A value that is missing."""
    return Cause("FieldValueRequired", field, f"Required value: {message}" if message else "Required value")


def forbidden_value(field: str, message: str) -> Cause:
    """A value that must not be given."""
    return Cause("FieldValueForbidden", field, f"Forbidden: {message}")


def unsupported_value(field: str, value: Any, supported: Sequence[str]) -> Cause:
    """A value outside a closed set."""
    listed = ", ".join(json.dumps(item, ensure_ascii=False) for item in supported)
    shown = json.dumps(value, ensure_ascii=False)
    return Cause("FieldValueNotSupported", field, f"Unsupported value: {shown}: supported values: {listed}")
