"""Which requests are tasks, however their paths are written."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.api.queue import Queue, Route
from controller.dispatcher.routes import RouteTable, readings

ROUTES = (
    Route(name="progress", path_prefix="/sdapi/v1/progress", kind="PassThrough"),
    Route(name="generate", methods=("POST",), path_prefix="/sdapi/v1/", kind="Task"),
    Route(name="render", methods=("GET",), path_prefix="/render", kind="Task", idempotent=False),
)
NONE = RouteTable(())
TABLE = RouteTable(ROUTES)


def table(**queue: object) -> RouteTable:
    return RouteTable.of(msgspec.convert(queue, Queue))


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
def test_what_changes_something_is_a_task_by_default(method: str) -> None:
    assert NONE.classify(method, "/anything").kind == "Task"


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "DELETE", "PROPFIND"])
def test_all_else_passes_through_by_default(method: str) -> None:
    assert NONE.classify(method, "/anything").kind == "PassThrough"


@pytest.mark.parametrize(
    ("method", "target", "name"),
    [
        ("POST", "/sdapi/v1/txt2img", "generate"),
        ("POST", "/sdapi/v1/progress", "progress"),
        ("POST", "/sdapi/v1/progress?x=/../txt2img", "progress"),
        ("GET", "/sdapi/v1/txt2img", "pass-through"),
        ("GET", "/render/1", "render"),
        ("GET", "/r%65nder/1", "render"),
        ("POST", "/render/1", "task"),
        ("POST", "/%E4%BD%A0", "task"),
    ],
)
def test_the_first_route_that_fits_method_and_path_decides(method: str, target: str, name: str) -> None:
    assert TABLE.classify(method, target).name == name


def test_a_pools_own_routes_come_before_those_of_its_set() -> None:
    own = table(routeSet="StableDiffusionWebUI", routes=[{"name": "mine", "pathPrefix": "/sdapi/v1/options"}])
    assert own.classify("POST", "/sdapi/v1/options").name == "mine"
    assert own.classify("POST", "/sdapi/v1/png-info").name == "png-info"


def test_a_route_that_does_not_say_how_its_end_shows_is_named() -> None:
    with pytest.raises(ValueError, match=r"queue\.routes: jobs has completion Poll"):
        table(routes=[{"name": "jobs", "completion": "Poll"}])


# --- nobody passes the queue by writing a path differently ---------------------------------------------------------


@pytest.mark.parametrize(
    "target",
    [
        "/sdapi/v1/options/../txt2img",
        "/sdapi/v1/options/%2e%2e/txt2img",
        "/sdapi/v1/options/%2E./txt2img",
        "/sdapi/v1/options/..%2Ftxt2img",
        "/sdapi/v1/options%2F..%2Ftxt2img",
        "/sdapi/v1/options/%252e%252e/txt2img",
        "/sdapi/v1/options/..\\txt2img",
        "/sdapi/v1/options/..%5Ctxt2img",
        "/sdapi/v1/options/..;/txt2img",
        "/sdapi/v1/options;a=b/../txt2img",
        "/sdapi/v1/options//../../txt2img",
        "/sdapi/v1/options/x%2Fy/../../txt2img",
        "/sdapi//v1/txt2img",
        "//sdapi/v1/txt2img",
        "/./sdapi/v1/./txt2img",
        "/sdapi/v1/../v1/txt2img",
        "/internal/..//sdapi/v1/txt2img",
        "/%73dapi/v1/txt2img",
        "/run/../../../sdapi/v1/txt2img?x=/sdapi/v1/options",
    ],
)
def test_however_it_is_written_work_for_the_gpu_waits_its_turn(target: str) -> None:
    assert table(routeSet="StableDiffusionWebUI").classify("POST", target).kind == "Task"


@pytest.mark.parametrize(
    "target",
    ["/prompt", "//prompt", "/api/prompt", "/api//prompt", "/x/../prompt", "/%70rompt", "/api/%2e%2e/prompt",
     "/prompt/", "/view/..%2Fprompt", "/api/x/../prompt?client=1", "/queue/..;/prompt",
     "/a/b/../../prompt", "/./api/./prompt"],
)  # fmt: skip
def test_a_workflow_is_polled_for_however_its_path_is_written(target: str) -> None:
    route = table(routeSet="ComfyUI").classify("POST", target)
    assert (route.kind, route.completion) == ("Task", "Poll")


@pytest.mark.parametrize("target", ["/sdapi/v1/options", "/sdapi/v1/opt%69ons", "/run/predict/", "/upload?x=%2e%2e"])
def test_an_odd_path_whose_readings_agree_is_what_they_say(target: str) -> None:
    assert table(routeSet="StableDiffusionWebUI").classify("POST", target).kind == "PassThrough"


SEGMENTS = st.sampled_from(
    ["", ".", "..", "%2e", "%2e%2e", "a", "options", "task", "%2F", "..%2f", "%252e%252e", "..;x", "a\\..\\", "%5c"]
)


@given(st.lists(SEGMENTS, max_size=7), st.sampled_from(["/task", "/t%61sk", "%2ftask", "//task"]))
def test_what_a_server_may_read_as_a_task_is_one(segments: list[str], last: str) -> None:
    """One pass-through prefix and one task prefix: wherever any reading reaches the task, it is taken for it."""
    routes = RouteTable((Route(name="task", path_prefix="/task"), Route(name="all", kind="PassThrough")))
    target = "/" + "/".join(segments) + last
    reached = any(reading.startswith("/task") for reading in readings(target))
    assert (routes.classify("POST", target).kind == "Task") == reached


# --- whom a poll is about ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "name"),
    [
        ("/history/ab-1", "ab-1"),
        ("/api/history/ab-1?x=1", "ab-1"),
        ("/history/a%20b", "a b"),
        ("/history", None),
        ("/history/", None),
        ("/history/a/b", None),
        ("/view?filename=/history/a", None),
    ],
)
def test_a_request_that_asks_after_a_task_is_known_as_such(target: str, name: str | None) -> None:
    assert table(routeSet="ComfyUI").polled_id(target) == name
    assert NONE.polled_id(target) is None
