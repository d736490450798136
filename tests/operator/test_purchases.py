"""The right to try what was sold out, between pools of one operator and between two operators by mistake."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from controller.api.regionpreset import OfferStatus
from controller.api.times import rfc3339
from controller.cloud.errors import ArrearsError
from controller.kube.client import KubeClient
from controller.kube.connect import Connection
from controller.operator import purchases
from controller.operator.blocks import BLOCK_SECONDS
from controller.operator.context import Context
from controller.operator.objects import PRESETS
from controller.sandbox import shipped
from controller.sandbox.kubeapi.server import LocalKubernetes
from controller.scaling.snapshot import Offer
from tests.operator.bare import bare_context

OFFER = Offer("ap-beijing", "XL", 0.88, 1, "beijing", "app-1", half_open=True)
HALF_OPEN = {"bundle": "XL", "pricePerHour": 0.88, "state": "HalfOpen", "soldOutCount": 2}


@pytest.fixture
async def kube() -> AsyncIterator[KubeClient]:
    kubernetes = LocalKubernetes()
    kubernetes.install(shipped.definitions())
    client = KubeClient(Connection(await kubernetes.start("127.0.0.1", 0)))
    for name in ("beijing", "twin"):
        body = {
            "apiVersion": "haipool.io/v1alpha1",
            "kind": "RegionPreset",
            "metadata": {"name": name},
            "spec": {"region": "ap-beijing", "application": {"name": "x"}},
        }
        await client.create(PRESETS, body, namespace="default")
        status = {"status": {"observedGeneration": 1, "offers": [HALF_OPEN]}}
        await client.patch(PRESETS, name, status, namespace="default", subresource="status")
    yield client
    await client.close()
    await kubernetes.stop()


async def operator(kube: KubeClient) -> Context:
    """An operator that has just read everything, and from then on sees only its own writes."""
    ctx = bare_context(kube)
    await ctx.objects.load(None)
    return ctx


async def admit(ctx: Context, name: str) -> bool:
    return await purchases.admit(ctx, "default", OFFER, by=name)


def offer(ctx: Context, preset: str = "beijing") -> OfferStatus:
    found = ctx.store.presets.get(f"default/{preset}")
    assert found is not None
    return found.status.offers[0]


async def test_of_many_pools_that_decide_in_the_same_second_one_is_admitted(kube: KubeClient) -> None:
    ctx = await operator(kube)
    names = [f"pool{n}-1" for n in range(20)]
    admitted = await asyncio.gather(*(admit(ctx, name) for name in names))
    assert sum(admitted) == 1
    winner = names[admitted.index(True)]
    assert {offer(ctx, preset).probed_by for preset in ("beijing", "twin")} == {winner}
    assert await admit(ctx, winner), "who holds it may go on"


async def test_of_two_operators_one_is_admitted(kube: KubeClient) -> None:
    one, two = await operator(kube), await operator(kube)
    assert await admit(one, "a-1")
    assert not await admit(two, "b-1")
    assert offer(two).probed_by == "a-1", "the loser has read what the winner wrote"


async def test_who_gives_up_leaves_nothing_claimed(kube: KubeClient) -> None:
    ctx = await operator(kube)
    assert await admit(ctx, "a-1")
    await purchases.release(ctx, "default", "ap-beijing", "XL", by="a-1")
    assert await admit(ctx, "b-1")


async def test_half_a_claim_is_given_back(kube: KubeClient) -> None:
    ctx = await operator(kube)
    held = {"probedBy": "other-1", "probeUntil": rfc3339(time.time() + 100)}
    status = {"status": {"offers": [HALF_OPEN | held]}}
    await kube.patch(PRESETS, "twin", status, namespace="default", subresource="status")
    await ctx.objects.load(None)
    assert not await admit(ctx, "a-1")
    assert offer(ctx).probed_by is None
    assert offer(ctx, "twin").probed_by == "other-1"


async def test_a_blocked_account_admits_nobody_and_then_one(kube: KubeClient) -> None:
    ctx = await operator(kube)
    ctx.blocks.add(ArrearsError("no money"), "ap-nanjing", now=ctx.clock())
    assert not await admit(ctx, "a-1")
    assert offer(ctx).probed_by is None
    ctx.clock = lambda: time.time() + BLOCK_SECONDS
    assert [await admit(ctx, name) for name in ("a-1", "b-1", "a-1")] == [True, False, True]
