"""A small server of ComfyUI's API.

Kept to `server.py` and `execution.py` (PromptQueue, PromptExecutor) of that project:

* POST /prompt validates the workflow and answers at once: `prompt_id`, `number`, `node_errors`; an unknown node class
  or a workflow without an output node is a 400 with `error` and `node_errors`. One worker executes in the order of
  numbers.
* GET /history/{id} is `{}` until the workflow is over, then `{id: {prompt, outputs, status}}`, with `status_str` of
  `success` or `error` (also when interrupted). GET /queue lists `queue_running` and `queue_pending` as
  `[number, id, workflow, extra_data, outputs]`. POST /queue takes `delete` and `clear`, POST /history too.
* POST /interrupt stops what is executed, or only a certain workflow if it says `prompt_id`.
* WS /ws?clientId=: `status` for everybody; `execution_start`, `executing`, `progress`, `executed`, `execution_success`,
  `execution_error`, `execution_interrupted` for the client of the workflow, and previews as binary messages (event 1,
  format 2 is PNG, four bytes each, then the image).
* Files: output names are counted by each server by itself, so two servers have files of the same name. GET /view,
  POST /upload/image (multipart). Everything exists under /api too.
"""

import asyncio
import heapq
import struct
import uuid
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from tests.dispatcher.services.gpu import Gpu, png

#: Node classes, and whether they are outputs.
NODES = {"KSampler": False, "LoadImage": False, "SaveImage": True, "Broken": False}
STEPS = 3

Item = tuple[float, str, dict[str, Any], dict[str, Any], list[str]]


class StoppedError(Exception):
    """Somebody asked to stop."""


@dataclass
class ComfyUI:
    """The server; `app` serves it while its worker runs."""

    name: str = "comfy"
    gpu: Gpu = field(default_factory=Gpu)
    #: Clients in the order in which the work for them began.
    began: list[str] = field(default_factory=list)
    #: Looks at the queue and the history.
    looks: int = 0
    #: Answers these requests with 500, as when the process is too busy.
    broken: bool = False

    def __post_init__(self) -> None:
        self.queue: list[Item] = []
        self.running: Item | None = None
        self.history: dict[str, Any] = {}
        self.files: dict[tuple[str, str], bytes] = {}
        self.sockets: dict[str, web.WebSocketResponse] = {}
        self._number = self._saved = 0
        self._interrupt = False
        self._wake = asyncio.Event()

    @property
    def app(self) -> web.Application:
        app = web.Application(client_max_size=100 * 1024 * 1024)
        for prefix in ("", "/api"):
            app.router.add_post(prefix + "/prompt", self._post_prompt)
            app.router.add_get(prefix + "/prompt", self._get_prompt)
            app.router.add_get(prefix + "/history", self._get_history)
            app.router.add_get(prefix + "/history/{id}", self._get_history)
            app.router.add_post(prefix + "/history", self._post_history)
            app.router.add_get(prefix + "/queue", self._get_queue)
            app.router.add_post(prefix + "/queue", self._post_queue)
            app.router.add_post(prefix + "/interrupt", self._post_interrupt)
            app.router.add_get(prefix + "/view", self._view)
            app.router.add_post(prefix + "/upload/image", self._upload)
            app.router.add_get(prefix + "/system_stats", self._stats)
            app.router.add_get(prefix + "/ws", self._ws)
        app.cleanup_ctx.append(self._working)
        return app

    # --- execution ---------------------------------------------------------------------------------------------------

    async def _working(self, _: web.Application) -> Any:
        worker = asyncio.create_task(self._work())
        yield
        worker.cancel()
        await asyncio.gather(worker, return_exceptions=True)

    async def _work(self) -> None:
        while True:
            while not self.queue:
                self._wake.clear()
                await self._wake.wait()
            self.running = heapq.heappop(self.queue)
            await self._status()
            status, outputs = await self._execute(self.running)
            _, name, _, extra, _ = done = self.running
            # In one step, as under the mutex of the original; the client is told afterwards.
            self.history[name] = {"prompt": list(done), "outputs": outputs, "status": status}
            self.running = None
            await self._status()
            await self._send(extra.get("client_id", ""), "executing", {"node": None, "prompt_id": name})

    async def _execute(self, item: Item) -> tuple[dict[str, Any], dict[str, Any]]:
        _, name, workflow, extra, _ = item
        client, outputs = extra.get("client_id", ""), dict[str, Any]()
        self._interrupt = False
        self.began.append(client)
        messages: list[Any] = []

        async def say(event: str, **data: Any) -> None:
            messages.append([event, {"prompt_id": name, **data}])
            await self._send(client, event, {"prompt_id": name, **data})

        await say("execution_start")
        try:
            for node in workflow:
                await self._send(client, "executing", {"node": node, "prompt_id": name})
                await self._run(node, client, name, workflow, outputs)
        except StoppedError:
            await say("execution_interrupted", node_id=node)
            outcome = "error"
        except RuntimeError as error:
            await say("execution_error", node_id=node, exception_message=str(error))
            outcome = "error"
        else:
            await say("execution_success")
            outcome = "success"
        return {"status_str": outcome, "completed": outcome == "success", "messages": messages}, outputs

    async def _run(self, node: str, client: str, name: str, workflow: dict[str, Any], outputs: dict[str, Any]) -> None:
        spec = workflow[node]
        kind, inputs = spec["class_type"], spec.get("inputs", {})
        if kind == "Broken":
            raise RuntimeError("Allocation on device 0 would exceed allowed memory")
        if kind == "LoadImage" and ("input", inputs["image"]) not in self.files:
            raise RuntimeError(f"no file {inputs['image']}")
        if kind == "KSampler":
            for step in range(1, STEPS + 1):
                await self.gpu.step()
                if self._interrupt:
                    raise StoppedError
                await self._send(client, "progress", {"value": step, "max": STEPS, "node": node, "prompt_id": name})
                await self._preview(client, f"preview {step} of {inputs.get('text')}")
        if kind == "SaveImage":
            self._saved += 1
            filename = f"{inputs.get('filename_prefix', 'ComfyUI')}_{self._saved:05}_.png"
            texts = [s["inputs"].get("text", "") for s in workflow.values() if s["class_type"] == "KSampler"]
            self.files["output", filename] = png(f"{' '.join(texts)} by {self.name}")
            outputs[node] = {"images": [{"filename": filename, "subfolder": "", "type": "output"}]}
            await self._send(client, "executed", {"node": node, "output": outputs[node], "prompt_id": name})

    # --- messages ----------------------------------------------------------------------------------------------------

    async def _send(self, client: str, event: str, data: dict[str, Any]) -> None:
        if client in self.sockets:
            await self._safely(self.sockets[client].send_json({"type": event, "data": data}))

    async def _preview(self, client: str, text: str) -> None:
        if client in self.sockets:
            await self._safely(self.sockets[client].send_bytes(struct.pack(">II", 1, 2) + png(text)))

    async def _status(self) -> None:
        for client in list(self.sockets):
            await self._send(client, "status", {"status": self._info()})

    async def _safely(self, sending: Any) -> None:
        try:
            await sending
        except ConnectionError:
            return

    def _info(self) -> dict[str, Any]:
        return {"exec_info": {"queue_remaining": len(self.queue) + (self.running is not None)}}

    async def _ws(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        client = request.query.get("clientId") or uuid.uuid4().hex
        self.sockets[client] = socket
        try:
            await socket.send_json({"type": "status", "data": {"status": self._info(), "sid": client}})
            async for _ in socket:
                pass
        finally:
            if self.sockets.get(client) is socket:
                del self.sockets[client]
        return socket

    # --- requests ----------------------------------------------------------------------------------------------------

    async def _post_prompt(self, request: web.Request) -> web.Response:
        asked = await request.json()
        workflow = asked.get("prompt")
        if workflow is None:
            return web.json_response({"error": "no prompt", "node_errors": []}, status=400)
        unknown = {n: {"errors": [{"type": "unknown"}], "class_type": s["class_type"]} for n, s in workflow.items()
                   if s["class_type"] not in NODES}  # fmt: skip
        outputs = [n for n, s in workflow.items() if NODES.get(s["class_type"])]
        if unknown or not outputs:
            kind = "invalid_prompt" if unknown else "prompt_no_outputs"
            error = {"type": kind, "message": "Prompt is not valid", "details": "", "extra_info": {}}
            return web.json_response({"error": error, "node_errors": unknown}, status=400)
        number = float(-self._number if asked.get("front") else self._number)
        self._number += 1
        name = asked.get("prompt_id") or str(uuid.uuid4())
        extra = asked.get("extra_data", {}) | ({"client_id": asked["client_id"]} if "client_id" in asked else {})
        heapq.heappush(self.queue, (number, name, workflow, extra, outputs))
        self._wake.set()
        await self._status()
        return web.json_response({"prompt_id": name, "number": number, "node_errors": {}})

    async def _get_prompt(self, _: web.Request) -> web.Response:
        return web.json_response(self._info())

    async def _get_history(self, request: web.Request) -> web.Response:
        self.looks += 1
        if self.broken:
            return web.Response(status=500)
        name = request.match_info.get("id")
        found = self.history if name is None else {k: v for k, v in self.history.items() if k == name}
        return web.json_response(found)

    async def _post_history(self, request: web.Request) -> web.Response:
        asked = await request.json()
        if asked.get("clear"):
            self.history.clear()
        for name in asked.get("delete", ()):
            self.history.pop(name, None)
        return web.Response()

    async def _get_queue(self, _: web.Request) -> web.Response:
        self.looks += 1
        running = [list(self.running)] if self.running else []
        return web.json_response({"queue_running": running, "queue_pending": [list(item) for item in self.queue]})

    async def _post_queue(self, request: web.Request) -> web.Response:
        asked = await request.json()
        gone = {item[1] for item in self.queue} if asked.get("clear") else set(asked.get("delete", ()))
        self.queue = [item for item in self.queue if item[1] not in gone]
        heapq.heapify(self.queue)
        return web.Response()

    async def _post_interrupt(self, request: web.Request) -> web.Response:
        only = (await request.json()).get("prompt_id") if request.can_read_body else None
        if self.running and only in (None, self.running[1]):
            self._interrupt = True
        return web.Response()

    async def _view(self, request: web.Request) -> web.Response:
        found = self.files.get((request.query.get("type", "output"), request.query["filename"]))
        return web.Response(status=404) if found is None else web.Response(body=found, content_type="image/png")

    async def _upload(self, request: web.Request) -> web.Response:
        image = (await request.post())["image"]
        assert isinstance(image, web.FileField)
        self.files["input", image.filename] = image.file.read()
        return web.json_response({"name": image.filename, "subfolder": "", "type": "input"})

    async def _stats(self, _: web.Request) -> web.Response:
        return web.json_response({"system": {"comfyui_version": "0.3.0"}, "devices": [{"name": self.name}]})
