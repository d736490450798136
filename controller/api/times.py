"""Between Unix seconds, which decisions compute with, and RFC 3339, which objects carry."""

from datetime import UTC, datetime


def rfc3339(t: float) -> str:
    """Unix seconds as RFC 3339 in UTC with milliseconds."""
    return datetime.fromtimestamp(t, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def unix(text: str | None) -> float | None:
    """RFC 3339 as Unix seconds; None stays None."""
    return None if text is None else datetime.fromisoformat(text).timestamp()


def microtime(t: float) -> str:
    """Unix seconds as a Kubernetes MicroTime: RFC 3339 in UTC with microseconds."""
    return datetime.fromtimestamp(t, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
