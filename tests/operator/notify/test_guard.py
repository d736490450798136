"""No request goes where only the cluster can go, however the address is written or changed."""

import asyncio
import socket
from collections.abc import Callable
from ipaddress import ip_address
from typing import Any

import pytest

from controller.operator.notify.errors import BadSecretError, RefusedError, UnreachableError
from controller.operator.notify.guard import Guard, Pinned, connector, network, parse, verdict
from controller.operator.notify.sender import Request, Sender

LOOPBACK = (network("127.0.0.0/8"),)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.8.9.10", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "100.64.0.1",
        "100.127.255.254", "169.254.169.254", "169.254.0.23", "0.0.0.0", "0.1.2.3", "224.0.0.1", "239.1.1.1",
        "240.0.0.1", "255.255.255.255", "192.0.0.8", "192.0.2.1", "198.18.0.1", "198.51.100.1", "203.0.113.1",
        "::", "::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::127.0.0.1", "fe80::1",
        "fc00::1", "fd12:3456::1", "fec0::1", "ff02::1", "2001:db8::1", "64:ff9b::7f00:1", "64:ff9b::a00:1",
        "64:ff9b:1::1", "2002:7f00:1::", "2002:808:808::", "2001:0:4136:e378::", "100::1", "4000::1", "5f00::1",
    ],
)  # fmt: skip
def test_what_is_not_public_is_refused(address: str) -> None:
    assert verdict(ip_address(address), ())


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "119.28.28.28", "2408:4000::1", "2001:4860:4860::8888", "64:ff9b::808:808", "::ffff:8.8.8.8"]
)
def test_what_is_public_is_not(address: str) -> None:
    assert not verdict(ip_address(address), ())


@pytest.mark.parametrize(
    ("address", "networks", "fine"),
    [
        ("10.1.2.3", ["10.1.0.0/16"], True),
        ("10.2.2.3", ["10.1.0.0/16"], False),
        ("::ffff:10.1.2.3", ["10.1.0.0/16"], True),
        ("fd00::5", ["fd00::/8"], True),
        ("169.254.169.254", ["0.0.0.0/0"], False),
        ("fe80::1", ["::/0"], False),
        ("224.0.0.1", ["0.0.0.0/0"], False),
    ],
)
def test_the_operators_flag_opens_networks_but_never_the_metadata_service(
    address: str, networks: list[str], fine: bool
) -> None:
    assert (verdict(ip_address(address), [network(n) for n in networks]) == "") is fine


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "127.1", "2130706433", "0x7f.1", "0x7f000001", "017700000001", "[::1]",
     "[::ffff:127.0.0.1]", "0", "127.0.0.1.", "LOCALHOST"],
)  # fmt: skip
async def test_every_way_to_write_loopback_is_refused_or_leads_nowhere(host: str) -> None:
    try:
        target = parse(f"https://{host}/x")
    except BadSecretError:
        return
    with pytest.raises((RefusedError, UnreachableError)):
        await Guard().addresses(target)


@pytest.mark.parametrize(
    "text", ["", "robot", "ftp://a.example/x", "https:///x", "https://user:pw@a.example/", "https://a.example:99999/",
             "//a.example", "javascript:alert(1)", "https://[::1/x"],
)  # fmt: skip
def test_what_is_no_url_is_said_without_repeating_it(text: str) -> None:
    with pytest.raises(BadSecretError) as found:
        parse(text)
    assert not text or text not in str(found.value)
    assert "pw" not in str(found.value)


async def test_a_key_is_not_sent_in_the_clear_to_the_public() -> None:
    with pytest.raises(RefusedError, match="https"):
        await Guard().addresses(parse("http://8.8.8.8/key"))
    await Guard().addresses(parse("https://8.8.8.8/key"))
    await Guard(LOOPBACK).addresses(parse("http://127.0.0.1:1/key"))


async def test_a_name_with_one_private_address_among_public_ones_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    async def both(*_: Any, **__: Any) -> list[Any]:
        return [(socket.AF_INET, 1, 6, "", (a, 443)) for a in ("8.8.8.8", "10.0.0.1")]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", both, raising=False)
    with pytest.raises(RefusedError, match=r"10\.0\.0\.1"):
        await Guard().addresses(parse("https://rebind.example/x"))


async def test_a_name_that_changes_between_check_and_connection_changes_nothing(
    receiver: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DNS rebinding: the first answer is allowed, every later one would lead elsewhere."""
    asked: list[str] = []

    async def rebinding(host: str, *_: Any, **__: Any) -> list[Any]:
        asked.append(host)
        address = "127.0.0.1" if len(asked) == 1 else "127.0.0.2"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, receiver.port))]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", rebinding, raising=False)
    sender = Sender(Guard((network("127.0.0.1/32"),)))
    answer = await sender.post(Request(parse(receiver.url(host="rebind.example")), b"{}"))
    assert answer.status == 200
    assert asked == ["rebind.example"]
    with pytest.raises(RefusedError):
        await sender.post(Request(parse(receiver.url(host="rebind.example")), b"{}"))
    assert len(receiver.requests) == 1


async def test_a_socket_is_made_for_checked_addresses_only(receiver: Any) -> None:
    import aiohttp

    link = connector([ip_address("127.0.0.2")])
    async with aiohttp.ClientSession(connector=link) as session:
        with pytest.raises(aiohttp.ClientError):
            await session.post(receiver.url())
    assert receiver.requests == []
    assert [r["host"] for r in await Pinned([ip_address("127.0.0.2")]).resolve("any")] == ["127.0.0.2"]


async def test_redirects_are_not_followed(receiver: Any) -> None:
    receiver.status, receiver.headers = 302, {"Location": receiver.url("/elsewhere")}
    answer = await Sender(Guard(LOOPBACK)).post(Request(parse(receiver.url()), b"{}"))
    assert answer.status == 302
    assert len(receiver.requests) == 1


async def test_proxies_of_the_environment_are_not_used(receiver: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert (await Sender(Guard(LOOPBACK)).post(Request(parse(receiver.url()), b"{}"))).status == 200


async def test_a_slow_receiver_is_left_in_time(receiver: Any) -> None:
    receiver.delay = 30.0
    with pytest.raises(UnreachableError, match=r"did not answer within 0\.2 s"):
        await Sender(Guard(LOOPBACK), timeout=0.2).post(Request(parse(receiver.url()), b"{}"))


async def test_of_an_endless_answer_only_the_begin_is_read(receiver: Any) -> None:
    from aiohttp import web

    receiver.answer = lambda _: web.Response(body=b"x" * 10_000_000)
    answer = await Sender(Guard(LOOPBACK)).post(Request(parse(receiver.url()), b"{}"))
    assert 0 < len(answer.body) <= 65536


@pytest.mark.parametrize("make", [lambda port: f"http://127.0.0.1:{port}/s3cret-path?key=s3cret-key"])
async def test_no_error_tells_the_path_or_the_query(make: Callable[[int], str], receiver: Any) -> None:
    from controller.sandbox.loopback import free_port

    sender = Sender(Guard(LOOPBACK), timeout=0.2)
    receiver.delay = 30.0
    for url in (make(free_port()), make(receiver.port), make(receiver.port).replace("127.0.0.1", "10.0.0.1")):
        with pytest.raises((UnreachableError, RefusedError)) as found:
            await sender.post(Request(parse(url), b"{}"))
        assert "s3cret" not in str(found.value)
        assert found.value.__cause__ is None
    target = parse(make(1))
    assert "s3cret" not in f"{target} {Request(target, b's3cret')}".replace(repr(target.url), "")


def test_what_a_receiver_repeats_of_the_url_is_hidden() -> None:
    target = parse("https://a.example/cgi-bin/webhook/send?key=73febdcb-1b38")
    assert target.hide("invalid key 73febdcb-1b38 for webhook") == "invalid key … for …"


@pytest.mark.parametrize("said", ["a%2Bb/c%3D", "a%2Bb%2Fc%3D", "a+b/c="])
def test_a_key_is_hidden_however_the_receiver_spells_it(said: str) -> None:
    target = parse("https://robots.example/send?token=a%2Bb/c%3D")
    assert said not in target.hide(f"invalid token {said} for robot")
