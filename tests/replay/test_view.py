"""A replayed server looks to a decision as the operator's own would."""

from dataclasses import replace

import msgspec
import pytest

from controller.api.gpuinstance import GpuInstance
from controller.api.gpupool import GpuPool
from controller.api.names import DRAINED_BY_ANNOTATION, DRAINED_BY_SCALE_DOWN
from controller.api.times import rfc3339
from controller.operator.context import PoolMemory
from controller.operator.observe import server_view
from controller.replay.machines import Machine
from controller.scaling.replicas import ReplicaReading, Scrape
from controller.scaling.snapshot import ServerState
from tests.replay.conftest import CHEAP

NOW = 50_000.0


def machine(**changes: object) -> Machine:
    made = Machine("demo-1", 1, CHEAP, slots=2, speed=1.5, bought_at=1000.0)
    for name, value in changes.items():
        setattr(made, name, value)
    return made


def scrape_of(seen: Machine) -> Scrape:
    servers = {seen.name: seen.reading(NOW)} if seen.state is ServerState.READY else {}
    return Scrape((ReplicaReading("replay", NOW, 0.0, 0.0, 0.0, 0.0, servers),))


def instance_of(seen: Machine) -> GpuInstance:
    """The object that the operator would keep of such a server."""
    draining = seen.drain_since is not None
    phase = {ServerState.DEPLOYING: "Deploying", ServerState.READY: "Draining" if draining else "Ready"}
    metadata = {
        "name": seen.name,
        "creationTimestamp": rfc3339(seen.bought_at),
        "annotations": {DRAINED_BY_ANNOTATION: DRAINED_BY_SCALE_DOWN} if draining else {},
        "deletionTimestamp": rfc3339(NOW) if seen.state is ServerState.TERMINATING else None,
    }
    spec = {"pool": "demo", "poolUID": "u", "region": seen.offer.region, "bundle": seen.offer.bundle,
            "applicationId": "app-1", "pricePerHour": seen.offer.price_per_hour, "launchNumber": 1,
            "drain": draining}  # fmt: skip
    status = {
        "phase": phase.get(seen.state, "Draining"),
        "readyAt": None if seen.ready_at is None else rfc3339(seen.ready_at),
        "drainStartedAt": None if seen.drain_since is None else rfc3339(seen.drain_since),
    }
    return msgspec.convert({"metadata": metadata, "spec": spec, "status": status}, GpuInstance)


@pytest.mark.parametrize(
    "seen",
    [
        machine(),
        machine(state=ServerState.READY, ready_at=1180.0),
        machine(state=ServerState.READY, ready_at=1180.0, running={3, 4}),
        machine(state=ServerState.READY, ready_at=1180.0, running={3}, drain_since=NOW - 100),
        machine(state=ServerState.READY, ready_at=1180.0, running={3}, drain_since=NOW - 700),
        machine(state=ServerState.READY, ready_at=1180.0, drain_since=NOW - 10),
        machine(state=ServerState.READY, ready_at=1180.0, drain_since=NOW),
        machine(state=ServerState.TERMINATING, ready_at=1180.0, drain_since=NOW - 10),
    ],
    ids=["deploying", "idle", "busy", "draining", "drain-over", "drained", "drain-just-begun", "terminating"],
)
def test_a_decision_cannot_tell_a_replayed_server_from_a_real_one(seen: Machine) -> None:
    pool = msgspec.convert(
        {"metadata": {"name": "demo"}, "spec": {"gpuTypes": [{"bundle": "XL", "concurrency": 2, "speed": 1.5}]}},
        GpuPool,
    )
    scrape = scrape_of(seen)
    operators = server_view(pool, instance_of(seen), PoolMemory(scrape=scrape), now=NOW)
    assert seen.view(scrape, drain_timeout=600.0, now=NOW) == replace(operators)
