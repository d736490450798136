"""Servers of the OpenAI API behind the dispatcher, with `routeSet: OpenAI`."""

import asyncio
import json
from typing import Any

import pytest

from tests.dispatcher.services.openai import MODEL, OpenAI


@pytest.fixture
def pool(bench: Any) -> None:
    bench.spec(queue={"routeSet": "OpenAI", "fairness": "Seconds"})


def chat(prompt: str, **fields: Any) -> dict[str, Any]:
    return {"model": MODEL, "messages": [{"role": "user", "content": prompt}], **fields}


async def post(bench: Any, path: str, body: dict[str, Any], **options: Any) -> tuple[int, Any]:
    answer = await bench.send(
        json.dumps(body), path=path, **{"headers": {"Content-Type": "application/json"}, **options}
    )
    return answer.status, json.loads(answer.body)


async def deltas(bench: Any, prompt: str, of: str = "127.0.0.1", **fields: Any) -> list[Any]:
    """The chunks of a streamed answer, as the official clients parse them."""
    chunks = []
    async with bench.client(of).post("/v1/chat/completions", json=chat(prompt, stream=True, **fields)) as answer:
        assert answer.content_type == "text/event-stream"
        async for line in answer.content:
            if line.startswith(b"data: "):
                data = line.removeprefix(b"data: ").strip()
                chunks.append(None if data == b"[DONE]" else json.loads(data))
    return chunks


@pytest.mark.usefixtures("pool")
async def test_a_chat_is_answered_in_one_piece(bench: Any, serve: Any) -> None:
    await serve(OpenAI())
    status, said = await post(bench, "/v1/chat/completions", chat("hello there"))
    assert status == 200
    assert said["choices"][0]["message"]["content"] == "You said: hello there "
    assert said["usage"]["completion_tokens"] == 4
    status, said = await post(bench, "/v1/completions", {"model": MODEL, "prompt": "x", "max_tokens": 2})
    assert (status, said["choices"][0]["text"]) == (200, "You said: ")


@pytest.mark.usefixtures("pool")
async def test_a_streamed_chat_is_what_the_server_sent_to_its_last_line(bench: Any, serve: Any) -> None:
    await serve(OpenAI())
    chunks = await deltas(bench, "hello", stream_options={"include_usage": True})
    assert chunks[-1] is None
    assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"
    said = "".join(c["choices"][0]["delta"].get("content", "") for c in chunks[1:-2])
    assert said == "You said: hello "
    assert chunks[-3]["choices"][0]["finish_reason"] == "stop"
    assert chunks[-2]["usage"]["total_tokens"] == 4


@pytest.mark.usefixtures("pool")
async def test_each_token_arrives_before_the_next_is_made(bench: Any, serve: Any) -> None:
    vllm = OpenAI()
    vllm.gpu.hold()
    await serve(vllm)
    async with bench.client().post("/v1/chat/completions", json=chat("a b", stream=True)) as answer:
        assert b'"role"' in await answer.content.readuntil(b"\n\n")
        for made in range(1, 5):
            vllm.gpu.release()
            token = await answer.content.readuntil(b"\n\n")
            assert b'"content"' in token
            assert vllm.gpu.steps >= made
        assert b'"stop"' in await answer.content.readuntil(b"\n\n")
        assert await answer.content.readuntil(b"\n\n") == b"data: [DONE]\n\n"
        assert await answer.content.read() == b""


@pytest.mark.usefixtures("pool")
@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_goes_away_stops_its_generation_and_frees_the_slot(
    bench: Any, serve: Any, stream: bool
) -> None:
    vllm = OpenAI()
    vllm.gpu.hold()
    await serve(vllm)
    asking = asyncio.create_task(post(bench, "/v1/chat/completions", chat("left", stream=stream), of="127.0.0.3"))
    await bench.until(lambda: vllm.running == 1)
    asking.cancel()  # which closes its connection
    assert await vllm.aborted.get() == "left"
    await bench.until(lambda: bench.in_flight() == 0)


@pytest.mark.usefixtures("pool")
async def test_errors_of_the_server_are_the_clients_as_they_are(bench: Any, serve: Any) -> None:
    await serve(OpenAI(key="secret"))
    assert (await post(bench, "/v1/chat/completions", chat("x")))[0] == 401
    known = {"Content-Type": "application/json", "Authorization": "Bearer secret"}
    status, said = await post(bench, "/v1/chat/completions", chat("x") | {"model": "gpt-9"}, headers=known)
    assert (status, said["error"]["type"]) == (404, "NotFoundError")
    assert (await post(bench, "/v1/chat/completions", chat("x"), headers=known))[0] == 200


@pytest.mark.usefixtures("pool")
async def test_a_server_has_as_many_generations_as_the_pool_says_and_users_take_turns(bench: Any, serve: Any) -> None:
    vllm = OpenAI()
    vllm.gpu.hold()
    await serve(vllm, slots=2)
    jobs = []
    for number, (of, prompt) in enumerate(
        [*(("127.0.0.2", f"A{n}") for n in range(1, 7)), ("127.0.0.3", "B1"), ("127.0.0.3", "B2")]
    ):
        jobs.append(asyncio.create_task(deltas(bench, prompt, of)))
        await bench.until(lambda known=number: bench.scheduler.figures.started + bench.scheduler.waiting == known + 1)
    await bench.until(lambda: vllm.running == 2)
    vllm.gpu.release()
    await asyncio.gather(*jobs)
    assert vllm.peak == 2
    assert vllm.began[:2] == ["A1", "A2"]
    # B asked last, and is served before what A has piled up.
    assert {"B1", "B2"} <= set(vllm.began[2:6])


@pytest.mark.usefixtures("pool")
async def test_what_is_no_generation_passes_at_once(bench: Any, serve: Any) -> None:
    vllm = OpenAI()
    vllm.gpu.hold()
    await serve(vllm)
    asking = asyncio.create_task(deltas(bench, "x"))
    await bench.until(lambda: vllm.running == 1)
    assert (await post(bench, "/tokenize", {"model": MODEL, "prompt": "a b"}))[1]["count"] == 2
    for path in ("/v1/models", "/health", "/metrics"):
        assert (await bench.send(None, method="GET", path=path)).status == 200
    vllm.gpu.release()
    await asking


@pytest.mark.usefixtures("pool")
async def test_embeddings_are_tasks(bench: Any, serve: Any) -> None:
    await serve(OpenAI())
    answer = await bench.send(json.dumps({"model": MODEL, "input": ["a", "bb"]}), path="/v1/embeddings")
    assert [item["embedding"][0] for item in json.loads(answer.body)["data"]] == [1.0, 2.0]
    assert "X-Haipool-Task" in answer.headers
