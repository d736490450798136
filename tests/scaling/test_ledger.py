"""Money: derived from times and prices, booked once, turned over at midnight in Beijing."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.api.spend import Spend
from controller.scaling.ledger import Bill, book
from controller.scaling.readings import start_of_beijing_day

#: 2026-01-15 12:00 in Beijing; the day began 12 hours before.
NOON = datetime(2026, 1, 15, 4, tzinfo=UTC).timestamp()
HOUR = 3600.0
DAY = 24 * HOUR


def bill(uid: str = "a", start: float = NOON, end: float | None = None, price: float = 2.0) -> Bill:
    return Bill(uid, price, start, end, 0.0)


def test_a_running_server_costs_its_price_times_its_time() -> None:
    spend = book(Spend(), [bill(start=NOON - 2 * HOUR)], now=NOON)
    assert (spend.per_hour, spend.today, spend.this_month) == (2.0, 4.0, 4.0)


def test_only_today_counts_for_today() -> None:
    spend = book(Spend(), [bill(start=NOON - 2 * DAY)], now=NOON)
    assert (spend.today, spend.this_month) == (24.0, 96.0)


def test_an_ended_server_is_booked_once() -> None:
    ended = bill(start=NOON - 2 * HOUR, end=NOON - HOUR)
    spend = book(Spend(), [ended], now=NOON)
    again = book(spend, [ended], now=NOON + 10)
    assert again.today == spend.today == 2.0
    assert again.booked == ("a",)


def test_once_its_object_is_released_the_cost_stays_and_the_uid_goes() -> None:
    spend = book(Spend(), [bill(start=NOON - 2 * HOUR, end=NOON - HOUR)], now=NOON)
    released = book(spend, [], now=NOON + 10)
    assert (released.today, released.this_month, released.per_hour, released.booked) == (2.0, 2.0, 0.0, ())


def test_midnight_in_beijing_begins_a_new_day() -> None:
    spend = book(Spend(), [bill(start=NOON - HOUR, end=NOON)], now=NOON)
    spend = book(spend, [], now=NOON + 12 * HOUR - 1)
    assert (spend.day, spend.today) == ("2026-01-15", 2.0)
    spend = book(spend, [], now=NOON + 12 * HOUR)
    assert (spend.day, spend.today, spend.this_month) == ("2026-01-16", 0.0, 2.0)


def test_the_new_month_begins_at_nothing() -> None:
    spend = book(Spend(), [bill(start=NOON - HOUR, end=NOON)], now=NOON)
    spend = book(spend, [], now=NOON + 17 * DAY)
    assert (spend.month, spend.this_month) == ("2026-02", 0.0)


def test_what_ended_yesterday_and_is_booked_today_counts_for_the_month_only() -> None:
    spend = book(Spend(), [bill(start=NOON - 15 * HOUR, end=NOON - 13 * HOUR)], now=NOON)
    assert (spend.today, spend.this_month) == (0.0, 4.0)


LIVES = st.lists(
    st.tuples(st.floats(0, 40 * HOUR), st.floats(0, 40 * HOUR), st.floats(0.1, 50)),
    min_size=1,
    max_size=6,
)


@given(lives=LIVES, looks=st.lists(st.floats(1, 6 * HOUR), min_size=1, max_size=12))
def test_how_often_one_looks_changes_nothing(lives: list[tuple[float, float, float]], looks: list[float]) -> None:
    """A ledger that is brought up to now step by step says what a single look at all lives says."""

    def at(now: float) -> list[Bill]:
        started = [(n, start, length, price) for n, (start, length, price) in enumerate(lives) if NOON + start <= now]
        return [
            bill(str(n), NOON + start, NOON + start + length if NOON + start + length <= now else None, price)
            for n, start, length, price in started
        ]

    now, spend = NOON, Spend()
    for pause in looks:
        now += pause
        spend = book(spend, at(now), now=now)
    whole = book(Spend(), at(now), now=now)
    assert spend.this_month == pytest.approx(whole.this_month, abs=1e-4)
    assert spend.today == pytest.approx(whole.today, abs=1e-4)
    assert spend.today <= spend.per_hour * DAY / HOUR + spend.ended_today + 1e-4
    assert spend.day == datetime.fromtimestamp(start_of_beijing_day(now) + 8 * HOUR, UTC).strftime("%Y-%m-%d")
