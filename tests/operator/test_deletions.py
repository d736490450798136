"""Deletion in every state a server can be in, by everybody who may delete: whatever was bought is destroyed, or let go.

There is no garbage collector here: what goes, goes because the operator saw to it.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from controller.operator.objects import INSTANCES, POOLS, PRESETS
from tests.operator.virtualtime import run
from tests.operator.world import NAMESPACE, World, begin, operator, until, world

pytestmark = [pytest.mark.crash, pytest.mark.timeout(120)]

State = Callable[[World], Awaitable[None]]


async def phase(place: World, *wanted: str) -> bool:
    return tuple(i.get("status", {}).get("phase") for i in await place.instances()) == wanted


async def running(place: World) -> None:
    await until(place.is_ready, "a Ready server")


async def deploying(place: World) -> None:
    await until(lambda: phase(place, "Deploying"), "a server that is being deployed")


async def draining(place: World) -> None:
    place.dispatcher.in_flight = 1
    await running(place)
    (server,) = await place.instances()
    await place.kube.patch(INSTANCES, server["metadata"]["name"], {"spec": {"drain": True}}, namespace=NAMESPACE)
    await until(lambda: phase(place, "Draining", "Deploying"), "a server that drains, and another in its place")


async def unhealthy(place: World) -> None:
    await running(place)
    await place.fleet.stop(place.alive()[0])
    await until(lambda: phase(place, "Unhealthy"), "a server that is Unhealthy")


async def unclear(place: World) -> None:
    place.cloud.set_fault("commit_then_reset", action="RunInstances", count=3)
    place.cloud.set_fault("eventual_listing", seconds=60.0)

    async def told() -> bool:
        return "OutcomeUnknown" in await place.events()

    await until(told, "a purchase whose outcome is unknown")


async def not_bought(place: World) -> None:
    place.cloud.set_fault("throttled", action="RunInstances", count=100)
    await until(lambda: phase(place, "Launching"), "a server that nobody could buy yet")
    await asyncio.sleep(30.0)
    place.cloud.clear_faults()


STATES = (running, deploying, draining, unhealthy, unclear, not_bought)


async def everything(place: World) -> None:
    """As the deletion of a namespace does it: all objects, in any order, each once."""
    names = [i["metadata"]["name"] for i in await place.instances()]
    await place.kube.delete(PRESETS, "beijing", namespace=NAMESPACE)
    await asyncio.gather(*(place.kube.delete(INSTANCES, name, namespace=NAMESPACE) for name in names))
    await place.delete_pool()


async def the_pool(place: World) -> None:
    await place.delete_pool()


async def gone(place: World) -> bool:
    return await place.is_gone() and await place.instances() == []


@pytest.mark.parametrize("delete", [the_pool, everything])
@pytest.mark.parametrize("state", STATES)
def test_a_pool_takes_its_servers_with_it_whatever_state_they_are_in(
    state: State, delete: State, fault_cases: Callable[[int], None]
) -> None:
    async def story() -> None:
        async with world(edge_seconds=400.0) as place:
            await begin(place, scaling={"down": {"drainTimeoutSeconds": 60}})
            async with operator(place):
                await state(place)
                await delete(place)
                await until(lambda: gone(place), "nothing is left")
            assert place.alive() == []

    run(story())
    fault_cases(1)


@pytest.mark.parametrize("state", STATES)
def test_an_orphaning_pool_lets_go_of_what_it_has_and_destroys_nothing(
    state: State, fault_cases: Callable[[int], None]
) -> None:
    async def story() -> None:
        async with world(edge_seconds=400.0) as place:
            await begin(place, deletionPolicy="Orphan")
            async with operator(place):
                await state(place)
                for instance_id in place.alive():
                    place.oracle.intends(instance_id, "an orphan lives on")
                await place.delete_pool()
                await until(place.is_gone, "the pool is gone")
                await asyncio.sleep(120.0)
                assert place.cloud.count("TerminateInstances") == 0
            left = await place.instances()
            assert len(left) >= len(place.alive())
            for item in left:
                meta = item["metadata"]
                assert meta["annotations"]["haipool.io/orphaned"] == "true"
                assert not meta.get("finalizers")
                assert not meta.get("ownerReferences")

    run(story())
    fault_cases(1)


def test_a_server_deleted_by_hand_is_drained_and_destroyed_and_no_other_is(fault_cases: Callable[[int], None]) -> None:
    async def story() -> None:
        async with world() as place:
            await begin(place, 3)
            async with operator(place):
                await until(lambda: place.is_ready(3), "three servers")
                first, *others = await place.instances()
                await place.kube.delete(INSTANCES, first["metadata"]["name"], namespace=NAMESPACE)

                async def replaced() -> bool:
                    names = {i["metadata"]["name"] for i in await place.instances()}
                    return await place.is_ready(3) and first["metadata"]["name"] not in names

                await until(replaced, "another in its place")
                kept = {i["status"]["instanceId"] for i in others}
                assert kept < set(place.alive())
                assert first["status"]["instanceId"] not in place.alive()
                conditions = place.oracle.witness.instances[first["metadata"]["uid"]].status["conditions"]
                assert ("Drained", "True") in {(c["type"], c["status"]) for c in conditions}

    run(story())
    fault_cases(1)


def test_while_the_cloud_is_away_a_deletion_waits_and_says_so(fault_cases: Callable[[int], None]) -> None:
    async def story() -> None:
        async with world(edge_seconds=None) as place:
            await begin(place)
            async with operator(place):
                await running(place)
                fault = place.cloud.set_fault("http_500")
                await place.delete_pool()
                await asyncio.sleep(300.0)
                assert len(place.alive()) == 1
                assert not await place.is_gone()
                (server,) = await place.instances()
                assert server["metadata"]["finalizers"]
                assert "ServerNetworkError" in server["status"]["message"]
                place.cloud.clear_fault(fault)
                await until(lambda: gone(place), "nothing is left")
            assert place.alive() == []

    run(story())
    fault_cases(1)


def test_a_finalizer_taken_off_by_hand_is_found_by_the_audit(fault_cases: Callable[[int], None]) -> None:
    async def story() -> None:
        async with world() as place:
            await begin(place)
            async with operator(place):
                await running(place)
                (server,) = await place.instances()
                (lost,) = place.alive()
                place.oracle.intends(lost, "its object is removed by hand")
                await place.resize(0)
                name, body = server["metadata"]["name"], {"metadata": dict[str, Any](finalizers=[])}
                await place.kube.patch(INSTANCES, name, body, namespace=NAMESPACE)
                await place.kube.delete(INSTANCES, name, namespace=NAMESPACE)

                async def told() -> bool:
                    conditions = (await place.pool())["status"]["conditions"]
                    return any(c["type"] == "NoLeaks" and lost in c["message"] for c in conditions)

                await until(told, "the pool says what is lost")
                assert place.alive() == [lost]

    run(story())
    fault_cases(1)


def test_a_pool_whose_own_finalizer_is_taken_off_leaves_servers_that_the_audit_knows(
    fault_cases: Callable[[int], None],
) -> None:
    async def story() -> None:
        async with world(edge_seconds=None) as place:
            await begin(place)
            async with operator(place):
                await running(place)
                (lost,) = place.alive()
                await place.kube.patch(POOLS, "pool", {"metadata": {"finalizers": []}}, namespace=NAMESPACE)
                await place.delete_pool()
                await asyncio.sleep(60.0)
                # Its object still owns it, and whoever deletes the object has it destroyed.
                (server,) = await place.instances()
                assert place.alive() == [lost]
                await place.kube.delete(INSTANCES, server["metadata"]["name"], namespace=NAMESPACE)

                async def destroyed() -> bool:
                    return await place.instances() == []

                await until(destroyed, "the server destroyed")
            assert place.alive() == []

    run(story())
    fault_cases(1)


def test_what_is_deleted_before_the_cloud_lists_it_is_destroyed_all_the_same(
    fault_cases: Callable[[int], None],
) -> None:
    async def story() -> None:
        async with world(edge_seconds=400.0) as place:
            place.cloud.set_fault("eventual_listing", seconds=60.0)
            await begin(place)
            async with operator(place):
                await deploying(place)
                (server,) = await place.instances()
                await asyncio.sleep(35.0)  # RUNNING by now, and still in no list
                await place.kube.delete(INSTANCES, server["metadata"]["name"], namespace=NAMESPACE)

                async def destroyed() -> bool:
                    return server["metadata"]["uid"] not in {i["metadata"]["uid"] for i in await place.instances()}

                await until(destroyed, "the server destroyed")
                await place.delete_pool()
                await until(lambda: gone(place), "nothing is left")
            assert place.alive() == []

    run(story())
    fault_cases(1)


def test_a_new_server_with_the_address_of_a_dead_one_is_not_taken_for_it(fault_cases: Callable[[int], None]) -> None:
    async def story() -> None:
        async with world() as place:
            await begin(place)
            async with operator(place):
                await running(place)
                (first,) = await place.instances()
                await place.kube.delete(INSTANCES, first["metadata"]["name"], namespace=NAMESPACE)

                async def replaced() -> bool:
                    uids = [i["metadata"]["uid"] for i in await place.instances()]
                    return await place.is_ready() and uids != [first["metadata"]["uid"]]

                await until(replaced, "another in its place")
                await place.resize(2)
                await until(lambda: place.is_ready(2), "a second server")
                addresses = {i["status"]["address"] for i in await place.instances()}
                assert first["status"]["address"] in addresses
                assert len(addresses) == 2
                # That two objects never have one address at a time is what the oracle looks after.
                await place.delete_pool()
                await until(lambda: gone(place), "nothing is left")
            assert place.alive() == []

    run(story())
    fault_cases(1)
