"""docs/schemas are what the code writes, and they refuse what it never writes."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from jsonschema import Draft202012Validator, FormatChecker, ValidationError

from controller.records.lines import Line, encode, stamp
from controller.records.schema import MODELS, files, main, schema
from controller.records.task import TaskRecord

FOLDER = Path(__file__).parents[2] / "docs" / "schemas"

RECORD = TaskRecord(
    task_id="0011223344556677",
    pool="demo",
    task_type="default",
    cost=1.0,
    user_id="user_203.0.113.7_42",
    user_identification_method="ip_time_window",
    client_ip="203.0.113.7",
    network="203.0.113.7",
    time_window=42,
    server_id="demo-1",
    region="ap-beijing",
    gpu_type="XL",
    submit_time=stamp(1738324800.0),
    start_time=stamp(1738324801.5),
    complete_time=stamp(1738324805.25),
    processing_duration=3.75,
    wait_duration=1.5,
    response_duration=5.25,
    status="success",
    failure_reason=None,
    attempts=1,
    gpu_percent=None,
    gpu_memory_percent=None,
)
NEVER_STARTED: dict[str, Any] = {
    "server_id": None,
    "region": None,
    "gpu_type": None,
    "start_time": None,
    "processing_duration": None,
    "wait_duration": None,
    "status": "expired",
    "failure_reason": "no server was free within 3600 s (queue.maxWaitSeconds)",
    "attempts": 0,
}


@pytest.fixture(scope="module")
def validator() -> Draft202012Validator:
    """Of the file in docs/schemas."""
    document = json.loads((FOLDER / "task_processing.schema.json").read_text(encoding="utf-8"))
    Draft202012Validator.check_schema(document)
    return Draft202012Validator(document, format_checker=FormatChecker())


def line(**changes: Any) -> Any:
    """A line as it is written, with these fields changed."""
    data = msgspec.structs.replace(RECORD, **changes)
    return json.loads(encode(Line(stamp(1738324805.25), "task_processing", data)))


def test_the_files_follow_from_the_records(tmp_path: Path) -> None:
    assert main(["--directory", str(tmp_path)]) == 0
    for name, text in files().items():
        assert (FOLDER / name).read_text(encoding="utf-8") == text, "run python -m controller.records.schema"
        assert (tmp_path / name).read_text(encoding="utf-8") == text
    assert {path.name for path in FOLDER.iterdir()} == {f"{kind}.schema.json" for kind in MODELS}


@pytest.mark.parametrize("changes", [{}, NEVER_STARTED, {"gpu_percent": 98.5, "gpu_memory_percent": 40.0}])
def test_what_is_written_is_valid(validator: Draft202012Validator, changes: dict[str, Any]) -> None:
    validator.validate(line(**changes))


def test_every_field_is_there_and_explained() -> None:
    data = schema("task_processing")["properties"]["data"]
    assert set(data["required"]) == set(data["properties"]) == set(TaskRecord.__struct_fields__)
    assert all(field["description"] for field in data["properties"].values())


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("submit_time", "2025-01-31T12:00:00.000000+00:00"),
        ("submit_time", "2025-01-31T12:00:00Z"),
        ("submit_time", None),
        ("start_time", 1738324801.5),
        ("status", "ok"),
        ("attempts", -1),
        ("wait_duration", -0.1),
        ("gpu_percent", 101),
        ("user_identification_method", "cookie"),
        ("surprise", 1),
    ],
)
def test_what_is_never_written_is_refused(validator: Draft202012Validator, field: str, value: Any) -> None:
    wrong = line()
    wrong["data"][field] = value
    with pytest.raises(ValidationError):
        validator.validate(wrong)


@pytest.mark.parametrize("field", [*TaskRecord.__struct_fields__])
def test_no_field_may_be_missing(validator: Draft202012Validator, field: str) -> None:
    wrong = line()
    del wrong["data"][field]
    with pytest.raises(ValidationError):
        validator.validate(wrong)
