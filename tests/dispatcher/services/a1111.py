"""A small server of the API of AUTOMATIC1111's Stable Diffusion WebUI.

Kept to `modules/api/api.py` and `modules/progress.py` of that project, and to Gradio 3.41 for the page:

* txt2img and img2img answer when the image is made, with `images` (base64 PNG), `parameters` (the request, with its
  defaults) and `info` (JSON in a string). One lock: other requests wait in the server. The handlers are synchronous
  functions in a thread pool, so a client that goes away stops nothing.
* progress, interrupt and skip are about the one job of the server, whoever asked for it. Interrupting answers `{}` and
  skipping `null`, also when nothing runs; an interrupted job answers with 200 and the image as far as it is.
* GET options shows whole numbers as floats (its model maps `int` to `float`). POST options takes any of the settings,
  one after the other, saves them and answers `null`. It keeps what it had, and answers `null` all the same, for a
  setting that the API may not change; an unknown checkpoint, an unknown setting and a frozen one are errors of status
  500.
* Images are encoded after the lock is released and after `override_settings` were put back: by the server's own
  `samples_format` (png, jpg, jpeg, webp; others are an error of status 500) and `jpeg_quality`, which WebP uses too.
  Their parameters stand in a tEXt chunk of a PNG, and in Exif's UserComment of the others. Pillow takes no quality for
  JPEG that is not an int.
* The page: `POST /run/predict` for what Gradio does not queue, a WebSocket `/queue/join` for what it queues
  (send_hash, send_data, process_starts, process_completed), `POST /internal/progress` for its progress bar, assets
  under `/file=`.
"""

import asyncio
import base64
import json
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from tests.dispatcher.services.gpu import Gpu, jpeg, png, webp

MODELS = ("v1-5-pruned-emaonly.safetensors [6ce0161689]", "sd_xl_base_1.0.safetensors [31e35c80fc]")
SETTINGS: dict[str, Any] = {"samples_format": "png", "jpeg_quality": 80, "webp_lossless": False,
                            "img_downscale_threshold": 4.0, "sd_model_checkpoint": MODELS[0]}  # fmt: skip
DEFAULTS: dict[str, Any] = {"prompt": "", "negative_prompt": "", "steps": 4, "width": 512, "height": 512,
                            "batch_size": 1, "seed": -1, "override_settings": {}}  # fmt: skip


@dataclass
class Job:
    """What the server works on."""

    prompt: str
    steps: int
    step: int = 0
    interrupted: bool = False


@dataclass
class A1111:
    """The server; `app` serves it."""

    name: str = "webui"
    gpu: Gpu = field(default_factory=Gpu)
    options: dict[str, Any] = field(default_factory=SETTINGS.copy)
    #: Settings that cannot be changed: by --freeze-specific-settings, and silently.
    frozen: set[str] = field(default_factory=set)
    hidden: set[str] = field(default_factory=set)
    job: Job | None = None
    #: Prompts in the order in which work on them began.
    began: list[str] = field(default_factory=list)
    #: Paths of all requests.
    seen: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._lock = asyncio.Lock()

    @property
    def app(self) -> web.Application:
        app = web.Application(client_max_size=0, middlewares=[self._note])
        app.router.add_post("/sdapi/v1/txt2img", self._image)
        app.router.add_post("/sdapi/v1/img2img", self._image)
        app.router.add_post("/sdapi/v1/interrupt", self._interrupt)
        app.router.add_post("/sdapi/v1/skip", self._skip)
        app.router.add_get("/sdapi/v1/progress", self._progress)
        app.router.add_get("/sdapi/v1/options", self._get_options)
        app.router.add_post("/sdapi/v1/options", self._set_options)
        app.router.add_get("/sdapi/v1/sd-models", self._models)
        app.router.add_post("/sdapi/v1/png-info", self._png_info)
        app.router.add_post("/internal/progress", self._page_progress)
        app.router.add_post("/run/predict", self._predict)
        app.router.add_get("/queue/join", self._join)
        app.router.add_get("/file={path:.*}", self._asset)
        app.router.add_get("/", self._asset)
        return app

    @web.middleware
    async def _note(self, request: web.Request, handler: Any) -> web.StreamResponse:
        self.seen.append(f"{request.method} {request.path}")
        response: web.StreamResponse = await handler(request)
        return response

    async def _image(self, request: web.Request) -> web.Response:
        wanted = DEFAULTS | await request.json()
        if request.path.endswith("img2img") and not wanted.get("init_images"):
            return _error(404, "HTTPException", "Init image not found")
        try:
            return web.json_response(await self._generate(wanted))
        except ValueError as error:
            return _error(500, type(error).__name__, str(error))

    async def _generate(self, wanted: dict[str, Any]) -> dict[str, Any]:
        async with self._lock:
            self.job = job = Job(wanted["prompt"], wanted["steps"])
            stored = {name: self.options[name] for name in wanted["override_settings"]}
            self.options |= wanted["override_settings"]
            self.began.append(job.prompt)
            while job.step < job.steps and not job.interrupted:
                await self.gpu.step()
                job.step += 1
            self.options |= stored
            self.job = None
        text = f"{job.prompt}\nSteps: {job.step}, Seed: {wanted['seed']}, Server: {self.name}"
        images = [self._encode(text) for _ in range(wanted["batch_size"])]
        info = json.dumps({"prompt": job.prompt, "seed": wanted["seed"], "infotexts": [text]})
        return {"images": images, "parameters": wanted, "info": info}

    def _encode(self, text: str) -> str:
        match str(self.options["samples_format"]).lower():
            case "png":
                image = png(text)
            case "jpg" | "jpeg":
                if not isinstance(self.options["jpeg_quality"], int):
                    raise ValueError("Invalid quality setting")  # noqa: TRY004 - as Pillow does
                image = jpeg(text)
            case "webp":
                image = webp(text)
            case _:
                raise ValueError("Invalid image format")
        return base64.b64encode(image).decode()

    async def _progress(self, _: web.Request) -> web.Response:
        job = self.job
        done = job.step / job.steps if job else 0.0
        state = {"skipped": False, "interrupted": bool(job and job.interrupted), "job": job.prompt if job else "",
                 "job_count": 1 if job else 0, "sampling_step": job.step if job else 0}  # fmt: skip
        image = self._encode(f"preview of {job.prompt}") if job else None
        return web.json_response(
            {"progress": done, "eta_relative": 0.0, "state": state, "current_image": image, "textinfo": None}
        )

    async def _interrupt(self, _: web.Request) -> web.Response:
        if self.job:
            self.job.interrupted = True
        return web.json_response({})

    async def _skip(self, _: web.Request) -> web.Response:
        if self.job:
            self.job.interrupted = True
        return web.json_response(None)

    async def _get_options(self, _: web.Request) -> web.Response:
        def shown(value: Any) -> Any:
            return float(value) if isinstance(value, int) and not isinstance(value, bool) else value

        return web.json_response({name: shown(value) for name, value in self.options.items()})

    async def _set_options(self, request: web.Request) -> web.Response:
        changes = await request.json()
        if changes.get("sd_model_checkpoint", MODELS[0]) not in MODELS:
            return _error(500, "RuntimeError", f"model {changes['sd_model_checkpoint']!r} not found")
        for name, value in changes.items():
            if name not in self.options:
                return _error(500, "KeyError", repr(name))
            if name in self.frozen:
                return _error(500, "AssertionError", f"not possible to set {name!r} because this setting is frozen")
            if name not in self.hidden:
                self.options[name] = value
        return web.json_response(None)

    async def _models(self, _: web.Request) -> web.Response:
        return web.json_response([{"title": title, "model_name": title.partition(".")[0]} for title in MODELS])

    async def _png_info(self, request: web.Request) -> web.Response:
        image = base64.b64decode((await request.json())["image"])
        text = image.partition(b"parameters\0")[2].partition(b"\n")[0].decode()
        return web.json_response({"info": text, "items": {}, "parameters": {"Prompt": text}})

    async def _page_progress(self, request: web.Request) -> web.Response:
        task = (await request.json())["id_task"]
        return web.json_response({"active": self.job is not None, "queued": False, "completed": False, "progress": None,
                                  "textinfo": f"progress of {task}"})  # fmt: skip

    async def _predict(self, request: web.Request) -> web.Response:
        asked = await request.json()
        return web.json_response({"data": asked["data"], "is_generating": False, "duration": 0.01})

    async def _join(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_json({"msg": "send_hash"})
        await socket.receive_json()
        await socket.send_json({"msg": "estimation", "rank": 0, "queue_size": 1})
        await socket.send_json({"msg": "send_data"})
        asked = await socket.receive_json()
        await socket.send_json({"msg": "process_starts"})
        made = await self._generate(DEFAULTS | {"prompt": asked["data"][0]})
        output = {"data": made["images"], "is_generating": False}
        await socket.send_json({"msg": "process_completed", "output": output, "success": True})
        await socket.close()
        return socket

    async def _asset(self, request: web.Request) -> web.Response:
        return web.Response(text=f"{self.name}: {request.path}", content_type="text/html")


def _error(status: int, kind: str, detail: str) -> web.Response:
    """An error as the server's middleware words it."""
    return web.json_response({"error": kind, "detail": detail, "body": "", "errors": detail}, status=status)
