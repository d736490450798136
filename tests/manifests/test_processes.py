"""Both processes do their work with exactly the roles of manifests/base, on a real control plane."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from controller.sandbox.children import Child
from controller.sandbox.cloudsim import SANDBOX_KEY, CloudConfig, SimulatedCloud
from controller.sandbox.cloudsim.cloud import InstanceView
from controller.sandbox.gpuserver import Behaviour, Fleet
from controller.sandbox.loopback import free_port, reserve_block

pytestmark = [pytest.mark.processes, pytest.mark.timeout(120)]

HOST = "127.0.0.1"
OPERATOR = ("operator", "--cloud-interval", "0.5", "--liveness-port", "0", "--metrics-port", "0")
DISPATCHER = ("dispatcher", "--pool", "default", "--host", HOST, "--admin-host", HOST, "--grace", "2")


@contextlib.asynccontextmanager
async def simulated_cloud() -> AsyncIterator[SimulatedCloud]:
    fleet, block = Fleet(Behaviour(port=7860, task_seconds=0.2, boot_seconds=0.1)), reserve_block(7860)

    async def running(instance: InstanceView) -> None:
        await fleet.start(instance.instance_id, instance.bundle, instance.address)

    async def gone(instance: InstanceView) -> None:
        await fleet.stop(instance.instance_id)

    config = replace(CloudConfig(deploy_s=0.5, terminate_s=0.3), addresses=str(block.network))
    cloud = SimulatedCloud(config, on_running=running, on_gone=gone)
    await cloud.start(HOST, 0)
    try:
        yield cloud
    finally:
        await cloud.stop()
        await fleet.close()
        block.release()


async def send_task(port: int) -> int:
    url = f"http://{HOST}:{port}/sdapi/v1/txt2img"
    async with aiohttp.ClientSession() as session, session.post(url, json={"seconds": 0.1}) as answer:
        await answer.read()
        return answer.status


async def test_a_pool_is_served_with_nothing_but_the_shipped_roles(
    accounts: Any, cluster: Any, root: Path, tmp_path: Path
) -> None:
    pool = yaml.safe_load((root / "manifests/samples/demo-pool.yaml").read_text())
    pool["metadata"]["name"] = "default"
    samples = [*yaml.safe_load_all((root / "manifests/samples/presets.yaml").read_text()), pool]
    data, admin = free_port(), free_port()
    async with simulated_cloud() as cloud, contextlib.AsyncExitStack() as stack:
        operator = await Child.start(
            "operator",
            [*OPERATOR, "--dispatcher-url", f"http://{HOST}:{admin}/metrics"],
            log=tmp_path / "operator.log",
            env={
                "KUBECONFIG": str(accounts.operator),
                "HAIPOOL_CLOUD_ENDPOINT": cloud.url,
                "TENCENTCLOUD_SECRET_ID": SANDBOX_KEY.secret_id,
                "TENCENTCLOUD_SECRET_KEY": SANDBOX_KEY.secret_key,
            },
        )
        stack.push_async_callback(operator.stop)
        dispatcher = await Child.start(
            "dispatcher",
            [*DISPATCHER, "--namespace", accounts.namespace, "--port", str(data), "--admin-port", str(admin)],
            log=tmp_path / "dispatcher.log",
            env={"KUBECONFIG": str(accounts.dispatcher)},
        )
        stack.push_async_callback(dispatcher.stop)

        def kubectl(*arguments: str, stdin: str | None = None) -> Any:
            return asyncio.to_thread(cluster.kubectl, "--namespace", accounts.namespace, *arguments, input=stdin)

        await kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(samples))
        await kubectl("wait", "--for=condition=Ready", "gp/default", "--timeout=60s")
        assert await send_task(data) == 200
        told = (await kubectl("describe", "gp", "default")).stdout
        assert "BelowMinimum" in told
        uid = (await kubectl("get", "gp", "default", "-o", "jsonpath={.metadata.uid}")).stdout
        await kubectl("delete", "gp", "default", "--timeout=60s")
        # The operator serves all namespaces here, so pools that other tests left behind buy servers too.
        ours = [b for b in cloud.bills() if f"-{uid[:8]}-" in b.name]
        assert ours
        assert [b for b in ours if b.ended is None] == []
        logs = operator.log.read_text() + dispatcher.log.read_text()
    # A role that lacks something reads so. (Namespaces that other tests left terminating refuse everybody, too.)
    assert "is forbidden: User" not in logs
