"""What a line looks like, and which file it belongs to."""

import json
from datetime import datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.records.lines import FileKey, Line, days_before, encode, is_whole, parse_name, stamp, utc_day


def unix(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


@pytest.mark.parametrize(
    ("t", "text"),
    [
        ("2025-01-31T08:00:00.123456Z", "2025-01-31T08:00:00.123456Z"),
        ("2025-01-31T08:00:00Z", "2025-01-31T08:00:00.000000Z"),
        ("2025-01-31T07:59:59.5+08:00", "2025-01-30T23:59:59.500000Z"),
        ("1970-01-01T00:00:00Z", "1970-01-01T00:00:00.000000Z"),
    ],
)
def test_times_are_utc_with_six_decimals(t: str, text: str) -> None:
    assert stamp(unix(t)) == text


def test_the_day_of_a_file_is_the_day_that_its_lines_show() -> None:
    # Half a microsecond before midnight is written as midnight.
    almost = unix("2025-02-01T00:00:00Z") - 2e-7
    assert stamp(almost) == "2025-02-01T00:00:00.000000Z"
    assert utc_day(almost) == "2025-02-01"
    assert utc_day(unix("2025-01-31T23:59:59.999999Z")) == "2025-01-31"


@given(st.floats(0, 4e9), st.floats(0, 4e9))
def test_the_order_of_the_text_is_the_order_of_time(a: float, b: float) -> None:
    assert (stamp(a) <= stamp(b)) or b < a
    assert stamp(a)[:10] == utc_day(a)


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("task_processing_2025-01-31.log", FileKey("task_processing", "2025-01-31")),
        ("alerts_2025-01-31.log", FileKey("alerts", "2025-01-31")),
        ("nginx_2025-01-31.log", None),
        ("task_processing_2025-01-31.log.gz", None),
        ("task_processing_2025-1-31.log", None),
        ("task_processing.log", None),
        (".address-key", None),
    ],
)
def test_only_record_files_are_taken_for_ours(name: str, key: FileKey | None) -> None:
    assert parse_name(name) == key
    assert key is None or key.name == name


@pytest.mark.parametrize(
    ("day", "count", "before"),
    [("2025-03-01", 1, "2025-02-28"), ("2024-03-01", 1, "2024-02-29"), ("2025-01-01", 0, "2025-01-01")],
)
def test_days_are_counted_back_in_the_calendar(day: str, count: int, before: str) -> None:
    assert days_before(day, count) == before


def test_more_days_than_the_calendar_has_end_at_its_beginning() -> None:
    assert days_before("0002-01-01", 3650) == "0001-01-01"


def test_a_line_is_time_type_and_data_in_this_order() -> None:
    line = encode(Line("2025-01-31T08:00:00.123456Z", "alerts", {"level": "critical"}))
    assert line == b'{"timestamp":"2025-01-31T08:00:00.123456Z","type":"alerts","data":{"level":"critical"}}\n'


@given(st.text(st.characters(), max_size=20) | st.text(st.characters(categories=["Cs", "Cc", "Zl"]), max_size=20))
def test_any_text_makes_one_line(text: str) -> None:
    line = encode(Line("t", "alerts", {"text": text, text: [text]}))
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    read = json.loads(line.decode())["data"]["text"]
    assert read == text.encode("utf-8", "replace").decode()


@pytest.mark.parametrize("data", [object(), {"a": object()}, {1.5j: 1}])
def test_what_json_does_not_know_is_an_error(data: Any) -> None:
    with pytest.raises(TypeError):
        encode(Line("t", "alerts", data))


@pytest.mark.parametrize(
    ("fragment", "whole"),
    [
        (b'{"a":1}', True),
        (b'{"a":1', False),
        (b"", False),
        (b"12", False),
        (b'{"a":"\xff"}', False),
        (b"\0\0\0", False),
    ],
)
def test_a_fragment_is_a_line_only_if_it_is_an_object_to_its_end(fragment: bytes, whole: bool) -> None:
    assert is_whole(fragment) is whole


@given(st.data())
def test_no_true_part_of_a_line_is_taken_for_a_line(data: st.DataObject) -> None:
    line = msgspec.json.encode({"a": data.draw(st.text()), "b": [1.5, None, {"c": data.draw(st.text())}]})
    assert is_whole(line)
    assert not is_whole(line[: data.draw(st.integers(0, len(line) - 1))])
