"""docs/schemas are what the code writes, and they refuse what it never writes."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from jsonschema import Draft202012Validator, FormatChecker, ValidationError

from controller.records.alert import AlertRecord
from controller.records.cost import Alarm, CostRecord
from controller.records.lines import Line, RecordType, encode, stamp
from controller.records.schema import MODELS, files, main, schema
from controller.records.server import ScalingEvent, ServerSample
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


NEW = stamp(1738324800.0)
SAMPLE = ServerSample(
    namespace="n", pool="p", server_id="p-1", instance_id=None, region="ap-beijing", gpu_type="XL", price_per_hour=0.88,
    phase="Launching", registered_time=None, ready_time=None, destroyed_time=None, health="starting", failure_count=0,
    tasks=None, cpu_percent=None, memory_percent=None, gpu_percent=None, gpu_memory_percent=None, network_in_mbps=None,
    network_out_mbps=None, traffic_gb=0.0,
)  # fmt: skip
EVENT = ScalingEvent(
    time=NEW, namespace="n", pool="p", server_id="p-1", instance_id="hai-1", region="ap-beijing", gpu_type="XL",
    price_per_hour=0.88, action="Launch", trigger="QueueLong", outcome="bought", message="m",
)  # fmt: skip
COST = CostRecord(
    namespace="n", pool="p", period="hour", period_start=NEW, period_end=NEW, instance_cost=0.88, month_to_date=10.0,
    cost_per_hour=0.88, traffic_gb=None, traffic_cost=None, traffic_month_gb=1.0, traffic_month_cost=0.0,
    alarms=(Alarm(rule="Leaks", level="Critical", subject=""),),
)  # fmt: skip
ALERT = AlertRecord(
    namespace="n", pool="p", rule="Leaks", subject="", state="Firing", level="Critical", peak="Critical", since=NEW,
    value=0.88, threshold=0.0, unit="CNY/h", message="m", message_zh="话",
)  # fmt: skip
OTHERS: list[tuple[RecordType, msgspec.Struct]] = [
    ("server_status", SAMPLE), ("server_status", EVENT), ("cost_traffic", COST), ("alerts", ALERT),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "record"), OTHERS, ids=lambda value: type(value).__name__)
def test_every_field_of_the_operators_records_is_required_typed_and_explained(
    kind: RecordType, record: msgspec.Struct
) -> None:
    document = json.loads((FOLDER / f"{kind}.schema.json").read_text(encoding="utf-8"))
    Draft202012Validator.check_schema(document)
    checked = Draft202012Validator(document, format_checker=FormatChecker())
    line = json.loads(encode(Line(NEW, kind, record)))
    checked.validate(line)
    for field in line["data"]:
        less = {key: value for key, value in line["data"].items() if key != field}
        with pytest.raises(ValidationError):
            checked.validate(line | {"data": less})
        with pytest.raises(ValidationError):
            checked.validate(line | {"data": line["data"] | {field: {"surprise": 1}}})
    with pytest.raises(ValidationError):
        checked.validate(line | {"data": line["data"] | {"surprise": 1}})
    data = document["properties"]["data"]
    forms = data.get("oneOf", [data])
    assert all(part.get("description") for form in forms for name, part in form["properties"].items() if name != "kind")
