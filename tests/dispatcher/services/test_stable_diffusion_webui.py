"""Stable Diffusion WebUI behind the dispatcher, with `routeSet: StableDiffusionWebUI`."""

import asyncio
import base64
import json
from typing import Any

import pytest

from tests.dispatcher.services.a1111 import A1111, MODELS
from tests.dispatcher.services.gpu import user_comment


@pytest.fixture
def pool(bench: Any) -> None:
    bench.spec(queue={"routeSet": "StableDiffusionWebUI"})


async def txt2img(bench: Any, prompt: str, of: str = "127.0.0.1", **fields: Any) -> dict[str, Any]:
    """What the scripts in the project's wiki do."""
    async with bench.client(of).post("/sdapi/v1/txt2img", json={"prompt": prompt, "steps": 3, **fields}) as answer:
        assert answer.status == 200
        made: dict[str, Any] = await answer.json()
        return made


def text_of(made: dict[str, Any]) -> str:
    image = base64.b64decode(made["images"][0])
    assert image.startswith(b"\x89PNG")
    return image.partition(b"parameters\0")[2].decode("latin-1")


@pytest.mark.usefixtures("pool")
async def test_a_script_gets_its_image_with_its_parameters(bench: Any, serve: Any) -> None:
    await serve(A1111())
    made = await txt2img(bench, "a cat", seed=7, batch_size=2)
    assert len(made["images"]) == 2
    assert text_of(made).startswith("a cat\nSteps: 3, Seed: 7")
    assert made["parameters"]["prompt"] == "a cat"
    assert json.loads(made["info"])["seed"] == 7


@pytest.mark.usefixtures("pool")
@pytest.mark.parametrize(("form", "magic"), [("webp", b"RIFF"), ("jpg", b"\xff\xd8\xff"), ("png", b"\x89PNG")])
async def test_images_come_in_the_format_of_the_servers_settings_and_no_task_can_choose_it(
    bench: Any, serve: Any, form: str, magic: bytes
) -> None:
    await serve(A1111())
    async with bench.client().post("/sdapi/v1/options", json={"samples_format": form}) as answer:
        assert (answer.status, await answer.json()) == (200, None)
    made = await txt2img(bench, "a cat", override_settings={"samples_format": "png" if form == "webp" else "webp"})
    image = base64.b64decode(made["images"][0])
    assert image.startswith(magic)
    if form != "png":
        assert user_comment(image).startswith("a cat\nSteps: 3")


@pytest.mark.usefixtures("pool")
async def test_a_whole_number_taken_from_its_settings_and_given_back_spoils_them(bench: Any, serve: Any) -> None:
    """Why hooks give whole numbers back as whole numbers."""
    await serve(A1111())
    client = bench.client()
    async with client.get("/sdapi/v1/options") as answer:
        text = await answer.text()
    assert '"jpeg_quality": 80.0' in text
    for quality, status in (("80.0", 500), ("80", 200)):
        body = f'{{"samples_format": "jpg", "jpeg_quality": {quality}}}'
        async with client.post("/sdapi/v1/options", data=body) as answer:
            assert answer.status == 200
        async with client.post("/sdapi/v1/txt2img", json={"prompt": "a cat"}) as answer:
            assert answer.status == status


@pytest.mark.usefixtures("pool")
async def test_an_error_of_the_application_reaches_the_script_as_it_is(bench: Any, serve: Any) -> None:
    await serve(A1111())
    answer = await bench.send(json.dumps({"prompt": "x"}), path="/sdapi/v1/img2img")
    assert (answer.status, json.loads(answer.body)["detail"]) == (404, "Init image not found")
    assert "X-Haipool-Task" in answer.headers


@pytest.mark.usefixtures("pool")
async def test_two_users_take_turns_and_no_server_gets_two_jobs(bench: Any, serve: Any) -> None:
    webui = A1111()
    webui.gpu.hold()
    await serve(webui)
    jobs = []
    for number, (of, prompt) in enumerate(
        [*(("127.0.0.2", f"A{n}") for n in range(1, 5)), *(("127.0.0.3", f"B{n}") for n in range(1, 3))]
    ):
        jobs.append(asyncio.create_task(txt2img(bench, prompt, of)))
        await bench.until(lambda known=number: bench.in_flight() + bench.scheduler.waiting == known + 1)
    await bench.until(lambda: webui.job is not None)
    assert webui.seen.count("POST /sdapi/v1/txt2img") == 1
    webui.gpu.release()
    await asyncio.gather(*jobs)
    assert webui.began == ["A1", "B1", "A2", "B2", "A3", "A4"]


@pytest.mark.usefixtures("pool")
async def test_what_is_no_work_for_the_gpu_never_waits_behind_it(bench: Any, serve: Any) -> None:
    webui = A1111()
    webui.gpu.hold()
    await serve(webui)
    job = asyncio.create_task(txt2img(bench, "a cat"))
    await bench.until(lambda: webui.job is not None)
    client = bench.client("127.0.0.9")
    async with client.post("/sdapi/v1/options", json={"samples_format": "webp"}) as answer:
        assert answer.status == 200
    async with client.get("/sdapi/v1/options") as answer:
        assert (await answer.json())["samples_format"] == "webp"
    async with client.post("/sdapi/v1/options", json={"sd_model_checkpoint": "none"}) as answer:
        assert answer.status == 500
    async with client.get("/sdapi/v1/sd-models") as answer:
        assert [model["title"] for model in await answer.json()] == list(MODELS)
    image = "iVBORw0KGgo" + base64.b64encode(b"parameters\0a dog\nSteps: 1").decode()
    async with client.post("/sdapi/v1/png-info", json={"image": image[: len(image) // 4 * 4]}) as answer:
        assert answer.status == 200
    async with client.post("/internal/progress", json={"id_task": "task(1)"}) as answer:
        assert (await answer.json())["textinfo"] == "progress of task(1)"
    async with client.get("/file=html/card.png") as answer:
        assert answer.status == 200
    webui.gpu.release()
    await job


@pytest.mark.usefixtures("pool")
async def test_progress_is_that_of_the_users_own_job(bench: Any, serve: Any) -> None:
    servers = {f"demo-{n}": A1111(f"demo-{n}") for n in range(1, 4)}
    for name, webui in servers.items():
        webui.gpu.hold()
        await serve(webui, name)
    users = {f"127.0.0.{n}": f"picture {n}" for n in range(2, 5)}
    jobs = [asyncio.create_task(txt2img(bench, prompt, of)) for of, prompt in users.items()]
    await bench.until(lambda: all(webui.job for webui in servers.values()))
    for of, prompt in users.items():
        answer = await bench.send(None, method="GET", path="/sdapi/v1/progress?skip_current_image=false", of=of)
        assert json.loads(answer.body)["state"]["job"] == prompt
    for webui in servers.values():
        webui.gpu.release()
    await asyncio.gather(*jobs)
    idle = await bench.send(None, method="GET", path="/sdapi/v1/progress")
    assert json.loads(idle.body)["progress"] == 0


@pytest.mark.usefixtures("pool")
@pytest.mark.parametrize("verb", ["interrupt", "skip"])
async def test_nobody_interrupts_anothers_job(bench: Any, serve: Any, verb: str) -> None:
    webui = A1111()
    webui.gpu.hold()
    await serve(webui)
    job = asyncio.create_task(txt2img(bench, "a cat", "127.0.0.2", steps=50))
    await bench.until(lambda: webui.job is not None)
    assert "running task" in (await bench.send(path=f"/sdapi/v1/{verb}", of="127.0.0.3")).problem(409)
    assert webui.job is not None
    assert not webui.job.interrupted
    assert (await bench.send(path=f"/sdapi/v1/{verb}", of="127.0.0.2")).status == 200
    webui.gpu.release()
    assert "Steps: 1," in text_of(await job)


@pytest.mark.usefixtures("pool")
async def test_a_picture_made_on_the_page_comes_by_its_websocket(bench: Any, serve: Any) -> None:
    await serve(A1111())
    async with bench.client().ws_connect("/queue/join") as socket:
        messages = []
        async for message in socket:
            messages.append(message.json())
            if messages[-1]["msg"] == "send_hash":
                await socket.send_json({"session_hash": "s", "fn_index": 3})
            if messages[-1]["msg"] == "send_data":
                await socket.send_json({"data": ["a cat"], "session_hash": "s", "fn_index": 3})
    assert [m["msg"] for m in messages] == [
        "send_hash", "estimation", "send_data", "process_starts", "process_completed",
    ]  # fmt: skip
    assert base64.b64decode(messages[-1]["output"]["data"][0]).startswith(b"\x89PNG")


@pytest.mark.parametrize(("route", "kind"), [([], "none"), ([{"name": "page", "pathPrefix": "/run/"}], "task")])
async def test_a_pool_can_let_the_pages_own_requests_queue(bench: Any, serve: Any, route: Any, kind: str) -> None:
    """With --no-gradio-queue the page sends its generations to /run/predict."""
    bench.spec(queue={"routeSet": "StableDiffusionWebUI", "routes": route})
    await serve(A1111())
    answer = await bench.send(json.dumps({"fn_index": 1, "data": ["x"]}), path="/run/predict")
    assert json.loads(answer.body)["data"] == ["x"]
    assert ("X-Haipool-Task" in answer.headers) == (kind == "task")


@pytest.mark.usefixtures("pool")
async def test_a_client_that_goes_away_frees_the_slot_though_the_server_works_on(bench: Any, serve: Any) -> None:
    """That is how this server is: the next job waits in it."""
    webui = A1111()
    webui.gpu.hold()
    await serve(webui)
    first = asyncio.create_task(txt2img(bench, "left", "127.0.0.2"))
    await bench.until(lambda: webui.job is not None)
    await bench.client("127.0.0.2").close()
    await asyncio.gather(first, return_exceptions=True)
    second = asyncio.create_task(txt2img(bench, "stays", "127.0.0.3"))
    await bench.until(lambda: webui.seen.count("POST /sdapi/v1/txt2img") == 2)
    assert webui.began == ["left"]
    webui.gpu.release()
    assert text_of(await second).startswith("stays")


@pytest.mark.usefixtures("pool")
@pytest.mark.parametrize(
    "path", ["/sdapi/v1/options/../txt2img", "/internal/%2e%2e/sdapi/v1/txt2img", "/sdapi//v1/txt2img"]
)
async def test_an_odd_path_is_no_way_past_the_queue(bench: Any, serve: Any, path: str) -> None:
    webui = A1111()
    webui.gpu.hold()
    await serve(webui)
    job = asyncio.create_task(txt2img(bench, "a cat"))
    await bench.until(lambda: webui.job is not None)
    request = f"POST {path} HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{{}}"
    odd = asyncio.create_task(bench.raw(request.encode()))
    await bench.until(lambda: bench.scheduler.waiting == 1)
    webui.gpu.release()
    await asyncio.gather(job, odd)
