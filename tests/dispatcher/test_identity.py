"""Who is the user: the address that no trusted proxy vouches for, and the window."""

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.dispatcher.identity import client_address, identify, parse_address, parse_networks, share_key

TRUSTED = parse_networks(["10.0.0.0/8", "fd00::/8", "192.168.7.1"])


@pytest.mark.parametrize(
    ("peer", "headers", "client"),
    [
        # Nobody vouches: the peer is the client, whatever it says.
        ("203.0.113.5", [], "203.0.113.5"),
        ("203.0.113.5", ["198.51.100.1"], "203.0.113.5"),
        # A trusted proxy names the client; the client's own claim before it counts for nothing.
        ("10.0.0.1", ["203.0.113.5"], "203.0.113.5"),
        ("10.0.0.1", ["1.1.1.1, 203.0.113.5"], "203.0.113.5"),
        ("10.0.0.1", ["10.9.9.9, 203.0.113.5"], "203.0.113.5"),
        # Chains of trusted proxies, in one header or several.
        ("10.0.0.1", ["203.0.113.5, 10.0.0.2, 192.168.7.1"], "203.0.113.5"),
        ("10.0.0.1", ["203.0.113.5", "10.0.0.2"], "203.0.113.5"),
        ("10.0.0.1", ["1.1.1.1, 203.0.113.5", "10.0.0.2,10.0.0.3"], "203.0.113.5"),
        ("fd00::1", ["2001:db8::5"], "2001:db8::5"),
        # Only trusted hops: the farthest of them.
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        # Ports, brackets, quotes, zones and white space as proxies write them.
        ("10.0.0.1", ["203.0.113.5:443"], "203.0.113.5"),
        ("10.0.0.1", ["[2001:db8::5]:443"], "2001:db8::5"),
        ("10.0.0.1", ['"[2001:db8::5]"'], "2001:db8::5"),
        ("10.0.0.1", ["  203.0.113.5  "], "203.0.113.5"),
        ("fe80::1%eth0", [], "fe80::1"),
        # IPv4 in IPv6 clothes is IPv4, for the peer and its trust as for the client.
        ("::ffff:203.0.113.5", [], "203.0.113.5"),
        ("::ffff:10.0.0.1", ["::ffff:203.0.113.5"], "203.0.113.5"),
        # Malformed chains end at the last hop that can be read; what stands before it was not vouched for.
        ("10.0.0.1", ["unknown"], "10.0.0.1"),
        ("10.0.0.1", ["203.0.113.5, , 10.0.0.2"], "10.0.0.2"),
        ("10.0.0.1", ["203.0.113.5, _hidden"], "10.0.0.1"),
        ("10.0.0.1", [""], "10.0.0.1"),
        ("10.0.0.1", ["203.0.113.5;10.0.0.2"], "10.0.0.1"),
    ],
)
def test_the_client_is_the_right_most_hop_that_is_not_trusted(peer: str, headers: list[str], client: str) -> None:
    assert client_address(peer, headers, TRUSTED) == ip_address(client)


def test_a_peer_that_cannot_be_read_is_nobody() -> None:
    for peer in ("", "unix:", "host.example"):
        assert client_address(peer, ["203.0.113.5"], TRUSTED) is None


def test_by_default_no_header_is_believed() -> None:
    assert client_address("127.0.0.1", ["203.0.113.5"], ()) == ip_address("127.0.0.1")


@pytest.mark.parametrize("text", ["10.0.0.0/33", "internet", "10.0.0.0/8 and more", ""])
def test_a_trusted_network_that_is_none_is_an_error_that_names_it(text: str) -> None:
    with pytest.raises(ValueError, match=f"'{text}'"):
        parse_networks(["10.0.0.0/8", text])


@pytest.mark.parametrize(
    ("address", "key"),
    [
        ("203.0.113.5", "203.0.113.5"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ("::1", "::/64"),
    ],
)
def test_shares_are_counted_by_ipv4_address_and_ipv6_64(address: str, key: str) -> None:
    assert share_key(ip_address(address)) == key


def test_two_ipv4_clients_in_ipv6_clothes_are_not_one_network() -> None:
    first, second = (parse_address(f"::ffff:203.0.113.{n}") for n in (5, 6))
    assert first is not None
    assert second is not None
    assert share_key(first) != share_key(second)


@pytest.mark.parametrize(
    ("now", "user"),
    [
        (3600.0, "user_203.0.113.5_1"),
        (7199.999, "user_203.0.113.5_1"),
        (7200.0, "user_203.0.113.5_2"),
        (3600.0 + 24 * 3600, "user_203.0.113.5_25"),
    ],
)
def test_a_user_is_the_address_and_the_number_of_the_window(now: float, user: str) -> None:
    assert identify(ip_address("203.0.113.5"), now, origin=3600.0, window_seconds=3600).user == user


def test_the_next_window_is_another_user_of_the_same_network() -> None:
    old, new = (identify(ip_address("2001:db8::5"), now, origin=0.0, window_seconds=3600) for now in (3599.0, 3600.0))
    assert old.user != new.user
    assert old.network == new.network == "2001:db8::/64"
    assert (old.ip, old.window, new.window) == ("2001:db8::5", 1, 2)


def test_sharing_by_user_gives_every_address_and_window_its_own_share() -> None:
    who = identify(ip_address("2001:db8::5"), 0.0, origin=0.0, window_seconds=3600, share_by="User")
    assert who.network == who.user


headers = st.lists(
    st.text(alphabet=st.sampled_from('0123456789abcdef.:,[]%" ;unkow'), max_size=60) | st.text(max_size=40), max_size=4
)


@given(headers)
def test_no_header_of_an_untrusted_peer_changes_who_it_is(chain: list[str]) -> None:
    assert client_address("203.0.113.5", chain, TRUSTED) == ip_address("203.0.113.5")


@given(headers, st.ip_addresses())
def test_whatever_stands_before_what_a_trusted_proxy_added_counts_for_nothing(chain: list[str], client: object) -> None:
    """A client can write what it likes; the proxy appends the address it saw."""
    expected = parse_address(str(client))
    assert expected is not None
    if not any(expected.version == network.version and expected in network for network in TRUSTED):
        assert client_address("10.0.0.1", [*chain, str(client)], TRUSTED) == expected
        joined = ",".join([*chain, str(client)])
        assert client_address("10.0.0.1", [joined], TRUSTED) == expected


@given(headers)
def test_any_chain_at_all_gives_an_address(chain: list[str]) -> None:
    address = client_address("10.0.0.1", chain, TRUSTED)
    assert address is not None
    assert ip_network(share_key(address)) is not None
