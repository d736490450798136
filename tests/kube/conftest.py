"""A scripted API server: each test says how it answers, faults included."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from controller.kube.client import KubeClient, Resource
from controller.kube.connect import Connection

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


class ScriptedApi:
    """Answers requests by a script: the next answer, or the last one for ever."""

    widgets = Resource("example.com", "v1", "widgets")

    def __init__(self) -> None:
        self.script: list[Answer] = []
        self.asked: list[web.Request] = []
        self.bodies: list[bytes] = []
        self.client = KubeClient(Connection("http://127.0.0.1:1"))

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """The next answer of the script."""
        self.bodies.append(await request.read())
        self.asked.append(request)
        return await (self.script.pop(0) if len(self.script) > 1 else self.script[0])(request)

    def answers(self, *answers: Answer) -> None:
        """What the next requests get."""
        self.script[:] = answers

    @staticmethod
    def widget(name: str, version: int = 1, uid: str = "") -> dict[str, Any]:
        """An object as an API server sends it."""
        return {"metadata": {"name": name, "uid": uid or f"uid-{name}", "resourceVersion": str(version)}}

    @staticmethod
    def says(body: Any, status: int = 200) -> Answer:
        """Answer with JSON."""

        async def answer(_: web.Request) -> web.Response:
            return web.json_response(body, status=status)

        return answer

    @classmethod
    def refuses(cls, status: int, reason: str, message: str = "no") -> Answer:
        """Answer with a Status."""
        return cls.says({"kind": "Status", "code": status, "reason": reason, "message": message}, status)

    @classmethod
    def lists(cls, *items: dict[str, Any], version: int = 1, following: str | None = None) -> Answer:
        """Answer with a listing."""
        metadata = {"resourceVersion": str(version), **({"continue": following} if following else {})}
        return cls.says({"kind": "WidgetList", "metadata": metadata, "items": list(items)})

    @staticmethod
    def streams(
        *lines: tuple[str, dict[str, Any]] | bytes, then: Callable[[], Awaitable[None]] | None = None
    ) -> Answer:
        """Answer with a watch: (type, object) or raw bytes; then wait for `then`, and end in good order."""

        async def answer(request: web.Request) -> web.StreamResponse:
            response = web.StreamResponse()
            await response.prepare(request)
            for line in lines:
                raw = (
                    line
                    if isinstance(line, bytes)
                    else json.dumps({"type": line[0], "object": line[1]}).encode() + b"\n"
                )
                await response.write(raw)
            if then is not None:
                await then()
            return response

        return answer

    @staticmethod
    async def drops(request: web.Request) -> web.StreamResponse:
        """Cut the connection without an answer."""
        assert request.transport is not None
        request.transport.close()
        return web.Response()


@pytest.fixture
async def api() -> AsyncIterator[ScriptedApi]:
    scripted = ScriptedApi()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", scripted.handle)
    server = TestServer(app, host="127.0.0.1")
    await server.start_server()
    scripted.client = KubeClient(Connection(str(server.make_url("")).rstrip("/"), token="secret"))
    try:
        yield scripted
    finally:
        await scripted.client.close()
        await server.close()
