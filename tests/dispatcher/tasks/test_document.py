"""docs/async-tasks.md keeps its word: fields, states, settings and bounds on it are the code's."""

import json
import re
from pathlib import Path

import msgspec
import pytest

from controller.api.queue import AsyncTasks, Route
from controller.dispatcher.idempotency import MAX_KEY
from controller.dispatcher.identity import Identity
from controller.dispatcher.prefer import MAX_WAIT_SECONDS
from controller.dispatcher.stores.base import StoredTask, TaskState
from controller.dispatcher.stores.blobs import INLINE_BYTES
from controller.dispatcher.tasks.events import HEARTBEAT_SECONDS, MAX_STREAMS, MAX_STREAMS_PER_USER
from controller.dispatcher.tasks.forecasts import Forecast
from controller.dispatcher.tasks.status import describe

ROOT = Path(__file__).parents[3]
PAGES = [ROOT / "docs" / name for name in ("async-tasks.md", "async-tasks.zh-CN.md")]


@pytest.fixture(params=PAGES, ids=lambda path: path.name)
def page(request: pytest.FixtureRequest) -> str:
    path: Path = request.param
    return path.read_text(encoding="utf-8")


def test_the_status_it_shows_is_one(page: str) -> None:
    (text,) = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    example = json.loads(text)
    ip = "192.0.2.1"
    who = Identity(f"user_{ip}_3", f"user_{ip}", ip, ip, ip, 3, None, "ip_time_window", 1.0, 1.0)
    now = 1795512710.112
    task = StoredTask(example["id"], 1, TaskState.QUEUED, who, Route(name="task"), now)
    assert describe(task, Forecast(4, 11.6), now) == example
    assert list(describe(task, None, now)) == list(example)


def test_every_field_and_every_state_is_explained(page: str) -> None:
    (text,) = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    explained = set(re.findall(r"`(\w+)`", page))
    obvious = {"id", "user", "route", "submitted", "started", "completed", "links"}
    assert set(json.loads(text)) - obvious <= explained
    assert {state.value for state in TaskState} <= explained
    assert {"pending", "available", "gone", "none"} <= explained


def test_the_bounds_it_gives_are_those_of_the_code(page: str) -> None:
    for field in msgspec.structs.fields(AsyncTasks):
        name = field.encode_name
        assert re.search(rf"`queue\.asyncTasks\.{name}`[（ (]+{field.default}[)）]", page), name
    for number in (MAX_KEY, MAX_WAIT_SECONDS, MAX_STREAMS, MAX_STREAMS_PER_USER, INLINE_BYTES // 1024):
        assert re.search(rf"\b{number}\b", page), number
    assert re.search(rf"\b{HEARTBEAT_SECONDS:.0f}\b", page)
