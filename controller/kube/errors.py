"""Typed errors of the Kubernetes API."""

from collections.abc import Mapping
from typing import Any


class KubeError(Exception):
    """The API server refused, or could not be reached.

    Attributes:
        status: HTTP status; 0 when there was no answer.
        reason: the server's reason in CamelCase, if it gave one.
    """

    def __init__(self, message: str, *, status: int = 0, reason: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason


class NotFoundError(KubeError):
    """No such object, kind or namespace."""


class ConflictError(KubeError):
    """The object changed since it was read, or a precondition did not hold."""


class AlreadyExistsError(ConflictError):
    """An object of that name exists."""


class ForbiddenError(KubeError):
    """The credentials are missing, wrong or not allowed to do this."""


class InvalidError(KubeError):
    """The object breaks its schema or a rule; the message names the field."""


class GoneError(KubeError):
    """The resourceVersion (or list continuation) is too old: list again."""


class UnavailableError(KubeError):
    """The API server could not be reached, is overloaded or failed: try again."""


def from_status(status: int, body: Mapping[str, Any] | None, text: str) -> KubeError:
    """The typed error of an HTTP answer or of an ERROR event of a watch."""
    reason = str((body or {}).get("reason") or "")
    message = str((body or {}).get("message") or text.strip()[:500] or f"HTTP {status}")
    return _class(status, reason)(message, status=status, reason=reason)


def _class(status: int, reason: str) -> type[KubeError]:
    if status == 409:
        return AlreadyExistsError if reason == "AlreadyExists" else ConflictError
    if status == 429 or status >= 500:
        return UnavailableError
    known = {401: ForbiddenError, 403: ForbiddenError, 404: NotFoundError, 410: GoneError, 422: InvalidError}
    return known.get(status, InvalidError if status == 400 else KubeError)
