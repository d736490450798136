"""Selectors, JSONPath, ages and accepted forms: the small languages of the API."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from controller.sandbox.kubeapi.errors import ApiError
from controller.sandbox.kubeapi.jsonpath import JsonPathError, compile_path
from controller.sandbox.kubeapi.kinds import COMMON_FIELDS
from controller.sandbox.kubeapi.negotiation import Form, accepted
from controller.sandbox.kubeapi.selectors import field_selector, label_selector
from controller.sandbox.kubeapi.tables import age

ITEM: dict[str, Any] = {
    "metadata": {"name": "a", "namespace": "n", "labels": {"app": "sd", "tier": "gpu", "x.io/y": ""}}
}


@pytest.mark.parametrize(
    ("selector", "matches"),
    [
        ("", True),
        ("app=sd", True),
        ("app==sd,tier=gpu", True),
        ("app=sd,tier=cpu", False),
        ("app!=sd", False),
        ("missing!=sd", True),
        ("app in (sd, comfy)", True),
        ("app in (comfy)", False),
        ("app notin (comfy,other),tier", True),
        ("missing notin (a)", True),
        ("app", True),
        ("!app", False),
        ("!missing", True),
        ("x.io/y=", True),
    ],
)
def test_label_selectors(selector: str, matches: bool) -> None:
    assert label_selector(selector)(ITEM) is matches


@pytest.mark.parametrize("selector", ["a===b", "a in b", "(a)", "a b", "=b"])
def test_a_malformed_label_selector_is_400(selector: str) -> None:
    with pytest.raises(ApiError) as refused:
        label_selector(selector)
    assert refused.value.code == 400


def test_an_object_without_labels_has_none() -> None:
    assert label_selector("!app")({"metadata": {"name": "a"}})
    assert not label_selector("app")({"metadata": {"name": "a"}})


@pytest.mark.parametrize(
    ("selector", "matches"),
    [
        ("metadata.name=a", True),
        ("metadata.name==a,metadata.namespace=n", True),
        ("metadata.name!=a", False),
        ("metadata.name=b", False),
        ("", True),
    ],
)
def test_field_selectors(selector: str, matches: bool) -> None:
    assert field_selector(selector, COMMON_FIELDS)(ITEM) is matches


@pytest.mark.parametrize("selector", ["spec.region=a", "metadata.name", "=a"])
def test_a_field_that_cannot_be_selected_by_is_400(selector: str) -> None:
    with pytest.raises(ApiError) as refused:
        field_selector(selector, COMMON_FIELDS)
    assert refused.value.code == 400


DOCUMENT: dict[str, Any] = {
    "a": {"b": 1, "c.d": 2},
    "list": [{"type": "Ready", "status": "True"}, {"type": "Other", "status": "False"}],
}


@pytest.mark.parametrize(
    ("path", "found"),
    [
        (".a.b", [1]),
        (".a['c.d']", [2]),
        (r".a.c\.d", [2]),
        ('.list[?(@.type=="Ready")].status', ["True"]),
        ('.list[?(@.type!="Ready")].status', ["False"]),
        (".list[?(@.type=='None')].status", []),
        (".list[1].type", ["Other"]),
        (".list[-1].type", ["Other"]),
        (".list[9].type", []),
        (".list[*].type", ["Ready", "Other"]),
        (".missing.deeper", []),
        (".a.b.c", []),
        ("", [DOCUMENT]),
    ],
)
def test_paths(path: str, found: list[Any]) -> None:
    assert compile_path(path)(DOCUMENT) == found


@pytest.mark.parametrize("path", ["a.b", "..a", ".a[", ".list[?(@.n>1)]", "{.a}"])
def test_a_path_that_is_not_supported_is_refused(path: str) -> None:
    with pytest.raises(JsonPathError, match="unsupported JSONPath"):
        compile_path(path)


@pytest.mark.parametrize(
    ("passed", "shown"),
    [
        (timedelta(0), "0s"),
        (timedelta(seconds=-5), "0s"),
        (timedelta(seconds=119), "119s"),
        (timedelta(minutes=2), "2m"),
        (timedelta(minutes=2, seconds=5), "2m5s"),
        (timedelta(minutes=10, seconds=5), "10m"),
        (timedelta(hours=2, minutes=59), "179m"),
        (timedelta(hours=3, minutes=1), "3h1m"),
        (timedelta(hours=8, minutes=1), "8h"),
        (timedelta(hours=49), "2d1h"),
        (timedelta(days=8, hours=5), "8d"),
        (timedelta(days=3 * 365 + 2), "3y2d"),
        (timedelta(days=9 * 365), "9y"),
    ],
)
def test_ages_read_as_kubectl_writes_them(passed: timedelta, shown: str) -> None:
    now = datetime(2025, 1, 31, tzinfo=UTC)
    assert age((now - passed).isoformat(), now) == shown


@pytest.mark.parametrize("since", [None, "soon"])
def test_an_age_nobody_knows(since: str | None) -> None:
    assert age(since, datetime(2025, 1, 31, tzinfo=UTC)) == "<unknown>"


TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"


@pytest.mark.parametrize(
    ("header", "form"),
    [
        ("", Form.OBJECT),
        ("*/*", Form.OBJECT),
        ("application/json", Form.OBJECT),
        (f"{TABLE},application/json", Form.TABLE),
        ("application/vnd.kubernetes.protobuf, application/json", Form.OBJECT),
        ("application/json;as=Table;v=v9;g=meta.k8s.io,application/json", Form.OBJECT),
        ("application/json; as=PartialObjectMetadataList; g=meta.k8s.io; v=v1", Form.PARTIAL_LIST),
        ("application/json;stream=watch", Form.OBJECT),
    ],
)
def test_the_first_form_that_is_spoken_is_taken(header: str, form: Form) -> None:
    assert accepted(header) is form


@pytest.mark.parametrize(
    "header", ["application/xml", "application/vnd.kubernetes.protobuf", "application/json;as=Odd"]
)
def test_nothing_acceptable_is_406(header: str) -> None:
    with pytest.raises(ApiError) as refused:
        accepted(header)
    assert refused.value.code == 406
