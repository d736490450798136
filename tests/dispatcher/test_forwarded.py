"""The client behind trusted proxies: what they wrote counts, and nothing that anybody else wrote."""

from collections.abc import Sequence
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.dispatcher.addresses import Address, parse_address, parse_networks
from controller.dispatcher.forwarded import READERS, Trust, client_hop, for_of, forwarded

TRUST = Trust(parse_networks(["10.0.0.0/8", "fd00::/8", "192.168.7.1"], "f"))
NOBODY = Trust(())


def client(peer: str, values: Sequence[str], *, header: str = "XForwardedFor", trust: Trust = TRUST) -> Address:
    """The client of a request from this peer with these values of the header."""
    hop = trust.hop(peer)
    assert hop is not None
    return client_hop(hop, READERS[header][1](values), trust).address


@pytest.mark.parametrize(
    ("peer", "values", "expected"),
    [
        # Nobody vouches: the peer is the client, whatever it says.
        ("203.0.113.5", [], "203.0.113.5"),
        ("203.0.113.5", ["198.51.100.1"], "203.0.113.5"),
        ("203.0.113.5", ["10.0.0.1"], "203.0.113.5"),
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
        # A private address under NAT64's prefix is a forgery and passes for no trusted proxy.
        ("10.0.0.1", ["203.0.113.5, 64:ff9b::10.0.0.1"], "64:ff9b::a00:1"),
        # Malformed chains end at the last hop that can be read; what stands before it was not vouched for.
        ("10.0.0.1", ["unknown"], "10.0.0.1"),
        ("10.0.0.1", ["203.0.113.5, , 10.0.0.2"], "10.0.0.2"),
        ("10.0.0.1", ["203.0.113.5, _hidden"], "10.0.0.1"),
        ("10.0.0.1", ["203.0.113.5", ""], "10.0.0.1"),
        ("10.0.0.1", [""], "10.0.0.1"),
        ("10.0.0.1", ["203.0.113.5;10.0.0.2"], "10.0.0.1"),
        ("10.0.0.1", ["203.0.113.5, " + "9" * 5000], "10.0.0.1"),
        # Quotes mean nothing in this header: an opening one does not swallow what the proxy wrote.
        ("10.0.0.1", ['"1.1.1.1, 203.0.113.5'], "203.0.113.5"),
    ],
)
def test_the_client_is_the_right_most_hop_that_is_not_trusted(peer: str, values: list[str], expected: str) -> None:
    assert client(peer, values) == ip_address(expected)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["for=203.0.113.5"], "203.0.113.5"),
        (["For=203.0.113.5;Proto=https;BY=10.0.0.1"], "203.0.113.5"),
        (["proto=https; for=203.0.113.5 ;host=h"], "203.0.113.5"),
        (['for="203.0.113.5:47011"'], "203.0.113.5"),
        (['for="[2001:db8:cafe::17]:4711"'], "2001:db8:cafe::17"),
        (['for="[2001:db8:cafe::17]"'], "2001:db8:cafe::17"),
        # Unquoted where the RFC wants quotes.
        (["for=[2001:db8:cafe::17]:4711"], "2001:db8:cafe::17"),
        (["for=203.0.113.5:80"], "203.0.113.5"),
        (['for="203.0.\\113.5"'], "203.0.113.5"),
        (["for=1.1.1.1, for=203.0.113.5, for=10.0.0.2"], "203.0.113.5"),
        (["for=1.1.1.1,for=203.0.113.5", "for=10.0.0.2"], "203.0.113.5"),
        # Commas, semicolons and quotes within quotes.
        (['for=203.0.113.5;host="a, for=1.1.1.1"'], "203.0.113.5"),
        (['for=203.0.113.5;host="a;for=1.1.1.1"'], "203.0.113.5"),
        (['for=203.0.113.5;host="a\\", for=1.1.1.1"'], "203.0.113.5"),
        (['for=203.0.113.5;host="a\\\\"'], "203.0.113.5"),
        (["for=203.0.113.5;;proto=http;"], "203.0.113.5"),
        # A client's quotes do not swallow what the proxy wrote.
        (['for="1.1.1.1, for=203.0.113.5'], "203.0.113.5"),
        (['for=1.1.1.1;host=", for="203.0.113.5"'], "203.0.113.5"),
        (['for=1.1.1.1;host="\\, for="203.0.113.5"'], "203.0.113.5"),
        (['for="1.1.1.1', "for=203.0.113.5"], "203.0.113.5"),
        # Elements that name nobody, or cannot be read, end the chain.
        (["for=203.0.113.5, for=unknown"], "10.0.0.1"),
        (["for=203.0.113.5, for=_gazonk"], "10.0.0.1"),
        (['for=203.0.113.5, for="_gazonk:_80"'], "10.0.0.1"),
        (["for=203.0.113.5, proto=https"], "10.0.0.1"),
        (["for=203.0.113.5, for=10.0.0.2;for=1.1.1.1"], "10.0.0.1"),
        (["for=203.0.113.5, for=10.0.0.2;nonsense"], "10.0.0.1"),
        (['for=203.0.113.5, for="10.0.0.2"x'], "10.0.0.1"),
        (["for=203.0.113.5, , for=10.0.0.2"], "10.0.0.2"),
        (["for=203.0.113.5, for =10.0.0.2"], "10.0.0.1"),
        (["203.0.113.5"], "10.0.0.1"),
        (['"for=203.0.113.5'], "10.0.0.1"),
        ([""], "10.0.0.1"),
        ([], "10.0.0.1"),
    ],
)
def test_forwarded_is_read_as_rfc_7239_has_it(values: list[str], expected: str) -> None:
    assert client("10.0.0.1", values, header="Forwarded") == ip_address(expected)


def test_a_chain_is_read_only_as_far_as_it_counts() -> None:
    read = []

    def hops() -> object:
        for hop in ("10.0.0.2", "203.0.113.5", "1.1.1.1"):
            read.append(hop)
            yield hop

    peer = TRUST.hop("10.0.0.1")
    assert peer is not None
    client_hop(peer, hops(), TRUST)  # type: ignore[arg-type]
    assert read == ["10.0.0.2", "203.0.113.5"]


def test_a_peer_that_cannot_be_read_is_nobody() -> None:
    for peer in ("", "unix:", "host.example", "x" * 1000):
        assert TRUST.hop(peer) is None


# --- any header at all -----------------------------------------------------------------------------------------------

garbage = st.lists(
    st.text(alphabet=st.sampled_from('0123456789abcdef.:,;=[]%"\\ forunkow_\t'), max_size=60)
    | st.text(max_size=40)
    | st.sampled_from(['for="', "for=1.1.1.1", "10.0.0.9", 'for="10.0.0.9";host="', "\\", 'a="\\', "for=10.0.0.9, "]),
    max_size=4,
)
styles = st.sampled_from(["XForwardedFor", "Forwarded"])
trusted = st.sampled_from(["10.0.0.2", "10.255.0.1", "192.168.7.1", "fd00::1", "fdff::2"]).map(ip_address)


@st.composite
def clients(draw: st.DrawFn) -> Address:
    address = parse_address(str(draw(st.ip_addresses())))
    assert address is not None
    hop = TRUST.hop(str(address))
    assert hop is not None
    return ip_address("203.0.113.5") if hop.trusted else address


@st.composite
def hop_text(draw: st.DrawFn, address: Address, style: str) -> str:
    """What an honest proxy writes of the address it saw."""
    node = f"[{address}]" if address.version == 6 else str(address)
    port = draw(st.none() | st.integers(1, 65535))
    if port is not None:
        node += f":{port}"
    if style == "XForwardedFor":
        return draw(st.sampled_from([node, str(address)]))
    quoted = f'"{node}"' if ":" in node else draw(st.sampled_from([node, f'"{node}"']))
    parameters = [f"{draw(st.sampled_from(['for', 'For', 'FOR']))}={quoted}"]
    more = st.sampled_from(["proto=https", 'host="h:80"', "by=_me", 'ext="a, b;c\\"d\\\\"'])
    others: list[str] = draw(st.lists(more, unique=True))
    return ";".join(draw(st.permutations([*parameters, *others])))


@st.composite
def chains(draw: st.DrawFn, style: str) -> tuple[Address, str, list[str]]:
    """A client that sends what it likes through honest proxies, each of which appends the address it saw.

    Returns:
        The client, the last proxy, and the values of the header that reach the dispatcher.
    """
    who = draw(clients())
    values = draw(garbage)
    proxies = draw(st.lists(trusted, min_size=1, max_size=4))
    for seen in [who, *proxies[:-1]]:
        text = draw(hop_text(seen, style))
        joined: bool = draw(st.booleans())
        if values and joined:
            values[-1] += draw(st.sampled_from([",", ", "])) + text
        else:
            values.append(text)
    return who, str(proxies[-1]), values


@given(styles, st.data())
def test_whatever_a_client_writes_the_proxies_word_counts(style: str, data: st.DataObject) -> None:
    who, peer, values = data.draw(chains(style))
    assert client(peer, values, header=style) == who


@given(styles, garbage, clients())
def test_no_header_of_an_untrusted_peer_changes_who_it_is(style: str, values: list[str], who: Address) -> None:
    assert client(str(who), values, header=style) == who


@given(styles, garbage, st.ip_addresses())
def test_where_nobody_is_trusted_no_header_is_believed(style: str, values: list[str], peer: object) -> None:
    assert client(str(peer), values, header=style, trust=NOBODY) == parse_address(str(peer))


@given(styles, garbage)
def test_any_header_at_all_gives_an_address(style: str, values: list[str]) -> None:
    assert client("10.0.0.1", values, header=style) is not None


@given(st.text())
def test_any_value_of_forwarded_is_read_to_its_end(text: str) -> None:
    assert len(list(forwarded([text]))) <= text.count(",") + 1


token = st.text(alphabet="abcdefgxyz0123456789!#$%&'*+.^_`|~-", min_size=1, max_size=8)
quotable = st.text(alphabet=st.characters(min_codepoint=32, max_codepoint=255), max_size=20)


@given(st.lists(st.tuples(token.filter(lambda name: name.lower() != "for"), quotable), max_size=4), quotable, st.data())
def test_a_quoted_value_is_read_back(others: list[tuple[str, str]], value: str, data: st.DataObject) -> None:
    pairs = data.draw(st.permutations([*others, ("for", value)]))
    escaped = [(name, text.replace("\\", "\\\\").replace('"', '\\"')) for name, text in pairs]
    element = ";".join(f'{name}="{text}"' for name, text in escaped)
    assert for_of(element) == value
    assert list(forwarded([f"for=x, {element}"])) == [value, "x"]
