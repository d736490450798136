"""Small servers of well-known services behind a dispatcher."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
from aiohttp import web

Serve = Callable[..., Awaitable[str]]


@pytest.fixture
async def serve(bench: Any) -> AsyncIterator[Serve]:
    """Starts a service's server; the pool has it from then on. Returns its own address."""
    async with AsyncExitStack() as stack:

        async def start(service: Any, name: str = "demo-1", **options: Any) -> str:
            # As uvicorn and Go do it, handlers of these learn that their client has gone.
            runner = web.AppRunner(service.app, access_log=None, handler_cancellation=hasattr(service, "aborted"),
                                   shutdown_timeout=0)  # fmt: skip
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            address = f"http://127.0.0.1:{runner.addresses[0][1]}"
            bench.server(name, address, **options)
            return address

        yield start
