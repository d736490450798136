"""Money: derived from times and prices, booked once, turned over at midnight in Beijing."""

from collections.abc import Callable
from datetime import UTC, datetime
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.api.spend import DAYS_KEPT, HOURS_KEPT, Spend, SpendHistory
from controller.api.traffic import Traffic
from controller.scaling.ledger import Bill, accrued, book, close, cny, last, nano, spent, with_traffic
from controller.scaling.periods import DAY as BEIJING_DAY
from controller.scaling.periods import HOUR as BEIJING_HOUR
from controller.scaling.periods import MONTH as BEIJING_MONTH
from controller.scaling.periods import Period
from controller.scaling.readings import start_of_beijing_day, storage_this_month

#: 2026-01-15 12:00 in Beijing; the day began 12 hours before.
NOON = datetime(2026, 1, 15, 4, tzinfo=UTC).timestamp()
HOUR = 3600.0
DAY = 24 * HOUR


def bill(uid: str = "a", start: float = NOON, end: float | None = None, price: float = 2.0, gb: float = 0.0) -> Bill:
    return Bill(uid, price, start, end, gb)


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


@given(lives=LIVES, cuts=st.lists(st.floats(0, 80 * HOUR), max_size=8))
def test_the_parts_of_an_interval_add_up_to_it_to_the_last_digit(
    lives: list[tuple[float, float, float]], cuts: list[float]
) -> None:
    bills = [bill(str(n), NOON + start, NOON + start + length, price) for n, (start, length, price) in enumerate(lives)]
    edges = [NOON, *(NOON + cut for cut in sorted(cuts)), NOON + 80 * HOUR]
    parts = [spent(bills, since=a, until=b) for a, b in pairwise(edges)]
    assert sum(parts) == spent(bills, since=edges[0], until=edges[-1])
    assert all(part >= 0 for part in parts)


def test_a_whole_life_costs_price_times_milliseconds() -> None:
    life = bill(start=NOON, end=NOON + 0.001, price=3600.0)
    assert accrued(life, NOON + HOUR) == nano(0.001)
    assert cny(spent([bill(price=0.88, end=NOON + 5 * HOUR)], since=NOON + HOUR, until=NOON + 3 * HOUR)) == 1.76


@pytest.mark.parametrize(
    ("period", "name", "following"),
    [
        (BEIJING_HOUR, "2025-12-31T23", "2026-01-01T00"),
        (BEIJING_DAY, "2024-02-28", "2024-02-29"),
        (BEIJING_MONTH, "2026-01", "2026-02"),
        (BEIJING_MONTH, "2026-12", "2027-01"),
    ],
)
def test_periods_follow_each_other_without_a_gap(period: Period, name: str, following: str) -> None:
    assert period.after(name) == following
    assert period.end(name) == period.start(following)
    assert period.name(period.end(name) - 0.001) == name
    assert period.name(period.end(name)) == following


def run(looks: list[float], at: Callable[[float], list[Bill]]) -> tuple[Spend, SpendHistory]:
    """A ledger and its history, brought up to date at these times."""
    spend, history = Spend(), SpendHistory()
    for now in looks:
        bills = at(now)
        history, spend = close(history, spend, bills, now=now), book(spend, bills, now=now)
    return spend, history


def test_an_hour_closes_once_with_what_it_cost() -> None:
    life = [bill(start=NOON + 1800, price=2.0)]
    looks = [NOON + 1801, NOON + HOUR - 1, NOON + HOUR + 1, NOON + HOUR + 2, NOON + 2 * HOUR + 5]
    _, history = run(looks, lambda _: life)
    assert [(h.period, h.cny) for h in history.hours] == [("2026-01-15T12", 1.0), ("2026-01-15T13", 2.0)]


def test_what_ended_before_the_hour_did_is_part_of_it_although_the_object_is_gone() -> None:
    ended = bill(end=NOON + 900, price=2.0)
    _, history = run([NOON + 901, NOON + HOUR], lambda now: [ended] if now < NOON + HOUR else [])
    assert [h.cny for h in history.hours] == [0.5]


def test_an_operator_that_was_away_over_midnight_closes_every_hour_and_the_day() -> None:
    running, ended = bill(price=2.0), bill(end=NOON + 14 * HOUR, price=2.0)
    spend, history = run([NOON + 60, NOON + 15 * HOUR], lambda now: [running if now < NOON + HOUR else ended])
    assert [h.cny for h in history.hours] == [2.0] * 14 + [0.0]
    assert [(d.period, d.cny) for d in history.days] == [("2026-01-15", 24.0)]
    assert (spend.today, last(history.days, BEIJING_DAY, now=NOON + 15 * HOUR)) == (4.0, 24.0)
    assert last(history.months, BEIJING_MONTH, now=NOON) == 0.0


def test_the_history_is_bounded_however_long_nobody_looked() -> None:
    _, history = run([NOON, NOON + 60 * DAY], lambda _: [bill(price=1.0)])
    assert (len(history.hours), len(history.days), len(history.months)) == (HOURS_KEPT, DAYS_KEPT, 2)
    assert {h.cny for h in history.hours} == {1.0}
    assert [(m.period, m.cny) for m in history.months] == [("2026-01", 16.5 * 24), ("2026-02", 28 * 24.0)]


def test_a_clock_that_is_set_back_begins_no_old_day_and_closes_nothing_twice() -> None:
    life, midnight = [bill(price=2.0)], NOON + 12 * HOUR
    spend, history = run([NOON, midnight + 60, midnight - 60, midnight + 120], lambda _: life)
    assert [d.period for d in history.days] == ["2026-01-15"]
    assert (spend.day, spend.today) == ("2026-01-16", 0.066667)


@given(lives=LIVES, looks=st.lists(st.floats(1, 30 * HOUR), min_size=1, max_size=12))
def test_the_hours_that_closed_and_the_hour_that_runs_are_what_the_servers_cost(
    lives: list[tuple[float, float, float]], looks: list[float]
) -> None:
    """To the last digit, however often one looks, and whether objects are still there or released after booking."""
    released: set[str] = set()

    def at(now: float) -> list[Bill]:
        found = [
            bill(str(n), NOON + start, None if NOON + start + length > now else NOON + start + length, price)
            for n, (start, length, price) in enumerate(lives)
            if NOON + start <= now and str(n) not in released
        ]
        released.update(b.uid for b in found if b.end is not None)
        return found

    times = [NOON + sum(looks[: n + 1]) for n in range(len(looks))]
    spend, history = run(times, at)
    whole = [bill(str(n), NOON + start, NOON + start + length, price) for n, (start, length, price) in enumerate(lives)]
    for periods, kind in ((history.hours, BEIJING_HOUR), (history.days, BEIJING_DAY)):
        for one in periods:
            since = kind.start(one.period)
            if since >= times[0]:  # what came before the first look is in the current period only
                assert nano(one.cny) == spent(whole, since=since, until=kind.end(one.period))
    since = BEIJING_DAY.start(BEIJING_DAY.name(times[-1]))
    assert spend.today == pytest.approx(cny(spent(whole, since=since, until=times[-1])), abs=1e-6)


def test_traffic_beyond_each_servers_own_quota_costs_its_price() -> None:
    prices = Traffic(free_gb=500.0, price_per_gb=0.8)
    bills = [bill("a", gb=600.0), bill("b", gb=499.0), bill("c", gb=510.0, end=NOON)]
    first = with_traffic(book(Spend(), bills, now=NOON), Spend(), bills, prices)
    assert (first.traffic_this_month, first.ended_traffic_this_month) == (88.0, 8.0)
    second = with_traffic(book(first, bills[:2], now=NOON + 9), first, bills[:2], prices)
    assert second.traffic_this_month == 88.0
    later = with_traffic(book(second, [], now=NOON + 20 * DAY), second, [], prices)
    assert (later.traffic_this_month, later.traffic_last_month) == (0.0, 88.0)
    kept = with_traffic(book(later, [], now=NOON + 21 * DAY), later, [], prices)
    assert kept.traffic_last_month == 88.0
    after_a_gap = with_traffic(book(second, [], now=NOON + 60 * DAY), second, [], prices)
    assert after_a_gap.traffic_last_month == 0.0, "the month before is not the one that was last written"


def test_storage_of_a_preset_counts_since_it_was_made_and_since_the_month_began() -> None:
    assert storage_this_month(0.24, since=NOON - DAY / 2, now=NOON) == pytest.approx(0.12)
    assert storage_this_month(0.24, since=NOON - 300 * DAY, now=NOON) == pytest.approx(0.24 * 14.5)
