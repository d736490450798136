"""What a preset has on offer, over time: prices are refreshed, sold-out answers are remembered."""

import pytest

from controller.api.regionpreset import OfferStatus
from controller.api.times import rfc3339, unix
from controller.scaling.presets import Quote, bought, cheapest, expire, refresh, sold_out

NOW = 1_768_449_600.0


def offer(price: float | None = 1.2, *, sold_out_for: float | None = None, count: int = 0) -> OfferStatus:
    return OfferStatus(
        bundle="XL",
        price_per_hour=price,
        state="Available" if sold_out_for is None else "SoldOut",
        sold_out_until=None if sold_out_for is None else rfc3339(NOW + sold_out_for),
        sold_out_count=count,
    )


def refreshed(old: OfferStatus | None, quote: Quote | None) -> OfferStatus | None:
    found = refresh([old] if old else [], {"XL": quote} if quote else {}, now=NOW, jitter=0.0)
    assert len(found) <= 1
    return found[0] if found else None


def left_alone(found: OfferStatus | None) -> float | None:
    """Seconds until the offer is tried again."""
    until = unix(found.sold_out_until) if found else None
    return None if until is None else until - NOW


def test_a_price_makes_an_offer() -> None:
    found = refreshed(None, Quote(price_per_hour=1.2))
    assert found == OfferStatus(bundle="XL", price_per_hour=1.2, state="Available", checked_at=rfc3339(NOW))


def test_without_an_answer_the_last_known_price_stays() -> None:
    assert refreshed(offer(1.2), None) == offer(1.2)


def test_without_an_answer_ever_there_is_no_offer() -> None:
    assert refreshed(None, None) is None


def test_what_is_not_sold_here_is_left_out() -> None:
    assert refreshed(offer(1.2), Quote(not_sold_here=True)) is None


def test_a_new_price_replaces_the_old() -> None:
    found = refreshed(offer(1.2), Quote(price_per_hour=1.5))
    assert found is not None
    assert found.price_per_hour == 1.5


def test_a_price_does_not_prove_stock() -> None:
    found = refreshed(offer(1.2, sold_out_for=60.0, count=2), Quote(price_per_hour=1.0))
    assert found is not None
    assert (found.state, found.price_per_hour, left_alone(found)) == ("SoldOut", 1.0, 60.0)


def test_a_sold_out_answer_keeps_the_last_price() -> None:
    found = refreshed(offer(1.2), Quote(sold_out=True))
    assert found is not None
    assert (found.state, found.price_per_hour, found.sold_out_count, left_alone(found)) == ("SoldOut", 1.2, 1, 180.0)


def test_hearing_it_again_within_the_pause_does_not_lengthen_it() -> None:
    found = refreshed(offer(sold_out_for=60.0, count=1), Quote(sold_out=True))
    assert found is not None
    assert (found.sold_out_count, left_alone(found)) == (1, 60.0)


def test_hearing_it_again_after_the_pause_does() -> None:
    found = refreshed(offer(sold_out_for=0.0, count=1), Quote(sold_out=True))
    assert found is not None
    assert (found.sold_out_count, left_alone(found)) == (2, 360.0)


@pytest.mark.parametrize(("sold_out_for", "state"), [(0.001, "SoldOut"), (0.0, "Available"), (-60.0, "Available")])
def test_only_time_ends_the_mark_and_the_count_stays(sold_out_for: float, state: str) -> None:
    found = expire(offer(sold_out_for=sold_out_for, count=3), now=NOW)
    assert (found.state, found.sold_out_count) == (state, 3)


def test_an_offer_without_a_price_is_unknown_once_its_mark_is_over() -> None:
    assert expire(offer(None, sold_out_for=-1.0), now=NOW).state == "Unknown"


def test_answers_in_a_row_make_longer_pauses() -> None:
    found, pauses = offer(), []
    for _ in range(6):
        found = sold_out(found, now=NOW, jitter=0.0)
        pauses.append(left_alone(found))
    assert pauses == [180.0, 360.0, 720.0, 1440.0, 1800.0, 1800.0]


def test_a_purchase_forgives() -> None:
    found = bought(offer(sold_out_for=600.0, count=5))
    assert (found.state, found.sold_out_count, found.sold_out_until) == ("Available", 0, None)
    assert left_alone(sold_out(found, now=NOW, jitter=0.0)) == 180.0


def test_offers_stand_in_the_order_of_the_catalogue() -> None:
    quotes = {bundle: Quote(price_per_hour=1.0) for bundle in ("24GB_A", "4XL", "XL")}
    assert [o.bundle for o in refresh([], quotes, now=NOW, jitter=0.0)] == ["XL", "4XL", "24GB_A"]


def test_the_cheapest_is_the_cheapest_that_is_available() -> None:
    dear = OfferStatus(bundle="3XL", price_per_hour=3.5, state="Available")
    assert cheapest([dear, offer(1.2)]) == "XL 1.2"
    assert cheapest([dear, offer(1.2, sold_out_for=60.0)]) == "3XL 3.5"
    assert cheapest([offer(1.2, sold_out_for=60.0)]) == ""
