"""Everything that is in the files arrives in CLS, whatever CLS, the network or the process does in between."""

import asyncio
from typing import Any

import pytest

from controller.cloud.errors import (
    ArrearsError,
    InvalidRequestError,
    NotFoundError,
    ThrottledError,
    UnauthorizedError,
    UnavailableError,
)
from controller.sandbox.cloudsim import SANDBOX_TOPIC
from controller.shipper import ship

TRICKY = {
    "text": 'quotes " and \\ and 中文 and \u2028',
    "nothing": None,
    "yes": True,
    "list": [1, 2.5, "three"],
    "nested": {"a": {"b": None}},
    "type": "collides",
    "_hidden": "x",
    "number_in_text": "007",
}


async def test_every_record_of_every_file_arrives_once(bench: Any) -> None:
    bench.folder.add(*bench.records(1000))
    bench.folder.add(bench.record(1, kind="alerts", level="Warning"), name="alerts_2025-01-31.log")
    bench.folder.add(bench.record(2, kind="server_status"), name="pod-1/server_status_2025-01-30.log")
    await bench.shipper().round()
    bench.check()
    assert len(bench.cloud.logs()) == 1002
    first = bench.cloud.logs()[0]
    assert (first.filename, first.source, first.tags) == (
        "pod-1/server_status_2025-01-30.log",
        "pod-0",
        {"app": "haipool"},
    )


async def test_values_keep_their_meaning_and_keys_stay_clear_of_those_of_cls(bench: Any) -> None:
    bench.folder.add(bench.record(7, **TRICKY))
    await bench.shipper().round()
    (log,) = bench.cloud.logs()
    assert log.contents == {
        "type": "task_processing",
        "timestamp": "2025-01-31T08:00:07.000007Z",
        "line_id": "pod-0/task_processing_2025-01-31.log/0",
        "task_id": "t-7",
        "wait_duration": "0.875",
        "text": 'quotes " and \\ and 中文 and \u2028',
        "yes": "true",
        "list": '[1,2.5,"three"]',
        "nested": '{"a":{"b":null}}',
        "data.type": "collides",
        "data._hidden": "x",
        "number_in_text": "007",
    }
    assert log.time_ms == 1738310407000


async def test_a_second_round_sends_only_what_is_new_and_no_half_line(bench: Any) -> None:
    shipper = bench.shipper()
    bench.folder.add(bench.record(1))
    bench.folder.raw('{"timestamp": "2025-01-31T08:00:0')
    await shipper.round()
    assert len(bench.cloud.logs()) == 1
    bench.folder.raw('2.000002Z", "type": "task_processing", "data": {"task_id": "t-2"}}\n')
    await shipper.round()
    assert [log.contents["task_id"] for log in bench.cloud.logs()] == ["t-1", "t-2"]
    assert bench.cloud.count("UploadLog") == 2


async def test_a_new_process_goes_on_where_the_last_one_was(bench: Any) -> None:
    bench.folder.add(*bench.records(10))
    await bench.shipper().round()
    bench.folder.add(bench.record(11))
    await bench.shipper().round()
    assert len(bench.cloud.logs()) == 11
    bench.check()


async def test_another_topic_gets_everything(bench: Any) -> None:
    bench.folder.add(*bench.records(3))
    with pytest.raises(NotFoundError):
        await bench.shipper(topic="no-such-topic").round()
    assert bench.cloud.logs() == ()
    await bench.shipper().round()
    assert len(bench.cloud.logs()) == 3


@pytest.mark.parametrize("kind", ["commit_then_500", "commit_then_reset"])
async def test_a_lost_answer_sends_one_batch_again_and_the_copies_can_be_counted(bench: Any, kind: Any) -> None:
    bench.folder.add(*bench.records(50))
    shipper = bench.shipper()
    bench.cloud.set_fault(kind, action="UploadLog", count=1)
    with pytest.raises(UnavailableError):
        await shipper.round()
    await shipper.round()
    assert len(bench.cloud.logs()) == 100
    bench.check()


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"kind": "throttled"}, ThrottledError),
        ({"kind": "error", "code": "FailedOperation.WriteQpsLimit"}, ThrottledError),
        ({"kind": "error", "code": "FailedOperation.WriteTrafficLimit"}, ThrottledError),
        ({"kind": "error", "code": "FailedOperation.Timeout"}, UnavailableError),
        ({"kind": "error", "code": "InternalError"}, UnavailableError),
        ({"kind": "http_500"}, UnavailableError),
        ({"kind": "reset"}, UnavailableError),
    ],
)
async def test_what_passes_by_itself_is_tried_again_and_loses_nothing(
    bench: Any, options: Any, error: type[Exception]
) -> None:
    bench.folder.add(*bench.records(5))
    shipper = bench.shipper()
    bench.cloud.set_fault(action="UploadLog", count=1, **options)
    with pytest.raises(error):
        await shipper.round()
    await shipper.round()
    bench.check()
    assert shipper.tally.dropped == {"invalid": 0, "too_large": 0, "rejected": 0, "removed": 0}


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("ResourceNotFound.TopicNotExist", NotFoundError),
        ("OperationDenied.ACLFailed", UnauthorizedError),
        ("OperationDenied.AccountIsolate", ArrearsError),
        ("FailedOperation.TopicClosed", InvalidRequestError),
        ("AuthFailure.SignatureFailure", UnauthorizedError),
        ("InvalidParameter", InvalidRequestError),
    ],
)
async def test_what_a_person_has_to_put_right_keeps_the_records_in_the_files(
    bench: Any, code: str, error: type[Exception]
) -> None:
    bench.folder.add(*bench.records(5))
    shipper = bench.shipper()
    number = bench.cloud.set_fault("error", action="UploadLog", code=code)
    with pytest.raises(error):
        await shipper.round()
    assert await shipper._attempt(5.0) == (ship.HELD_SECONDS, False)
    assert code in shipper.tally.held
    assert shipper.tally.backlog_bytes > 0
    bench.cloud.clear_fault(number)
    assert await shipper._attempt(5.0) == (5.0, True)
    assert shipper.tally.held == ""
    assert shipper.tally.backlog_bytes == 0
    bench.check()


async def test_too_large_is_sent_in_halves(bench: Any) -> None:
    bench.folder.add(*bench.records(8))
    bench.cloud.set_fault("error", action="UploadLog", code="LimitExceeded.LogSize", count=3)
    await bench.shipper().round()
    bench.check()
    assert len(bench.cloud.logs()) == 8


async def test_one_line_that_cls_rejects_is_dropped_alone_and_told(bench: Any) -> None:
    bench.folder.add(*bench.records(4))
    shipper = bench.shipper()
    # The batch, the first half, and the first line of it are rejected.
    bench.cloud.set_fault("error", action="UploadLog", code="InvalidParameter.Content", count=3)
    await shipper.round()
    assert [log.contents["task_id"] for log in bench.cloud.logs()] == ["t-1", "t-2", "t-3"]
    assert shipper.tally.dropped["rejected"] == 1
    assert "byte 0" in shipper.tally.last_drop


async def test_lines_that_are_no_records_or_too_large_are_dropped_and_the_rest_arrives(bench: Any) -> None:
    bench.folder.add(bench.record(1))
    bench.folder.raw('no json\n{"timestamp": 5}\n[]\n\n')
    bench.folder.add(bench.record(2, prompt="x" * 1_000_001), bench.record(3))
    shipper = bench.shipper()
    await shipper.round()
    assert [log.contents["task_id"] for log in bench.cloud.logs()] == ["t-1", "t-3"]
    assert shipper.tally.dropped == {"invalid": 4, "too_large": 1, "rejected": 0, "removed": 0}


async def test_batches_stay_within_the_limits_of_cls(bench: Any) -> None:
    bench.folder.add(*bench.records(10_001))
    bench.folder.add(*(bench.record(i, prompt="長" * 300_000) for i in range(12)), name="alerts_2025-01-31.log")
    shipper = bench.shipper()
    await shipper.round()
    bench.check()
    assert shipper.tally.requests["ok"] > 4
    assert shipper.tally.requests["split"] == 0


async def test_a_file_that_was_removed_before_it_was_shipped_is_told_as_a_loss(bench: Any) -> None:
    bench.folder.add(*bench.records(5))
    shipper = bench.shipper()
    bench.cloud.set_fault("throttled", action="UploadLog", count=1)
    with pytest.raises(ThrottledError):
        await shipper.round()
    path = bench.folder.path / "task_processing_2025-01-31.log"
    size = path.stat().st_size
    path.unlink()
    await shipper.round()
    assert shipper.tally.dropped["removed"] == size


async def test_a_file_that_took_anothers_name_is_shipped_whole(bench: Any) -> None:
    bench.folder.add(*bench.records(5))
    shipper = bench.shipper()
    await shipper.round()
    path = bench.folder.path / "task_processing_2025-01-31.log"
    path.rename(bench.folder.path / "kept.old")
    bench.folder.add(bench.record(77))
    await shipper.round()
    assert bench.cloud.logs()[-1].contents["task_id"] == "t-77"


async def test_offsets_that_cannot_be_read_ship_everything_again(bench: Any) -> None:
    bench.folder.add(*bench.records(5))
    await bench.shipper().round()
    (bench.folder.path / ".cls-offsets.json").write_bytes(b"\x00torn")
    await bench.shipper().round()
    assert len(bench.cloud.logs()) == 10
    bench.check()


async def test_when_told_to_stop_it_ships_what_is_left_first(bench: Any) -> None:
    stop = asyncio.Event()
    bench.folder.add(*bench.records(5))
    bench.cloud.set_fault("throttled", action="UploadLog", count=1)
    stop.set()
    await bench.shipper().run(stop, interval=60.0, grace=30.0)
    bench.check()


async def test_when_the_cloud_takes_nothing_it_ends_all_the_same(bench: Any) -> None:
    stop = asyncio.Event()
    bench.folder.add(*bench.records(5))
    bench.cloud.set_fault("error", action="UploadLog", code="OperationDenied.ACLFailed")
    stop.set()
    await bench.shipper().run(stop, interval=60.0, grace=0.5)
    assert bench.cloud.logs(topic=SANDBOX_TOPIC) == ()
