"""Which offer comes first, how long a sold-out one is left alone, and what blocks a region or the account."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.scaling.offers import buyable, rank, sold_out_until
from controller.scaling.plan import Plan
from controller.scaling.snapshot import Block, Offer

Decide = Callable[..., Plan]
MakeOffer = Callable[..., Offer]
Words = Callable[[Plan], tuple[str, list[str]]]


@pytest.mark.parametrize(
    ("rule", "first", "second"),
    [
        ("price decides", {"price": 1.0, "priority": 9, "region": "ap-nanjing"}, {"price": 1.01, "priority": 1}),
        ("then the region order", {"region": "ap-nanjing", "priority": 2}, {"region": "ap-chengdu", "priority": 6}),
        (
            "which is not the alphabet's",
            {"region": "ap-nanjing", "priority": 2},
            {"region": "ap-guangzhou", "priority": 3},
        ),
        ("then the region's name", {"region": "ap-beijing"}, {"region": "ap-nanjing"}),
        ("then the bundle's name", {"bundle": "3XL"}, {"bundle": "XL"}),
        ("then the preset's name", {"preset": "a"}, {"preset": "b"}),
    ],
)
def test_order_of_offers(make_offer: MakeOffer, rule: str, first: dict[str, Any], second: dict[str, Any]) -> None:
    a, b = make_offer(**first), make_offer(**second)
    assert rank([a, b]) == rank([b, a]) == [a, b]


def test_a_sold_out_offer_means_the_next_one_never_a_stall(decide: Decide, words: Words, now: float) -> None:
    offers = [
        {"bundle": "XL", "price": 1.0, "sold_out_until": now + 1.0},
        {"bundle": "3XL", "price": 3.0},
        {"bundle": "XL_2X", "price": 2.0},
    ]
    assert words(decide(servers=[], offers=offers)) == ("ScaleUp/BelowMinimum", ["Launch XL_2X ap-beijing"])


@pytest.mark.parametrize(("until", "bought"), [(0.1, "XL_2X"), (0.0, "XL"), (-1.0, "XL")])
def test_when_the_back_off_is_over_the_cheapest_is_tried_again(
    decide: Decide, words: Words, now: float, until: float, bought: str
) -> None:
    offers = [{"bundle": "XL", "price": 1.0, "sold_out_until": now + until}, {"bundle": "XL_2X", "price": 2.0}]
    assert words(decide(servers=[], offers=offers))[1] == [f"Launch {bought} ap-beijing"]


@pytest.mark.parametrize(
    ("rule", "offers", "bought"),
    [
        (
            "what is known to be open takes all the rest",
            [("XL", "ap-beijing", True), ("XL_2X", "ap-beijing", False), ("3XL", "ap-beijing", False)],
            ["XL ap-beijing", *["XL_2X ap-beijing"] * 3],
        ),
        (
            "each half-open offer takes one",
            [("XL", "ap-beijing", True), ("XL", "ap-nanjing", True), ("3XL", "ap-beijing", False)],
            ["XL ap-beijing", "XL ap-nanjing", *["3XL ap-beijing"] * 2],
        ),
        ("with nothing else, one has to do", [("XL", "ap-beijing", True)], ["XL ap-beijing"]),
        (
            "a dearer half-open offer is not tried",
            [("XL", "ap-beijing", False), ("3XL", "ap-beijing", True)],
            ["XL ap-beijing"] * 4,
        ),
    ],
)
def test_one_purchase_tries_what_was_sold_out_when_last_tried(
    decide: Decide, words: Words, rule: str, offers: list[tuple[str, str, bool]], bought: list[str]
) -> None:
    listed = [
        {"bundle": bundle, "region": region, "price": 1.0 + number, "half_open": half_open}
        for number, (bundle, region, half_open) in enumerate(offers)
    ]
    decided = decide(servers=[], offers=listed, spec={"replicas": {"min": 4}})
    assert words(decided)[1] == [f"Launch {what}" for what in bought]


@pytest.mark.parametrize(
    ("rule", "hourly", "bought"),
    [
        ("all fit", 10.0, ["XL", "3XL", "3XL", "3XL"]),
        ("at the price of the dearest, two fit", 6.5, ["XL", "3XL"]),
        ("not even one of the dearest fits: the trial alone", 2.0, ["XL"]),
        ("nothing fits", 0.5, []),
    ],
)
def test_a_budget_counts_a_mixed_step_at_its_dearest_price(
    decide: Decide, rule: str, hourly: float, bought: list[str]
) -> None:
    offers = [{"price": 1.0, "half_open": True}, {"bundle": "3XL", "price": 2.5}]
    spec = {"replicas": {"min": 4}, "budget": {"hourly": {"hard": hourly}}}
    decided = decide(servers=[], offers=offers, spec=spec)
    assert [action.offer.bundle for action in decided.actions] == bought  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("rule", "region", "bought"),
    [
        ("the account: one purchase in all", None, ["XL ap-beijing"]),
        ("a region: one there, the rest elsewhere", "ap-beijing", ["XL ap-beijing", *["XL ap-nanjing"] * 3]),
        ("another region: as if nothing was", "ap-chengdu", ["XL ap-beijing"] * 4),
    ],
)
def test_one_purchase_tries_a_region_or_account_that_refused_the_last_one(
    decide: Decide, now: float, rule: str, region: str | None, bought: list[str]
) -> None:
    offers = [{"price": 1.0}, {"bundle": "3XL", "price": 1.1}, {"region": "ap-nanjing", "price": 1.2}]
    blocks = [{"reason": "Some", "message": "x", "until": now, "region": region}]
    decided = decide(servers=[], offers=offers, blocks=blocks, spec={"replicas": {"min": 4}})
    assert [f"{a.offer.bundle} {a.offer.region}" for a in decided.actions] == bought  # type: ignore[union-attr]


def test_all_servers_of_a_step_are_of_the_cheapest_offer(decide: Decide) -> None:
    offers = [{"bundle": "XL", "price": 1.0}, {"bundle": "XL_2X", "price": 2.0}]
    decided = decide(servers=[], offers=offers, spec={"replicas": {"min": 4}})
    assert [action.offer.price_per_hour for action in decided.actions] == [1.0] * 4  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("block", "left"),
    [
        ({"region": None, "until": 10.0}, []),
        ({"region": None, "until": 0.0}, ["ap-beijing", "ap-nanjing"]),
        ({"region": "ap-beijing", "until": 10.0}, ["ap-nanjing"]),
        ({"region": "ap-beijing", "until": 0.0}, ["ap-beijing", "ap-nanjing"]),
        ({"region": "ap-chengdu", "until": 10.0}, ["ap-beijing", "ap-nanjing"]),
    ],
)
def test_a_block_binds_its_region_or_the_whole_account_until_its_time_is_over(
    make_offer: MakeOffer, now: float, block: dict[str, Any], left: list[str]
) -> None:
    offers = [make_offer(), make_offer(region="ap-nanjing", priority=2)]
    blocks = [Block("Some", "message", now + block["until"], block["region"])]
    assert [offer.region for offer in buyable(offers, blocks, now=now)] == left


@pytest.mark.parametrize(("count", "minutes"), [(1, 3), (2, 6), (3, 12), (4, 24), (5, 30), (6, 30), (1000, 30)])
def test_sold_out_back_off_grows_from_3_to_30_minutes(now: float, count: int, minutes: int) -> None:
    assert sold_out_until(count, now=now, jitter=0.0) == now + minutes * 60


@given(count=st.integers(1, 10_000), jitter=st.floats(0, 1, exclude_max=True))
def test_jitter_lengthens_a_pause_by_at_most_a_tenth(count: int, jitter: float) -> None:
    bare = sold_out_until(count, now=0.0, jitter=0.0)
    assert bare <= sold_out_until(count, now=0.0, jitter=jitter) <= 1.1 * bare + 1e-9


@given(count=st.integers(1, 100), jitter=st.floats(0, 1, exclude_max=True))
def test_a_pause_is_never_shorter_than_the_one_before(count: int, jitter: float) -> None:
    assert sold_out_until(count + 1, now=0.0, jitter=jitter) >= sold_out_until(count, now=0.0, jitter=jitter)


def test_different_jitter_spreads_the_pools(now: float) -> None:
    assert len({sold_out_until(1, now=now, jitter=j / 10) for j in range(10)}) == 10
