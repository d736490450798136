"""Ports and addresses on loopback that no other sandbox on this machine uses."""

import errno
import ipaddress
import random
import socket
from dataclasses import dataclass
from typing import Final

from controller.command import CommandError

HOST: Final = "127.0.0.1"
#: Below the range from which Linux takes the ports of outgoing connections, so that none of them gets in between.
FIRST_PORT: Final = 20000
LAST_PORT: Final = 31999
#: Blocks of GPU servers' addresses are cut from here: well away from 127.0.0.1, where everything else listens.
SERVER_NETWORK: Final = ipaddress.IPv4Network("127.64.0.0/10")
#: 1 022 addresses for each sandbox.
BLOCK_PREFIX: Final = 22
#: How many blocks or ports are tried before it is said that there are none.
ATTEMPTS: Final = 200


@dataclass(frozen=True, slots=True)
class AddressBlock:
    """Addresses for GPU servers, held against other sandboxes for as long as the guard socket is open."""

    network: ipaddress.IPv4Network
    guard: socket.socket

    def release(self) -> None:
        """Let another sandbox have it."""
        self.guard.close()


def free_port(*, rng: random.Random | None = None) -> int:
    """A port on 127.0.0.1 that nobody listens on.

    Raises:
        CommandError: none was found.
    """
    rng = rng or random.Random()  # noqa: S311 - to spread sandboxes, not to keep a secret
    for _ in range(ATTEMPTS):
        port = rng.randint(FIRST_PORT, LAST_PORT)
        if is_free(port):
            return port
    raise CommandError(f"no free port found on {HOST} from {FIRST_PORT} to {LAST_PORT}")


def is_free(port: int, host: str = HOST) -> bool:
    """Whether a server could listen there now."""
    with socket.socket() as probe:
        # As servers do: a connection that is still closing does not count as taken.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno in (errno.EADDRINUSE, errno.EACCES):
                return False
            raise
    return True


def reserve_block(port: int, *, rng: random.Random | None = None) -> AddressBlock:
    """A block of loopback addresses for one sandbox's GPU servers.

    Its last address is bound at the servers' port and kept, which tells other sandboxes that the block is taken; the
    first one is tried, which tells whether other programs listen there.

    Args:
        port: where the GPU servers will listen.
        rng: source of the choice; by default a fresh one.

    Raises:
        CommandError: no block is free, or this system has no such loopback addresses.
    """
    rng = rng or random.Random()  # noqa: S311 - to spread sandboxes, not to keep a secret
    count = 2 ** (BLOCK_PREFIX - SERVER_NETWORK.prefixlen)
    size = 2 ** (32 - BLOCK_PREFIX)
    for _ in range(ATTEMPTS):
        network = ipaddress.IPv4Network((SERVER_NETWORK[rng.randrange(count) * size], BLOCK_PREFIX))
        guard = _guard(network, port)
        if guard is not None:
            return AddressBlock(network, guard)
    raise CommandError(f"no block of free addresses found in {SERVER_NETWORK} at port {port}; choose --server-port")


def _guard(network: ipaddress.IPv4Network, port: int) -> socket.socket | None:
    guard = socket.socket()
    try:
        guard.bind((str(network[-2]), port))
        if is_free(port, str(network[1])):
            return guard
    except OSError as error:
        guard.close()
        if error.errno == errno.EADDRNOTAVAIL:
            raise CommandError(
                f"{network[-2]} is no address of this system; the sandbox needs Linux, where all of 127.0.0.0/8 is"
            ) from error
        if error.errno in (errno.EADDRINUSE, errno.EACCES):
            return None
        raise
    guard.close()
    return None
