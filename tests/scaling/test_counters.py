"""Counters over successive scrapes: what rose within a window, through restarts, resets, gaps and clocks."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.scaling.counters import Track, Tracks, filled

Points = list[tuple[float, float | None]]


def track(*points: tuple[float, float | None], keep: float = 60.0, grain: float = 0.0) -> Track[float | None]:
    made = Track[float | None]()
    for at, counted in points:
        made.add(at, counted, keep=keep, grain=grain)
    return made


def fell(before: float, now: float) -> bool:
    return now < before


def rise(*points: tuple[float, float | None]) -> tuple[float, float] | None:
    return track(*points).rise(lambda counted: counted, 60.0)


@pytest.mark.parametrize(
    ("points", "risen"),
    [
        ([(0.0, 5.0)], None),
        ([(0.0, 5.0), (60.0, 11.0)], (6.0, 60.0)),
        ([(0.0, 5.0), (30.0, 6.0), (60.0, 11.0)], (6.0, 60.0)),
        ([(0.0, 0.0), (40.0, 4.0)], (4.0, 40.0)),
        ([(0.0, 0.0), (50.0, 50.0), (100.0, 50.0)], (10.0, 60.0)),
        ([(0.0, 0.0), (600.0, 600.0)], (60.0, 60.0)),
        ([(0.0, None), (20.0, 1.0), (60.0, 3.0)], (2.0, 40.0)),
        ([(0.0, 1.0), (60.0, None)], None),
        ([(100.0, 1.0), (10.0, 5.0), (20.0, 8.0)], (3.0, 10.0)),
        ([(0.0, 1.0), (60.0, 5.0), (60.0, 99.0)], (4.0, 60.0)),
    ],
    ids=[
        "one-reading-is-no-rise",
        "a-window",
        "readings-in-between",
        "less-than-a-window",
        "evenly-between-two-readings",
        "a-gap-is-taken-to-be-even",
        "a-counter-that-came-later",
        "a-counter-that-is-gone",
        "a-clock-that-was-set-back",
        "the-same-reading-twice",
    ],
)
def test_by_how_much_a_counter_rose_within_the_window(points: Points, risen: tuple[float, float] | None) -> None:
    assert rise(*points) == risen


@pytest.mark.parametrize(("seconds", "full"), [(60.0, True), (54.0, True), (53.9, False), (0.0, False)])
def test_a_window_counts_as_filled_when_nine_tenths_of_it_were_counted(seconds: float, full: bool) -> None:
    assert filled(seconds, 60.0) is full


def test_what_is_kept_is_bounded_however_often_it_is_read() -> None:
    often = track(*((float(second), float(second)) for second in range(10_000)), grain=10.0)
    assert len(often.readings) <= 2 * 60 / 10 + 3
    assert often.rise(lambda counted: counted, 60.0) == (60.0, 60.0)


@given(
    st.lists(st.tuples(st.floats(0.1, 100.0), st.floats(0.0, 1.0)), min_size=1, max_size=30),
    st.floats(0.0, 10.0),
)
def test_a_counter_of_busy_time_never_rises_faster_than_time(steps: list[tuple[float, float]], grain: float) -> None:
    """Whatever is scraped when, the share stays one."""
    at = counted = 0.0
    made = track((at, counted), grain=grain)
    for seconds, share in steps:
        at, counted = at + seconds, counted + seconds * share
        made.add(at, counted, keep=60.0, grain=grain)
    rose, over = made.rise(lambda found: found, 60.0) or (0.0, 1.0)
    assert -1e-9 <= rose / over <= 1.0 + 1e-9
    assert over <= 60.0


def test_a_process_that_cannot_be_read_for_a_while_is_continued() -> None:
    tracks = Tracks[float](fell)
    tracks.note([("a", 0.0, 1.0), ("b", 0.0, 1.0)], keep=60.0)
    tracks.note([("b", 30.0, 2.0)], keep=60.0)
    tracks.note([("a", 50.0, 6.0), ("b", 50.0, 2.0)], keep=60.0)
    assert tracks["a"].rise(lambda counted: counted, 60.0) == (5.0, 50.0)


def test_a_process_that_is_gone_is_forgotten() -> None:
    tracks = Tracks[float](fell)
    tracks.note([("a", 0.0, 1.0), ("b", 0.0, 1.0)], keep=60.0)
    tracks.note([("b", 61.0, 2.0)], keep=60.0)
    assert len(tracks) == 1
    tracks.note([], keep=60.0)
    assert len(tracks) == 1, "that nobody answers says nothing about who is gone"


def test_a_counter_that_fell_was_set_to_zero_in_between() -> None:
    tracks = Tracks[float](fell)
    for at, counted in ((0.0, 900.0), (50.0, 950.0), (60.0, 1.0), (80.0, 4.0)):
        tracks.note([("a", at, counted)], keep=60.0)
    assert tracks["a"].rise(lambda found: found, 60.0) == (3.0, 20.0)
