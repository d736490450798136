"""Watches: nothing lost, nothing twice, across disconnections. The same on a real API server."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from controller.api.names import API_VERSION

Object = dict[str, Any]
Event = tuple[str, Object]
Read = Callable[[], Any]

MERGE = {"Content-Type": "application/merge-patch+json"}


@pytest.fixture
async def http(cluster: Any) -> AsyncIterator[aiohttp.ClientSession]:
    async with cluster.connect() as session:
        yield session


@pytest.fixture
def root(namespace: str) -> str:
    return f"/apis/{API_VERSION}/namespaces/{namespace}/regionpresets"


def preset(name: str, **metadata: Any) -> Object:
    spec = {"region": "ap-beijing", "application": {"id": "app-x1"}}
    return {"apiVersion": API_VERSION, "kind": "RegionPreset", "metadata": {"name": name} | metadata, "spec": spec}


async def _write(http: aiohttp.ClientSession, method: str, path: str, body: Any = None) -> Object:
    headers = MERGE if method == "PATCH" else {"Content-Type": "application/json"}
    data = None if body is None else json.dumps(body)
    async with http.request(method, path, data=data, headers=headers) as response:
        assert response.status in {200, 201}, await response.text()
        answer: Object = await response.json()
        return answer


async def _version(http: aiohttp.ClientSession, root: str) -> str:
    async with http.get(root) as response:
        return str((await response.json())["metadata"]["resourceVersion"])


@asynccontextmanager
async def watching(http: aiohttp.ClientSession, root: str, query: str = "", **headers: str) -> AsyncIterator[Read]:
    """A watch; calling the result waits for the next event."""
    timeout = aiohttp.ClientTimeout(total=None, sock_read=30)
    async with http.get(f"{root}?watch=1{query}", timeout=timeout, headers=headers) as response:
        assert response.status == 200, await response.text()

        async def read() -> Event:
            line = await response.content.readline()
            assert line, "the watch has ended"
            event = json.loads(line)
            return event["type"], event["object"]

        yield read


def _short(event: Event) -> tuple[str, str]:
    return event[0], event[1]["metadata"]["name"]


async def test_without_a_version_a_watch_begins_with_what_exists(http: aiohttp.ClientSession, root: str) -> None:
    await _write(http, "POST", root, preset("a"))
    async with watching(http, root) as read:
        assert _short(await read()) == ("ADDED", "a")
        await _write(http, "POST", root, preset("b"))
        assert _short(await read()) == ("ADDED", "b")
        await _write(http, "PATCH", f"{root}/a", {"spec": {"priority": 1}})
        kind, item = await read()
        assert (kind, item["spec"]["priority"]) == ("MODIFIED", 1)
        await _write(http, "DELETE", f"{root}/a")
        assert _short(await read()) == ("DELETED", "a")


async def test_from_the_version_of_a_list_only_later_changes_come(http: aiohttp.ClientSession, root: str) -> None:
    await _write(http, "POST", root, preset("a"))
    version = await _version(http, root)
    await _write(http, "POST", root, preset("b"))
    async with watching(http, root, f"&resourceVersion={version}") as read:
        assert _short(await read()) == ("ADDED", "b")


async def test_versions_of_events_only_grow(http: aiohttp.ClientSession, root: str) -> None:
    version = await _version(http, root)
    for number in range(5):
        await _write(http, "POST", root, preset(f"a{number}"))
        await _write(http, "DELETE", f"{root}/a{number}")
    async with watching(http, root, f"&resourceVersion={version}") as read:
        versions = [int((await read())[1]["metadata"]["resourceVersion"]) for _ in range(10)]
    assert versions == sorted(set(versions))
    assert versions[0] > int(version)


async def test_a_watcher_that_keeps_losing_its_connection_misses_nothing(
    http: aiohttp.ClientSession, root: str
) -> None:
    version = await _version(http, root)
    seen: list[tuple[str, str]] = []
    writing = asyncio.create_task(_busy(http, root))
    while len(seen) < 30:
        # Every connection is given up after a few events, wherever that falls.
        async with watching(http, root, f"&resourceVersion={version}") as read:
            for _ in range(4):
                if len(seen) == 30:
                    break
                kind, item = await read()
                version = item["metadata"]["resourceVersion"]
                seen.append((kind, item["metadata"]["name"]))
    await writing
    expected = [(kind, f"a{number}") for number in range(10) for kind in ("ADDED", "MODIFIED", "DELETED")]
    assert seen == expected


async def _busy(http: aiohttp.ClientSession, root: str) -> None:
    for number in range(10):
        await _write(http, "POST", root, preset(f"a{number}"))
        await _write(http, "PATCH", f"{root}/a{number}", {"spec": {"priority": 1}})
        await _write(http, "DELETE", f"{root}/a{number}")


async def test_an_object_that_ceases_to_match_disappears(http: aiohttp.ClientSession, root: str) -> None:
    await _write(http, "POST", root, preset("a", labels={"l": "1"}))
    version = await _version(http, root)
    async with watching(http, root, f"&resourceVersion={version}&labelSelector=l%3D1") as read:
        await _write(http, "POST", root, preset("other", labels={"l": "2"}))
        await _write(http, "PATCH", f"{root}/a", {"spec": {"priority": 1}})
        assert _short(await read()) == ("MODIFIED", "a")
        await _write(http, "PATCH", f"{root}/a", {"metadata": {"labels": {"l": "2"}}})
        kind, item = await read()
        assert (kind, item["metadata"]["labels"]) == ("DELETED", {"l": "1"})
        await _write(http, "PATCH", f"{root}/a", {"metadata": {"labels": {"l": "1"}}})
        assert _short(await read()) == ("ADDED", "a")


async def test_a_single_object_is_watched_by_its_name(http: aiohttp.ClientSession, root: str) -> None:
    async with watching(http, root, "&fieldSelector=metadata.name%3Db") as read:
        await _write(http, "POST", root, preset("a"))
        await _write(http, "POST", root, preset("b"))
        assert _short(await read()) == ("ADDED", "b")


async def test_other_namespaces_are_not_seen(
    http: aiohttp.ClientSession, root: str, namespace: str, cluster: Any
) -> None:
    other = f"{namespace}-other"
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": other}}
    await _write(http, "POST", "/api/v1/namespaces", body)
    elsewhere = root.replace(namespace, other)
    async with watching(http, elsewhere) as read, watching(http, root) as here:
        await _write(http, "POST", root, preset("a"))
        assert _short(await here()) == ("ADDED", "a")
        await _write(http, "POST", elsewhere, preset("b"))
        assert _short(await read()) == ("ADDED", "b")
    await _write(http, "DELETE", f"/api/v1/namespaces/{other}")


async def test_the_last_finalizer_ends_with_a_deleted_event(http: aiohttp.ClientSession, root: str) -> None:
    await _write(http, "POST", root, preset("a", finalizers=["x.io/one"]))
    async with watching(http, root) as read:
        assert _short(await read()) == ("ADDED", "a")
        await _write(http, "DELETE", f"{root}/a")
        kind, item = await read()
        assert (kind, "deletionTimestamp" in item["metadata"]) == ("MODIFIED", True)
        await _write(http, "PATCH", f"{root}/a", {"metadata": {"finalizers": None}})
        assert _short(await read()) == ("DELETED", "a")


async def test_initial_events_end_with_a_bookmark(http: aiohttp.ClientSession, root: str) -> None:
    await _write(http, "POST", root, preset("a"))
    query = "&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
    async with watching(http, root, query) as read:
        assert _short(await read()) == ("ADDED", "a")
        kind, item = await read()
        assert kind == "BOOKMARK"
        assert item["metadata"]["annotations"]["k8s.io/initial-events-end"] == "true"
        await _write(http, "POST", root, preset("b"))
        assert _short(await read()) == ("ADDED", "b")
    async with watching(http, root, f"&resourceVersion={item['metadata']['resourceVersion']}") as read:
        assert _short(await read()) == ("ADDED", "b")


async def test_initial_events_need_the_match_that_belongs_to_them(http: aiohttp.ClientSession, root: str) -> None:
    async with http.get(f"{root}?watch=1&sendInitialEvents=true") as response:
        assert response.status == 422
        assert "requires setting resourceVersionMatch to NotOlderThan" in (await response.json())["message"]


async def test_a_watch_ends_when_its_time_is_over(http: aiohttp.ClientSession, root: str) -> None:
    await _write(http, "POST", root, preset("a"))
    async with http.get(f"{root}?watch=true&timeoutSeconds=1") as response:
        events = [json.loads(line) async for line in response.content]
    assert [event["type"] for event in events] == ["ADDED"]


async def test_a_version_that_is_no_number_is_refused(http: aiohttp.ClientSession, root: str) -> None:
    async with http.get(f"{root}?watch=1&resourceVersion=abc") as response:
        assert response.status in {400, 500}
        assert (await response.json())["kind"] == "Status"


async def test_a_watch_as_table_describes_its_columns_once(http: aiohttp.ClientSession, root: str) -> None:
    form = "application/json;as=Table;v=v1;g=meta.k8s.io"
    async with watching(http, root, Accept=form) as read:
        await _write(http, "POST", root, preset("a"))
        await _write(http, "PATCH", f"{root}/a", {"spec": {"priority": 1}})
        (_, first), (_, second) = await read(), await read()
    assert first["columnDefinitions"][0]["name"] == "Name"
    assert second["columnDefinitions"] is None
    assert second["rows"][0]["cells"][:3] == ["a", "ap-beijing", 1]


async def test_many_watchers_all_see_everything(http: aiohttp.ClientSession, root: str) -> None:
    version = await _version(http, root)

    async def follow() -> list[tuple[str, str]]:
        async with watching(http, root, f"&resourceVersion={version}") as read:
            return [_short(await read()) for _ in range(30)]

    following = [asyncio.create_task(follow()) for _ in range(20)]
    await _busy(http, root)
    seen = await asyncio.gather(*following)
    assert all(events == seen[0] for events in seen)
