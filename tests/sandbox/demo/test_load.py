"""The demo's clients over real sockets: what counts as an answer."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from aiohttp import web

from controller.sandbox import png
from controller.sandbox.demo.evidence import TaskResult
from controller.sandbox.demo.load import User

HEADERS = {
    "X-Haipool-User-Sequence": "3",
    "X-Haipool-Start-Sequence": "9",
    "X-Haipool-Wait-Seconds": "1.250000",
    "X-Haipool-Server": "demo-1",
}


class Service:
    """Stands for the dispatcher: answers as it is told, and keeps who asked for what."""

    def __init__(self) -> None:
        self.seen: list[tuple[str | None, float]] = []
        self.status = 200
        self.body: bytes | None = None
        self.url = ""

    async def handle(self, request: web.Request) -> web.Response:
        task = await request.json()
        self.seen.append((request.remote, task["seconds"]))
        body = png.draw(task["prompt"]) if self.body is None else self.body
        return web.Response(status=self.status, body=body, headers=HEADERS)


@pytest_asyncio.fixture
async def service() -> AsyncIterator[Service]:
    service = Service()
    app = web.Application()
    app.router.add_post("/{path:.*}", service.handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    service.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield service
    await runner.cleanup()


async def results(url: str, seconds: list[float]) -> list[TaskResult]:
    told: list[TaskResult] = []
    user = User("A", "127.0.1.1", url, told.append)
    user.send(seconds)
    await user.finish()
    await user.close()
    assert user.progress.sent == user.progress.answered == len(seconds)
    assert user.progress.results == told
    return told


async def test_tasks_come_from_the_users_own_address(service: Service) -> None:
    await results(service.url, [0.5, 0.6])
    assert sorted(service.seen, key=lambda one: one[1]) == [("127.0.1.1", 0.5), ("127.0.1.1", 0.6)]


async def test_order_and_wait_are_the_dispatchers_own_figures(service: Service) -> None:
    [task] = await results(service.url, [0.5])
    assert (task.label, task.start_sequence, task.wait_seconds, task.server) == ("A3", 9, 1.25, "demo-1")
    assert task.problem == ""


async def test_every_task_asks_for_a_picture_of_its_own(service: Service) -> None:
    """An answer that was meant for another task is none."""
    service.body = png.draw("A, picture 1")
    told = await results(service.url, [0.5, 0.5])
    assert sorted(task.problem for task in told) == ["", "the picture of another prompt: 'A, picture 1'"]


@pytest.mark.parametrize(
    ("status", "body", "problem"),
    [
        (503, b'{"title": "No server"}', 'HTTP 503: {"title": "No server"}'),
        (200, b"<html>", "no whole PNG: no PNG signature"),
        (200, png.draw("A, picture 1")[:-12], "no whole PNG: does not run from IHDR to IEND"),
    ],
)
async def test_what_is_no_picture_is_a_failed_task(service: Service, status: int, body: bytes, problem: str) -> None:
    service.status, service.body = status, body
    [task] = await results(service.url, [0.5])
    assert task.problem == problem


async def test_a_refused_connection_is_a_failed_task_without_a_number(service: Service) -> None:
    [task] = await results("http://127.0.0.1:1", [0.5])
    assert "ClientConnectorError" in task.problem
    assert (task.number, task.start_sequence) == (0, 0)
