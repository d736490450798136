"""Preferences: lists, parameters, quotes and repeated headers as RFC 7240 has them; what is not ours is passed on."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.dispatcher.prefer import MAX_WAIT_SECONDS, Preferences, read_preferences


@pytest.mark.parametrize(
    ("headers", "respond_async", "wait"),
    [
        ([], False, None),
        (["respond-async"], True, None),
        (["Respond-ASYNC"], True, None),
        (['respond-async=""'], True, None),
        (["respond-async=no"], False, None),
        (["respond-async, wait=10"], True, 10),
        (["wait=10"], False, 10),
        (["respond-async", "wait=10"], True, 10),
        (["wait = 10 , respond-async"], True, 10),
        (['wait="10"'], False, 10),
        (["wait=5, wait=10"], False, 5),
        (["wait=-5"], False, None),
        (["wait=soon"], False, None),
        (["wait"], False, None),
        (["wait=99999999"], False, MAX_WAIT_SECONDS),
        (["wait=99999999999999999999999"], False, None),
        (["respond-async; foo=1; bar"], True, None),
        (["respond-async;"], True, None),
        ([" ,, respond-async ,"], True, None),
        (['return="respond-async, wait=3"'], False, None),
        (['x="a\\"b, respond-async", wait=2'], False, 2),
        (["respond async"], False, None),
        (['"respond-async"'], False, None),
        (["respond-asynchronously"], False, None),
        (['open="never closed, respond-async'], False, None),
    ],
)
def test_what_a_client_prefers(headers: list[str], respond_async: bool, wait: int | None) -> None:
    found = read_preferences(headers)
    assert (found.respond_async, found.wait) == (respond_async, wait)


@pytest.mark.parametrize(
    ("headers", "others"),
    [
        (["respond-async, wait=3"], None),
        (
            ["respond-async, return=minimal; x=1", 'handling="strict, very"'],
            'return=minimal; x=1, handling="strict, very"',
        ),
        (["???, respond-async"], "???"),
    ],
)
def test_what_is_not_ours_is_left_for_the_server(headers: list[str], others: str | None) -> None:
    assert read_preferences(headers).others == others


@given(st.lists(st.text(alphabet=st.sampled_from('respond-async,wait=1;" \\é\x00')), max_size=4))
def test_no_header_breaks_it(headers: list[str]) -> None:
    assert isinstance(read_preferences(headers), Preferences)
