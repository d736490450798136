"""Rounds: everyone who goes by the same name agrees on when they begin; different names are spread."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.operator.rounds import begun, share, until_next

lengths = st.floats(1.0, 3600.0)
times = st.floats(0.0, 2e9)
names = st.text(max_size=40)


@given(lengths, times, names)
def test_now_lies_in_the_round_that_has_begun(length: float, now: float, name: str) -> None:
    began = begun(length, now, name)
    assert began <= now + 1e-6
    assert now - began <= length + 1e-6


@given(lengths, times, names)
def test_the_next_round_is_ahead_and_no_further_than_one_length(length: float, now: float, name: str) -> None:
    left = until_next(length, now, name)
    assert 0.0 <= left <= length + 1e-6


@given(st.integers(1, 3600), st.integers(0, 10**9), names)
def test_a_round_follows_the_one_before(length: int, now: int, name: str) -> None:
    following = now + until_next(float(length), float(now), name)
    assert begun(float(length), following + 1e-3, name) == pytest.approx(following, abs=1e-3)


def test_names_are_spread_over_the_round() -> None:
    shares = sorted(share(f"uid-{number}") for number in range(1000))
    assert shares[0] < 0.05
    assert shares[-1] > 0.95
    assert max(b - a for a, b in pairwise(shares)) < 0.05
