"""Which requests are tasks. The first route that fits decides; without routes, the method does."""

from collections.abc import Sequence
from typing import Final

from controller.api.queue import Route

TASK_METHODS: Final = frozenset({"POST", "PUT", "PATCH"})
#: What a request that changes something is, where no route says otherwise.
DEFAULT_TASK: Final = Route(name="task", kind="Task")
#: A web UI's pages, assets and polling: never behind GPU work.
DEFAULT_PASS: Final = Route(name="pass-through", kind="PassThrough")


def classify(method: str, path: str, routes: Sequence[Route]) -> Route:
    """The route of a request.

    Args:
        method: HTTP method in capitals.
        path: decoded path without query.
        routes: `spec.queue.routes`.
    """
    for route in routes:
        if (not route.methods or method in route.methods) and path.startswith(route.path_prefix):
            return route
    return DEFAULT_TASK if method in TASK_METHODS else DEFAULT_PASS
