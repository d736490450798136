"""What the operator waits for before it destroys: every dispatcher replica, by what each of them exports.

The dispatchers are stand-ins that say what the test wants, since the question is what the operator makes of it.
"""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web

from controller.api import metrics
from tests.operator.conftest import HOST

pytestmark = [pytest.mark.processes, pytest.mark.timeout(120)]

Make = Callable[..., dict[str, Any]]


@dataclass
class Replica:
    """A dispatcher replica: an idle queue, and the servers that it knows."""

    url: str = ""
    #: By server: requests in flight, whether it is up, whether it is draining.
    servers: dict[str, tuple[int, bool, bool]] = field(default_factory=dict)

    async def answer(self, _request: web.Request) -> web.Response:
        lines = [f"{name} {int(name == metrics.DISPATCHER_SYNCED)}" for name in metrics.REQUIRED]
        for server, (in_flight, up, draining) in self.servers.items():
            for name, value in (
                (metrics.SERVER_IN_FLIGHT, in_flight),
                (metrics.SERVER_TASKS, in_flight),
                (metrics.SERVER_SLOTS, 1),
                (metrics.SERVER_UP, int(up)),
                (metrics.SERVER_DRAINING, int(draining)),
            ):
                lines.append(f'{name}{{server="{server}"}} {value}')
        return web.Response(text="\n".join(lines) + "\n")


@pytest.fixture
async def replicas() -> AsyncIterator[tuple[Replica, Replica]]:
    pair, runners = (Replica(), Replica()), []
    for replica in pair:
        app = web.Application()
        app.router.add_get("/metrics", replica.answer)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, HOST, 0).start()
        replica.url = f"http://{HOST}:{runner.addresses[0][1]}/metrics"
        runners.append(runner)
    yield pair
    for runner in runners:
        await runner.cleanup()


async def decisions(rig: Any, count: int) -> None:
    """Wait until the pool has decided so many times more, so that what it could have done it has had time for."""
    for _ in range(count):
        seen = (await rig.get("gpupool", "pool"))["status"]["lastDecision"]["time"]

        async def another(seen: str = seen) -> bool:
            return bool((await rig.get("gpupool", "pool"))["status"]["lastDecision"]["time"] != seen)

        await rig.until(another, "another decision")


async def start(rig: Any, make_pool: Make, make_preset: Make, replicas: tuple[Replica, Replica]) -> str:
    """A pool of one Ready server that both replicas know; returns its instance id."""
    for replica in replicas:
        replica.servers = {"pool-1": (0, True, False)}
    await rig.start_operator()
    # No drain ends by time here, however slow the machine is.
    scaling = {"intervalSeconds": 1, "windowSeconds": 2, "down": {"drainTimeoutSeconds": 3600}}
    urls = {"urls": [r.url for r in replicas]}
    await rig.apply(make_preset("ap-beijing"), make_pool(metrics=urls, scaling=scaling))
    (server,) = await rig.ready(1)
    return str(server["status"]["instanceId"])


async def test_a_server_is_destroyed_when_every_replica_is_done_with_it_and_has_forgotten_its_address(
    rig: Any, make_pool: Make, make_preset: Make, replicas: tuple[Replica, Replica]
) -> None:
    one, two = replicas
    bought = await start(rig, make_pool, make_preset, replicas)
    one.servers, two.servers = {"pool-1": (0, True, True)}, {"pool-1": (1, True, True)}
    await rig.kubectl("delete", "gpuinstance", "pool-1", "--wait=false")

    async def phase(wanted: str) -> Any:
        found = await rig.get("gpuinstance", "pool-1")
        return found["status"] if found["status"]["phase"] == wanted else None

    await rig.until(lambda: phase("Draining"), "it drains")
    await decisions(rig, 3)
    assert await phase("Draining"), "one replica still has work there"

    two.servers = {"pool-1": (0, True, True)}
    status = await rig.until(lambda: phase("Terminating"), "its address is withdrawn")
    assert status["address"] == ""
    one.servers = {}
    await decisions(rig, 3)
    status = await phase("Terminating")
    assert "terminateRequestedAt" not in status, "one replica still lists the address"
    assert bought in rig.alive()

    two.servers = {}
    await rig.until(lambda: gone(rig, bought), "it is destroyed")


async def gone(rig: Any, instance_id: str) -> bool:
    return instance_id not in rig.alive()


async def test_a_server_that_one_replica_finds_alive_is_not_replaced(
    rig: Any, make_pool: Make, make_preset: Make, replicas: tuple[Replica, Replica]
) -> None:
    one, two = replicas
    bought = await start(rig, make_pool, make_preset, replicas)
    one.servers = {"pool-1": (0, False, False)}
    await rig.fleet.stop(bought)

    async def unhealthy() -> bool:
        return bool((await rig.get("gpuinstance", "pool-1"))["status"]["phase"] == "Unhealthy")

    await rig.until(unhealthy, "the operator's probes fail")
    await decisions(rig, 3)
    assert await unhealthy()
    assert rig.alive() == [bought]

    two.servers = {"pool-1": (0, False, False)}

    async def dead() -> bool:
        return "Destroying" in {reason for reason, _ in await rig.events("pool-1")}

    await rig.until(dead, "all agree that it is dead")
    one.servers = two.servers = {}
    await rig.until(lambda: gone(rig, bought), "it is destroyed")
