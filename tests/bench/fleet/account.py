"""The cloud of the fleet: the simulated account, and a server on each instance's address that answers probes.

A program of its own: prints its URL and the servers' port, and ends when its standard input does.
"""

import asyncio
import random
from typing import Any, Final

import uvloop

from controller.sandbox.cloudsim import CPU_METRIC, CloudConfig, InstanceView, SampleMetric, SimulatedCloud
from controller.sandbox.loopback import free_port
from tests.bench.fleet.orders import say_hello, serve_orders
from tests.bench.origin import Origin

#: Addresses of the instances; the sandbox uses others.
ADDRESSES: Final = "127.32.0.0/16"
#: From a purchase to RUNNING, seconds: long enough that no pool buys twice during one trigger.
DEPLOY_SECONDS: Final = 30.0
#: CPU per cent that Cloud Monitor gives for every instance: low, so that the queue decides how a pool's load is called.
CPU_PERCENT: Final = 20.0


class Account:
    """The simulated account with its servers."""

    def __init__(self, metrics: tuple[SampleMetric, ...] = (CPU_METRIC,)) -> None:
        self.port = free_port(rng=random.Random())
        config = CloudConfig(deploy_s=DEPLOY_SECONDS, terminate_s=5.0, metrics=metrics, addresses=ADDRESSES)
        self.cloud = SimulatedCloud(config, on_running=self._start, on_gone=self._stop)
        self._servers: dict[str, asyncio.Server] = {}

    async def _start(self, instance: InstanceView) -> None:
        loop = asyncio.get_running_loop()
        self._servers[instance.instance_id] = await loop.create_server(Origin, instance.address, self.port, backlog=8)

    async def _stop(self, instance: InstanceView) -> None:
        self._servers.pop(instance.instance_id).close()

    async def close(self) -> None:
        """End the cloud, then the servers."""
        await self.cloud.stop()
        for server in self._servers.values():
            server.close()

    def add(self, instances: list[list[str]]) -> list[str]:
        """Put instances into the account, as (region, bundle, name), that were bought long ago; returns their ids."""
        ids = [self.cloud.add_instances(region, bundle, 1, name=name)[0] for region, bundle, name in instances]
        known = {one.instance_id: one for one in self.cloud.instances()}
        for instance_id in ids:
            known[instance_id].created -= DEPLOY_SECONDS
            self.cloud.set_metric(instance_id, CPU_METRIC.name, CPU_PERCENT, since=0.0)
        self.cloud.instances()  # their servers start
        return ids

    def addresses(self) -> dict[str, str]:
        """Address of every instance whose server answers."""
        return {
            i.instance_id: i.address for i in self.cloud.instances() if i.address and i.instance_id in self._servers
        }

    def purchases(self) -> list[Any]:
        """(Unix seconds, instance name, outcome) of every RunInstances so far."""
        return [(p.at, p.name, p.outcome) for p in self.cloud.purchases()]


async def serve() -> None:
    """Serve until standard input ends."""
    account = Account()
    url = await account.cloud.start()
    say_hello(url=url, port=account.port)
    await serve_orders({
        "add": account.add,
        "addresses": account.addresses,
        "counts": account.cloud.counts,
        "purchases": account.purchases,
    })  # fmt: skip
    await account.close()


if __name__ == "__main__":
    uvloop.run(serve())
