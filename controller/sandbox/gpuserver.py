"""Simulated GPU servers: real HTTP servers, each on its own loopback address, that take time and return real PNGs.

One server stands for one instance of the simulated cloud. It has one GPU: requests that arrive while it works wait
for their turn, as Stable Diffusion WebUI does it. When its instance is destroyed, every connection is cut without a
word, as when a virtual machine vanishes. Each counts what it did, so that a test or the demo can hold the dispatcher
to its promises (never more requests at once than slots).
"""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final

from aiohttp import web

from controller.sandbox.png import draw

#: Seconds of GPU time that a task takes when its body does not say.
DEFAULT_TASK_SECONDS: Final = 1.0
#: The longest task a body may ask for; an image takes minutes at most.
MAX_TASK_SECONDS: Final = 600.0
#: Where the settings are, as at Stable Diffusion WebUI.
OPTIONS_PATH: Final = "/sdapi/v1/options"
#: Largest request body; an image to start from fits.
MAX_BODY_BYTES: Final = 64 * 1024 * 1024


@dataclass(slots=True)
class Counters:
    """What one server did, from its start on."""

    #: Tasks answered in full.
    served: int = 0
    #: Tasks that were cut off, by a client that went away or because the instance was destroyed.
    cut: int = 0
    #: Tasks at the server now, the one that computes and those that wait for the GPU.
    in_flight: int = 0
    #: The most tasks that were ever at the server at one time.
    max_in_flight: int = 0
    #: Seconds for which the GPU computed.
    busy_seconds: float = 0.0
    #: Bytes of the bodies that it has sent.
    bytes_sent: int = 0


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How the servers of a fleet behave."""

    #: Port of the application on every server.
    port: int = 7860
    #: GPU time of a task whose body names none, in seconds at speed 1.
    task_seconds: float = DEFAULT_TASK_SECONDS
    #: Seconds from the instance's start until the application answers (503 before), as a model takes to load.
    boot_seconds: float = 0.5
    #: Speed of a bundle relative to the others; 1 where it is not named.
    speeds: Mapping[str, float] = field(default_factory=dict)


class _BadRequestError(ValueError):
    """The body of a task is wrong; the text names the field."""


class GpuServer:
    """The application of one instance."""

    def __init__(self, instance_id: str, bundle: str, behaviour: Behaviour) -> None:
        self.instance_id = instance_id
        self.bundle = bundle
        self.counters = Counters()
        self._behaviour = behaviour
        #: As Stable Diffusion WebUI's; kept and shown, while images stay PNGs.
        self.options: dict[str, Any] = {"samples_format": "png", "jpeg_quality": 80}
        self._gpu = asyncio.Lock()
        self._ready_at = 0.0
        self._runner: web.AppRunner | None = None

    async def start(self, address: str) -> None:
        """Listen.

        Args:
            address: loopback address of the instance.

        Raises:
            OSError: address and port are taken.
        """
        app = web.Application(client_max_size=MAX_BODY_BYTES)
        app.on_response_prepare.append(self._count)
        app.router.add_get("/", self._health)
        app.router.add_get(OPTIONS_PATH, self._options)
        app.router.add_post(OPTIONS_PATH, self._change_options)
        app.router.add_get("/metrics", self._metrics)
        for method in ("POST", "PUT", "PATCH"):
            app.router.add_route(method, "/{path:.*}", self._task)
        # A client that goes away frees the GPU: an image nobody waits for is not worth its time.
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.0)
        await self._runner.setup()
        self._ready_at = asyncio.get_running_loop().time() + self._behaviour.boot_seconds
        try:
            await web.TCPSite(self._runner, address, self._behaviour.port).start()
        except OSError:
            await self._runner.cleanup()
            raise

    async def stop(self) -> None:
        """Vanish: the port closes and every connection is reset, answered or not."""
        if self._runner is None:
            return
        for site in tuple(self._runner.sites):
            await site.stop()
        if self._runner.server is not None:
            for connection in self._runner.server.connections:
                if connection.transport is not None:
                    connection.transport.abort()
        await self._runner.cleanup()
        self._runner = None

    @property
    def _booting(self) -> bool:
        return asyncio.get_running_loop().time() < self._ready_at

    async def _health(self, _request: web.Request) -> web.Response:
        if self._booting:
            return web.Response(status=503, text="loading the model\n")
        return web.Response(text=f"{self.bundle} {self.instance_id} is ready\n")

    async def _metrics(self, _request: web.Request) -> web.Response:
        counters = self.counters
        lines = (
            f"gpu_tasks_served_total {counters.served}",
            f"gpu_tasks_cut_total {counters.cut}",
            f"gpu_tasks_in_flight {counters.in_flight}",
            f"gpu_busy_seconds_total {counters.busy_seconds:.3f}",
        )
        return web.Response(text="\n".join(lines) + "\n")

    async def _count(self, _request: web.Request, response: web.StreamResponse) -> None:
        self.counters.bytes_sent += response.content_length or 0

    async def _options(self, _request: web.Request) -> web.Response:
        return web.json_response(self.options)

    async def _change_options(self, request: web.Request) -> web.Response:
        try:
            changes = json.loads(await request.read())
        except ValueError as error:
            return _problem(HTTPStatus.UNPROCESSABLE_ENTITY, f"the body is not valid JSON: {error}")
        if not isinstance(changes, dict) or (unknown := sorted(changes.keys() - self.options.keys())):
            said = ", ".join(unknown) if isinstance(changes, dict) else "no JSON object"
            return _problem(HTTPStatus.UNPROCESSABLE_ENTITY, f"these are no settings: {said}")
        self.options |= changes
        return web.json_response(None)

    async def _task(self, request: web.Request) -> web.Response:
        if self._booting:
            return _problem(HTTPStatus.SERVICE_UNAVAILABLE, "the model is still loading")
        try:
            prompt, seconds = self._wanted(await request.read())
        except _BadRequestError as error:
            return _problem(HTTPStatus.UNPROCESSABLE_ENTITY, str(error))
        counters = self.counters
        counters.in_flight += 1
        counters.max_in_flight = max(counters.max_in_flight, counters.in_flight)
        try:
            await self._compute(seconds)
        except asyncio.CancelledError:
            counters.cut += 1
            raise
        finally:
            counters.in_flight -= 1
        counters.served += 1
        return web.Response(body=draw(prompt), content_type="image/png", headers={"X-Gpu-Instance": self.instance_id})

    async def _compute(self, seconds: float) -> None:
        """Hold the one GPU for that long."""
        loop = asyncio.get_running_loop()
        async with self._gpu:
            began = loop.time()
            try:
                await asyncio.sleep(seconds)
            finally:
                self.counters.busy_seconds += loop.time() - began

    def _wanted(self, raw: bytes) -> tuple[str, float]:
        """Prompt and GPU seconds of a task. A body that is not JSON is its own prompt."""
        body: Any = {}
        if raw.lstrip()[:1] == b"{":
            try:
                body = json.loads(raw)
            except ValueError as error:
                raise _BadRequestError(f"the body is not valid JSON: {error}") from error
        prompt = body.get("prompt", raw.decode("utf-8", "replace") if not body else "")
        seconds = body.get("seconds", self._behaviour.task_seconds)
        if not isinstance(prompt, str):
            raise _BadRequestError("prompt must be a string")
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds <= MAX_TASK_SECONDS:
            raise _BadRequestError(f"seconds must be a number from 0 to {MAX_TASK_SECONDS:g}")
        return prompt, seconds / self._behaviour.speeds.get(self.bundle, 1.0)


def _problem(status: HTTPStatus, detail: str) -> web.Response:
    """An RFC 9457 problem."""
    body = {"type": "about:blank", "title": status.phrase, "status": status.value, "detail": detail}
    return web.json_response(body, status=status.value, content_type="application/problem+json")


class Fleet:
    """All GPU servers of a sandbox, those that are gone included (their counters are evidence)."""

    def __init__(self, behaviour: Behaviour) -> None:
        self.behaviour = behaviour
        self._running: dict[str, GpuServer] = {}
        #: Counters of every server that ever ran, by instance id.
        self.counters: dict[str, Counters] = {}

    async def start(self, instance_id: str, bundle: str, address: str) -> None:
        """The instance runs: its application comes up.

        Raises:
            OSError: address and port are taken.
        """
        server = GpuServer(instance_id, bundle, self.behaviour)
        await server.start(address)
        self._running[instance_id] = server
        self.counters[instance_id] = server.counters

    async def stop(self, instance_id: str) -> None:
        """The instance is gone; so is its server. One that never came up is none to stop."""
        server = self._running.pop(instance_id, None)
        if server is not None:
            await server.stop()

    def bytes_sent(self, instance_id: str) -> int:
        """What an instance's server has sent so far, also once it is gone; 0 for one that never ran."""
        counters = self.counters.get(instance_id)
        return 0 if counters is None else counters.bytes_sent

    def options(self, instance_id: str) -> dict[str, Any]:
        """The settings of a server that runs."""
        return dict(self._running[instance_id].options)

    async def close(self) -> None:
        """Stop them all."""
        await asyncio.gather(*(self.stop(instance_id) for instance_id in tuple(self._running)))
