"""The admin port, for the cluster only: metrics, probes, and a look into the queue."""

import hmac
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

from aiohttp import web
from aiohttp.typedefs import Middleware
from prometheus_client.aiohttp import make_aiohttp_handler

from controller.dispatcher.figures import Start
from controller.dispatcher.problems import problem
from controller.dispatcher.servers import Server
from controller.dispatcher.state import State

#: The kubelet asks these and has no token; they tell nothing but yes and no.
OPEN: Final = frozenset({"/-/healthy", "/-/ready"})

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class AdminToken:
    """The bearer token of the admin port, in a file that may be replaced while the process runs (a Secret's volume)."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.read()

    def read(self) -> bytes:
        """The token as the file has it now.

        Raises:
            ValueError: there is none; the message names the file.
        """
        try:
            token = self._path.read_bytes().strip()
        except OSError as error:
            raise ValueError(f"--admin-token-file {self._path}: {error.strerror}") from error
        if not token:
            raise ValueError(f"--admin-token-file {self._path}: the file is empty")
        return token

    def allows(self, authorization: str) -> bool:
        """Whether this `Authorization` header carries the token; compared in constant time.

        Raises:
            ValueError: there is no token to compare with.
        """
        scheme, _, given = authorization.partition(" ")
        sent = given.strip().encode("utf-8", "surrogateescape")
        return hmac.compare_digest(sent, self.read()) and scheme.lower() == "bearer"


def _guard(token: AdminToken) -> Middleware:
    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path in OPEN:
            return await handler(request)
        try:
            allowed = token.allows(request.headers.get("Authorization", ""))
        except ValueError as error:
            return problem(503, "Token not readable", str(error))
        if allowed:
            return await handler(request)
        refused = problem(401, "Token missing or wrong", "send `Authorization: Bearer TOKEN`, of --admin-token-file")
        refused.headers["WWW-Authenticate"] = 'Bearer realm="haipool"'
        return refused

    return guard


def make_admin(state: State, token: AdminToken | None = None) -> web.Application:
    """The application of the admin port; with a token, everything but the probes asks for it."""

    async def healthy(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def ready(_: web.Request) -> web.Response:
        """Whether clients may be sent here: the pool is known. Servers do not matter, since tasks can wait."""
        if state.closing:
            return web.Response(status=503, text="shutting down\n")
        if state.starting:
            return web.Response(status=503, text="looking through the tasks of before\n")
        if state.view is None:
            return web.Response(status=503, text=f"the GpuPool {state.pool} has not been read yet\n")
        return web.Response(text="ok\n")

    async def queue(_: web.Request) -> web.Response:
        return web.json_response(inspect(state))

    app = web.Application(middlewares=[_guard(token)] if token else [])
    app.router.add_get("/metrics", make_aiohttp_handler(state.metrics.registry))
    app.router.add_get("/-/healthy", healthy)
    app.router.add_get("/-/ready", ready)
    app.router.add_get("/-/queue", queue)
    return app


def inspect(state: State) -> dict[str, Any]:
    """The queue and the servers as they are now."""
    scheduler, figures = state.scheduler, state.store.figures
    return {
        "pool": state.pool,
        "synced": state.synced,
        "waiting": scheduler.waiting,
        "oldestAgeSeconds": round(scheduler.longest_wait(), 3),
        "retries": scheduler.retries.under_way,
        "started": scheduler.figures.started,
        "users": [{"user": user, "waiting": waiting} for user, waiting in scheduler.queue.users().items()],
        "servers": [_server(server, scheduler.now()) for server in scheduler.servers],
        "asyncTasks": {
            "durable": state.store.durable,
            "storedBytes": figures.bytes,
            "states": {state.value: count for state, count in figures.tasks.items()},
        },
        "recentStarts": [_start(start) for start in tuple(scheduler.figures.recent)[-100:]],
    }


def _server(server: Server, now: float) -> dict[str, Any]:
    spec, health, draining = server.spec, server.health, server.draining_since
    return {
        "name": spec.name,
        "region": spec.region,
        "bundle": spec.bundle,
        "address": spec.address,
        "slots": spec.slots,
        "tasks": server.tasks,
        "passing": server.passing,
        "up": server.up,
        "ready": spec.ready,
        "draining": spec.draining,
        "drainingSeconds": None if draining is None else round(now - draining, 3),
        "share": round(server.share, 3),
        "failuresInARow": server.suspicion,
        "ejectedSeconds": None if health.until is None else round(max(0.0, health.until - now), 3),
        "meanTaskSeconds": round(server.ewma, 3),
    }


def _start(start: Start) -> dict[str, Any]:
    fields = start._asdict()
    fields["waitSeconds"] = round(fields.pop("wait"), 6)
    return fields
