"""The real operator killed with SIGKILL at random moments while it buys and destroys, and started again each time.

The crash matrix kills at every write in turn, inside one process; here the process is real, the moments are random
(from a fixed seed) and several purchases and destructions are under way at once. The witness is the cloud's own ledger,
and a watch that saw every GpuInstance come and go.
"""

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import AsyncIterator, Callable
from random import Random
from typing import Any

import pytest

from controller.api.names import parse_instance_name
from controller.kube.client import KubeClient
from controller.kube.connect import load
from controller.kube.watch import Kind, Reflector
from controller.operator.objects import INSTANCES

pytestmark = [pytest.mark.crash, pytest.mark.processes, pytest.mark.timeout(240)]

Make = Callable[..., dict[str, Any]]
SEED = 20260115
#: What is asked of the pool in each life: its size, and how many servers are deleted by hand.
LIVES = ((2, 0), (4, 0), (4, 2), (5, 1), (6, 2), (6, 3), (7, 1), (7, 3))


class Witness:
    """When each GpuInstance was there, by its uid."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.lives: dict[str, list[float]] = {}

    async def watch(self, kube: KubeClient, namespace: str) -> None:
        """Take down every coming and going."""
        async for event in Reflector(kube, INSTANCES, namespace=namespace).events():
            if event.kind is Kind.PUT:
                self.lives.setdefault(event.raw["metadata"]["uid"], [self._clock()])
            elif event.kind is Kind.DELETED:
                self.lives[event.raw["metadata"]["uid"]].append(self._clock())


@contextlib.asynccontextmanager
async def witness(rig: Any) -> AsyncIterator[Witness]:
    seen, kube = Witness(rig.cloud.now), KubeClient(load(str(rig.kubeconfig)))
    task = asyncio.create_task(seen.watch(kube, rig.namespace))
    try:
        yield seen
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await kube.close()


async def change(rig: Any, size: int, deleted: int, random: Random) -> None:
    """Give the operator something to buy and to destroy."""
    patch = json.dumps({"spec": {"replicas": {"min": size}}})
    await rig.kubectl("patch", "gpupool", "pool", "--type", "merge", "-p", patch)
    names = [i["metadata"]["name"] for i in await rig.all("gpuinstances")]
    chosen = random.sample(names, min(deleted, len(names)))
    if chosen:
        await rig.kubectl("delete", "gpuinstance", *chosen, "--wait=false")


async def killed_at_work(rig: Any, operator: Any, random: Random, calls: int) -> None:
    """Kill it at a random moment around its next purchases and destructions."""

    def work() -> int:
        return int(rig.cloud.count("RunInstances") + rig.cloud.count("TerminateInstances"))

    async def at_work() -> bool:
        return work() > calls

    await rig.until(at_work, "a call that changes something")
    await asyncio.sleep(random.uniform(0.0, 0.7))
    os.kill(operator.pid, signal.SIGKILL)
    await operator.wait()


def check(rig: Any, seen: Witness) -> None:
    """One object owned each instance from before its purchase until after its end, and none was bought twice."""
    bills = rig.cloud.bills()
    marks = [parse_instance_name(bill.name) for bill in bills]
    uids = [mark.instance_uid for mark in marks if mark is not None]
    assert len(set(uids)) == len(uids) == len(bills), "each purchase has an object of its own"
    for bill, uid in zip(bills, uids, strict=True):
        came, *gone = seen.lives[uid]
        assert came <= bill.started, f"{bill.instance_id} was bought before its object was written"
        assert not gone or (bill.ended is not None and bill.ended <= gone[0]), f"{bill.instance_id} outlived its object"
    bought = [p.token for p in rig.cloud.purchases() if p.outcome == "bought"]
    assert len(set(bought)) == len(bought) == len(bills), "no token bought twice"


async def test_an_operator_killed_at_random_moments_buys_nothing_twice_and_loses_nothing(
    rig: Any, make_pool: Make, make_preset: Make
) -> None:
    random = Random(SEED)
    # Answers take their time, so that many a kill falls between a purchase and the knowledge of it.
    for action in ("RunInstances", "TerminateInstances"):
        rig.cloud.set_fault("slow", action=action, seconds=0.25)
    async with witness(rig) as seen:
        await rig.apply(make_preset("ap-beijing"), make_pool(0))
        await rig.start_dispatcher()
        for size, deleted in LIVES:
            calls = rig.cloud.count("RunInstances") + rig.cloud.count("TerminateInstances")
            await change(rig, size, deleted, random)
            operator = await rig.start_operator()
            await killed_at_work(rig, operator, random, calls)
        await rig.start_operator()
        servers = await rig.ready(LIVES[-1][0], seconds=60.0)
        assert sorted(s["status"]["instanceId"] for s in servers) == sorted(rig.alive())
        check(rig, seen)
        await rig.kubectl("delete", "gpupool", "pool", "--timeout=60s")
        assert rig.alive() == []
        await rig.ready(0)

    check(rig, seen)
