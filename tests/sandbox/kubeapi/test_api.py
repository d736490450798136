"""The semantics of the API over HTTP. The same on a real API server."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
import pytest

from controller.api.names import API_VERSION

Object = dict[str, Any]
Answer = tuple[int, Any]
Ask = Callable[..., Awaitable[Answer]]

MERGE = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"


@pytest.fixture
async def http(cluster: Any) -> AsyncIterator[aiohttp.ClientSession]:
    async with cluster.connect() as session:
        yield session


@pytest.fixture
def root(namespace: str) -> str:
    """The path of the presets in the test's namespace."""
    return f"/apis/{API_VERSION}/namespaces/{namespace}/regionpresets"


@pytest.fixture
def ask(http: aiohttp.ClientSession, root: str) -> Ask:
    """A request to a path below `root`: status and document of the answer."""

    async def send(
        method: str, path: str = "", body: Any = None, content_type: str = "application/json", **headers: str
    ) -> Answer:
        data = None if body is None else json.dumps(body)
        sent = {"Content-Type": content_type} | headers
        async with http.request(method, root + path, data=data, headers=sent) as response:
            return response.status, await response.json()

    return send


def preset(name: str, **metadata: Any) -> Object:
    spec = {"region": "ap-beijing", "application": {"id": "app-x1"}}
    return {
        "apiVersion": API_VERSION,
        "kind": "RegionPreset",
        "metadata": ({"name": name} if name else {}) | metadata,
        "spec": spec,
    }


async def create(ask: Ask, name: str, **metadata: Any) -> Object:
    status, item = await ask("POST", "", preset(name, **metadata))
    assert status == 201, item
    found: Object = item
    return found


# --- Metadata -------------------------------------------------------------------------------------------------------


async def test_a_new_object_gets_its_identity(ask: Ask, namespace: str) -> None:
    item = await create(ask, "a", uid="wish", generation=7, creationTimestamp="2001-01-01T00:00:00Z", labels={"x": "y"})
    metadata = item["metadata"]
    assert len(metadata["uid"]) == 36
    assert metadata["generation"] == 1
    assert metadata["creationTimestamp"] > "2020"
    assert (metadata["namespace"], metadata["labels"]) == (namespace, {"x": "y"})
    assert int(metadata["resourceVersion"]) > 0
    assert item["spec"]["diskGiB"] == 50


async def test_two_objects_never_share_uid_or_version(ask: Ask) -> None:
    first = await create(ask, "a")
    await ask("DELETE", "/a")
    second = await create(ask, "a")
    assert first["metadata"]["uid"] != second["metadata"]["uid"]
    assert int(second["metadata"]["resourceVersion"]) > int(first["metadata"]["resourceVersion"])


async def test_names_are_generated_from_a_prefix(ask: Ask) -> None:
    names = {(await create(ask, "", generateName="made-"))["metadata"]["name"] for _ in range(3)}
    assert len(names) == 3
    assert all(name.startswith("made-") and len(name) == 10 for name in names)


METADATA_FAULTS: dict[str, tuple[Object, int, str]] = {
    "name in capitals": (preset("A_b"), 422, "a lowercase RFC 1123 subdomain"),
    "name too long": (preset("a" * 254), 422, "metadata.name"),
    "no name": (preset(""), 422, "name or generateName is required"),
    "label key": (preset("a", labels={"a b": "c"}), 422, "metadata.labels"),
    "label value": (preset("a", labels={"a": "-"}), 422, "a valid label must be"),
    "label of another type": (preset("a", labels={"a": 1}), 400, "cannot"),
    "annotation key": (preset("a", annotations={"a b": "c"}), 422, "metadata.annotations"),
    "too much in annotations": (preset("a", annotations={"a": "x" * 262144}), 422, "may not be more than 262144"),
    "owner without uid": (
        preset("a", ownerReferences=[{"apiVersion": "v1", "kind": "Pod", "name": "b"}]),
        422,
        "must not be empty",
    ),
    "another namespace": (preset("a", namespace="other"), 400, "does not match the namespace"),
    "another kind": (preset("a") | {"kind": "Preset"}, 422, "must be RegionPreset"),
    "another version": (preset("a") | {"apiVersion": "haipool.io/v9"}, 400, "does not match the expected API version"),
    "no kind": ({"apiVersion": API_VERSION, "metadata": {"name": "a"}}, 400, "'Kind' is missing"),
    "a list": ([], 400, "unrecognized"),  # type: ignore[dict-item]
}


@pytest.mark.parametrize(("body", "code", "text"), METADATA_FAULTS.values(), ids=METADATA_FAULTS)
async def test_a_malformed_object_is_refused(ask: Ask, body: Object, code: int, text: str) -> None:
    status, answer = await ask("POST", "", body)
    assert (status, answer["kind"], answer["code"]) == (code, "Status", code)
    assert text in answer["message"]


async def test_invalid_says_which_fields_and_why(ask: Ask) -> None:
    body = preset("a")
    body["spec"] |= {"priority": -1, "diskGiB": "big"}
    status, answer = await ask("POST", "", body)
    assert (status, answer["reason"]) == (422, "Invalid")
    assert answer["message"].startswith('RegionPreset.haipool.io "a" is invalid: [')
    assert answer["details"] | {"causes": []} == {
        "name": "a",
        "group": "haipool.io",
        "kind": "RegionPreset",
        "causes": [],
    }
    causes = {cause["field"]: cause["reason"] for cause in answer["details"]["causes"]}
    assert causes["spec.priority"] == "FieldValueInvalid"
    assert causes["spec.diskGiB"] == "FieldValueTypeInvalid"


async def test_an_existing_name_is_taken(ask: Ask) -> None:
    await create(ask, "a")
    status, answer = await ask("POST", "", preset("a"))
    assert (status, answer["reason"]) == (409, "AlreadyExists")
    assert answer["message"] == 'regionpresets.haipool.io "a" already exists'


async def test_what_is_not_there_is_404(ask: Ask, cluster: Any) -> None:
    status, answer = await ask("GET", "/a")
    assert (status, answer["reason"]) == (404, "NotFound")
    assert answer["message"] == 'regionpresets.haipool.io "a" not found'
    for method, body in (("PUT", preset("a", resourceVersion="1")), ("DELETE", None)):
        assert (await ask(method, "/a", body))[0] == 404
    assert (await ask("PATCH", "/a", {}, MERGE))[0] == 404


async def test_nothing_can_be_created_in_a_missing_namespace(http: aiohttp.ClientSession) -> None:
    path = f"/apis/{API_VERSION}/namespaces/nowhere/regionpresets"
    async with http.post(path, json=preset("a")) as response:
        assert response.status == 404
        assert (await response.json())["message"] == 'namespaces "nowhere" not found'
    async with http.get(path) as response:
        assert (response.status, (await response.json())["items"]) == (200, [])


# --- Unknown fields -------------------------------------------------------------------------------------------------


def _odd() -> Object:
    item = preset("a") | {"top": 1}
    item["spec"] |= {"foo": 1}
    item["metadata"] |= {"bar": 1}
    return item


async def test_strict_refuses_unknown_fields_by_name(ask: Ask) -> None:
    status, answer = await ask("POST", "?fieldValidation=Strict", _odd())
    assert (status, answer["reason"]) == (400, "BadRequest")
    for field in ("metadata.bar", "spec.foo", "top"):
        assert f'unknown field "{field}"' in answer["message"]


@pytest.mark.parametrize("query", ["", "?fieldValidation=Warn", "?fieldValidation=Ignore"])
async def test_otherwise_they_are_dropped_with_or_without_warning(
    http: aiohttp.ClientSession, root: str, query: str
) -> None:
    async with http.post(root + query, json=_odd()) as response:
        item, warnings = await response.json(), response.headers.getall("Warning", [])
    assert response.status == 201
    assert "foo" not in item["spec"]
    assert "top" not in item
    assert "bar" not in item["metadata"]
    assert [('unknown field \\"spec.foo\\"' in "".join(warnings))] == ["Ignore" not in query]


async def test_a_field_that_stands_twice_is_refused_under_strict(http: aiohttp.ClientSession, root: str) -> None:
    text = json.dumps(preset("a")).replace('"region"', '"priority": 1, "priority": 2, "region"')
    headers = {"Content-Type": "application/json"}
    async with http.post(f"{root}?fieldValidation=Strict", data=text, headers=headers) as response:
        assert response.status == 400
        assert 'duplicate field "spec.priority"' in (await response.json())["message"]


async def test_an_option_outside_its_values_is_422(ask: Ask) -> None:
    for query in ("?fieldValidation=Maybe", "?dryRun=Some"):
        status, answer = await ask("POST", query, preset("a"))
        assert (status, "Unsupported value" in answer["message"]) == (422, True)


async def test_a_dry_run_answers_and_keeps_nothing(ask: Ask) -> None:
    status, item = await ask("POST", "?dryRun=All", preset("a"))
    assert (status, item["spec"]["diskGiB"]) == (201, 50)
    assert (await ask("GET", "/a"))[0] == 404
    await create(ask, "a")
    status, item = await ask("PATCH", "/a?dryRun=All", {"spec": {"priority": 7}}, MERGE)
    assert (status, item["spec"]["priority"]) == (200, 7)
    assert (await ask("DELETE", "/a?dryRun=All"))[0] == 200
    assert (await ask("GET", "/a"))[1]["spec"]["priority"] == 100


# --- Changes --------------------------------------------------------------------------------------------------------


async def test_generation_counts_changes_of_the_spec_only(ask: Ask) -> None:
    await create(ask, "a")
    generations = []
    for path, patch in (
        ("/a", {"spec": {"priority": 7}}),
        ("/a", {"metadata": {"labels": {"x": "y"}}}),
        ("/a/status", {"status": {"cheapest": "XL"}}),
        ("/a", {"spec": {"enabled": False}}),
    ):
        status, item = await ask("PATCH", path, patch, MERGE)
        assert status == 200
        generations.append(item["metadata"]["generation"])
    assert generations == [2, 2, 2, 3]


async def test_a_change_of_nothing_is_no_new_version(ask: Ask) -> None:
    before = await create(ask, "a")
    _, after = await ask("PATCH", "/a", {"spec": {"priority": 100}}, MERGE)
    assert after["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]
    _, after = await ask("PUT", "/a", before)
    assert after["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]


async def test_spec_and_status_are_written_apart(ask: Ask) -> None:
    created = await create(ask, "a")
    _, item = await ask("POST", "", preset("b") | {"status": {"cheapest": "sneaked in"}})
    assert "status" not in item
    _, item = await ask("PATCH", "/a", {"status": {"cheapest": "sneaked in"}, "spec": {"priority": 5}}, MERGE)
    assert "status" not in item
    patch = {"metadata": {"labels": {"l": "x"}}, "spec": {"priority": 9}, "status": {"cheapest": "XL"}}
    status, item = await ask("PATCH", "/a/status", patch, MERGE)
    assert status == 200
    assert item["status"] == {"cheapest": "XL"}
    assert item["spec"]["priority"] == 5
    assert "labels" not in item["metadata"]
    stale = created | {"spec": item["spec"], "metadata": item["metadata"]}
    _, item = await ask("PUT", "/a", stale)
    assert item["status"] == {"cheapest": "XL"}
    assert (await ask("GET", "/a/status"))[1] == item


async def test_a_stale_version_conflicts(ask: Ask) -> None:
    old = await create(ask, "a")
    await ask("PATCH", "/a", {"spec": {"priority": 1}}, MERGE)
    status, answer = await ask("PUT", "/a", old)
    assert (status, answer["reason"]) == (409, "Conflict")
    assert "the object has been modified" in answer["message"]
    stale = {"metadata": {"resourceVersion": old["metadata"]["resourceVersion"]}, "spec": {"priority": 2}}
    assert (await ask("PATCH", "/a", stale, MERGE))[0] == 409
    assert (await ask("PATCH", "/a/status", stale | {"status": {}}, MERGE))[0] == 409


async def test_an_update_has_to_name_the_version_and_the_right_object(ask: Ask) -> None:
    item = await create(ask, "a")
    without = item | {"metadata": {"name": "a"}}
    status, answer = await ask("PUT", "/a", without)
    assert (status, "must be specified for an update" in answer["message"]) == (422, True)
    other = item | {"metadata": item["metadata"] | {"name": "b"}}
    assert (await ask("PUT", "/a", other))[0] == 400
    other = item | {"metadata": item["metadata"] | {"uid": "another"}}
    assert (await ask("PUT", "/a", other))[0] == 409


async def test_of_many_writers_of_one_version_one_wins(ask: Ask) -> None:
    item = await create(ask, "a")
    wishes = [item | {"spec": item["spec"] | {"priority": number}} for number in range(20)]
    answers = await asyncio.gather(*(ask("PUT", "/a", wish) for wish in wishes))
    assert sorted(status for status, _ in answers) == [200] + [409] * 19
    (won,) = [answer for status, answer in answers if status == 200]
    assert (await ask("GET", "/a"))[1] == won


async def test_concurrent_patches_of_different_fields_all_count(ask: Ask) -> None:
    await create(ask, "a")
    patches = [{"metadata": {"annotations": {f"k{number}": "x"}}} for number in range(20)]
    answers = await asyncio.gather(*(ask("PATCH", "/a", patch, MERGE) for patch in patches))
    assert {status for status, _ in answers} == {200}
    assert len((await ask("GET", "/a"))[1]["metadata"]["annotations"]) == 20


async def test_json_patch_compares_before_it_swaps(ask: Ask) -> None:
    item = await create(ask, "a")
    version = item["metadata"]["resourceVersion"]
    operations = [
        {"op": "test", "path": "/metadata/resourceVersion", "value": version},
        {"op": "replace", "path": "/spec/priority", "value": 3},
    ]
    status, item = await ask("PATCH", "/a", operations, JSON_PATCH)
    assert (status, item["spec"]["priority"]) == (200, 3)
    status, answer = await ask("PATCH", "/a", operations, JSON_PATCH)
    assert (status, answer["reason"]) == (422, "Invalid")


async def test_a_patch_is_validated_like_any_write(ask: Ask) -> None:
    await create(ask, "a")
    status, answer = await ask("PATCH", "/a", {"spec": {"region": "eu-frankfurt"}}, MERGE)
    assert (status, answer["reason"]) == (422, "Invalid")
    status, answer = await ask("PATCH", "/a?fieldValidation=Strict", {"spec": {"foo": 1}}, MERGE)
    assert (status, 'unknown field \\"spec.foo\\"' in json.dumps(answer)) == (422, True)
    status, item = await ask("PATCH", "/a", {"spec": {"priority": None}}, MERGE)
    assert (status, item["spec"]["priority"]) == (200, 100)


@pytest.mark.parametrize("content_type", ["application/strategic-merge-patch+json", "application/json", "text/plain"])
async def test_patches_of_other_formats_are_415(ask: Ask, content_type: str) -> None:
    await create(ask, "a")
    status, answer = await ask("PATCH", "/a", {"spec": {"priority": 1}}, content_type)
    assert (status, answer["reason"]) == (415, "UnsupportedMediaType")
    assert "application/merge-patch+json" in answer["message"]


@pytest.mark.parametrize(("body", "content_type"), [([], MERGE), ({"op": "add"}, JSON_PATCH)])
async def test_a_malformed_patch_is_400(ask: Ask, body: Any, content_type: str) -> None:
    await create(ask, "a")
    status, answer = await ask("PATCH", "/a", body, content_type)
    assert (status, "error decoding patch" in answer["message"]) == (400, True)


# --- The end of objects ---------------------------------------------------------------------------------------------


async def test_without_finalizers_an_object_goes_at_once(ask: Ask) -> None:
    item = await create(ask, "a")
    status, answer = await ask("DELETE", "/a")
    assert (status, answer["status"]) == (200, "Success")
    assert answer["details"]["uid"] == item["metadata"]["uid"]
    assert (await ask("GET", "/a"))[0] == 404


async def test_finalizers_hold_an_object_until_they_are_gone(ask: Ask) -> None:
    await create(ask, "a", finalizers=["x.io/one", "x.io/two"])
    status, item = await ask("DELETE", "/a")
    assert (status, item["kind"]) == (200, "RegionPreset")
    assert item["metadata"]["generation"] == 2
    marked = item["metadata"]["deletionTimestamp"]
    again = (await ask("DELETE", "/a"))[1]
    assert again["metadata"] == item["metadata"]
    status, answer = await ask("POST", "", preset("a"))
    assert (status, answer["message"].startswith("object is being deleted")) == (409, True)
    _, item = await ask("PATCH", "/a", {"spec": {"priority": 1}}, MERGE)
    assert item["metadata"]["deletionTimestamp"] == marked
    _, item = await ask("PATCH", "/a", {"metadata": {"finalizers": ["x.io/two"]}}, MERGE)
    assert item["metadata"]["finalizers"] == ["x.io/two"]
    assert (await ask("PATCH", "/a", {"metadata": {"finalizers": None}}, MERGE))[0] == 200
    assert (await ask("GET", "/a"))[0] == 404


async def test_a_deletion_cannot_be_taken_back(ask: Ask) -> None:
    await create(ask, "a", finalizers=["x.io/one"])
    await ask("DELETE", "/a")
    status, answer = await ask("PATCH", "/a", {"metadata": {"finalizers": ["x.io/one", "x.io/more"]}}, MERGE)
    assert (status, "no new finalizers can be added" in answer["message"]) == (422, True)
    _, item = await ask("PATCH", "/a", {"metadata": {"deletionTimestamp": None}}, MERGE)
    assert "deletionTimestamp" in item["metadata"]
    await ask("PATCH", "/a", {"metadata": {"finalizers": None}}, MERGE)


async def test_a_deletion_can_be_bound_to_uid_and_version(ask: Ask) -> None:
    item = await create(ask, "a")
    for wrong in ({"uid": "another"}, {"resourceVersion": "1"}):
        status, answer = await ask("DELETE", "/a", {"preconditions": wrong})
        assert (status, "in the precondition" in answer["message"]) == (409, True)
    right = {key: item["metadata"][key] for key in ("uid", "resourceVersion")}
    assert (await ask("DELETE", "/a", {"preconditions": right, "propagationPolicy": "Background"}))[0] == 200


async def test_a_collection_is_deleted_by_selector(ask: Ask) -> None:
    for number in range(4):
        await create(ask, f"a{number}", labels={"even": str(number % 2 == 0)})
    status, _ = await ask("DELETE", "?labelSelector=even%3DTrue")
    assert status == 200
    assert [item["metadata"]["name"] for item in (await ask("GET"))[1]["items"]] == ["a1", "a3"]


# --- Lists ----------------------------------------------------------------------------------------------------------


async def test_lists_select_by_label_and_by_name(ask: Ask) -> None:
    await create(ask, "a", labels={"l": "1"})
    await create(ask, "b", labels={"l": "2"})
    for query, names in (
        ("", ["a", "b"]),
        ("?labelSelector=l%3D1", ["a"]),
        ("?labelSelector=l+in+(1,2)", ["a", "b"]),
        ("?labelSelector=!l", []),
        ("?fieldSelector=metadata.name%3Db", ["b"]),
    ):
        _, found = await ask("GET", query)
        assert [item["metadata"]["name"] for item in found["items"]] == names
        assert (found["kind"], found["apiVersion"]) == ("RegionPresetList", API_VERSION)
    for query in ("?labelSelector=l%3D%3D%3D1", "?fieldSelector=spec.region%3Da", "?limit=x"):
        assert (await ask("GET", query))[0] == 400


async def test_pages_show_one_state_while_it_changes(ask: Ask) -> None:
    for number in range(7):
        await create(ask, f"a{number}")
    _, page = await ask("GET", "?limit=3")
    assert page["metadata"]["remainingItemCount"] == 4
    names, version = [item["metadata"]["name"] for item in page["items"]], page["metadata"]["resourceVersion"]
    await ask("DELETE", "/a4")
    await create(ask, "a35")
    await ask("PATCH", "/a6", {"spec": {"priority": 1}}, MERGE)
    while token := page["metadata"].get("continue"):
        _, page = await ask("GET", f"?limit=3&continue={token}")
        assert page["metadata"]["resourceVersion"] == version
        names += [item["metadata"]["name"] for item in page["items"]]
        assert all(item["spec"]["priority"] == 100 for item in page["items"])
    assert names == [f"a{number}" for number in range(7)]


async def test_a_list_can_be_asked_for_at_a_version(ask: Ask) -> None:
    first = await create(ask, "a")
    await create(ask, "b")
    version = first["metadata"]["resourceVersion"]
    _, exact = await ask("GET", f"?resourceVersion={version}&resourceVersionMatch=Exact")
    assert [item["metadata"]["name"] for item in exact["items"]] == ["a"]
    assert exact["metadata"]["resourceVersion"] == version
    for query in (f"?resourceVersion={version}&resourceVersionMatch=NotOlderThan", "?resourceVersion=0"):
        _, found = await ask("GET", query)
        assert len(found["items"]) == 2
    status, answer = await ask("GET", "?resourceVersionMatch=Exact")
    assert (status, "forbidden unless resourceVersion is provided" in answer["message"]) == (422, True)
    assert (await ask("GET", "?limit=1&continue=nonsense"))[0] == 400


async def test_a_list_across_namespaces(http: aiohttp.ClientSession, ask: Ask, namespace: str) -> None:
    await create(ask, "a")
    async with http.get(f"/apis/{API_VERSION}/regionpresets") as response:
        items = (await response.json())["items"]
    assert (namespace, "a") in {(item["metadata"]["namespace"], item["metadata"]["name"]) for item in items}


async def test_a_table_has_cells_and_metadata(ask: Ask) -> None:
    await create(ask, "a")
    table_form = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
    _, table = await ask("GET", "?includeObject=Metadata", Accept=table_form)
    assert table["kind"] == "Table"
    cells = dict(zip((c["name"] for c in table["columnDefinitions"]), table["rows"][0]["cells"], strict=True))
    assert (cells["Name"], cells["Region"], cells["Priority"], cells["Ready"]) == ("a", "ap-beijing", 100, None)
    assert table["rows"][0]["object"]["kind"] == "PartialObjectMetadata"
    _, table = await ask("GET", "/a?includeObject=None", Accept=table_form)
    assert table["rows"][0].get("object") is None


async def test_metadata_alone_can_be_asked_for(ask: Ask) -> None:
    await create(ask, "a")
    form = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"
    _, found = await ask("GET", "", Accept=form)
    assert (found["kind"], found["items"][0]["metadata"]["name"]) == ("PartialObjectMetadataList", "a")
    assert "spec" not in found["items"][0]


async def test_the_scale_subresource(http: aiohttp.ClientSession, namespace: str) -> None:
    path = f"/apis/{API_VERSION}/namespaces/{namespace}/gpupools"
    pool = {"apiVersion": API_VERSION, "kind": "GpuPool", "metadata": {"name": "p"}}
    async with http.post(path, json=pool) as response:
        assert response.status == 201
    async with http.get(f"{path}/p/scale") as response:
        scale = await response.json()
    assert (scale["kind"], scale["apiVersion"], scale["spec"]["replicas"]) == ("Scale", "autoscaling/v1", 1)
    async with http.put(f"{path}/p/scale", json=scale | {"spec": {"replicas": 4}}) as response:
        assert (await response.json())["spec"]["replicas"] == 4
    async with http.put(f"{path}/p/scale", json=scale | {"spec": {"replicas": 5}}) as response:
        assert response.status == 409
    headers = {"Content-Type": MERGE}
    async with http.patch(f"{path}/p/scale", json={"spec": {"replicas": -1}}, headers=headers) as response:
        assert response.status == 422
    async with http.get(f"{path}/p") as response:
        found = await response.json()
    assert (found["spec"]["replicas"]["min"], found["metadata"]["generation"]) == (4, 2)


async def test_a_kind_without_scale_has_none(http: aiohttp.ClientSession, ask: Ask, root: str) -> None:
    await create(ask, "a")
    async with http.get(f"{root}/a/scale") as response:
        assert response.status == 404


async def test_only_known_forms_are_answered(http: aiohttp.ClientSession, root: str) -> None:
    async with http.get(root, headers={"Accept": "application/xml"}) as response:
        assert (response.status, (await response.json())["reason"]) == (406, "NotAcceptable")


@pytest.mark.parametrize("path", ["/apis/none.io/v1/things", "/apis/haipool.io/v1/gpupools", "/api/v1/nothing", "/x"])
async def test_paths_that_are_not_served_are_404(http: aiohttp.ClientSession, path: str) -> None:
    async with http.get(path) as response:
        assert response.status == 404
