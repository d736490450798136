"""Which files go."""

import pytest

from controller.records.lines import FileKey, RecordType
from controller.records.retention import over_cap, to_make_room, too_old


def key(day: int, kind: RecordType = "task_processing") -> FileKey:
    return FileKey(kind, f"2025-01-{day:02d}")


@pytest.mark.parametrize(
    ("retention_days", "gone"),
    [(1, [1, 2, 28]), (2, [1, 2]), (28, [1]), (29, []), (3650, [])],
)
def test_a_line_is_kept_for_at_least_the_days_promised(retention_days: int, gone: list[int]) -> None:
    # A line of the last minute of the 29th is 1 day old in the last minute of the 30th.
    files = {key(day): 1 for day in (1, 2, 28, 29, 30, 31)}
    assert too_old(files, today="2025-01-30", retention_days=retention_days) == [key(day) for day in gone]


FILES = {key(3): 30, key(1): 10, key(2): 20, key(2, "alerts"): 5, key(31): 100, key(30): 50}


@pytest.mark.parametrize(
    ("max_bytes", "needed", "gone"),
    [
        (215, 0, []),
        (300, 85, []),
        (215, 1, [key(1)]),
        (215, 11, [key(1), key(2, "alerts")]),
        (215, 35, [key(1), key(2, "alerts"), key(2)]),
        (151, 1, [key(1), key(2, "alerts"), key(2), key(3)]),
        (150, 1, None),
        (10, 0, None),
    ],
)
def test_the_oldest_make_room_and_nothing_goes_in_vain(max_bytes: int, needed: int, gone: list[FileKey] | None) -> None:
    assert to_make_room(FILES, today="2025-01-30", needed=needed, max_bytes=max_bytes) == gone


def test_when_today_alone_is_over_the_cap_all_past_days_go() -> None:
    assert over_cap(FILES, today="2025-01-30", max_bytes=10) == [key(1), key(2, "alerts"), key(2), key(3)]
    assert over_cap(FILES, today="2025-01-30", max_bytes=215) == []
