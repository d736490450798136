"""Who is the user: address, second level, window, and what of it shares and limits are counted by."""

import hashlib
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from controller.api.queue import Queue
from controller.dispatcher.apikeys import ApiKeys, parse_keys
from controller.dispatcher.identity import Caller, Identifier, Identity, claimed_name

PROXY, STRANGER = "10.0.0.1", "203.0.113.5"
KEYS = parse_keys(f"alice: {hashlib.sha256(b'a-key').hexdigest()}")


def identifier(origin: float = 0.0, **queue: Any) -> Identifier:
    """By these settings (camelCase), with proxies in 10.0.0.0/8."""
    return Identifier(msgspec.convert({"trustedNetworks": ["10.0.0.0/8"], **queue}, Queue), origin)


def call(
    who: Identifier, peer: str = STRANGER, *headers: tuple[str, str], keys: ApiKeys = KEYS, now: float = 0.0
) -> Caller:
    """Who sent a request."""
    caller = who.identify(peer, CIMultiDict(headers), keys, now)
    assert caller is not None
    return caller


def user(who: Identifier, peer: str = STRANGER, *headers: tuple[str, str], **more: Any) -> Identity:
    return call(who, peer, *headers, **more).identity


# --- the window ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (3600.0, "user_203.0.113.5_1"),
        (7199.999, "user_203.0.113.5_1"),
        (7200.0, "user_203.0.113.5_2"),
        (3600.0 + 24 * 3600, "user_203.0.113.5_25"),
        # The clock was set back, or the origin is yet to come.
        (3599.0, "user_203.0.113.5_0"),
    ],
)
def test_a_user_is_the_address_and_the_number_of_the_window(now: float, expected: str) -> None:
    who = identifier(3600.0)
    assert user(who, now=now).user == expected
    user(who, now=1e9)
    assert user(who, now=now).user == expected, "whatever was asked before"


def test_the_next_window_is_another_user_of_the_same_network_and_flow() -> None:
    who = identifier()
    old, new = user(who, "2001:db8::5", now=3599.0), user(who, "2001:db8::5", now=3600.0)
    assert old.user != new.user
    assert old.network == new.network == "2001:db8::/64"
    assert old.flow == new.flow == "2001:db8::5"
    assert old.quota == new.quota == "2001:db8::/64"
    assert (old.ip, old.window, new.window) == ("2001:db8::5", 1, 2)


def test_a_peer_without_an_address_is_nobody() -> None:
    for peer in ("", "unix:", "host.example"):
        assert identifier().identify(peer, CIMultiDict({"X-Forwarded-For": STRANGER}), KEYS, 0.0) is None


# --- which header is believed ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("believed", "headers", "ip"),
    [
        ("XForwardedFor", [("X-Forwarded-For", STRANGER)], STRANGER),
        ("Forwarded", [("Forwarded", f"for={STRANGER}")], STRANGER),
        # The proxy manages one header and passes a client's own other one on: that one must not win, nor stand in.
        ("XForwardedFor", [("X-Forwarded-For", STRANGER), ("Forwarded", "for=1.1.1.1")], STRANGER),
        ("Forwarded", [("Forwarded", f"for={STRANGER}"), ("X-Forwarded-For", "1.1.1.1")], STRANGER),
        ("XForwardedFor", [("Forwarded", "for=1.1.1.1")], PROXY),
        ("Forwarded", [("X-Forwarded-For", "1.1.1.1")], PROXY),
        ("XForwardedFor", [("X-Real-IP", "1.1.1.1")], PROXY),
        # Repeated headers in any case are one list.
        ("XForwardedFor", [("x-forwarded-for", "1.1.1.1"), ("X-FORWARDED-FOR", STRANGER)], STRANGER),
    ],
)
def test_only_the_header_that_the_proxies_manage_is_believed(believed: str, headers: Any, ip: str) -> None:
    assert user(identifier(forwardedHeader=believed), PROXY, *headers).ip == ip


@given(
    believed=st.sampled_from(["XForwardedFor", "Forwarded"]),
    said=st.lists(
        st.tuples(st.sampled_from(["X-Forwarded-For", "Forwarded", "X-Real-IP", "Via"]), st.text()), max_size=4
    ),
    managed=st.booleans(),
)
def test_a_client_cannot_choose_who_it_is(believed: str, said: list[tuple[str, str]], *, managed: bool) -> None:
    """Directly or through a proxy that appends to the header that it manages and passes on all else."""
    own = {"XForwardedFor": ("X-Forwarded-For", STRANGER), "Forwarded": ("Forwarded", f"for={STRANGER}")}[believed]
    headers, peer = ([*said, own], PROXY) if managed else (said, STRANGER)
    assert user(identifier(forwardedHeader=believed), peer, *headers).ip == STRANGER


@pytest.mark.parametrize(
    ("peer", "headers", "proxied", "unheard"),
    [
        (STRANGER, [], False, False),
        (STRANGER, [("X-Forwarded-For", "1.1.1.1")], False, True),
        (STRANGER, [("Forwarded", "for=1.1.1.1")], False, True),
        (PROXY, [("X-Forwarded-For", STRANGER)], True, False),
        (PROXY, [], True, False),
        (PROXY, [("Forwarded", "for=1.1.1.1")], True, True),
        (PROXY, [("X-Forwarded-For", "unknown")], True, True),
    ],
)
def test_it_is_told_how_the_client_came_and_whether_it_was_heard(
    peer: str, headers: Any, proxied: bool, unheard: bool
) -> None:
    caller = call(identifier(), peer, *headers)
    assert (caller.proxied, caller.unheard) == (proxied, unheard)


# --- the second level ------------------------------------------------------------------------------------------------

KEY, CLAIM = ("Authorization", "Bearer a-key"), ("X-User", "bob")


@pytest.mark.parametrize(
    ("headers", "flow", "method"),
    [
        ([], "203.0.113.5", "ip_time_window"),
        ([KEY], "203.0.113.5+alice", "ip_key_time_window"),
        ([CLAIM], "203.0.113.5+~bob", "ip_header_time_window"),
        ([KEY, CLAIM], "203.0.113.5+alice", "ip_key_time_window"),
        ([("Authorization", "Bearer unknown")], "203.0.113.5", "ip_time_window"),
        ([("Authorization", "Bearer unknown"), CLAIM], "203.0.113.5+~bob", "ip_header_time_window"),
        # A claim never passes for a key of that name.
        ([("X-User", "alice")], "203.0.113.5+~alice", "ip_header_time_window"),
    ],
)
def test_behind_one_address_users_are_told_apart_by_key_or_header(headers: Any, flow: str, method: str) -> None:
    found = user(identifier(userHeader="X-User"), STRANGER, *headers)
    assert (found.flow, found.user, found.method) == (flow, f"user_{flow}_1", method)
    assert found.network == "203.0.113.5"
    assert found.name == (flow.partition("+")[2] or None)


def test_without_keys_and_header_nothing_else_is_looked_at() -> None:
    assert user(identifier(), STRANGER, KEY, CLAIM, keys=ApiKeys()).flow == STRANGER


def test_the_key_may_have_a_header_of_its_own() -> None:
    who = identifier(apiKeyHeader="X-Pool-Key")
    assert user(who, STRANGER, ("X-Pool-Key", "a-key")).name == "alice"
    assert user(who, STRANGER, KEY).name is None


@pytest.mark.parametrize(
    ("peer", "headers", "quota"),
    [
        (STRANGER, [], "203.0.113.5"),
        (STRANGER, [KEY], "203.0.113.5+alice"),
        # Anybody can make up names, or walk through a /64.
        (STRANGER, [CLAIM], "203.0.113.5"),
        ("2001:db8::5", [CLAIM], "2001:db8::/64"),
        ("2001:db8::5", [KEY], "2001:db8::/64+alice"),
        # What a trusted proxy says it knows.
        (PROXY, [("X-Forwarded-For", STRANGER), CLAIM], "203.0.113.5+~bob"),
    ],
)
def test_limits_are_counted_by_what_is_proven(peer: str, headers: Any, quota: str) -> None:
    assert user(identifier(userHeader="X-User"), peer, *headers).quota == quota


@pytest.mark.parametrize(
    ("peer", "headers", "share"),
    [
        (STRANGER, [], "user_203.0.113.5_1"),
        (STRANGER, [KEY], "user_203.0.113.5+alice_1"),
        # A name would be a share of its own here: a stranger's word is not enough for that.
        (STRANGER, [CLAIM], "user_203.0.113.5_1"),
        (PROXY, [("X-Forwarded-For", STRANGER), CLAIM], "user_203.0.113.5+~bob_1"),
        (PROXY, [("X-Forwarded-For", STRANGER), ("X-User", "forged"), CLAIM], "user_203.0.113.5_1"),
    ],
)
def test_sharing_by_user_gives_every_address_name_and_window_its_own_share(peer: str, headers: Any, share: str) -> None:
    found = user(identifier(userHeader="X-User", shareBy="User"), peer, *headers)
    assert found.network == found.user == share


def test_weights_come_with_the_user() -> None:
    who = identifier(
        userHeader="X-User",
        weights=[{"network": "203.0.113.0/24", "weight": 2}, {"apiKey": "alice", "weight": 3}],
    )
    weights = [
        (found.network_weight, found.user_weight)
        for found in (
            user(who),
            user(who, STRANGER, KEY),
            user(who, "8.8.8.8", KEY),
            user(who, STRANGER, ("X-User", "alice")),
        )
    ]
    assert weights == [(2, 1), (2, 3), (1, 3), (2, 1)]


# --- names that a header claims --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "name"),
    [
        (["bob"], "~bob"),
        ([" bob "], "~bob"),
        (["b_o.b-9"], "~b_o.b-9"),
        (["b" * 63], "~" + "b" * 63),
        (["bob", "bob"], "~bob"),
        ([], None),
        ([""], None),
        (["  "], None),
        # A client's beside the proxy's, or merged with it: nobody can tell which counts.
        (["eve", "bob"], None),
        (["eve, bob"], None),
    ],
)
def test_a_plain_value_is_the_name_and_an_ambiguous_one_is_none(values: list[str], name: str | None) -> None:
    assert claimed_name(values) == name


@pytest.mark.parametrize(
    "value", ["b" * 64, "bob@example.org", "小明", "a b", "../etc", "x" * 100_000, "\ud800\udcff", "~a"]
)
def test_any_other_value_is_a_digest(value: str) -> None:
    name = claimed_name([value])
    assert name is not None
    assert name.startswith("~sha256-")
    assert len(name) == 40
    assert name == claimed_name([value])
    assert name != claimed_name([value + "x"])


@pytest.mark.parametrize("header", ["Authorization", "cookie", "X-API-Key", "Proxy-Authorization", "X-Pool-Key"])
def test_a_header_that_holds_secrets_gives_digests_only(header: str) -> None:
    who = identifier(userHeader=header, apiKeyHeader="X-Pool-Key")
    found = user(who, STRANGER, (header, "s3cret"))
    assert found.name is not None
    assert found.name.startswith("~sha256-")
    assert "s3cret" not in repr(found)


@given(st.lists(st.text() | st.text(alphabet="ab_.~, "), max_size=3), st.lists(st.text(), max_size=3))
def test_whatever_the_headers_hold_the_names_are_safe(claims: list[str], keys: list[str]) -> None:
    headers = [*(("X-User", value) for value in claims), *(("Authorization", value) for value in keys)]
    found = user(identifier(userHeader="X-User"), STRANGER, *headers)
    assert found.user.rpartition("_")[2] == "1"
    assert len(found.user) < 100
    assert set(found.name or "") <= set("~abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-")
    assert found.network == STRANGER, "no header gains a share"


# --- settings that cannot be -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("queue", "message"),
    [
        ({"trustedNetworks": ["10.0.0.0/8", "internet"]}, r"queue\.trustedNetworks\[1\]: 'internet'"),
        ({"weights": [{"network": "10.0.0.0/33", "weight": 2}]}, r"queue\.weights\[0\]\.network: '10\.0\.0\.0/33'"),
    ],
)
def test_a_setting_that_cannot_be_read_is_named(queue: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        identifier(**queue)
