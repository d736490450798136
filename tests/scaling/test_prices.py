"""Which prices are believed: an absurd one is neither used nor kept quiet about, an old one is called old."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.api.regionpreset import OfferStatus
from controller.api.times import rfc3339
from controller.scaling.presets import Quote, refresh
from controller.scaling.prices import DISPUTE_SECONDS, OLD_SECONDS, named, price_condition

NOW = 1_768_449_600.0


def offer(price: float | None = 1.0, *, age: float = 600.0, **changes: Any) -> OfferStatus:
    checked = None if price is None else rfc3339(NOW - age)
    return OfferStatus(bundle="XL", price_per_hour=price, checked_at=checked, **changes)


def ask(found: OfferStatus, price: float, *, now: float = NOW) -> OfferStatus:
    return refresh([found], {"XL": Quote(price, 0.0)}, now=now, jitter=0.0)[0]


@pytest.mark.parametrize(
    ("rule", "last", "price", "used", "state"),
    [
        ("prices move", 1.0, 1.3, 1.3, "Available"),
        ("even tenfold", 1.0, 10.0, 10.0, "Available"),
        ("but not a hundredfold", 1.0, 100.0, 1.0, "Disputed"),
        ("down to a tenth", 1.0, 0.1, 0.1, "Available"),
        ("but not to a hundredth: the last one is used", 1.0, 0.01, 1.0, "Available"),
        ("a first price is taken as it is", None, 6.6, 6.6, "Available"),
        ("unless no server costs that", None, 5000.0, None, "Unknown"),
    ],
)
def test_a_jump_is_not_believed(rule: str, last: float | None, price: float, used: float | None, state: str) -> None:
    found = ask(offer(last), price)
    assert (found.price_per_hour, found.state) == (used, state)
    assert found.disputed_price == (None if used == price else price)


def test_a_jump_is_believed_once_it_has_been_named_for_an_hour() -> None:
    found = offer(1.0)
    for minute in range(0, 60, 10):
        found = ask(found, 100.0 + minute, now=NOW + minute * 60)
        assert found.price_per_hour == 1.0
    found = ask(found, 150.0, now=NOW + DISPUTE_SECONDS)
    assert (found.price_per_hour, found.disputed_price, found.state) == (150.0, None, "Available")


def test_a_price_that_comes_back_ends_the_dispute() -> None:
    found = ask(ask(offer(1.0), 100.0), 1.1, now=NOW + 600.0)
    assert (found.price_per_hour, found.disputed_price, found.disputed_since) == (1.1, None, None)


def test_another_absurd_price_begins_the_hour_anew() -> None:
    found = ask(ask(offer(1.0), 100.0), 50_000.0, now=NOW + DISPUTE_SECONDS)
    assert (found.price_per_hour, found.disputed_since) == (1.0, rfc3339(NOW + DISPUTE_SECONDS))


@given(prices=st.lists(st.floats(0.0001, 100_000.0), min_size=1, max_size=5))
def test_within_an_hour_no_price_is_used_that_is_far_from_the_one_before(prices: list[float]) -> None:
    found = offer(1.0)
    for step, price in enumerate(prices):
        before = found.price_per_hour or 0.0
        found = named(found, price, None, now=NOW + 600.0 * step)
        assert found.price_per_hour is not None
        assert before / 10.0 <= found.price_per_hour <= before * 10.0


@pytest.mark.parametrize(
    ("rule", "offers", "failed", "verdict", "told"),
    [
        ("all is well", [offer()], {}, "True/PricesKnown", "all prices"),
        ("an inquiry fails", [offer()], {"XL": "no answer"}, "Unknown/InquiryFailed", "no answer"),
        ("its price is old", [offer(age=OLD_SECONDS + 1)], {"XL": "no answer"}, "False/PricesOld", "1 CNY/h of "),
        ("never a price", [offer(None)], {"XL": "no answer"}, "Unknown/InquiryFailed", "no price yet"),
        (
            "a jump up",
            [ask(offer(), 100.0)],
            {},
            "False/PriceDisputed",
            "names 100 CNY/h, the last price is 1: noth",
        ),
        ("a jump down", [ask(offer(), 0.001)], {}, "False/PriceDisputed", "the last one is used"),
        ("a first price", [ask(offer(None), 5000.0)], {}, "False/PriceDisputed", "the last price is unknown"),
    ],
)
def test_people_are_told(rule: str, offers: list[OfferStatus], failed: dict[str, str], verdict: str, told: str) -> None:
    found = price_condition(offers, failed, now=NOW)
    assert f"{found.status}/{found.reason}" == verdict
    assert told in found.message
