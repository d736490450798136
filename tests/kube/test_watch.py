"""List and watch: the reader's picture is complete whenever it is told SYNCED, whatever the server does."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from controller.kube.watch import Event, Reflector


async def forever() -> None:
    await asyncio.Event().wait()


def reflector(api: Any, **options: Any) -> Reflector:
    return Reflector(api.client, api.widgets, namespace="blue", backoff_seconds=0.01, **options)


async def take(events: AsyncIterator[Event], count: int) -> list[str]:
    """The next events, as `KIND name@version`."""
    taken: list[str] = []
    async with asyncio.timeout(20):
        while len(taken) < count:
            event = await anext(events)
            metadata = event.raw.get("metadata")
            taken.append(
                f"{event.kind} {metadata['name']}@{metadata['resourceVersion']}" if metadata else str(event.kind)
            )
    return taken


async def test_everything_is_listed_then_every_change_is_told(api: Any) -> None:
    api.answers(
        api.lists(api.widget("a", 1), api.widget("b", 2), version=2),
        api.streams(
            ("ADDED", api.widget("c", 3)),
            ("MODIFIED", api.widget("a", 4)),
            ("DELETED", api.widget("b", 5)),
            then=forever,
        ),
    )
    events = reflector(api, labels="color=blue").events()
    assert await take(events, 7) == ["PUT a@1", "PUT b@2", "SYNCED", "SYNCED", "PUT c@3", "PUT a@4", "DELETED b@5"]
    query = api.asked[1].query
    assert (query["resourceVersion"], query["labelSelector"]) == ("2", "color=blue")


async def test_a_watch_that_ends_is_resumed_after_the_last_change_or_bookmark(api: Any) -> None:
    api.answers(
        api.lists(version=2),
        api.streams(("ADDED", api.widget("a", 3)), ("BOOKMARK", {"metadata": {"resourceVersion": "9"}})),
        api.streams(("MODIFIED", api.widget("a", 10)), then=forever),
    )
    events = reflector(api).events()
    assert await take(events, 5) == ["SYNCED", "SYNCED", "PUT a@3", "SYNCED", "PUT a@10"]
    assert [request.query.get("resourceVersion") for request in api.asked] == [None, "2", "9"]


@pytest.mark.parametrize("as_event", [False, True])
async def test_a_version_too_old_is_listed_anew_and_missed_deletions_are_told(api: Any, as_event: bool) -> None:
    status = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"}
    api.answers(
        api.lists(api.widget("a"), api.widget("b"), version=2),
        api.streams(("ERROR", status)) if as_event else api.refuses(410, "Expired"),
        api.lists(api.widget("b"), api.widget("c", 8), version=9),
        api.streams(then=forever),
    )
    events = reflector(api).events()
    told = await take(events, 8 if as_event else 7)
    assert "LOST" not in told
    assert [t for t in told if t != "SYNCED"] == ["PUT a@1", "PUT b@1", "DELETED a@1", "PUT c@8"]
    assert told[-1] == "SYNCED"
    assert api.asked[3].query["resourceVersion"] == "9"


async def test_an_object_made_anew_under_its_old_name_is_another_object(api: Any) -> None:
    api.answers(
        api.lists(api.widget("a", 1, uid="first"), version=1),
        api.refuses(410, "Expired"),
        api.lists(api.widget("a", 5, uid="second"), version=5),
        api.streams(then=forever),
    )
    events = reflector(api).events()
    assert await take(events, 5) == ["PUT a@1", "SYNCED", "DELETED a@1", "PUT a@5", "SYNCED"]


@pytest.mark.parametrize(
    "broken",
    [b'{"type": "ADDED", "obj', b"no json\n", b'{"type": "ADDED"}\n', b"[1]\n", b'{"type": "ADDED", "object": {}}\n'],
)
async def test_half_a_line_or_nonsense_is_not_taken_and_the_picture_is_listed_anew(api: Any, broken: bytes) -> None:
    api.answers(
        api.lists(version=2),
        api.streams(("ADDED", api.widget("a", 3)), broken),
        api.lists(api.widget("a", 3), api.widget("b", 4), version=4),
        api.streams(then=forever),
    )
    events = reflector(api).events()
    assert await take(events, 5) == ["SYNCED", "SYNCED", "PUT a@3", "PUT b@4", "SYNCED"]


async def test_a_connection_that_drops_once_is_mended_without_calling_the_picture_lost(api: Any) -> None:
    async def cut(request: Any) -> Any:
        response = await api.streams(("ADDED", api.widget("a", 3)))(request)
        request.transport.abort()
        return response

    api.answers(api.lists(version=2), cut, api.lists(api.widget("a", 3), version=3), api.streams(then=forever))
    told = await take(reflector(api).events(), 5)
    assert told == ["SYNCED", "SYNCED", "PUT a@3", "SYNCED", "SYNCED"]


async def test_a_server_that_stays_away_is_told_as_lost_until_it_is_back(api: Any) -> None:
    api.answers(
        api.lists(version=2),
        api.refuses(503, "ServiceUnavailable"),
        api.refuses(403, "Forbidden"),
        api.drops,
        api.drops,
        api.lists(api.widget("a", 4), version=4),
        api.streams(then=forever),
    )
    told = await take(reflector(api).events(), 7)
    assert told[:3] == ["SYNCED", "LOST", "LOST"]
    assert told[-3:] == ["PUT a@4", "SYNCED", "SYNCED"]


async def test_a_silent_watch_is_resumed_on_another_connection(api: Any) -> None:
    api.answers(
        api.lists(version=2),
        api.streams(("ADDED", api.widget("a", 3)), then=forever),
        api.streams(("MODIFIED", api.widget("a", 4)), then=forever),
    )
    told = await take(reflector(api, silence_seconds=0.2).events(), 5)
    assert told == ["SYNCED", "SYNCED", "PUT a@3", "SYNCED", "PUT a@4"]
    assert api.asked[2].query["resourceVersion"] == "3"


async def test_a_server_that_ends_every_watch_at_once_is_not_hammered(api: Any) -> None:
    api.answers(api.lists(version=2), api.streams())
    watching, pauses = reflector(api), list[float]()
    pause = watching._pause

    def noted(fruitless: int) -> float:
        pauses.append(pause(fruitless))
        return pauses[-1]

    watching._pause = noted  # type: ignore[method-assign]
    await take(watching.events(), 6)
    assert pauses[0] == 0
    assert all(seconds > 0 for seconds in pauses[1:])
    assert pauses[3] > pauses[1]


async def test_an_object_larger_than_any_buffer_arrives_whole(api: Any) -> None:
    huge = {**api.widget("a", 3), "blob": "x" * 1_400_000}
    line = json.dumps({"type": "ADDED", "object": huge}).encode() + b"\n"
    parts = [line[i : i + 100_000] for i in range(0, len(line), 100_000)]
    api.answers(api.lists(version=2), api.streams(*parts, then=forever))
    assert await take(reflector(api).events(), 3) == ["SYNCED", "SYNCED", "PUT a@3"]


async def test_cancelling_the_reader_ends_the_watch(api: Any) -> None:
    watching, ended = asyncio.Event(), asyncio.Event()

    async def hold() -> None:
        watching.set()
        try:
            await forever()
        finally:
            ended.set()

    async def read() -> None:
        async for _ in reflector(api).events():
            pass

    api.answers(api.lists(version=2), api.streams(then=hold))
    reader = asyncio.create_task(read())
    await watching.wait()
    reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader
    await asyncio.wait_for(ended.wait(), 20)
