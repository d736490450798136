"""Many pools: what they ask of the cloud together is what one would ask, and an idle pool writes nothing.

The operator runs in this process, beside the benchmark's fleet: the sandbox's API, the simulated cloud, and stand-ins
for dispatchers. Nothing here depends on how long it takes.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from controller.api.catalog import BUNDLES, REGIONS
from controller.cloud.tencent import connect
from controller.cloud.tencent.settings import Endpoint
from controller.cloud.tencent.settings import Settings as CloudSettings
from controller.kube.client import KubeClient
from controller.kube.connect import Connection
from controller.operator.context import Settings
from controller.operator.process import Operator
from controller.sandbox import shipped
from controller.sandbox.cloudsim import SANDBOX_KEY
from controller.sandbox.kubeapi.server import LocalKubernetes
from tests.bench.fleet.account import Account
from tests.bench.fleet.pages import Pages, Reader
from tests.bench.fleet.seed import Pool, Seed, Size

pytestmark = pytest.mark.timeout(120)

#: No decision and no listing comes by itself within a test.
LONG = 3600


class Local:
    """A helper of the benchmark's fleet, in this process."""

    def __init__(self, hello: dict[str, Any], **orders: Callable[..., Any]) -> None:
        self.hello = hello
        self._orders = orders

    def ask(self, do: str, **fields: Any) -> Any:
        return self._orders[do](**fields)


class World:
    """A fleet, and the operator that looks after it."""

    def __init__(
        self, kubernetes: LocalKubernetes, account: Account, pages: Pages, pools: list[Pool], operator: Operator
    ) -> None:
        self.kubernetes = kubernetes
        self.account = account
        self.pages = pages
        self.pools = pools
        self.operator = operator

    def decisions(self, pool: Pool) -> float:
        """Decisions on a pool that were written down, if they were to be."""
        counter = self.operator.ctx.metrics.decisions
        samples = [sample for family in counter.collect() for sample in family.samples]
        mine = [s.value for s in samples if s.name.endswith("_total") and s.labels["namespace"] == pool.namespace]
        return sum(mine)

    async def decide(self) -> None:
        """One more decision on every pool, at once, and what that begins beside itself."""
        wanted = {pool: self.decisions(pool) + 1 for pool in self.pools}
        for pool in self.pools:
            self.operator.ctx.wake_pool(f"{pool.namespace}/pool")
        await self.until(lambda: all(self.decisions(pool) >= count for pool, count in wanted.items()))
        await self.until(lambda: not any(task.get_name().startswith("traffic:") for task in asyncio.all_tasks()))

    async def until(self, there: Callable[[], bool]) -> None:
        """Wait for it; the test's time-out ends what never comes."""
        while not there():  # noqa: ASYNC110 - what is waited for lies behind sockets
            await asyncio.sleep(0.01)

    def verified(self) -> bool:
        """Every preset has been looked at."""
        return all(preset.status.verified_at for preset in self.operator.ctx.store.presets)

    def writes(self) -> Counter[str]:
        """Writes at the Kubernetes API so far, by what was written; the Lease is renewed whatever happens."""
        found = Counter[str]()
        for (method, what), count in self.kubernetes.counts().items():
            found[what] += count if method != "GET" and what != "leases" else 0
        return +found


@asynccontextmanager
async def world(pools: int, instances: int) -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        kubernetes, account = LocalKubernetes(), Account(metrics=())
        kubernetes.install(shipped.definitions())
        url = await kubernetes.start()
        stack.push_async_callback(kubernetes.stop)
        cloud_url = await account.cloud.start()
        stack.push_async_callback(account.close)
        pages = Pages("")
        server = await asyncio.get_running_loop().create_server(lambda: Reader(pages), "127.0.0.1", 0)
        stack.callback(server.close)
        kube = KubeClient(Connection(server=url))
        seed = Seed(
            kube,
            Local({"port": account.port}, add=account.add, addresses=account.addresses),
            Local({"port": server.sockets[0].getsockname()[1]}, add=pages.add),
            time.time(),
        )
        planted = await seed.plant(Size(pools, instances, LONG, verified=False))
        cloud = connect(
            CloudSettings(
                secret_id=SANDBOX_KEY.secret_id,
                secret_key=SANDBOX_KEY.secret_key,
                endpoint=Endpoint.parse(cloud_url, name="test"),
            )
        )
        settings = Settings(cloud_interval=LONG, metrics_port=0, leak_audit_interval=LONG)
        operator = await Operator.start(kube, cloud, settings)
        stack.push_async_callback(operator.stop)
        yield World(kubernetes, account, pages, planted, operator)


async def asked(pools: int) -> Counter[str]:
    """What an operator of so many pools, of twelve instances in all, asks the cloud until it knows everything."""
    async with world(pools, instances=12) as fleet:
        await fleet.until(fleet.verified)
        await fleet.decide()
        return Counter(fleet.account.cloud.counts())


async def test_twelve_pools_ask_no_more_of_the_cloud_than_one() -> None:
    one = await asked(pools=1)
    assert one["DescribeInstances"] == len(REGIONS)
    assert one["DescribeApplications"] == len(REGIONS)
    assert one["InquirePriceRunInstances"] == len(REGIONS) * len(BUNDLES)
    assert await asked(pools=12) == one


async def test_pools_whose_figures_only_move_write_nothing() -> None:
    async with world(pools=2, instances=4) as fleet:
        await fleet.until(fleet.verified)
        await fleet.decide()
        now = time.time()
        fleet.operator.ctx.clock = lambda: now  # however slow this machine is, figures do not become due
        await fleet.decide()
        before, reads = fleet.writes(), fleet.pages.reads
        for _ in range(5):
            await fleet.decide()
        assert fleet.pages.reads >= reads + 10
        assert fleet.writes() == before
