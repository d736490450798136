"""What only the local API is asked: its own limits, its start and stop, and what a real cluster's controllers do."""

import asyncio
import io
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from controller.sandbox.kubeapi.errors import ApiError
from controller.sandbox.kubeapi.server import LocalKubernetes

Object = dict[str, Any]
CRDS = Path(__file__).parents[3] / "crds"
WIDGETS = "/apis/example.com/v1/namespaces/default/widgets"
MERGE = {"Content-Type": "application/merge-patch+json"}


def crd(**schema: Any) -> Object:
    spec = {"type": "object", "properties": {"size": {"type": "integer"}}} | schema
    root = {"type": "object", "properties": {"spec": spec}}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": root}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.com"},
        "spec": {
            "group": "example.com",
            "scope": "Namespaced",
            "names": {"plural": "widgets", "kind": "Widget"},
            "versions": [version],
        },
    }


def widget(name: str, size: int | None = None, **metadata: Any) -> Object:
    spec = {} if size is None else {"size": size}
    return {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": name} | metadata, "spec": spec}


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = datetime(2025, 1, 31, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


@asynccontextmanager
async def serving(**options: Any) -> AsyncIterator[tuple[LocalKubernetes, aiohttp.ClientSession]]:
    """A local API with widgets, and a session to it."""
    kubernetes = LocalKubernetes(**options)
    kubernetes.install([crd()])
    url = await kubernetes.start()
    try:
        async with aiohttp.ClientSession(url, connector=aiohttp.TCPConnector(limit=0)) as session:
            yield kubernetes, session
    finally:
        await kubernetes.stop()


async def _post(session: aiohttp.ClientSession, path: str, body: Any) -> Object:
    async with session.post(path, json=body) as response:
        assert response.status == 201, await response.text()
        item: Object = await response.json()
        return item


async def _get(session: aiohttp.ClientSession, path: str) -> tuple[int, Any]:
    async with session.get(path) as response:
        return response.status, await response.json()


# --- Limits ---------------------------------------------------------------------------------------------------------


async def test_a_watch_from_a_forgotten_version_ends_with_410() -> None:
    async with serving(history=10) as (_, session):
        first = await _post(session, WIDGETS, widget("a"))
        for number in range(30):
            await session.patch(f"{WIDGETS}/a", json={"spec": {"size": number}}, headers=MERGE)
        version = first["metadata"]["resourceVersion"]
        async with session.get(f"{WIDGETS}?watch=1&resourceVersion={version}") as response:
            events = [json.loads(line) async for line in response.content]
        assert [event["type"] for event in events] == ["ERROR"]
        assert (events[0]["object"]["code"], events[0]["object"]["reason"]) == (410, "Expired")


async def test_a_list_that_took_too_long_begins_again() -> None:
    async with serving(history=10) as (_, session):
        for number in range(3):
            await _post(session, WIDGETS, widget(f"w{number}"))
        _, page = await _get(session, f"{WIDGETS}?limit=1")
        for number in range(30):
            await session.patch(f"{WIDGETS}/w0", json={"spec": {"size": number}}, headers=MERGE)
        status, answer = await _get(session, f"{WIDGETS}?limit=1&continue={page['metadata']['continue']}")
        assert (status, answer["reason"]) == (410, "Expired")


async def test_a_watcher_too_slow_for_the_changes_is_told_to_list_again() -> None:
    async with serving(history=10) as (kubernetes, session):
        async with session.get(f"{WIDGETS}?watch=1") as response:
            # In one go, so that the watch cannot take part in between.
            kind = kubernetes.objects.kinds.find("example.com", "v1", "widgets")
            assert kind is not None
            for number in range(50):
                kubernetes.objects.create(kind, "default", widget(f"w{number}"))
            event = json.loads(await response.content.readline())
        assert (event["type"], event["object"]["code"]) == ("ERROR", 410)


async def test_a_body_beyond_the_limit_is_413() -> None:
    body = io.BytesIO(json.dumps(widget("a", note="x" * 3_200_000)).encode())
    headers = {"Content-Type": "application/json"}
    async with serving() as (_, session), session.post(WIDGETS, data=body, headers=headers) as response:
        assert (response.status, (await response.json())["reason"]) == (413, "RequestEntityTooLarge")


async def test_a_thousand_objects_and_twenty_watchers() -> None:
    async with serving() as (_, session):

        async def follow() -> list[str]:
            async with session.get(f"{WIDGETS}?watch=1", timeout=aiohttp.ClientTimeout(total=None)) as response:
                return [
                    json.loads(await response.content.readline())["object"]["metadata"]["name"] for _ in range(1000)
                ]

        following = [asyncio.create_task(follow()) for _ in range(20)]
        for start in range(0, 1000, 50):
            names = [f"w{number:04d}" for number in range(start, start + 50)]
            await asyncio.gather(*(_post(session, WIDGETS, widget(name)) for name in names))
        for seen in await asyncio.gather(*following):
            assert sorted(seen) == [f"w{number:04d}" for number in range(1000)]
        names, token = [], ""
        while True:
            _, page = await _get(session, f"{WIDGETS}?limit=300&continue={token}")
            names += [item["metadata"]["name"] for item in page["items"]]
            if not (token := page["metadata"].get("continue", "")):
                break
        assert names == [f"w{number:04d}" for number in range(1000)]


@pytest.mark.parametrize("headers", [{"Origin": "http://site.example"}, {"Host": "site.example"}])
async def test_web_pages_are_kept_out(headers: dict[str, str]) -> None:
    async with serving() as (_, session), session.get("/api/v1/secrets", headers=headers) as response:
        assert (response.status, (await response.json())["reason"]) == (403, "Forbidden")


async def test_form_posts_are_not_read() -> None:
    async with serving() as (_, session):
        for content_type in ("text/plain", "application/x-www-form-urlencoded"):
            headers = {"Content-Type": content_type}
            async with session.post(WIDGETS, data=json.dumps(widget("a")), headers=headers) as response:
                assert response.status == 415


async def test_server_side_apply_is_refused_with_what_to_do() -> None:
    async with serving() as (_, session):
        headers = {"Content-Type": "application/apply-patch+yaml"}
        async with session.patch(f"{WIDGETS}/a?fieldManager=x", data="{}", headers=headers) as response:
            assert response.status == 415
            assert "without --server-side" in (await response.json())["message"]


async def test_an_object_may_be_sent_as_yaml() -> None:
    async with serving() as (_, session):
        headers = {"Content-Type": "application/yaml"}
        async with session.post(WIDGETS, data=yaml.safe_dump(widget("a", 3)), headers=headers) as response:
            assert (response.status, (await response.json())["spec"]) == (201, {"size": 3})


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", WIDGETS),
        ("PATCH", WIDGETS),
        ("POST", f"{WIDGETS}/a"),
        ("POST", "/apis/example.com/v1/widgets"),
        ("DELETE", "/apis/example.com/v1/widgets"),
        ("POST", "/apis"),
    ],
)
async def test_other_methods_are_405(method: str, path: str) -> None:
    async with serving() as (_, session), session.request(method, path, json=widget("a")) as response:
        assert (response.status, (await response.json())["reason"]) == (405, "MethodNotAllowed")


# --- Start and stop -------------------------------------------------------------------------------------------------


async def test_stopping_ends_every_watch() -> None:
    async with serving() as (kubernetes, session):
        async with session.get(f"{WIDGETS}?watch=1") as response:
            await kubernetes.stop()
            assert await response.content.read() == b""
        with pytest.raises(aiohttp.ClientConnectionError):
            await session.get("/version")


async def test_a_version_of_an_earlier_run_is_too_old_in_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    """So a client that outlives the sandbox lists again, and does not wait for a version that will not come."""
    monkeypatch.setattr("time.time", lambda: 1_700_000_000.0)
    async with serving() as (_, session):
        for number in range(20):
            version = (await _post(session, WIDGETS, widget(f"w{number}")))["metadata"]["resourceVersion"]
    monkeypatch.setattr("time.time", lambda: 1_700_000_060.0)
    async with serving() as (_, session):
        async with session.get(f"{WIDGETS}?watch=1&resourceVersion={version}") as response:
            event = json.loads(await response.content.readline())
        assert (event["type"], event["object"]["code"]) == ("ERROR", 410)


async def test_a_port_in_use_is_an_error() -> None:
    async with serving() as (kubernetes, _):
        other = LocalKubernetes()
        with pytest.raises(OSError, match="address already in use"):
            await other.start(port=int(kubernetes.url.rpartition(":")[2]))
        await other.stop()


async def test_the_kubeconfig_is_for_its_owner_only(tmp_path: Path) -> None:
    async with serving() as (kubernetes, _):
        path = tmp_path / "sub" / "kubeconfig"
        kubernetes.write_kubeconfig(path)
        written = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert path.stat().st_mode & 0o777 == 0o600
    assert written["clusters"][0]["cluster"]["server"] == kubernetes.url


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/livez"])
async def test_it_says_when_it_is_ready(path: str) -> None:
    async with serving() as (_, session), session.get(path) as response:
        assert (response.status, await response.text()) == (200, "ok")


# --- CRDs -----------------------------------------------------------------------------------------------------------


CRD_FAULTS: dict[str, tuple[Callable[[Object], Any], str]] = {
    "name": (lambda item: item["metadata"].update(name="other.example.com"), "must be spec.names.plural"),
    "scope": (lambda item: item["spec"].update(scope="Global"), "must be Namespaced or Cluster"),
    "group": (lambda item: item["spec"].pop("group"), "spec.group: Required value"),
    "kind": (lambda item: item["spec"]["names"].pop("kind"), "spec.names.kind: Required value"),
    "versions": (lambda item: item["spec"]["versions"].append({"name": "v2"}), "serves exactly one version"),
    "schema": (lambda item: item["spec"]["versions"][0].pop("schema"), "schemas are required"),
    "conversion": (
        lambda item: item["spec"].update(conversion={"strategy": "Webhook"}),
        "converts between no versions",
    ),
    "column": (
        lambda item: item["spec"]["versions"][0].update(
            additionalPrinterColumns=[{"name": "A", "type": "string", "jsonPath": "..a"}]
        ),
        "unsupported JSONPath",
    ),
}


@pytest.mark.parametrize(("spoil", "text"), CRD_FAULTS.values(), ids=CRD_FAULTS)
def test_a_crd_it_cannot_serve_is_refused(spoil: Callable[[Object], Any], text: str) -> None:
    item = crd()
    spoil(item)
    with pytest.raises(ApiError) as refused:
        LocalKubernetes().install([item])
    assert refused.value.code == 422
    assert text in str(refused.value)


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        ({"properties": {"a": {"description": "no type"}}}, "type: Required value"),
        ({"properties": {"a": {"type": "text"}}}, "must be one of"),
        ({"properties": {"a": {"type": "string", "$ref": "#/x"}}}, "must not be set in a structural schema"),
        ({"properties": {"a": {"type": "integer", "minimum": 0, "exclusiveMinimum": 0}}}, "must be of type boolean"),
        ({"x-kubernetes-validations": [{"rule": "self.a >"}]}, "compilation failed"),
    ],
)
def test_a_schema_that_is_not_structural_is_refused(schema: Object, text: str) -> None:
    with pytest.raises(ApiError) as refused:
        LocalKubernetes().install([crd(**schema)])
    assert text in str(refused.value)


async def test_new_defaults_show_on_objects_that_exist_already() -> None:
    async with serving() as (_, session):
        before = await _post(session, WIDGETS, widget("a"))
        path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/widgets.example.com"
        _, found = await _get(session, path)
        changed = crd(properties={"size": {"type": "integer", "default": 7}})
        async with session.put(path, json=changed | {"metadata": found["metadata"]}) as response:
            assert (response.status, (await response.json())["metadata"]["generation"]) == (200, 2)
        _, after = await _get(session, f"{WIDGETS}/a")
        assert after["spec"] == {"size": 7}
        assert after["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]


async def test_a_crd_takes_its_objects_with_it_once_they_let_go() -> None:
    async with serving() as (_, session):
        await _post(session, WIDGETS, widget("free"))
        await _post(session, WIDGETS, widget("held", finalizers=["x.io/one"]))
        path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/widgets.example.com"
        async with session.delete(path) as response:
            assert response.status == 200
        _, found = await _get(session, WIDGETS)
        assert [item["metadata"]["name"] for item in found["items"]] == ["held"]
        assert (await _get(session, path))[0] == 200
        await session.patch(f"{WIDGETS}/held", json={"metadata": {"finalizers": None}}, headers=MERGE)
        assert (await _get(session, path))[0] == 404
        assert (await _get(session, WIDGETS))[0] == 404
        assert "example.com" not in {group["name"] for group in (await _get(session, "/apis"))[1]["groups"]}


# --- What controllers do in a real cluster --------------------------------------------------------------------------


async def test_a_namespace_goes_when_all_in_it_has_gone() -> None:
    async with serving() as (_, session):
        await _post(session, "/api/v1/namespaces", {"metadata": {"name": "ns"}})
        there = WIDGETS.replace("default", "ns")
        await _post(session, there, widget("free"))
        await _post(session, there, widget("held", finalizers=["x.io/one"]))
        async with session.delete("/api/v1/namespaces/ns") as response:
            assert (await response.json())["status"]["phase"] == "Terminating"
        async with session.post(there, json=widget("late")) as response:
            assert response.status == 403
            assert "because it is being terminated" in (await response.json())["message"]
        assert [item["metadata"]["name"] for item in (await _get(session, there))[1]["items"]] == ["held"]
        await session.patch(f"{there}/held", json={"metadata": {"finalizers": None}}, headers=MERGE)
        assert (await _get(session, "/api/v1/namespaces/ns"))[0] == 404


async def test_events_are_forgotten_after_an_hour() -> None:
    clock = Clock()
    async with serving(clock=clock) as (_, session):
        path = "/api/v1/namespaces/default/events"
        about = {"involvedObject": {"kind": "Widget", "name": "a", "namespace": "default"}, "reason": "R"}
        for minutes, name in ((0, "first"), (30, "second"), (61, "third")):
            clock.now = datetime(2025, 1, 31, tzinfo=UTC) + timedelta(minutes=minutes)
            await _post(session, path, about | {"metadata": {"name": name}})
        _, found = await _get(session, path)
        assert [item["metadata"]["name"] for item in found["items"]] == ["second", "third"]


async def test_an_age_is_counted_by_the_clock() -> None:
    clock = Clock()
    async with serving(clock=clock) as (_, session):
        await _post(session, WIDGETS, widget("a"))
        clock.now += timedelta(minutes=5)
        headers = {"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}
        async with session.get(WIDGETS, headers=headers) as response:
            assert (await response.json())["rows"][0]["cells"] == ["a", "5m"]


async def test_haipools_own_crds_are_taken_without_kubectl() -> None:
    kubernetes = LocalKubernetes()
    kubernetes.install(yaml.safe_load((CRDS / f"{plural}.yaml").read_text(encoding="utf-8")) for plural in _plurals())
    served = {kind.plural: kind for kind in kubernetes.objects.kinds if kind.group == "haipool.io"}
    assert {name: (kind.has_status, kind.scale is not None) for name, kind in served.items()} == {
        "gpupools": (True, True),
        "regionpresets": (True, False),
        "gpuinstances": (True, False),
    }


def _plurals() -> list[str]:
    kustomization = yaml.safe_load((CRDS / "kustomization.yaml").read_text(encoding="utf-8"))
    return [name.removesuffix(".yaml") for name in kustomization["resources"]]
