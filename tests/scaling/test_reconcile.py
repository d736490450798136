"""The ledger against the bill, server by server."""

from datetime import UTC, datetime

import pytest

from controller.api.spend import SETTLING_KEPT, Billing, InstanceDay, PeriodSpend, SpendHistory
from controller.scaling.ledger import Bill, nano
from controller.scaling.reconcile import Charge, compare, due_day, is_young, next_day, ours_on, settling

#: 2026-01-15 12:00 in Beijing.
NOON = datetime(2026, 1, 15, 4, tzinfo=UTC).timestamp()
HOUR, DAY = 3600.0, 86400.0
AT = "2026-01-15T04:00:00.000Z"


def bill(name: str, start: float, end: float | None, price: float = 1.0) -> Bill:
    return Bill(f"uid-{name}", price, start, end, 0.0, name)


def charge(cny: float, settlements: int = 1) -> Charge:
    return Charge(nano(cny), settlements)


def test_the_day_before_yesterday_in_beijing_is_due() -> None:
    assert due_day(NOON) == "2026-01-13"
    assert due_day(NOON + 12 * HOUR - 1) == "2026-01-13"
    assert due_day(NOON + 12 * HOUR) == "2026-01-14"


def kept(*days: int) -> SpendHistory:
    return SpendHistory(days=tuple(PeriodSpend(period=f"2026-01-{n:02}", cny=1.0) for n in days))


@pytest.mark.parametrize(
    ("made", "compared", "history", "expected"),
    [
        # A pool of long ago; today is the 15th, so the 13th is due.
        (1, Billing(), kept(*range(1, 15)), "2026-01-12"),
        (1, Billing(day="2026-01-12", state="Agrees"), kept(*range(1, 15)), "2026-01-13"),
        (1, Billing(day="2026-01-12", state="Waiting"), kept(*range(1, 15)), "2026-01-12"),
        (1, Billing(day="2026-01-13", state="Differs"), kept(*range(1, 15)), None),
        (1, Billing(day="2026-01-13", state="Waiting"), kept(*range(1, 15)), "2026-01-13"),
        (1, Billing(day="2026-01-02", state="Agrees"), kept(*range(1, 15)), "2026-01-12"),
        # A new pool: from the day it was made on.
        (13, Billing(), kept(13, 14), "2026-01-13"),
        (14, Billing(), kept(14), None),
        # The ledger has been kept since the 13th only, and who knows from what hour on.
        (1, Billing(), kept(13, 14), None),
        (1, Billing(), SpendHistory(), None),
    ],
)
def test_days_are_compared_in_turn_if_the_ledger_was_kept_all_day(
    made: int, compared: Billing, history: SpendHistory, expected: str | None
) -> None:
    at = datetime(2026, 1, made, 1, tzinfo=UTC).timestamp()
    assert next_day(compared, history, made=at, now=NOON) == expected


def test_a_bill_may_fill_up_until_the_next_day_is_due() -> None:
    assert is_young("2026-01-13", now=NOON + 12 * HOUR - 1)
    assert not is_young("2026-01-13", now=NOON + 12 * HOUR)


def test_a_destroyed_server_leaves_a_line_for_each_of_its_last_days() -> None:
    lines = settling((), [bill("a", NOON - 40 * HOUR, NOON)], now=NOON)
    assert [(line.day, line.cny) for line in lines] == [("2026-01-13", 4.0), ("2026-01-14", 24.0), ("2026-01-15", 12.0)]
    assert {line.instance for line in lines} == {"a"}


def test_lines_of_days_that_nobody_compares_any_more_go() -> None:
    old = InstanceDay(instance="a", day="2026-01-10", cny=1.0)
    kept = InstanceDay(instance="a", day="2026-01-11", cny=2.0)
    assert settling((old, kept), [], now=NOON) == (kept,)


def test_more_lines_than_there_is_room_for_become_sums_that_lose_nothing() -> None:
    ended = [bill(f"hai-{n}", NOON - 2 * HOUR, NOON - HOUR, price=0.01) for n in range(3 * SETTLING_KEPT)]
    lines: tuple[InstanceDay, ...] = ()
    for one in ended:
        lines = settling(lines, [one], now=NOON)
        assert len(lines) <= SETTLING_KEPT
    assert sum(nano(line.cny) for line in lines) == nano(0.01) * len(ended)
    assert lines[-1].instance == ended[-1].instance_id
    assert sum(not line.instance for line in lines) == 1


def test_a_day_is_what_servers_that_run_and_servers_that_were_destroyed_cost() -> None:
    lines = [
        InstanceDay(instance="gone", day="2026-01-13", cny=3.0),
        InstanceDay(instance="x", day="2026-01-12", cny=9),
    ]
    running = [bill("runs", NOON - 100 * HOUR, None), bill("new", NOON - HOUR, None)]
    assert ours_on("2026-01-13", lines, running) == {"gone": nano(3.0), "runs": nano(24.0)}


def test_a_bill_that_says_the_same_agrees() -> None:
    told = compare("2026-01-13", {"a": nano(24.0)}, {"a": charge(24.0), "foreign": charge(99.0)}, {}, checked_at=AT)
    assert (told.state, told.ours, told.billed, told.difference, told.unbilled) == ("Agrees", 24.0, 24.0, 0.0, 0)


@pytest.mark.parametrize(
    ("ours", "billed", "settlements", "state"),
    [
        (24.0, 24.23, 1, "Agrees"),  # less than 1 %
        (24.0, 24.25, 1, "Differs"),  # more than 1 %
        (24.0, 23.70, 1, "Differs"),
        (500.0, 501.0, 1, "Agrees"),
        (500.0, 501.01, 1, "Differs"),  # more than 1 CNY
        (1.0, 1.1, 24, "Agrees"),  # 24 settlements, each rounded to a cent
        (1.0, 1.13, 24, "Differs"),
        (0.0, 0.0, 0, "Agrees"),
    ],
)
def test_more_than_one_per_cent_or_one_cny_and_more_than_rounding_differs(
    ours: float, billed: float, settlements: int, state: str
) -> None:
    told = compare("2026-01-13", {"a": nano(ours)}, {"a": charge(billed, settlements)}, {}, checked_at=AT)
    assert told.state == state
    assert told.difference == pytest.approx(billed - ours)


def test_servers_that_are_not_on_the_bill_are_counted() -> None:
    told = compare("2026-01-13", {"a": nano(24.0), "b": nano(2.0)}, {"a": charge(24.0)}, {}, checked_at=AT)
    assert (told.state, told.unbilled, told.difference) == ("Differs", 1, -2.0)
    assert "1 servers are not on the bill" in told.message


def test_what_bears_the_pools_mark_and_was_never_its_server_is_a_leak() -> None:
    told = compare("2026-01-13", {"a": nano(24.0)}, {"a": charge(24.0)}, {"lost": charge(5.0)}, checked_at=AT)
    assert (told.state, told.strangers, told.strangers_cny, told.difference) == ("Differs", ("lost",), 5.0, 0.0)


def test_servers_of_which_only_the_sum_is_known_are_no_leak() -> None:
    ours = {"": nano(5.0), "a": nano(24.0)}
    told = compare("2026-01-13", ours, {"a": charge(24.0)}, {"b": charge(3.0), "c": charge(2.0)}, checked_at=AT)
    assert (told.state, told.strangers, told.billed) == ("Agrees", (), 29.0)
