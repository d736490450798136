"""One address from which nearly everything comes is named, with what to do about it; a busy client is left alone."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.api.queue import Queue
from controller.dispatcher.dominance import Dominance
from controller.dispatcher.identity import Identifier

NODE, PUBLIC, PROXY = "192.168.1.7", "8.8.8.8", "10.0.0.1"


def identifier(**queue: Any) -> Identifier:
    return Identifier(msgspec.convert({"trustedNetworks": ["10.0.0.0/8"], **queue}, Queue), 0.0)


def counted(client: str, requests: int, others: int = 0, *, unheard: int = 0) -> Dominance:
    """So many requests of a client at second 0, of which some were unheard, and of others."""
    dominance = Dominance()
    for number in range(requests):
        dominance.count(client, 0.0, unheard=number < unheard)
    for number in range(others):
        dominance.count(f"172.16.{number // 250}.{number % 250}", 0.0, unheard=False)
    return dominance


def warned(dominance: Dominance, now: float = 60.0, **queue: Any) -> str | None:
    return dominance.warning(now, identifier(**queue))


@pytest.mark.parametrize(
    ("requests", "others", "expected"),
    [(200, 0, True), (199, 0, False), (161, 39, True), (160, 40, False), (900, 100, True), (100, 900, False)],
)
def test_it_takes_200_requests_and_more_than_four_fifths_of_them(requests: int, others: int, expected: bool) -> None:
    assert (warned(counted(NODE, requests, others)) is not None) == expected


@pytest.mark.parametrize(
    ("client", "unheard", "queue", "words"),
    [
        # Address translation or a proxy without the header.
        (NODE, 0, {}, ["externalTrafficPolicy: Local", "queue.trustedNetworks", "API keys"]),
        (NODE, 99, {}, ["externalTrafficPolicy: Local"]),
        ("100.64.0.9", 0, {}, ["externalTrafficPolicy: Local"]),
        ("fd00::1", 0, {}, ["externalTrafficPolicy: Local"]),
        # A proxy that is not trusted. Whether it is one, only its owner knows.
        (NODE, 100, {}, ["carry X-Forwarded-For or Forwarded, which is not believed", "If it is a proxy of yours"]),
        (PUBLIC, 200, {}, ["carry X-Forwarded-For or Forwarded, which is not believed", "If it is a proxy of yours"]),
        # A trusted one that names no client, or not in the header that is believed.
        (PROXY, 0, {}, ["does not say for whom", "send X-Forwarded-For"]),
        (PROXY, 200, {"forwardedHeader": "Forwarded"}, ["in another way", "send Forwarded", "queue.forwardedHeader"]),
    ],
)
def test_the_warning_names_the_address_and_what_to_set(client: str, unheard: int, queue: Any, words: list[str]) -> None:
    said = warned(counted(client, 200, 10, unheard=unheard), **queue)
    assert said is not None
    assert said.startswith(f"95% of the last 210 requests came from {client}, ")
    for word in words:
        assert word in said


@pytest.mark.parametrize("client", [PUBLIC, f"{NODE}+alice", f"{NODE}+~bob"])
def test_a_client_that_is_merely_busy_is_left_alone(client: str) -> None:
    assert warned(counted(client, 1000)) is None


def test_the_warning_comes_once_an_hour() -> None:
    dominance, who = Dominance(), identifier()
    at = [
        second
        for second in range(2 * 3600 + 120)
        if dominance.count(NODE, float(second), unheard=False) and dominance.warning(float(second), who)
    ]
    assert len(at) == 2
    assert at[1] - at[0] == 3600


def test_it_is_asked_for_once_in_a_minute() -> None:
    dominance = Dominance()
    asked = [second for second in range(181) if dominance.count(NODE, float(second), unheard=False)]
    assert asked == [0, 60, 120, 180]


def test_the_count_slides() -> None:
    dominance = counted(NODE, 100)
    assert dominance.share(0.0) == 1.0
    for _ in range(300):
        dominance.count(PUBLIC, 400.0, unheard=False)
    assert dominance.share(400.0) == 0.75
    assert dominance.share(700.0) == 1.0, "what is older than ten minutes has gone"
    assert dominance.share(1100.0) == 0.0
    assert Dominance().share(0.0) == 0.0


def test_a_clock_that_is_set_back_starts_the_count_anew() -> None:
    dominance = counted(NODE, 200)
    assert warned(dominance) is not None
    for _ in range(200):
        dominance.count(NODE, -1e6, unheard=False)
    assert dominance.share(-1e6) == 1.0
    assert warned(dominance, -1e6 + 60) is not None
    assert dominance.count(NODE, -1e6 + 60, unheard=False)


def test_a_crowd_of_addresses_takes_no_memory_and_hides_nobody_who_dominates() -> None:
    dominance = Dominance()
    for number in range(50_000):
        dominance.count(NODE, 0.0, unheard=False)
        if number % 10 == 0:
            dominance.count(f"2001:db8::{number:x}", 0.0, unheard=False)
    assert dominance.share(0.0) == pytest.approx(10 / 11)
    assert sum(len(step.clients) for step in dominance._steps) <= 1024


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(-300, 300), st.booleans()), max_size=60))
def test_any_course_of_time_gives_a_share_of_what_was_counted(requests: list[tuple[str, int, bool]]) -> None:
    dominance, now = Dominance(), 0.0
    for client, step, unheard in requests:
        now += step  # the wall clock may be set back
        dominance.count(client, now, unheard=unheard)
        assert 0.0 <= dominance.share(now) <= 1.0
        found = dominance.most_frequent(now)
        assert found is None or found.unheard <= found.requests <= found.total <= len(requests)
