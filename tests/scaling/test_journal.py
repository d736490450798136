"""The journal: bounded, complete about what was done, and silent about what repeats itself."""

import json

from controller.api.decision import JOURNAL_ENTRIES, JournalEntry
from controller.api.model import write
from controller.scaling.journal import Journal, remember, started


def entry(action: str = "Hold", reason: str = "AtMinimum", *, second: int = 0, message: str = "") -> JournalEntry:
    return JournalEntry(time=f"2026-01-15T04:00:{second:02d}.000Z", action=action, reason=reason, message=message)


def test_a_decision_that_says_the_same_is_not_written_again() -> None:
    once = remember((), entry(), acted=False)
    assert remember(once, entry(second=10, message="3 s later"), acted=False) is once


def test_another_reason_is_written() -> None:
    grown = remember(remember((), entry(), acted=False), entry(reason="LoadNotLow"), acted=False)
    assert [e.reason for e in grown] == ["AtMinimum", "LoadNotLow"]


def test_what_was_done_is_written_each_time() -> None:
    grown: Journal = ()
    for second in range(3):
        grown = remember(grown, entry("ScaleUp", "BelowMinimum", second=second), acted=True)
    assert len(grown) == 3


def test_a_recommendation_is_not_repeated_and_does_not_pass_for_the_deed() -> None:
    recommended = JournalEntry(time="t", action="ScaleUp", reason="LongQueue", mode="Recommend")
    grown = remember((), recommended, acted=False)
    assert remember(grown, recommended, acted=False) is grown
    assert len(remember(grown, entry("ScaleUp", "LongQueue"), acted=True)) == 2


def test_waiting_never_displaces_what_was_done() -> None:
    grown: Journal = ()
    for n in range(5):
        grown = remember(grown, entry("ScaleUp", "LongQueue", second=n), acted=True)
    for n in range(4 * JOURNAL_ENTRIES):
        grown = remember(grown, entry(reason=("AtMinimum", "LoadNotLow")[n % 2]), acted=False)
    assert len(grown) == JOURNAL_ENTRIES
    assert [e.time for e in grown if e.action == "ScaleUp"] == [entry(second=n).time for n in range(5)]


def test_where_all_acted_the_oldest_goes() -> None:
    grown: Journal = ()
    for n in range(JOURNAL_ENTRIES + 3):
        grown = remember(grown, entry("ScaleUp", "LongQueue", second=n), acted=True)
    assert len(grown) == JOURNAL_ENTRIES
    assert grown[0].time == entry(second=3).time


def test_an_operator_that_starts_again_and_again_is_noted_once_in_a_row() -> None:
    grown = started((), now=0.0, ready=1, per_hour=0.88)
    assert started(grown, now=60.0, ready=1, per_hour=0.88) is grown
    assert (grown[0].action, grown[0].reason, grown[0].ready) == ("Start", "OperatorStarted", 1)


def test_a_full_journal_stays_far_below_what_an_object_may_weigh() -> None:
    grown: Journal = ()
    for _ in range(JOURNAL_ENTRIES):
        long = JournalEntry(
            time="2026-01-15T04:00:00.000Z",
            action="ScaleDown",
            reason="LaunchRateLimited",
            mode="Recommend",
            message="云服务器" * 500,
            ready=9999,
            desired=9999,
            per_hour=123456.123456,
        )
        grown = remember(grown, long, acted=True)
    sizes = [len(json.dumps(write(e), ensure_ascii=False).encode()) for e in grown]
    assert max(sizes) < 400
    assert sum(sizes) < 32_000
    assert grown[0].message.endswith("…")
