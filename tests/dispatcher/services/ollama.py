"""A small server of Ollama's API.

Kept to `docs/api.md` and `server/routes.go` of that project:

* POST /api/generate and /api/chat stream by default: one JSON object a line (`application/x-ndjson`), `done: false`
  until the last, which has `done_reason` and durations in nanoseconds. `stream: false` gives one object. Without a
  prompt, /api/generate loads the model and answers `done_reason: load`.
* As many generations at a time as OLLAMA_NUM_PARALLEL says; a client that goes away ends its own.
* POST /api/embed; POST /api/show (what is known of a model; no work for the GPU); POST /api/pull streams its progress
  and may take minutes. GET /api/tags, /api/ps, /api/version; GET / says `Ollama is running`. DELETE /api/delete.
* An unknown model is a 404 with `error`.
"""

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from tests.dispatcher.services.gpu import Gpu


@dataclass
class Ollama:
    """The server; `app` serves it."""

    name: str = "ollama"
    gpu: Gpu = field(default_factory=Gpu)
    parallel: int = 1
    models: set[str] = field(default_factory=lambda: {"llama3.2:latest"})
    loaded: set[str] = field(default_factory=set)
    aborted: asyncio.Queue[str] = field(default_factory=asyncio.Queue)
    #: Prompts in the order in which work on them began.
    began: list[str] = field(default_factory=list)
    #: Whether a pull may end.
    pulled: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self._runners = asyncio.Semaphore(self.parallel)

    @property
    def app(self) -> web.Application:
        app = web.Application(client_max_size=0)
        app.router.add_post("/api/generate", self._generate)
        app.router.add_post("/api/chat", self._chat)
        app.router.add_post("/api/embed", self._embed)
        app.router.add_post("/api/show", self._show)
        app.router.add_post("/api/pull", self._pull)
        app.router.add_delete("/api/delete", self._delete)
        app.router.add_get("/api/tags", self._tags)
        app.router.add_get("/api/ps", self._ps)
        app.router.add_get("/api/version", self._version)
        app.router.add_get("/", self._root)
        return app

    async def _generate(self, request: web.Request) -> web.StreamResponse:
        asked = await request.json()
        return await self._answer(request, asked, asked.get("prompt", ""), lambda text: {"response": text})

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        asked = await request.json()
        prompt = asked["messages"][-1]["content"] if asked.get("messages") else ""
        return await self._answer(
            request, asked, prompt, lambda text: {"message": {"role": "assistant", "content": text}}
        )

    async def _answer(self, request: web.Request, asked: dict[str, Any], prompt: str, part: Any) -> web.StreamResponse:
        model = _full(asked.get("model", ""))
        if model not in self.models:
            return web.json_response({"error": f"model '{asked.get('model')}' not found"}, status=404)
        base = {"model": asked["model"], "created_at": "2026-01-01T00:00:00Z"}
        self.loaded.add(model)
        if not prompt:
            return web.json_response(base | part("") | {"done": True, "done_reason": "load"})
        try:
            async with self._runners:
                self.began.append(prompt)
                if asked.get("stream", True):
                    return await self._stream(request, base, prompt, part)
                text = "".join([token async for token in self._tokens(prompt)])
                return web.json_response(base | part(text) | _done(text))
        except (asyncio.CancelledError, ConnectionError):
            self.aborted.put_nowait(prompt)
            raise

    async def _stream(self, request: web.Request, base: dict[str, Any], prompt: str, part: Any) -> web.StreamResponse:
        response, text = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"}), ""
        await response.prepare(request)
        async for token in self._tokens(prompt):
            text += token
            await response.write(json.dumps(base | part(token) | {"done": False}).encode() + b"\n")
        await response.write(json.dumps(base | part("") | _done(text)).encode() + b"\n")
        await response.write_eof()
        return response

    async def _tokens(self, prompt: str) -> Any:
        for word in f"You said: {prompt}".split():
            await self.gpu.step()
            yield f"{word} "

    async def _embed(self, request: web.Request) -> web.Response:
        asked = await request.json()
        inputs = asked["input"] if isinstance(asked["input"], list) else [asked["input"]]
        return web.json_response({"model": asked["model"], "embeddings": [[float(len(text))] for text in inputs]})

    async def _show(self, request: web.Request) -> web.Response:
        asked = await request.json()
        model = _full(asked.get("model", ""))
        if model not in self.models:
            return web.json_response({"error": f"model '{model}' not found"}, status=404)
        return web.json_response({"details": {"family": "llama"}, "capabilities": ["completion"], "server": self.name})

    async def _pull(self, request: web.Request) -> web.StreamResponse:
        model = _full((await request.json())["model"])
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        await response.prepare(request)
        await response.write(b'{"status":"pulling manifest"}\n')
        await self.pulled.wait()
        self.models.add(model)
        await response.write(b'{"status":"success"}\n')
        await response.write_eof()
        return response

    async def _delete(self, request: web.Request) -> web.Response:
        self.models.discard(_full((await request.json())["model"]))
        return web.Response()

    async def _tags(self, _: web.Request) -> web.Response:
        return web.json_response({"models": [{"name": name, "model": name} for name in sorted(self.models)]})

    async def _ps(self, _: web.Request) -> web.Response:
        return web.json_response({"models": [{"name": name} for name in sorted(self.loaded)]})

    async def _version(self, _: web.Request) -> web.Response:
        return web.json_response({"version": "0.12.0"})

    async def _root(self, _: web.Request) -> web.Response:
        return web.Response(text="Ollama is running")


def _full(model: str) -> str:
    return model if ":" in model or not model else f"{model}:latest"


def _done(text: str) -> dict[str, Any]:
    return {"done": True, "done_reason": "stop", "total_duration": 10_000_000, "eval_count": len(text.split())}
