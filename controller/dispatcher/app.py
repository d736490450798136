"""The data port: every request is identified, classified, and either queued or passed through."""

import logging
from collections.abc import Awaitable, Callable
from http import HTTPStatus

from aiohttp import web

from controller.dispatcher.identity import client_address, identify
from controller.dispatcher.problems import problem
from controller.dispatcher.proxy import Exchange, Proxy
from controller.dispatcher.routes import classify
from controller.dispatcher.state import State

logger = logging.getLogger(__name__)

#: The only path that is not the application's.
RESERVED = "/-/"


def make_app(state: State, proxy: Proxy) -> web.Application:
    """The application of the data port."""

    async def handle(request: web.Request) -> web.StreamResponse:
        if request.path.startswith(RESERVED):
            return problem(404, "Not found", f"{request.path} is reserved for the dispatcher, which has nothing there")
        view = state.view
        if view is None:
            detail = f"the GpuPool {state.pool} has not been read yet; does it exist?"
            return problem(503, "Not ready", detail, retry_after=5)
        address = client_address(request.remote or "", request.headers.getall("X-Forwarded-For", ()), view.trusted)
        if address is None:
            return problem(400, "Unknown client", "the client address of the connection cannot be read")
        identity = identify(
            address,
            state.wall(),
            origin=view.origin,
            window_seconds=view.spec.queue.window_seconds,
            share_by=view.spec.queue.share_by,
        )
        route = classify(request.method, request.path, view.spec.queue.routes)
        exchange = Exchange(request, view, identity, route)
        if request.method == "CONNECT":
            return problem(405, "Method not allowed", "CONNECT is not forwarded")
        if route.kind == "Task" and "upgrade" not in request.headers.get("Connection", "").lower():
            return await proxy.task(exchange)
        return await proxy.pass_through(exchange)

    # The body limit is the pool's, enforced while the body is spooled; aiohttp's own would cut in before.
    app = web.Application(client_max_size=0, middlewares=[_problems])
    app.router.add_route("*", "/{path:.*}", handle)
    return app


@web.middleware
async def _problems(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Nothing leaves as a traceback or as plain text: errors are problems."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        if error.status < 400:
            raise
        return problem(error.status, HTTPStatus(error.status).phrase, error.text or error.reason)
    except ConnectionError:
        raise
    except Exception:
        logger.exception("%s %s", request.method, request.path)
        return problem(500, "Internal error", "the dispatcher failed on this request; its log has the reason")
