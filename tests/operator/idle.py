"""What the operator sees of a dispatcher that has nothing to do."""

import contextlib
from typing import Any

from aiohttp import web

from controller.api import metrics
from controller.kube.client import KubeClient
from controller.operator.objects import INSTANCES

HOST = "127.0.0.1"
NAMESPACE = "default"


class Dispatcher:
    """The metrics of a dispatcher that knows the pool's servers and has nothing to do."""

    def __init__(self, kube: KubeClient) -> None:
        self._kube = kube
        #: What it says of the queue.
        self.figures = dict.fromkeys(metrics.REQUIRED, 0.0) | {metrics.DISPATCHER_SYNCED: 1.0}
        #: Requests that pass through to each server, so that none is ever drained.
        self.in_flight = 0
        self.url = ""

    async def start(self, stack: contextlib.AsyncExitStack) -> None:
        app = web.Application()
        app.router.add_get("/metrics", self._answer)
        runner = web.AppRunner(app)
        stack.push_async_callback(runner.cleanup)
        await runner.setup()
        await web.TCPSite(runner, HOST, 0).start()
        self.url = f"http://{HOST}:{runner.addresses[0][1]}/metrics"

    async def _answer(self, _: web.Request) -> web.Response:
        lines = [f"# TYPE {name} gauge\n{name} {value}" for name, value in self.figures.items()]
        for item in (await self._kube.list(INSTANCES, namespace=NAMESPACE)).items:
            if item.get("status", {}).get("address"):
                lines += self._server(item)
        return web.Response(text="\n".join(lines) + "\n")

    def _server(self, item: dict[str, Any]) -> list[str]:
        leaving = item["spec"].get("drain") or "deletionTimestamp" in item["metadata"]
        figures = {
            metrics.SERVER_IN_FLIGHT: self.in_flight,
            metrics.SERVER_TASKS: 0,
            metrics.SERVER_SLOTS: 1,
            metrics.SERVER_UP: 1,
            metrics.SERVER_DRAINING: int(leaving),
        }
        return [f'{name}{{server="{item["metadata"]["name"]}"}} {value}' for name, value in figures.items()]
