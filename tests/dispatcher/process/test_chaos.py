"""Servers are killed at random under load: their tasks are done all the same, and nothing leaks."""

import asyncio
import random
import socket
import sys
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import pytest

from controller.dispatcher.health import HealthChecks

pytestmark = pytest.mark.processes

SCRIPT: Final = Path(__file__).with_name("tiny_server.py")
SERVERS: Final = 5
SLOTS: Final = 2
TASKS: Final = 1200
#: Under load: each waits for its answer, so that some fifty tasks queue, of which a fifth may be retries.
CLIENTS: Final = 60
#: One server is killed each time that so many tasks are done.
TASKS_PER_KILL: Final = 60


class Fleet:
    """Server processes, each on a port of its own that it comes back to."""

    def __init__(self) -> None:
        # Addresses of their own, which nobody else connects from: a port that is free for a moment would be taken.
        self._hosts = [f"127.0.9.{number + 1}" for number in range(SERVERS)]
        self._ports = [_free_port(host) for host in self._hosts]
        self._running: dict[int, asyncio.subprocess.Process] = {}
        self._all: list[asyncio.subprocess.Process] = []

    def address(self, number: int) -> str:
        return f"http://{self._hosts[number]}:{self._ports[number]}"

    async def start(self, number: int) -> None:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", str(SCRIPT), self._hosts[number], str(self._ports[number])),
            stdout=asyncio.subprocess.PIPE,
        )
        self._all.append(process)
        assert process.stdout is not None
        assert await process.stdout.readline() == b"listening\n"
        self._running[number] = process

    async def restart(self, number: int) -> None:
        """Kill a server and start it again; does nothing while it is being started."""
        process = self._running.pop(number, None)
        if process is not None:
            process.kill()
            await process.wait()
            await self.start(number)

    async def end(self) -> None:
        for process in self._all:
            if process.returncode is None:
                process.kill()
            await process.communicate()


def _free_port(host: str) -> int:
    with socket.socket() as sock:
        sock.bind((host, 0))
        return int(sock.getsockname()[1])


@pytest.fixture
async def fleet(bench: Any) -> AsyncIterator[Fleet]:
    """Running servers, which the dispatcher knows and probes."""
    fleet = Fleet()
    await asyncio.gather(*(fleet.start(number) for number in range(SERVERS)))
    for number in range(SERVERS):
        bench.server(f"demo-{number}", fleet.address(number), slots=SLOTS)
    checks = HealthChecks(bench.state)
    probing = asyncio.create_task(checks.run())
    yield fleet
    probing.cancel()
    await asyncio.wait([probing])
    await checks.close()
    await fleet.end()


async def test_servers_killed_at_random_under_load_cost_no_tasks_and_no_slots(bench: Any, fleet: Fleet) -> None:
    bench.spec(server={"probeIntervalSeconds": 1, "slowStartSeconds": 1, "ejection": {"baseSeconds": 1}})
    dice, done, statuses, restarts = random.Random(20), 0, Counter[int](), set[asyncio.Task[None]]()
    numbers = iter(range(TASKS))

    async def client(address: str) -> None:
        nonlocal done
        for number in numbers:
            answer = await bench.send(str(number), of=address)
            statuses[answer.status] += answer.status != 200 or answer.body == str(number).encode()
            done += 1
            if done % TASKS_PER_KILL == 0:
                restarts.add(asyncio.create_task(fleet.restart(dice.randrange(SERVERS))))

    await asyncio.gather(*(client(f"127.0.3.{number + 1}") for number in range(CLIENTS)))
    await asyncio.gather(*restarts)
    metrics = bench.state.metrics
    assert metrics.retries._value.get() > TASKS / TASKS_PER_KILL / 2, "servers died with tasks of ours"
    assert sum(statuses.values()) == TASKS
    assert statuses[200] >= 0.999 * TASKS, statuses
    assert [bench.in_flight(f"demo-{number}") for number in range(SERVERS)] == [0] * SERVERS
    scheduler = bench.scheduler
    assert (len(scheduler.queue), scheduler.waiting, scheduler.queue_length(), scheduler.retries.under_way) == (
        0,
        0,
        0,
        0,
    )
    assert scheduler.queue.running == 0
    assert scheduler.idle.is_set()
