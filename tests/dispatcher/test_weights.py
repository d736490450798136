"""Larger and smaller shares: which entry of `queue.weights` counts."""

from ipaddress import ip_address
from typing import Any

import pytest

from controller.api.queue import Weight
from controller.dispatcher.weights import Weights

LIST = (
    Weight(network="10.1.0.0/16", weight=2),
    Weight(api_key="alice", weight=3),
    Weight(network="10.0.0.0/8", weight=4),
    Weight(api_key="alice", weight=5),
    Weight(network="2001:db8::/32", weight=6),
    Weight(api_key="bob", weight=7),
)


@pytest.mark.parametrize(
    ("address", "key", "by_network", "by_user"),
    [
        ("203.0.113.5", None, (1, 1), (1, 1)),
        ("203.0.113.5", "carol", (1, 1), (1, 1)),
        # Of several networks that fit the first counts.
        ("10.1.2.3", None, (2, 1), (2, 1)),
        ("10.2.2.3", None, (4, 1), (4, 1)),
        ("2001:db8::5", None, (6, 1), (6, 1)),
        # A key weighs among the users of its network. With shareBy User there is one level, and the first that fits.
        ("203.0.113.5", "alice", (1, 3), (3, 1)),
        ("10.1.2.3", "alice", (2, 3), (2, 1)),
        ("10.2.2.3", "alice", (4, 3), (3, 1)),
        ("2001:db8::5", "bob", (6, 7), (6, 1)),
    ],
)
def test_the_first_entry_that_fits_counts(address: str, key: str | None, by_network: Any, by_user: Any) -> None:
    for _ in range(2):  # the second time from what is kept
        assert Weights(LIST).weight_of(ip_address(address), key) == by_network
        assert Weights(LIST, share_by="User").weight_of(ip_address(address), key) == by_user


def test_without_entries_all_weigh_the_same() -> None:
    assert Weights(()).weight_of(ip_address("203.0.113.5"), "alice") == (1, 1)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (Weight(network="10.0.0.0/33", weight=2), r"queue\.weights\[1\]\.network: '10\.0\.0\.0/33'"),
        (Weight(weight=2), r"queue\.weights\[1\]: set network or apiKey, one of them"),
        (
            Weight(network="10.0.0.0/8", api_key="a", weight=2),
            r"queue\.weights\[1\]: set network or apiKey, one of them",
        ),
        # The addresses of a /64 have one share, so they cannot have two weights.
        (Weight(network="2001:db8::5", weight=2), r"queue\.weights\[1\]\.network: .*write a /64 or more"),
    ],
)
def test_what_cannot_be_is_named_by_its_field(entry: Weight, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Weights([LIST[0], entry])


def test_where_every_address_has_a_share_of_its_own_it_may_have_a_weight_of_its_own() -> None:
    weights = Weights([Weight(network="2001:db8::5", weight=2)], share_by="User")
    assert weights.weight_of(ip_address("2001:db8::5"), None).network == 2
    assert weights.weight_of(ip_address("2001:db8::6"), None).network == 1
