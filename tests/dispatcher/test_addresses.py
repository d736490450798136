"""Addresses as they stand in headers, what counts as one network, and look-ups among networks."""

from ipaddress import IPv4Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.dispatcher.addresses import (
    MAX_TEXT,
    Address,
    NetworkTable,
    parse_address,
    parse_network,
    parse_networks,
    share_key,
)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("203.0.113.5", "203.0.113.5"),
        ("  203.0.113.5\t", "203.0.113.5"),
        ("203.0.113.5:443", "203.0.113.5"),
        ("203.0.113.5:_hidden", "203.0.113.5"),
        ("2001:db8::5", "2001:db8::5"),
        ("2001:DB8:0:0::5", "2001:db8::5"),
        ("[2001:db8::5]", "2001:db8::5"),
        ("[2001:db8::5]:443", "2001:db8::5"),
        ('"[2001:db8::5]:443"', "2001:db8::5"),
        ('"203.0.113.5"', "203.0.113.5"),
        ("fe80::1%eth0", "fe80::1"),
        ("[fe80::1%25eth0]:80", "fe80::1"),
        # IPv4 in IPv6 clothes is IPv4.
        ("::ffff:203.0.113.5", "203.0.113.5"),
        ("::ffff:cb00:7105", "203.0.113.5"),
        ("[::ffff:203.0.113.5]:80", "203.0.113.5"),
        # So it is under NAT64's well-known prefix, unless it is private: nobody may put that there.
        ("64:ff9b::8.8.8.8", "8.8.8.8"),
        ("64:ff9b::10.0.0.1", "64:ff9b::a00:1"),
        ("64:ff9b:1::8.8.8.8", "64:ff9b:1::808:808"),
    ],
)
def test_an_address_is_read_with_port_brackets_quotes_and_zone(text: str, address: str) -> None:
    assert parse_address(text) == ip_address(address)


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "unknown", "_hidden", "host.example", "localhost:80", "unix:", "-", '"', '""', "[", "]", "[]"),
        *("203.0.113", "203.0.113.256", "203.0.113.05", "203.0.113.5.", "203.0.113.5:", "203.0.113.5:port"),
        *("203.0.113.5:123456", "203.0.113.5 10.0.0.1", "203.0.113.5;10.0.0.1", "203.0.113.5/32", "3405803781"),
        *("[203.0.113.5", "[2001:db8::5", "[2001:db8::5]443", "[2001:db8::5]x", "2001:db8::5]", "[[::1]]", "1:2:3"),
        *("١.٢.٣.٤", "203.0.113.5\x00", "\udcff", "203.0.113.5" + " " * MAX_TEXT),
    ],
)
def test_what_is_no_address_is_none(text: str) -> None:
    assert parse_address(text) is None


@given(st.text() | st.text(alphabet='0123456789abcdef.:[]%" _', max_size=60))
def test_any_text_is_an_address_or_none(text: str) -> None:
    found = parse_address(text)
    assert found is None or parse_address(str(found)) == found


def node(address: Address, port: int | None) -> str:
    """An address as a proxy writes it."""
    text = f"[{address}]" if address.version == 6 else str(address)
    return text if port is None else f"{text}:{port}"


@given(st.ip_addresses(), st.none() | st.integers(0, 65535), st.booleans())
def test_what_a_proxy_writes_is_read_back(address: object, port: int | None, quoted: bool) -> None:
    expected = parse_address(str(address))
    assert expected is not None
    text = node(expected, port)
    assert parse_address(f'"{text}"' if quoted else text) == expected


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


@pytest.mark.parametrize("prefix", ["::ffff:", "64:ff9b::"])
def test_two_ipv4_clients_in_ipv6_clothes_are_not_one_network(prefix: str) -> None:
    first, second = (parse_address(f"{prefix}8.8.8.{n}") for n in (5, 6))
    assert first is not None
    assert second is not None
    assert share_key(first) != share_key(second)


@pytest.mark.parametrize(
    ("text", "network"),
    [
        ("10.0.0.0/8", "10.0.0.0/8"),
        ("10.1.2.3/8", "10.0.0.0/8"),
        (" 192.168.7.1 ", "192.168.7.1/32"),
        ("fd00::/8", "fd00::/8"),
        # Addresses are unmapped, so a mapped network would hold none.
        ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
        ("::ffff:10.0.0.1", "10.0.0.1/32"),
    ],
)
def test_a_network_is_read(text: str, network: str) -> None:
    assert parse_network(text, "f") == ip_network(network)


@pytest.mark.parametrize("text", ["10.0.0.0/33", "internet", "10.0.0.0/8 and more", ""])
def test_a_network_that_is_none_is_an_error_that_names_it_and_its_place(text: str) -> None:
    with pytest.raises(ValueError, match=rf"queue\.trustedNetworks\[1\]: .*'{text}'.*; write 10\.0\.0\.0/8"):
        parse_networks(["10.0.0.0/8", text], "queue.trustedNetworks")


networks = st.lists(
    st.builds(
        lambda address, bits: ip_network(f"{address}/{bits if address.version == 4 else bits * 4}", strict=False),
        st.ip_addresses(),
        st.integers(0, 32),
    ),
    max_size=8,
)


@given(networks, st.data())
def test_the_table_finds_the_first_network_that_holds_an_address(held: list, data: st.DataObject) -> None:  # type: ignore[type-arg]
    inside = [st.just(network.network_address) for network in held] + [st.just(n.broadcast_address) for n in held]
    address = data.draw(st.one_of(st.ip_addresses(), *inside))
    expected = next((i for i, n in enumerate(held) if n.version == address.version and address in n), None)
    assert NetworkTable(held).find(address) == expected


def test_versions_are_not_mixed_up_in_the_table() -> None:
    table = NetworkTable(parse_networks(["::/0"], "f"))
    assert table.find(IPv4Address("0.0.0.1")) is None
