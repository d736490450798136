"""What becomes of a task, as server-sent events."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import aiohttp
import pytest

from controller.dispatcher.tasks import events as module


class Event(NamedTuple):
    event_id: str
    task: dict[str, Any]


async def follow(answer: aiohttp.ClientResponse) -> AsyncIterator[Event]:
    """The events of a stream as a browser reads them, to its end."""
    fields: dict[str, str] = {}
    async for raw in answer.content:
        line = raw.decode().rstrip("\n")
        name, _, value = line.partition(":")
        if line == "" and "data" in fields:
            assert fields["event"] == "status"
            yield Event(fields["id"], json.loads(fields["data"]))
            fields = {}
        elif name:
            fields[name] = value.removeprefix(" ")


async def test_a_task_is_followed_to_its_end(desk: Any, gate: Any) -> None:
    await desk.hand_in("before")
    where = await desk.hand_in("mine")
    seen = []
    async with desk.bench.client().get(where + "/events") as answer:
        assert answer.status == 200
        assert answer.headers["Content-Type"] == "text/event-stream"
        assert answer.headers["Cache-Control"] == "no-store"
        async for event in follow(answer):
            seen.append((event.event_id, event.task["state"], event.task["position"], event.task["result"]))
            gate.let_go()
    assert seen == [
        ("1", "queued", 0, "pending"),
        ("2", "running", None, "pending"),
        ("end", "succeeded", None, "available"),
    ]
    assert desk.bench.tasks.board.count == 0


async def test_the_position_is_told_when_it_changes(desk: Any, gate: Any) -> None:
    first, second, third = [await desk.hand_in(str(number)) for number in range(3)]
    await desk.until(first, "running")
    async with desk.bench.client().get(third + "/events") as answer:
        events = follow(answer)
        assert (await anext(events)).task["position"] == 1
        await desk.delete(second)
        assert (await anext(events)).task["position"] == 0


async def test_of_a_task_that_has_ended_the_end_is_told(desk: Any, gate: Any) -> None:
    where = await desk.hand_in("x")
    await desk.delete(where)
    async with desk.bench.client().get(where + "/events") as answer:
        assert [(event.event_id, event.task["state"]) async for event in follow(answer)] == [("end", "cancelled")]


@pytest.mark.parametrize(("last", "status"), [("1", 200), ("end", 204), ("nonsense", 200)])
async def test_a_browser_that_connects_again_is_told_what_it_missed_and_then_to_leave_it(
    desk: Any, last: str, status: int
) -> None:
    where = await desk.hand_in("x")
    await desk.delete(where)
    answer = await desk.get(where + "/events", headers={"Last-Event-ID": last})
    assert answer.status == status
    assert answer.body.count(b"id: end\n") == (status == 200)


async def test_a_client_that_goes_away_leaves_nothing_behind(desk: Any) -> None:
    where = await desk.hand_in("x")
    streams = [await desk.bench.client().get(where + "/events") for _ in range(3)]
    await desk.bench.until(lambda: desk.bench.tasks.board.count == 3)
    for stream in streams:
        stream.close()
    await desk.bench.until(lambda: desk.bench.tasks.board.count == 0)


async def test_of_one_user_only_so_many_are_followed_at_the_same_time(
    desk: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_STREAMS_PER_USER", 2)
    where = await desk.hand_in("x")
    streams = [await desk.bench.client().get(where + "/events") for _ in range(2)]
    refused = await desk.get(where + "/events")
    refused.problem(503)
    assert int(refused.headers["Retry-After"]) >= 1
    other = await desk.hand_in("y", of="127.0.1.2")
    streams.append(await desk.bench.client().get(other + "/events"))
    assert streams[-1].status == 200
    for stream in streams:
        stream.close()


async def test_a_quiet_stream_is_kept_alive(desk: Any, gate: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HEARTBEAT_SECONDS", 0.01)
    where = await desk.hand_in("x")
    await desk.until(where, "running")
    async with desk.bench.client().get(where + "/events") as answer:
        seen = b""
        while seen.count(b"\n:\n") < 3:
            seen += await answer.content.readany()
    assert seen.count(b"event: status") == 1


async def test_streams_end_when_the_dispatcher_does(desk: Any) -> None:
    where = await desk.hand_in("x")
    async with desk.bench.client().get(where + "/events") as answer:
        events = follow(answer)
        await anext(events)
        desk.bench.tasks.end_streams()
        assert [event async for event in events] == []


async def test_a_client_that_takes_nothing_is_cut_off(desk: Any, gate: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HEARTBEAT_SECONDS", 0.0)
    monkeypatch.setattr(module, "WRITE_SECONDS", 0.05)
    monkeypatch.setattr(module, "json", Padded)
    where = await desk.hand_in("x")
    await desk.until(where, "running")
    reader, writer = await asyncio.open_connection("127.0.0.1", desk.bench.port, limit=1)
    writer.write(f"GET {where}/events HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    await desk.bench.until(lambda: desk.bench.tasks.board.count == 1)
    await desk.bench.until(lambda: desk.bench.tasks.board.count == 0)
    writer.close()
    del reader


class Padded:
    """An encoder whose documents fill every buffer between the two ends."""

    @staticmethod
    def dumps(document: Any) -> str:
        return json.dumps(document) + " " * 20_000_000
