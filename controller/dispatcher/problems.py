"""Errors as clients see them: `application/problem+json` (RFC 9457)."""

import json
from http import HTTPStatus
from math import ceil

from aiohttp import web


def problem(
    status: int, title: str, detail: str, *, retry_after: float | None = None, kind: str | None = None
) -> web.Response:
    """A problem answer.

    Args:
        status: HTTP status.
        title: the same for every occurrence.
        detail: this occurrence, and what to do.
        retry_after: seconds after which it may go better.
        kind: last part of the problem type; by default the status phrase.
    """
    body = {"type": kind_of(status, kind), "title": title, "status": status, "detail": detail}
    headers = {} if retry_after is None else {"Retry-After": str(max(1, ceil(retry_after)))}
    return web.Response(
        status=status,
        body=json.dumps(body, ensure_ascii=False).encode(),
        content_type="application/problem+json",
        headers=headers,
    )


def kind_of(status: int, kind: str | None = None) -> str:
    """The type of a problem: a name, by default made from the status phrase."""
    slug = kind or HTTPStatus(status).phrase.lower().replace(" ", "-")
    return f"urn:haipool:problem:{slug}"
