"""Which requests are tasks. The first route that fits decides; without one, the method does.

Paths can be written in many ways, and servers differ in which ways they take for the same. Where the readings of one
path differ in whether it is a task, it is one: nobody passes the queue by writing `/options/../generate`.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Final
from urllib.parse import unquote

from controller.api.queue import Queue, Route
from controller.dispatcher.routesets import routes_of

TASK_METHODS: Final = frozenset({"POST", "PUT", "PATCH"})
#: What a request that changes something is, where no route says otherwise.
DEFAULT_TASK: Final = Route(name="task", kind="Task")
#: A web UI's pages, assets and polling: never behind GPU work.
DEFAULT_PASS: Final = Route(name="pass-through", kind="PassThrough")

#: What makes a decoded path readable in more than one way.
_AMBIGUOUS: Final = re.compile(r"%|\\|//|/\.|;")
#: Paths whose route is kept, of up to so many characters: clients ask for the same ones again and again.
KEPT: Final = 4096
KEPT_LENGTH: Final = 256
#: Servers that decode once too often exist; those that do it more than twice do not.
_DECODINGS: Final = 3


class RouteTable:
    """The routes of a pool, prepared for one look per request."""

    def __init__(self, routes: Sequence[Route]) -> None:
        methods: set[str] = {method for route in routes for method in route.methods}
        self._by_method = {m: _for_method(routes, m) for m in methods}
        self._others = _for_method(routes, None)
        self._kept: Callable[[str, str], Route] = lru_cache(KEPT)(self._classify)
        self._ids = tuple(_id_pattern(r.poll.path) for r in routes if r.poll and "{id}" in r.poll.path)

    @classmethod
    def of(cls, queue: Queue) -> "RouteTable":
        """The table of a pool: its own routes, then those of its set.

        Raises:
            ValueError: a route does not say how the ends of its tasks show; the API refuses that, a file does not.
        """
        for route in queue.routes:
            if route.completion == "Poll" and route.poll is None:
                raise ValueError(f"queue.routes: {route.name} has completion Poll, and needs poll")
        return cls(routes_of(queue))

    def classify(self, method: str, target: str) -> Route:
        """The route of a request.

        Args:
            method: HTTP method in capitals.
            target: path and query as the client wrote them.
        """
        path = target.partition("?")[0]
        return self._kept(method, path) if len(path) <= KEPT_LENGTH else self._classify(method, path)

    def _classify(self, method: str, path: str) -> Route:
        routes = self._by_method.get(method, self._others)
        default = DEFAULT_TASK if method in TASK_METHODS else DEFAULT_PASS
        plain = unquote(path) if "%" in path else path
        if not _AMBIGUOUS.search(plain):
            return _match(routes, plain, default)
        found = [_match(routes, reading, default) for reading in readings(path)]
        return next((route for route in found if route.kind == "Task"), found[0])

    def polled_id(self, target: str) -> str | None:
        """The id of the task that a request asks after, if it is one by which a route polls."""
        for pattern in self._ids:
            if match := pattern.match(target):
                return unquote(match[1])
        return None


def readings(path: str) -> Iterable[str]:
    """The paths that servers may take this one for; what the URL standards say first.

    Args:
        path: as the client wrote it.
    """
    decoded = [path]
    while len(decoded) <= _DECODINGS and (further := unquote(decoded[-1])) != decoded[-1]:
        decoded.append(further)
    return dict.fromkeys(_all_readings(path, decoded))


def _all_readings(path: str, decoded: Sequence[str]) -> Iterator[str]:
    yield unquote(without_dots(unquote(path)))
    yield unquote(path)
    for times, form in enumerate(decoded):
        for text in (form, re.sub(r"[/\\]+", "/", form)):
            if times:
                yield without_dots(text)
            yield unquote(without_dots(text))


def without_dots(path: str) -> str:
    """The path without its `.` and `..` segments (RFC 3986, 5.2.4); `..;x` and backslashes count too."""
    kept: list[str] = []
    segments = path.replace("\\", "/").split("/")[1:]
    for number, segment in enumerate(segments):
        name, last = segment.partition(";")[0], number == len(segments) - 1
        if name == "..":
            del kept[-1:]
        elif name != ".":
            kept.append(segment)
        if last and name in (".", ".."):
            kept.append("")
    return "/" + "/".join(kept)


def _for_method(routes: Sequence[Route], method: str | None) -> tuple[tuple[str, Route], ...]:
    return tuple((r.path_prefix, r) for r in routes if not r.methods or method in r.methods)


def _match(routes: Sequence[tuple[str, Route]], path: str, default: Route) -> Route:
    for prefix, route in routes:
        if path.startswith(prefix):
            return route
    return default


def _id_pattern(path: str) -> re.Pattern[str]:
    before, _, after = path.partition("{id}")
    return re.compile(rf"{re.escape(before)}([^/?#]+){re.escape(after)}(?:[?#]|$)")
