"""Sold out, half-open, open: after a pause exactly one purchase finds out, and what it finds holds for all."""

from typing import Any, Final

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from controller.api.regionpreset import OfferStatus
from controller.api.times import rfc3339, unix
from controller.scaling.stock import (
    CLAIM_SECONDS,
    bought,
    claim,
    claimed,
    closed_until,
    half_open,
    release,
    resting,
    settled,
    sold_out,
)

NOW = 1_768_449_600.0
PAUSES: Final = (180.0, 360.0, 720.0, 1440.0, 1800.0)


def offer(*, sold_out_for: float | None = None, count: int = 0, **changes: Any) -> OfferStatus:
    until = None if sold_out_for is None else rfc3339(NOW + sold_out_for)
    fields: dict[str, Any] = {"price_per_hour": 1.2, "sold_out_until": until, "sold_out_count": count}
    return OfferStatus(bundle="XL", state="Available" if until is None else "SoldOut", **(fields | changes))


def must(found: OfferStatus | None) -> OfferStatus:
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("price", "sold_out_for", "count", "state"),
    [
        (1.2, 0.001, 3, "SoldOut"),
        (1.2, 0.0, 3, "HalfOpen"),
        (1.2, -60.0, 3, "HalfOpen"),
        (None, -1.0, 1, "Unknown"),
        (1.2, None, 0, "Available"),
    ],
)
def test_only_time_ends_the_pause_and_the_count_stays(
    price: float | None, sold_out_for: float | None, count: int, state: str
) -> None:
    found = settled(offer(sold_out_for=sold_out_for, count=count, price_per_hour=price), now=NOW)
    assert (found.state, found.sold_out_count) == (state, count)


def test_answers_in_a_row_make_longer_pauses() -> None:
    found, now, pauses = offer(), NOW, []
    for _ in range(6):
        found = sold_out(found, by="", now=now, jitter=0.0)
        pauses.append((unix(found.sold_out_until) or 0.0) - now)
        now += pauses[-1]
    assert pauses == [180.0, 360.0, 720.0, 1440.0, 1800.0, 1800.0]


def test_of_purchases_made_side_by_side_one_answer_makes_one_pause() -> None:
    first = sold_out(offer(), by="a-1", now=NOW, jitter=0.0)
    assert sold_out(first, by="a-2", now=NOW + 1.0, jitter=0.0) == first
    assert bought(first, by="b-1", now=NOW + 1.0) == first


def test_an_open_offer_needs_no_claim() -> None:
    assert claim(offer(), by="a-1", now=NOW) == offer()


def test_a_resting_offer_cannot_be_claimed() -> None:
    assert claim(offer(sold_out_for=1.0, count=1), by="a-1", now=NOW) is None


def test_of_a_half_open_offer_one_claim_holds_until_it_lapses() -> None:
    held = must(claim(offer(sold_out_for=0.0, count=2), by="a-1", now=NOW))
    assert (held.state, held.probed_by) == ("HalfOpen", "a-1")
    assert closed_until(held, now=NOW) == NOW + CLAIM_SECONDS
    assert claim(held, by="b-1", now=NOW + 1.0) is None
    assert claim(held, by="a-1", now=NOW + 1.0) == held
    later = NOW + CLAIM_SECONDS
    assert closed_until(held, now=later) == 0.0
    assert must(claim(held, by="b-1", now=later)).probed_by == "b-1"


def test_while_one_finds_out_nobody_elses_answer_counts() -> None:
    held = must(claim(offer(sold_out_for=0.0, count=2), by="a-1", now=NOW))
    assert sold_out(held, by="", now=NOW, jitter=0.0) == held
    assert bought(held, by="b-1", now=NOW) == held
    worse = sold_out(held, by="a-1", now=NOW, jitter=0.0)
    assert (worse.state, worse.sold_out_count, closed_until(worse, now=NOW)) == ("SoldOut", 3, NOW + 720.0)
    assert worse.probed_by is None
    open_ = bought(held, by="a-1", now=NOW)
    assert (open_.state, open_.sold_out_count, open_.probed_by) == ("Available", 0, None)


def test_who_finds_out_nothing_leaves_it_to_the_next() -> None:
    held = must(claim(offer(sold_out_for=0.0, count=2), by="a-1", now=NOW))
    assert release(held, by="b-1") == held
    free = release(held, by="a-1")
    assert (half_open(free, now=NOW), closed_until(free, now=NOW)) == (True, 0.0)


class Shelf(RuleBasedStateMachine):
    """Several pools buy one offer whose stock comes and goes; answers come late, or never, and operators restart."""

    def __init__(self) -> None:
        super().__init__()
        self.offer = OfferStatus(bundle="XL", price_per_hour=1.0, state="Available")
        self.now, self.number, self.in_stock = NOW, 0, False
        #: Purchases that were asked for and not answered: (name, asked while half-open, when).
        self.asked: list[tuple[str, bool, float]] = []
        self.least_until = 0.0

    @initialize(in_stock=st.booleans())
    def begin(self, in_stock: bool) -> None:
        self.in_stock = in_stock

    @rule(pools=st.integers(1, 4))
    def decide_in_the_same_second(self, pools: int) -> None:
        was_half_open, free = half_open(self.offer, now=self.now), closed_until(self.offer, now=self.now) <= self.now
        admitted = 0
        for _ in range(pools):
            self.number += 1
            name = f"pool-{self.number}"
            found = claim(self.offer, by=name, now=self.now)
            if found is not None:
                self.offer, admitted = found, admitted + 1
                self.asked.append((name, was_half_open, self.now))
        # Open: everybody. Half-open: exactly one. Resting, or claimed by another: nobody.
        assert admitted == (0 if not free else 1 if was_half_open else pools)

    @rule(data=st.data(), jitter=st.floats(0, 0.99))
    def answer(self, data: st.DataObject, jitter: float) -> None:
        if not self.asked:
            return
        name, _, _ = self.asked.pop(data.draw(st.integers(0, len(self.asked) - 1)))
        before, holds = self.offer, self.offer.probed_by == name and claimed(self.offer, now=self.now)
        if self.in_stock:
            self.offer = bought(self.offer, by=name, now=self.now)
            assert not holds or (self.offer.state, self.offer.sold_out_count) == ("Available", 0)
            return
        self.offer = sold_out(self.offer, by=name, now=self.now, jitter=jitter)
        if holds:
            pause = PAUSES[min(before.sold_out_count, len(PAUSES) - 1)]
            rested = (unix(self.offer.sold_out_until) or 0.0) - self.now
            assert pause - 0.01 <= rested <= pause * 1.1 + 0.01, "each trial that fails lengthens the pause"
        if resting(before, now=self.now):
            assert self.offer == before

    @rule()
    def give_up(self) -> None:
        if self.asked:
            name, _, _ = self.asked.pop()
            self.offer = release(self.offer, by=name)

    @rule()
    def ask_for_the_price(self) -> None:
        if not self.in_stock:
            self.offer = sold_out(self.offer, by="", now=self.now, jitter=0.0)
        self.offer = settled(self.offer, now=self.now)

    @rule()
    def restart_and_lose_every_answer(self) -> None:
        self.asked.clear()

    @rule(seconds=st.sampled_from([1.0, 10.0, CLAIM_SECONDS, 1800.0, 2000.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.offer = settled(self.offer, now=self.now)

    @rule(in_stock=st.booleans())
    def stock_changes(self, in_stock: bool) -> None:
        self.in_stock = in_stock

    @invariant()
    def one_trial_at_a_time(self) -> None:
        fresh = [name for name, trial, at in self.asked if trial and self.now - at < CLAIM_SECONDS]
        if claimed(self.offer, now=self.now):
            assert self.offer.state == "HalfOpen"
            assert self.offer.probed_by in fresh or not fresh
        assert (self.offer.probed_by is None) == (self.offer.probe_until is None)

    @invariant()
    def nobody_waits_for_ever(self) -> None:
        assert closed_until(self.offer, now=self.now) <= self.now + 1800.0 * 1.1 + 0.01


TestShelf = Shelf.TestCase
TestShelf.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)


def test_a_clock_that_is_set_back_prolongs_no_pause_and_no_claim() -> None:
    an_hour = 3600.0
    assert resting(offer(sold_out_for=180.0, count=1), now=NOW)
    assert not resting(offer(sold_out_for=180.0, count=1), now=NOW - an_hour)
    probed = offer(count=1, probed_by="a", probe_until=rfc3339(NOW + CLAIM_SECONDS))
    assert claimed(probed, now=NOW)
    assert not claimed(probed, now=NOW - an_hour)
