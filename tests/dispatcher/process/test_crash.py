"""`kill -9` in the middle of the work, again and again: no acknowledged task is lost, and none ends twice."""

import asyncio
import contextlib
import json
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

pytestmark = [pytest.mark.processes, pytest.mark.crash]

ROUNDS = 5
CLIENTS = 12
SPEC = {
    "queue": {
        "maxTasksPerUser": 100000,
        "routes": [
            {"name": "once", "methods": ["POST"], "pathPrefix": "/once", "idempotent": False},
            {"name": "again", "methods": ["POST"], "pathPrefix": "/again"},
        ],
    }
}


class Load:
    """Clients that hand tasks in as fast as they can, and a server that does them in no time or a little more."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        #: What was acknowledged: where it is -> its body.
        self.acknowledged: dict[str, str] = {}
        #: How often the server got each body.
        self.got: Counter[str] = Counter()
        self._made = 0

    async def serve(self, request: web.Request) -> web.Response:
        body = await request.text()
        self.got[body] += 1
        await asyncio.sleep(self.random.choice([0, 0.001, 0.01]))
        return web.Response(text="done " + body)

    async def client(self, url: str) -> None:
        """Hand in until the dispatcher is gone."""
        async with aiohttp.ClientSession(url) as http:
            with contextlib.suppress(aiohttp.ClientError, ConnectionError):
                while True:
                    self._made += 1
                    path = self.random.choice(["/once", "/again"])
                    size = self.random.choice([0, 0, 0, 300_000])
                    body = f"{path} {self._made} {'x' * size}"
                    headers = {"Prefer": "respond-async", "Idempotency-Key": f"k{self._made}"}
                    async with http.post(path, data=body, headers=headers) as answer:
                        assert answer.status == 202, await answer.text()
                        self.acknowledged[answer.headers["Location"]] = body


async def look(http: aiohttp.ClientSession, url: str, where: str) -> dict[str, Any]:
    async with http.get(url + where) as answer:
        assert answer.status == 200, f"{where} is lost: {await answer.text()}"
        document: dict[str, Any] = json.loads(await answer.read())
        return document


async def test_no_acknowledged_task_is_lost_and_each_ends_once(
    launch: Callable[..., Awaitable[Any]], file: Any, tmp_path: Path
) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")  # shown where the test fails
    load = Load(seed)
    app = web.Application(client_max_size=2**20)
    app.router.add_post("/{path:.*}", load.serve)
    server = TestServer(app, host="127.0.0.1")
    await server.start_server()
    slots = [SimpleNamespace(url=f"http://127.0.0.1:{server.port}")] * 4
    arguments = ("--servers-file", file(*slots, **SPEC), "--data", str(tmp_path / "data"))
    ended: dict[str, dict[str, Any]] = {}
    for _ in range(ROUNDS):
        dispatcher = await launch(*arguments)
        await dispatcher.listening()
        clients = [asyncio.create_task(load.client(dispatcher.ports["data"])) for _ in range(CLIENTS)]
        enough = len(load.acknowledged) + load.random.randrange(20, 150)

        async def are_enough(enough: int = enough) -> bool:
            return len(load.acknowledged) >= enough

        await dispatcher.until(are_enough)
        for where in load.random.sample(list(load.acknowledged), 20):
            task = await look(dispatcher.http, dispatcher.ports["data"], where)
            if task["completed"]:
                ended[where] = task
        dispatcher.process.kill()
        await dispatcher.ends()
        await asyncio.gather(*clients)

    dispatcher = await launch(*arguments)
    await dispatcher.listening()
    states: Counter[str] = Counter()
    for where, body in load.acknowledged.items():

        async def over(where: str = where) -> bool:
            return bool((await look(dispatcher.http, dispatcher.ports["data"], where))["completed"])

        await dispatcher.until(over)
        task = await look(dispatcher.http, dispatcher.ports["data"], where)
        assert ended.get(where, task) == task, "it ended twice"
        states[task["state"]] += 1
        async with dispatcher.http.get(dispatcher.ports["data"] + where + "/result") as answer:
            if task["state"] == "succeeded":
                assert (answer.status, await answer.text()) == (200, "done " + body)
            else:
                assert (answer.status, task["failure"]["title"]) == (502, "Task interrupted")
                assert task["route"] == "once"
    assert len(load.acknowledged) >= 20 * ROUNDS
    assert states["succeeded"] > 0
    twice = {body[:20]: times for body, times in load.got.items() if body.startswith("/once") and times > 1}
    assert twice == {}, "a task that may not run twice did"
    assert set(load.acknowledged.values()) - set(load.got) <= {
        body for body in load.acknowledged.values() if "/once" in body
    }
    assert (await dispatcher.queue())["waiting"] == 0
    await server.close()
