"""The admin port, for the cluster only: metrics, probes, and a look into the queue."""

from typing import Any

from aiohttp import web
from prometheus_client.aiohttp import make_aiohttp_handler

from controller.dispatcher.state import State


def make_admin(state: State) -> web.Application:
    """The application of the admin port."""

    async def healthy(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def ready(_: web.Request) -> web.Response:
        """Whether clients may be sent here: the pool is known. Servers do not matter, since tasks can wait."""
        if state.closing:
            return web.Response(status=503, text="shutting down\n")
        if state.view is None:
            return web.Response(status=503, text=f"the GpuPool {state.pool} has not been read yet\n")
        return web.Response(text="ok\n")

    async def queue(_: web.Request) -> web.Response:
        return web.json_response(inspect(state))

    app = web.Application()
    app.router.add_get("/metrics", make_aiohttp_handler(state.metrics.registry))
    app.router.add_get("/-/healthy", healthy)
    app.router.add_get("/-/ready", ready)
    app.router.add_get("/-/queue", queue)
    return app


def inspect(state: State) -> dict[str, Any]:
    """The queue and the servers as they are now."""
    scheduler = state.scheduler
    return {
        "pool": state.pool,
        "synced": state.synced,
        "waiting": scheduler.waiting,
        "oldestAgeSeconds": round(scheduler.oldest_age(), 3),
        "started": scheduler.started,
        "users": [{"user": user, "waiting": waiting} for user, waiting in scheduler.queue.users().items()],
        "servers": [
            {
                "name": s.spec.name,
                "region": s.spec.region,
                "bundle": s.spec.bundle,
                "address": s.spec.address,
                "slots": s.spec.slots,
                "tasks": s.tasks,
                "passing": s.passing,
                "up": s.up,
                "ready": s.spec.ready,
                "draining": s.spec.draining,
            }
            for s in scheduler.servers
        ],
        "recentStarts": list(scheduler.recent)[-100:],
    }
