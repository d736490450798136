"""Two operators on one pool, interleaved by hand at the worst moments: none acts on a picture the other has changed."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from controller.kube.client import AlreadyExistsError, KubeClient
from controller.kube.connect import Connection
from controller.operator import fence
from controller.operator.apply import apply, instance_body
from controller.operator.context import Context
from controller.operator.objects import INSTANCES, POOLS
from controller.sandbox import shipped
from controller.sandbox.kubeapi.server import LocalKubernetes
from controller.scaling.actions import Drain, Launch
from controller.scaling.snapshot import Offer
from tests.operator.bare import bare_context

KEY = "default/pool"
OFFER = Offer("ap-beijing", "XL", 0.88, 1, "beijing", "app-1")
BUY = Launch(OFFER, "BelowMinimum", "0 servers, minimum 1")


@pytest.fixture
async def kube() -> AsyncIterator[KubeClient]:
    kubernetes = LocalKubernetes()
    kubernetes.install(shipped.definitions())
    client = KubeClient(Connection(await kubernetes.start("127.0.0.1", 0)))
    body = {"apiVersion": "haipool.io/v1alpha1", "kind": "GpuPool", "metadata": {"name": "pool"}, "spec": {}}
    await client.create(POOLS, body, namespace="default")
    yield client
    await client.close()
    await kubernetes.stop()


async def operator(kube: KubeClient) -> Context:
    """An operator that has just read everything, and from then on sees only what a test shows it."""
    ctx = bare_context(kube)
    await ctx.objects.load(None)
    await fence.catch_up(ctx, pool_of(ctx))
    return ctx


def pool_of(ctx: Context) -> Any:
    return ctx.store.pools.get(KEY)


async def sees_pool(ctx: Context, kube: KubeClient) -> None:
    """The watch of the pools delivers; that of the instances does not yet."""
    ctx.store.pools.put(await kube.get(POOLS, "pool", namespace="default"))


async def written(kube: KubeClient) -> list[str]:
    return sorted(i["metadata"]["name"] for i in (await kube.list(INSTANCES, namespace="default")).items)


async def test_of_two_that_decide_on_the_same_picture_one_buys(kube: KubeClient) -> None:
    one, two = await operator(kube), await operator(kube)
    assert await apply(one, KEY, (BUY,))
    assert not await apply(two, KEY, (BUY,))
    assert await written(kube) == ["pool-1"]


async def test_a_counter_ahead_of_the_instances_that_were_seen_stops_a_purchase(kube: KubeClient) -> None:
    one, two = await operator(kube), await operator(kube)
    assert await apply(one, KEY, (BUY,))
    await sees_pool(two, kube)
    assert two.store.instances_of(pool_of(two)) == []
    assert not await apply(two, KEY, (BUY,))
    assert await written(kube) == ["pool-1"]


async def test_who_has_caught_up_sees_the_other_ones_server_and_may_decide(kube: KubeClient) -> None:
    one, two = await operator(kube), await operator(kube)
    assert await apply(one, KEY, (BUY,))
    await sees_pool(two, kube)
    await fence.catch_up(two, pool_of(two))
    assert [i.metadata.name for i in two.store.instances_of(pool_of(two))] == ["pool-1"]
    assert await apply(two, KEY, (BUY, BUY))
    assert await written(kube) == ["pool-1", "pool-2", "pool-3"]


async def test_a_claim_that_the_watch_delivers_between_two_purchases_of_a_plan_stops_the_second(
    kube: KubeClient,
) -> None:
    one, two = await operator(kube), await operator(kube)
    assert await apply(one, KEY, (BUY,))
    await sees_pool(two, kube)
    await fence.catch_up(two, pool_of(two))
    assert await apply(two, KEY, (BUY,))
    await sees_pool(one, kube)
    assert not await apply(one, KEY, (BUY,))
    assert await written(kube) == ["pool-1", "pool-2"]


async def test_a_writer_stopped_between_its_number_and_its_object_wakes_to_a_name_that_is_taken(
    kube: KubeClient,
) -> None:
    stopped, other = await operator(kube), await operator(kube)
    number = await fence.claim_launch(stopped, pool_of(stopped), again=True)
    assert number == 1
    await sees_pool(other, kube)
    await fence.catch_up(other, pool_of(other))
    assert await apply(other, KEY, (BUY,))
    assert await written(kube) == ["pool-1"]
    with pytest.raises(AlreadyExistsError):
        await stopped.objects.create_instance("default", instance_body(pool_of(stopped), BUY, number))


async def test_who_wakes_after_another_used_its_number_reads_the_instances_before_it_decides(kube: KubeClient) -> None:
    stopped, other = await operator(kube), await operator(kube)
    assert await fence.claim_launch(stopped, pool_of(stopped), again=True) == 1
    await sees_pool(other, kube)
    await fence.catch_up(other, pool_of(other))
    assert await apply(other, KEY, (BUY,))
    # Its own attempt came to nothing; the counter of launches is where it left it, and pool-1 it has not seen.
    await sees_pool(stopped, kube)
    assert not await apply(stopped, KEY, (BUY,))
    await fence.catch_up(stopped, pool_of(stopped))
    assert [i.metadata.name for i in stopped.store.instances_of(pool_of(stopped))] == ["pool-1"]


async def test_numbers_go_on_after_a_restart(kube: KubeClient) -> None:
    assert await apply(await operator(kube), KEY, (BUY, BUY))
    assert await apply(await operator(kube), KEY, (BUY,))
    assert await written(kube) == ["pool-1", "pool-2", "pool-3"]


async def test_of_two_that_would_drain_different_servers_one_does(kube: KubeClient) -> None:
    one = await operator(kube)
    assert await apply(one, KEY, (BUY, BUY))
    two = await operator(kube)
    assert await apply(one, KEY, (Drain("pool-1", "LowLoad", "low load"),))
    assert not await apply(two, KEY, (Drain("pool-2", "LowLoad", "low load"),))
    await fence.catch_up(two, pool_of(two))
    assert {i.metadata.name for i in two.store.instances_of(pool_of(two)) if i.spec.drain} == {"pool-1"}
