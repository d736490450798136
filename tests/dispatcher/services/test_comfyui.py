"""ComfyUI behind the dispatcher, with `routeSet: ComfyUI`: as the project's own example scripts use it."""

import asyncio
import json
import uuid
from typing import Any

import aiohttp
import pytest
from msgspec.structs import replace

from controller.api.model import write
from controller.dispatcher.routesets import COMFYUI
from tests.dispatcher.services.comfyui import STEPS, ComfyUI


@pytest.fixture
def pool(bench: Any) -> None:
    serve_by(bench)


def serve_by(bench: Any) -> None:
    """The set, only that it looks more often."""
    polls = [replace(route, poll=replace(route.poll, interval_seconds=0.05)) for route in COMFYUI if route.poll]
    bench.spec(queue={"routeSet": "ComfyUI", "routes": [write(route) for route in polls]})


def workflow(text: str, **changes: Any) -> dict[str, Any]:
    """A workflow in API format."""
    nodes: dict[str, Any] = {
        "3": {"class_type": "KSampler", "inputs": {"text": text, "seed": 1}},
        "9": {"class_type": "SaveImage", "inputs": {"images": ["3", 0], "filename_prefix": "ComfyUI"}},
    }
    return nodes | changes


class Client:
    """script_examples/websockets_api_example.py: a WebSocket, a prompt, its history, its images."""

    def __init__(self, bench: Any, of: str, prefix: str = "") -> None:
        self.name = str(uuid.uuid4())
        self.prefix = prefix
        self.events: list[dict[str, Any]] = []
        self.previews: list[bytes] = []
        self._http: aiohttp.ClientSession = bench.client(of)

    async def queue(self, prompt: dict[str, Any], **fields: Any) -> dict[str, Any]:
        body = {"prompt": prompt, "client_id": self.name, **fields}
        async with self._http.post(f"{self.prefix}/prompt", json=body) as answer:
            said: dict[str, Any] = await answer.json()
            return {"status": answer.status, "headers": answer.headers, **said}

    async def get(self, path: str) -> Any:
        async with self._http.get(self.prefix + path) as answer:
            assert answer.status == 200, path
            return await (answer.json() if answer.content_type == "application/json" else answer.read())

    async def post(self, path: str, body: Any) -> int:
        async with self._http.post(self.prefix + path, json=body) as answer:
            return answer.status

    async def images(self, text: str) -> list[bytes]:
        """Queue a workflow, wait for its end on the WebSocket, fetch its images."""
        async with self._http.ws_connect(f"{self.prefix}/ws?clientId={self.name}") as socket:
            name = (await self.queue(workflow(text)))["prompt_id"]
            async for message in socket:
                if message.type is aiohttp.WSMsgType.BINARY:
                    self.previews.append(message.data)
                    continue
                self.events.append(message.json())
                data = self.events[-1]["data"]
                if self.events[-1]["type"] == "executing" and data["node"] is None and data["prompt_id"] == name:
                    break
        history = await self.get(f"/history/{name}")
        outputs = history[name]["outputs"].values()
        return [await self.image(**image) for output in outputs for image in output["images"]]

    async def image(self, filename: str, subfolder: str, type: str) -> bytes:  # noqa: A002 - the API's names
        data: bytes = await self.get(f"/view?filename={filename}&subfolder={subfolder}&type={type}")
        return data


def text_of(image: bytes) -> str:
    assert image.startswith(b"\x89PNG")
    return image.partition(b"parameters\0")[2].partition(b" by ")[0].decode()


@pytest.mark.usefixtures("pool")
@pytest.mark.parametrize("prefix", ["", "/api"])
async def test_the_example_script_finds_its_image(bench: Any, serve: Any, prefix: str) -> None:
    await serve(ComfyUI())
    client = Client(bench, "127.0.0.2", prefix)
    (image,) = await client.images("a cat")
    assert text_of(image) == "a cat"
    kinds = [event["type"] for event in client.events if event["type"] != "status"]
    assert kinds == [
        "execution_start", "executing", *["progress"] * STEPS, "executing", "executed",
        "execution_success", "executing",
    ]  # fmt: skip
    assert len(client.previews) == STEPS
    assert client.previews[0][:8] == b"\0\0\0\1\0\0\0\2"
    await bench.until(lambda: bench.in_flight() == 0)


@pytest.mark.usefixtures("pool")
async def test_a_workflow_that_is_none_is_refused_and_takes_no_slot(bench: Any, serve: Any) -> None:
    await serve(ComfyUI())
    client = Client(bench, "127.0.0.2")
    said = await client.queue(workflow("x", **{"3": {"class_type": "Unknown", "inputs": {}}}))
    assert said["status"] == 400
    assert said["error"]["type"] == "invalid_prompt"
    assert set(said["node_errors"]) == {"3"}
    await bench.until(lambda: bench.in_flight() == 0)


@pytest.mark.usefixtures("pool")
async def test_the_server_never_has_more_than_its_slot_and_users_take_turns(bench: Any, serve: Any) -> None:
    comfy = ComfyUI()
    comfy.gpu.hold()
    await serve(comfy)
    users = {"A": Client(bench, "127.0.0.2"), "B": Client(bench, "127.0.0.3")}
    names = {client.name: user for user, client in users.items()}
    jobs = []
    for number, user in enumerate("AAAABB"):
        jobs.append(asyncio.create_task(users[user].queue(workflow(user))))
        await bench.until(lambda known=number: bench.scheduler.figures.started + bench.scheduler.waiting == known + 1)
    await jobs[0]
    assert len(comfy.queue) + (comfy.running is not None) == 1
    assert bench.scheduler.waiting == 5
    comfy.gpu.release()
    await asyncio.gather(*jobs)
    await bench.until(bench.scheduler.idle.is_set)
    assert [names[client] for client in comfy.began] == list("ABABAA")


@pytest.mark.usefixtures("pool")
async def test_uploads_and_the_page_never_wait_behind_workflows(bench: Any, serve: Any) -> None:
    comfy = ComfyUI()
    comfy.gpu.hold()
    await serve(comfy)
    client = Client(bench, "127.0.0.2")
    await client.queue(workflow("x"))
    form = aiohttp.FormData()
    form.add_field("image", b"pixels", filename="in.png", content_type="image/png")
    answer = await bench.send(form, path="/upload/image", of="127.0.0.2")
    assert json.loads(answer.body)["name"] == "in.png"
    assert await client.image("in.png", "", "input") == b"pixels"
    assert len((await client.get("/queue"))["queue_running"]) == 1
    assert (await client.get("/system_stats"))["devices"]
    assert await client.post("/history", {"delete": ["none"]}) == 200
    comfy.gpu.release()
    await bench.until(bench.scheduler.idle.is_set)


@pytest.mark.usefixtures("pool")
@pytest.mark.parametrize("prefix", ["", "/api"])
async def test_only_whose_workflow_runs_can_interrupt_it(bench: Any, serve: Any, prefix: str) -> None:
    comfy = ComfyUI()
    comfy.gpu.hold()
    await serve(comfy)
    mine, other = Client(bench, "127.0.0.2", prefix), Client(bench, "127.0.0.3", prefix)
    name = (await mine.queue(workflow("x")))["prompt_id"]
    await bench.until(lambda: comfy.running is not None)
    assert await other.post("/interrupt", {}) == 409
    assert await mine.post("/interrupt", {}) == 200
    comfy.gpu.release()
    await bench.until(lambda: bench.in_flight() == 0)
    assert (await mine.get(f"/history/{name}"))[name]["status"]["status_str"] == "error"
    assert comfy.gpu.steps == 1
    assert counted(bench, "failed") == 1


def counted(bench: Any, status: str) -> float:
    value = bench.state.metrics.registry.get_sample_value("haipool_tasks_total", {"status": status})
    assert value is not None
    return float(value)


@pytest.mark.usefixtures("pool")
async def test_a_workflow_that_fails_frees_the_slot_and_counts_as_failed(bench: Any, serve: Any) -> None:
    await serve(ComfyUI())
    client = Client(bench, "127.0.0.2")
    await client.queue(workflow("x", **{"5": {"class_type": "Broken", "inputs": {}}}))
    await bench.until(bench.scheduler.idle.is_set)
    assert counted(bench, "failed") == 1


@pytest.mark.usefixtures("pool")
async def test_a_workflow_that_somebody_took_out_of_the_queue_frees_the_slot(bench: Any, serve: Any) -> None:
    """Two slots, so that one workflow waits in the server's own queue."""
    comfy = ComfyUI()
    comfy.gpu.hold()
    await serve(comfy, slots=2)
    client = Client(bench, "127.0.0.2")
    await client.queue(workflow("runs"))
    await bench.until(lambda: comfy.running is not None)
    waits = (await client.queue(workflow("waits")))["prompt_id"]
    assert bench.in_flight() == 2
    assert await client.post("/queue", {"delete": [waits]}) == 200
    await bench.until(lambda: bench.in_flight() == 1)
    comfy.gpu.release()
    await bench.until(bench.scheduler.idle.is_set)
    assert (counted(bench, "cancelled"), counted(bench, "success")) == (1, 1)


@pytest.mark.usefixtures("pool")
async def test_a_server_too_busy_to_be_asked_keeps_its_workflow(bench: Any, serve: Any) -> None:
    comfy = ComfyUI()
    await serve(comfy)
    comfy.broken = True
    await Client(bench, "127.0.0.2").queue(workflow("x"))
    await bench.until(lambda: comfy.looks >= 2)
    assert bench.in_flight() == 1
    comfy.broken = False
    await bench.until(bench.scheduler.idle.is_set)
    assert counted(bench, "success") == 1


@pytest.mark.usefixtures("pool")
async def test_each_of_many_clients_finds_its_own_images_among_two_servers(bench: Any, serve: Any) -> None:
    """Both servers name their files alike, so a picture from the wrong server would be somebody else's."""
    for name in ("demo-1", "demo-2"):
        await serve(ComfyUI(name), name)
    clients = {f"client {n}": Client(bench, f"127.0.2.{n}") for n in range(1, 7)}
    found = await asyncio.gather(*(client.images(text) for text, client in clients.items()))
    assert [text_of(image) for (image,) in found] == list(clients)


@pytest.mark.usefixtures("pool")
async def test_a_history_is_found_from_anywhere(bench: Any, serve: Any) -> None:
    for name in ("demo-1", "demo-2", "demo-3"):
        await serve(ComfyUI(name), name)
    client = Client(bench, "127.0.0.2")
    name = (await client.queue(workflow("x")))["prompt_id"]
    await bench.until(bench.scheduler.idle.is_set)
    for n in range(3, 9):
        assert name in await Client(bench, f"127.0.0.{n}").get(f"/history/{name}")
