"""Ollama behind the dispatcher, with `routeSet: Ollama`."""

import asyncio
import json
from typing import Any

import pytest

from tests.dispatcher.services.ollama import Ollama

MODEL = "llama3.2"


@pytest.fixture
def pool(bench: Any) -> None:
    bench.spec(queue={"routeSet": "Ollama"})


async def lines(bench: Any, path: str, body: dict[str, Any], of: str = "127.0.0.1") -> list[dict[str, Any]]:
    """The objects of an answer, one a line."""
    async with bench.client(of).post(path, json=body) as answer:
        return [json.loads(line) async for line in answer.content]


@pytest.mark.usefixtures("pool")
@pytest.mark.parametrize(
    ("path", "ask"),
    [
        ("/api/generate", {"prompt": "why is the sky blue"}),
        ("/api/chat", {"messages": [{"role": "user", "content": "why is the sky blue"}]}),
    ],
)
async def test_an_answer_streams_line_by_line_unless_it_is_not_wanted_so(
    bench: Any, serve: Any, path: str, ask: dict[str, Any]
) -> None:
    await serve(Ollama())

    def text(part: dict[str, Any]) -> str:
        said: str = part["response"] if "response" in part else part["message"]["content"]
        return said

    parts = await lines(bench, path, {"model": MODEL, **ask})
    assert [part["done"] for part in parts] == [False] * 7 + [True]
    assert "".join(map(text, parts)) == "You said: why is the sky blue "
    assert parts[-1]["eval_count"] == 7
    (whole,) = await lines(bench, path, {"model": MODEL, "stream": False, **ask})
    assert text(whole) == "You said: why is the sky blue "


@pytest.mark.usefixtures("pool")
async def test_each_line_arrives_before_the_next_word_is_made(bench: Any, serve: Any) -> None:
    ollama = Ollama()
    await serve(ollama)
    async with bench.client().post("/api/generate", json={"model": MODEL, "prompt": "a"}) as answer:
        assert answer.content_type == "application/x-ndjson"
        assert json.loads(await answer.content.readline())["response"] == "You "
        ollama.gpu.hold()
        rest = asyncio.create_task(answer.content.read())
        ollama.gpu.release()
        assert b'"done": true' in await rest


@pytest.mark.usefixtures("pool")
async def test_two_users_take_turns(bench: Any, serve: Any) -> None:
    ollama = Ollama()
    ollama.gpu.hold()
    await serve(ollama)
    jobs = []
    for number, (of, prompt) in enumerate([("127.0.0.2", "A1"), ("127.0.0.2", "A2"), ("127.0.0.2", "A3"),
                                           ("127.0.0.3", "B1"), ("127.0.0.3", "B2")]):  # fmt: skip
        jobs.append(asyncio.create_task(lines(bench, "/api/generate", {"model": MODEL, "prompt": prompt}, of)))
        await bench.until(lambda known=number: bench.scheduler.figures.started + bench.scheduler.waiting == known + 1)
    ollama.gpu.release()
    await asyncio.gather(*jobs)
    assert ollama.began == ["A1", "B1", "A2", "B2", "A3"]


@pytest.mark.usefixtures("pool")
async def test_the_slot_is_free_when_the_client_of_a_stream_has_gone(bench: Any, serve: Any) -> None:
    ollama = Ollama()
    await serve(ollama)
    answer = await bench.client().post("/api/generate", json={"model": MODEL, "prompt": "a " * 1000})
    ollama.gpu.hold()
    answer.close()
    assert (await ollama.aborted.get()).startswith("a ")
    await bench.until(lambda: bench.in_flight() == 0)


@pytest.mark.usefixtures("pool")
async def test_what_is_no_generation_passes_at_once(bench: Any, serve: Any) -> None:
    ollama = Ollama()
    ollama.gpu.hold()
    await serve(ollama)
    asking = asyncio.create_task(lines(bench, "/api/generate", {"model": MODEL, "prompt": "x"}))
    await bench.until(lambda: ollama.began == ["x"])
    shown = await bench.send(json.dumps({"model": MODEL}), path="/api/show")
    assert json.loads(shown.body)["capabilities"] == ["completion"]
    for path in ("/api/tags", "/api/ps", "/api/version", "/"):
        assert (await bench.send(None, method="GET", path=path)).status == 200
    ollama.gpu.release()
    await asking


@pytest.mark.usefixtures("pool")
async def test_a_pull_takes_no_slot_and_shows_its_progress(bench: Any, serve: Any) -> None:
    ollama = Ollama()
    await serve(ollama)
    async with bench.client("127.0.0.4").post("/api/pull", json={"model": "qwen3"}) as pull:
        assert json.loads(await pull.content.readline())["status"] == "pulling manifest"
        (said,) = await lines(bench, "/api/generate", {"model": MODEL, "prompt": "x", "stream": False})
        assert said["done"]
        ollama.pulled.set()
        assert json.loads(await pull.content.readline())["status"] == "success"
    assert "qwen3:latest" in ollama.models


@pytest.mark.usefixtures("pool")
async def test_embeddings_and_loading_a_model_are_tasks(bench: Any, serve: Any) -> None:
    await serve(Ollama())
    for path, body in (("/api/embed", {"model": MODEL, "input": "x"}), ("/api/generate", {"model": MODEL})):
        answer = await bench.send(json.dumps(body), path=path)
        assert answer.status == 200
        assert "X-Haipool-Task" in answer.headers


@pytest.mark.usefixtures("pool")
async def test_an_unknown_model_is_the_servers_own_answer(bench: Any, serve: Any) -> None:
    await serve(Ollama())
    answer = await bench.send(json.dumps({"model": "none", "prompt": "x"}), path="/api/chat")
    assert (answer.status, json.loads(answer.body)) == (404, {"error": "model 'none' not found"})
