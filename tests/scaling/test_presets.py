"""What a preset has on offer, over time: prices are refreshed, and a disk of the pool's own has its own price."""

from typing import Any

import pytest

from controller.api.regionpreset import DiskStatus, OfferStatus
from controller.api.server import SystemDisk
from controller.api.times import rfc3339
from controller.scaling import stock
from controller.scaling.presets import (
    Quote,
    cheapest,
    deploy_times,
    deployed,
    price_with,
    refresh,
    refresh_disks,
)

NOW = 1_768_449_600.0
EARLIER = rfc3339(NOW - 600.0)


def offer(price: float | None = 1.2, **changes: Any) -> OfferStatus:
    state = "Unknown" if price is None else "Available"
    return OfferStatus(**{"bundle": "XL", "price_per_hour": price, "state": state, "checked_at": EARLIER} | changes)


def refreshed(old: OfferStatus | None, quote: Quote | None) -> OfferStatus | None:
    found = refresh([old] if old else [], {"XL": quote} if quote else {}, now=NOW, jitter=0.0)
    assert len(found) <= 1
    return found[0] if found else None


def test_a_price_makes_an_offer() -> None:
    found = refreshed(None, Quote(price_per_hour=1.2, disk_per_hour=0.1))
    assert found == offer(1.2, disk_per_hour=0.1, checked_at=rfc3339(NOW))


def test_a_new_price_replaces_the_old() -> None:
    found = refreshed(offer(1.2), Quote(price_per_hour=1.5))
    assert found is not None
    assert (found.price_per_hour, found.checked_at) == (1.5, rfc3339(NOW))


def test_without_an_answer_the_last_known_price_stays_and_tells_its_age() -> None:
    assert refreshed(offer(1.2), None) == offer(1.2)


def test_without_an_answer_ever_there_is_no_offer() -> None:
    assert refreshed(None, None) is None


def test_an_answer_without_a_price_changes_nothing() -> None:
    assert refreshed(offer(1.2), Quote()) == offer(1.2)


def test_what_is_not_sold_here_is_left_out() -> None:
    assert refreshed(offer(1.2), Quote(not_sold_here=True)) is None


def test_a_sold_out_answer_keeps_the_last_price_and_its_age() -> None:
    found = refreshed(offer(1.2), Quote(sold_out=True))
    assert found is not None
    assert (found.state, found.price_per_hour, found.sold_out_count) == ("SoldOut", 1.2, 1)
    assert (found.sold_out_until, found.checked_at) == (rfc3339(NOW + 180.0), EARLIER)


def test_a_price_does_not_prove_stock() -> None:
    found = refreshed(offer(1.2, state="SoldOut", sold_out_until=rfc3339(NOW + 60.0), sold_out_count=2), Quote(1.0))
    assert found is not None
    assert (found.state, found.price_per_hour, found.sold_out_until) == ("SoldOut", 1.0, rfc3339(NOW + 60.0))


def test_offers_stand_in_the_order_of_the_catalogue() -> None:
    quotes = {bundle: Quote(price_per_hour=1.0) for bundle in ("24GB_A", "4XL", "XL")}
    assert [o.bundle for o in refresh([], quotes, now=NOW, jitter=0.0)] == ["XL", "4XL", "24GB_A"]


def test_the_cheapest_is_the_cheapest_that_can_be_bought() -> None:
    dear = OfferStatus(bundle="3XL", price_per_hour=3.5, state="Available")
    assert cheapest([dear, offer(1.2)]) == "XL 1.2"
    assert cheapest([dear, offer(1.2, state="HalfOpen")]) == "XL 1.2"
    assert cheapest([dear, offer(1.2, state="SoldOut")]) == "3XL 3.5"
    assert cheapest([dear, offer(1.2, state="Disputed")]) == "3XL 3.5"
    assert cheapest([offer(1.2, state="SoldOut")]) == ""


@pytest.mark.parametrize(
    ("rule", "disk", "priced", "price"),
    [
        ("no disk of its own: the price as named", None, None, 1.2),
        ("its own disk takes the place of the default one", SystemDisk(size_gib=200), 0.3, 1.4),
        ("a type is another disk", SystemDisk(type="CLOUD_HSSD", size_gib=200), None, 1.2),
        ("a disk that could not be priced: as the default one", SystemDisk(size_gib=100), None, 1.2),
    ],
)
def test_the_disk_of_the_pool_is_in_the_price(
    rule: str, disk: SystemDisk | None, priced: float | None, price: float
) -> None:
    disks = [DiskStatus(size_gib=200, price_per_hour=0.3), DiskStatus(size_gib=100)]
    assert price_with(offer(1.2, disk_per_hour=0.1), disk, disks) == pytest.approx(price)


def test_without_the_default_disks_part_the_price_stays_as_named() -> None:
    assert price_with(offer(1.2), SystemDisk(size_gib=200), [DiskStatus(size_gib=200, price_per_hour=0.3)]) == 1.2


def test_disks_are_those_that_pools_ask_for_and_keep_their_last_price() -> None:
    known = [
        DiskStatus(size_gib=200, price_per_hour=0.3, checked_at=EARLIER),
        DiskStatus(size_gib=300, price_per_hour=0.4, checked_at=EARLIER),
    ]
    wanted = [("", 200), ("CLOUD_HSSD", 100), ("", 900)]
    found = refresh_disks(known, {("CLOUD_HSSD", 100): 0.2, ("", 900): None}, wanted, now=NOW)
    assert [(d.type, d.size_gib, d.price_per_hour, d.checked_at) for d in found] == [
        ("", 200, 0.3, EARLIER),
        ("", 900, None, rfc3339(NOW)),
        ("CLOUD_HSSD", 100, 0.2, rfc3339(NOW)),
    ]


def test_the_time_to_deploy_is_the_median_of_the_last_five() -> None:
    known, medians = OfferStatus(bundle="XL"), []
    for seconds in (180.0, 200.0, 900.0, 190.0, 170.0, 160.0, 150.04):
        known = deployed(known, seconds)
        medians.append(known.ready_seconds)
    assert medians == [180.0, 190.0, 200.0, 195.0, 190.0, 190.0, 170.0]
    assert (known.ready_samples, known.ready_count) == ((900.0, 190.0, 170.0, 160.0, 150.0), 7)


def test_prices_and_stock_leave_it_as_it_is() -> None:
    learned = deployed(OfferStatus(bundle="XL", price_per_hour=1.0), 180.0)
    for other in (
        refresh([learned], {"XL": Quote(2.0)}, now=NOW, jitter=0.0)[0],
        stock.sold_out(learned, by="p-1", now=NOW, jitter=0.0),
        stock.bought(learned, by="p-1", now=NOW),
        stock.settled(learned, now=NOW),
    ):
        assert (other.ready_seconds, other.ready_count) == (180.0, 1)


def test_people_read_it_by_bundle() -> None:
    quick, slow, never = OfferStatus(bundle="XL"), OfferStatus(bundle="4XL"), OfferStatus(bundle="3XL")
    offers = [deployed(quick, 61.0), never, deployed(slow, 179.6)]
    assert deploy_times(offers) == "XL 61 s, 4XL 180 s"
