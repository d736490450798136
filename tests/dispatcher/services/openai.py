"""A small server of the OpenAI API as vLLM speaks it.

Kept to `vllm/entrypoints/openai`:

* POST /v1/chat/completions and /v1/completions: one JSON object, or with `stream: true` server-sent events
  `data: {...}` with one delta each (the first has the role, the last a `finish_reason`), a usage chunk with empty
  `choices` if `stream_options.include_usage` is set, then `data: [DONE]`.
* Several generations run at a time (continuous batching). A client that goes away aborts its generation, streamed or
  not.
* POST /v1/embeddings, /tokenize; GET /v1/models, /health (an empty 200), /metrics (Prometheus text).
* Errors are JSON with `error.message`, `error.type` and `error.code`: 400 for a bad request, 404 for an unknown model,
  401 without the key where one is set.
"""

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from tests.dispatcher.services.gpu import Gpu

MODEL = "Qwen/Qwen2.5-7B-Instruct"


@dataclass
class OpenAI:
    """The server; `app` serves it."""

    name: str = "vllm"
    gpu: Gpu = field(default_factory=Gpu)
    key: str | None = None
    running: int = 0
    #: The most that ran at a time.
    peak: int = 0
    aborted: asyncio.Queue[str] = field(default_factory=asyncio.Queue)
    #: Prompts in the order in which work on them began.
    began: list[str] = field(default_factory=list)

    @property
    def app(self) -> web.Application:
        app = web.Application(client_max_size=0)
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_post("/v1/completions", self._completions)
        app.router.add_post("/v1/embeddings", self._embeddings)
        app.router.add_post("/tokenize", self._tokenize)
        app.router.add_get("/v1/models", self._models)
        app.router.add_get("/health", self._health)
        app.router.add_get("/metrics", self._metrics)
        return app

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        asked = await request.json()
        return self._refused(request, asked) or await self._answer(
            request, asked, str(asked["messages"][-1]["content"])
        )

    async def _completions(self, request: web.Request) -> web.StreamResponse:
        asked = await request.json()
        return self._refused(request, asked) or await self._answer(request, asked, str(asked["prompt"]))

    def _refused(self, request: web.Request, asked: dict[str, Any]) -> web.Response | None:
        if self.key and request.headers.get("Authorization") != f"Bearer {self.key}":
            return web.json_response({"error": "Unauthorized"}, status=401)
        if asked.get("model") != MODEL:
            return _error(404, "NotFoundError", f"The model `{asked.get('model')}` does not exist.")
        if "messages" not in asked and "prompt" not in asked and "input" not in asked:
            return _error(400, "BadRequestError", "Field required")
        return None

    async def _answer(self, request: web.Request, asked: dict[str, Any], prompt: str) -> web.StreamResponse:
        self.running += 1
        self.peak = max(self.peak, self.running)
        self.began.append(prompt)
        try:
            if asked.get("stream"):
                return await self._stream(request, asked, prompt)
            return await self._whole(request, asked, prompt)
        except (asyncio.CancelledError, ConnectionError):
            self.aborted.put_nowait(prompt)
            raise
        finally:
            self.running -= 1

    def _tokens(self, asked: dict[str, Any], prompt: str) -> list[str]:
        words = [f"{word} " for word in f"You said: {prompt}".split()]
        return words[: asked.get("max_tokens") or len(words)]

    async def _whole(self, request: web.Request, asked: dict[str, Any], prompt: str) -> web.Response:
        text = ""
        for token in self._tokens(asked, prompt):
            await self.gpu.step()
            text += token
        message = {"role": "assistant", "content": text}
        choice: dict[str, Any] = {"index": 0, "finish_reason": "stop"}
        choice |= {"message": message} if request.path.endswith("chat/completions") else {"text": text}
        return web.json_response(self._object(request) | {"choices": [choice], "usage": _usage(prompt, text)})

    async def _stream(self, request: web.Request, asked: dict[str, Any], prompt: str) -> web.StreamResponse:
        chat, text = request.path.endswith("chat/completions"), ""
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
        await response.prepare(request)
        if chat:
            await self._event(request, response, [{"index": 0, "delta": {"role": "assistant", "content": ""}}])
        for token in self._tokens(asked, prompt):
            await self.gpu.step()
            text += token
            part = {"delta": {"content": token}} if chat else {"text": token}
            await self._event(request, response, [{"index": 0, "finish_reason": None, **part}])
        await self._event(request, response, [{"index": 0, "delta": {}, "finish_reason": "stop"}])
        if asked.get("stream_options", {}).get("include_usage"):
            await self._event(request, response, [], usage=_usage(prompt, text))
        await response.write(b"data: [DONE]\n\n")
        await response.write_eof()
        return response

    async def _event(self, request: web.Request, response: web.StreamResponse, choices: list[Any], **more: Any) -> None:
        chunk = self._object(request, chunk=True) | {"choices": choices, **more}
        await response.write(f"data: {json.dumps(chunk)}\n\n".encode())

    def _object(self, request: web.Request, *, chunk: bool = False) -> dict[str, Any]:
        kind = "chat.completion" if request.path.endswith("chat/completions") else "text_completion"
        return {"id": "cmpl-1", "object": kind + (".chunk" if chunk else ""), "created": 1, "model": MODEL,
                "system_fingerprint": self.name}  # fmt: skip

    async def _embeddings(self, request: web.Request) -> web.Response:
        asked = await request.json()
        if (refused := self._refused(request, asked)) is not None:
            return refused
        inputs = asked["input"] if isinstance(asked["input"], list) else [asked["input"]]
        data = [{"object": "embedding", "index": n, "embedding": [float(len(t)), 0.5]} for n, t in enumerate(inputs)]
        return web.json_response({"object": "list", "model": MODEL, "data": data, "usage": {"total_tokens": 1}})

    async def _tokenize(self, request: web.Request) -> web.Response:
        words = (await request.json())["prompt"].split()
        return web.json_response({"count": len(words), "max_model_len": 32768, "tokens": list(range(len(words)))})

    async def _models(self, _: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [{"id": MODEL, "object": "model", "owned_by": "vllm"}]})

    async def _health(self, _: web.Request) -> web.Response:
        return web.Response()

    async def _metrics(self, _: web.Request) -> web.Response:
        return web.Response(text=f"vllm:num_requests_running {self.running}\n")


def _usage(prompt: str, text: str) -> dict[str, int]:
    asked, made = len(prompt.split()), len(text.split())
    return {"prompt_tokens": asked, "completion_tokens": made, "total_tokens": asked + made}


def _error(status: int, kind: str, message: str) -> web.Response:
    return web.json_response(
        {"error": {"message": message, "type": kind, "param": None, "code": status}}, status=status
    )
