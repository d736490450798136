"""Ports and addresses that no other sandbox uses."""

import ipaddress
import random
import socket

import pytest

from controller.command import CommandError
from controller.sandbox import loopback


@pytest.fixture
def listener() -> socket.socket:
    return socket.create_server((loopback.HOST, 0))


def test_a_port_on_which_somebody_listens_is_not_free(listener: socket.socket) -> None:
    with listener:
        port = listener.getsockname()[1]
        assert not loopback.is_free(port)
    assert loopback.is_free(port)


def test_a_free_port_is_outside_the_range_of_outgoing_connections() -> None:
    port = loopback.free_port()
    assert loopback.FIRST_PORT <= port <= loopback.LAST_PORT
    socket.create_server((loopback.HOST, port)).close()


def test_a_taken_port_is_passed_over() -> None:
    first = loopback.free_port(rng=random.Random(7))
    with socket.create_server((loopback.HOST, first)):
        assert loopback.free_port(rng=random.Random(7)) != first


def test_without_a_free_port_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loopback, "is_free", lambda *_where: False)
    with pytest.raises(CommandError, match="no free port"):
        loopback.free_port()


def test_two_sandboxes_that_choose_alike_get_different_blocks() -> None:
    port = loopback.free_port()
    first = loopback.reserve_block(port, rng=random.Random(7))
    second = loopback.reserve_block(port, rng=random.Random(7))
    try:
        assert not first.network.overlaps(second.network)
        assert all(one.network.subnet_of(loopback.SERVER_NETWORK) for one in (first, second))
    finally:
        first.release()
        second.release()


def test_a_released_block_is_free_again() -> None:
    port = loopback.free_port()
    first = loopback.reserve_block(port, rng=random.Random(7))
    first.release()
    again = loopback.reserve_block(port, rng=random.Random(7))
    again.release()
    assert again.network == first.network


def test_a_block_where_another_program_listens_is_passed_over() -> None:
    port = loopback.free_port()
    wanted = loopback.reserve_block(port, rng=random.Random(7))
    wanted.release()
    with socket.create_server((str(wanted.network[1]), port)):
        other = loopback.reserve_block(port, rng=random.Random(7))
        other.release()
    assert other.network != wanted.network


def test_where_loopback_has_no_such_addresses_it_says_what_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """192.0.2.0/24 is reserved for documentation, so no machine has these addresses."""
    monkeypatch.setattr(loopback, "SERVER_NETWORK", ipaddress.IPv4Network("192.0.0.0/10"))
    monkeypatch.setattr(loopback, "BLOCK_PREFIX", 10)
    with pytest.raises(CommandError, match="needs Linux"):
        loopback.reserve_block(loopback.free_port())
