"""Which requests are tasks."""

import pytest

from controller.api.queue import Route
from controller.dispatcher.routes import classify

ROUTES = (
    Route(name="progress", path_prefix="/sdapi/v1/progress", kind="PassThrough"),
    Route(name="generate", methods=("POST",), path_prefix="/sdapi/v1/", kind="Task"),
    Route(name="render", methods=("GET",), path_prefix="/render", kind="Task", idempotent=False),
)


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
def test_what_changes_something_is_a_task_by_default(method: str) -> None:
    assert classify(method, "/anything", ()).kind == "Task"


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "DELETE", "PROPFIND"])
def test_all_else_passes_through_by_default(method: str) -> None:
    assert classify(method, "/anything", ()).kind == "PassThrough"


@pytest.mark.parametrize(
    ("method", "path", "name"),
    [
        ("POST", "/sdapi/v1/txt2img", "generate"),
        ("POST", "/sdapi/v1/progress", "progress"),
        ("GET", "/sdapi/v1/txt2img", "pass-through"),
        ("GET", "/render/1", "render"),
        ("POST", "/render/1", "task"),
    ],
)
def test_the_first_route_that_fits_method_and_path_decides(method: str, path: str, name: str) -> None:
    assert classify(method, path, ROUTES).name == name
