"""The verbs: what is sent, and which error each refusal becomes."""

import json
from pathlib import Path
from typing import Any

import pytest

from controller.kube.client import (
    AlreadyExistsError,
    ConflictError,
    ForbiddenError,
    InvalidError,
    KubeClient,
    KubeError,
    NotFoundError,
    Resource,
    UnavailableError,
)
from controller.kube.connect import Connection


def test_a_path_names_group_namespace_object_and_subresource_and_quotes_them() -> None:
    widgets = Resource("example.com", "v1", "widgets")
    assert widgets.path("blue", "a", "status") == "/apis/example.com/v1/namespaces/blue/widgets/a/status"
    assert Resource("", "v1", "events").path("blue") == "/api/v1/namespaces/blue/events"
    assert widgets.path(None, "a/../b?c") == "/apis/example.com/v1/widgets/a%2F..%2Fb%3Fc"


async def test_requests_are_authenticated_and_say_what_they_send(api: Any) -> None:
    api.answers(api.says(api.widget("a"), 201))
    await api.client.create(api.widgets, api.widget("a"), namespace="blue")
    request = api.asked[0]
    assert (request.method, request.path) == ("POST", "/apis/example.com/v1/namespaces/blue/widgets")
    assert request.headers["Authorization"] == "Bearer secret"
    assert request.headers["Content-Type"] == "application/json"


async def test_a_patch_is_a_merge_patch_also_of_the_status(api: Any) -> None:
    api.answers(api.says(api.widget("a")))
    await api.client.patch(api.widgets, "a", {"status": {"n": 1}}, namespace="blue", subresource="status")
    request = api.asked[0]
    assert (request.method, request.path) == ("PATCH", "/apis/example.com/v1/namespaces/blue/widgets/a/status")
    assert request.headers["Content-Type"] == "application/merge-patch+json"
    assert json.loads(api.bodies[0]) == {"status": {"n": 1}}


async def test_a_deletion_can_be_bound_to_one_very_object(api: Any) -> None:
    api.answers(api.says({"kind": "Status"}))
    await api.client.delete(api.widgets, "a", namespace="blue", uid="uid-a")
    assert json.loads(api.bodies[0])["preconditions"] == {"uid": "uid-a"}


@pytest.mark.parametrize(
    ("status", "reason", "expected"),
    [
        (400, "BadRequest", InvalidError),
        (401, "Unauthorized", ForbiddenError),
        (403, "Forbidden", ForbiddenError),
        (404, "NotFound", NotFoundError),
        (409, "AlreadyExists", AlreadyExistsError),
        (409, "Conflict", ConflictError),
        (422, "Invalid", InvalidError),
        (429, "TooManyRequests", UnavailableError),
        (500, "InternalError", UnavailableError),
        (503, "ServiceUnavailable", UnavailableError),
        (418, "", KubeError),
    ],
)
async def test_every_refusal_has_its_own_error_with_the_servers_words(
    api: Any, status: int, reason: str, expected: type[KubeError]
) -> None:
    api.answers(api.refuses(status, reason, "spec.size: must be at least 1"))
    with pytest.raises(KubeError) as caught:
        await api.client.get(api.widgets, "a", namespace="blue")
    assert type(caught.value) is expected
    assert (caught.value.status, caught.value.reason) == (status, reason)
    assert "spec.size: must be at least 1" in str(caught.value)


async def test_an_answer_that_is_no_object_is_unavailable_rather_than_a_crash(api: Any) -> None:
    bodies: list[Any] = [[], "text", None]
    for body in bodies:
        api.answers(api.says(body))
        with pytest.raises(UnavailableError):
            await api.client.get(api.widgets, "a")
    api.answers(api.says({"items": []}))
    with pytest.raises(UnavailableError, match="no listing"):
        await api.client.list(api.widgets)


async def test_a_cut_connection_and_a_closed_port_are_unavailable(api: Any) -> None:
    api.answers(api.drops)
    with pytest.raises(UnavailableError):
        await api.client.create(api.widgets, api.widget("a"), namespace="blue")
    nobody = KubeClient(Connection("http://127.0.0.1:1"))
    try:
        with pytest.raises(UnavailableError):
            await nobody.get(api.widgets, "a")
    finally:
        await nobody.close()


async def test_a_token_file_is_read_anew_and_a_missing_one_is_unavailable(api: Any, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("first\n")
    client = KubeClient(Connection(api.client.connection.server, token_file=token))
    api.answers(api.says({"kind": "Widget"}))
    try:
        await client.get(api.widgets, "a")
        token.write_text("second\n")
        await client.get(api.widgets, "a")
        assert [r.headers["Authorization"] for r in api.asked] == ["Bearer first", "Bearer second"]
        token.unlink()
        with pytest.raises(UnavailableError, match="token"):
            await client.get(api.widgets, "a")
    finally:
        await client.close()


async def test_a_listing_follows_its_pages(api: Any) -> None:
    api.answers(api.lists(api.widget("a"), version=7, following="more"), api.lists(api.widget("b"), version=7))
    listing = await api.client.list(api.widgets, namespace="blue", labels="color=blue", name="a")
    assert [item["metadata"]["name"] for item in listing.items] == ["a", "b"]
    assert listing.resource_version == "7"
    first, second = (dict(request.query) for request in api.asked)
    assert (first["labelSelector"], first["fieldSelector"]) == ("color=blue", "metadata.name=a")
    assert second["continue"] == "more"


async def test_a_listing_whose_continuation_expired_is_begun_anew(api: Any) -> None:
    api.answers(
        api.lists(api.widget("old"), following="more"),
        api.refuses(410, "Expired"),
        api.lists(api.widget("new"), version=9),
    )
    listing = await api.client.list(api.widgets)
    assert [item["metadata"]["name"] for item in listing.items] == ["new"]
    assert "continue" not in api.asked[-1].query


async def test_a_listing_that_is_refused_as_gone_at_once_ends_instead_of_spinning(api: Any) -> None:
    api.answers(api.refuses(410, "Expired"))
    with pytest.raises(KubeError):
        await api.client.list(api.widgets)
    assert len(api.asked) == 1
