"""What people and Prometheus see: signals with their source, the operator's own metrics, traffic, storage."""

from collections.abc import Callable
from typing import Any

import aiohttp
import pytest

from controller.sandbox.cloudsim import CPU_METRIC, CloudConfig
from controller.sandbox.loopback import free_port

pytestmark = [pytest.mark.processes, pytest.mark.timeout(120)]

Make = Callable[..., dict[str, Any]]


def signal(found: dict[str, Any], name: str) -> dict[str, Any]:
    return next((s for s in found.get("status", {}).get("signals", []) if s["name"] == name), {})


class TestWithoutMonitorMetric:
    async def test_cpu_is_the_share_of_busy_slots(self, rig: Any, make_pool: Make, make_preset: Make) -> None:
        await rig.start_operator()
        await rig.start_dispatcher()
        await rig.apply(make_preset("ap-beijing"), make_pool())
        await rig.ready(1)

        async def known() -> bool:
            return signal(await rig.get("gpupool", "pool"), "CPU").get("source") == "slots"

        await rig.until(known, "CPU from slots")
        await rig.kubectl("wait", "--for=condition=MetricsAvailable", "gp/pool", "--timeout=20s")

    async def test_a_lost_dispatcher_makes_every_signal_unknown(
        self, rig: Any, make_pool: Make, make_preset: Make
    ) -> None:
        await rig.start_operator()
        dispatcher = await rig.start_dispatcher()
        await rig.apply(make_preset("ap-beijing"), make_pool())
        await rig.ready(1)
        await rig.kubectl("wait", "--for=condition=MetricsAvailable", "gp/pool", "--timeout=20s")
        await dispatcher.stop()
        await rig.kubectl("wait", "--for=condition=MetricsAvailable=False", "gp/pool", "--timeout=20s")
        found = await rig.get("gpupool", "pool")
        assert {s["state"] for s in found["status"]["signals"]} == {"Unknown"}
        assert "unknown" in found["status"]["message"]

    async def test_metrics_name_servers_prices_and_decisions(
        self, rig: Any, make_pool: Make, make_preset: Make
    ) -> None:
        port = free_port()
        await rig.start_operator(metrics_port=port)
        await rig.apply(make_preset("ap-beijing"), make_pool())
        await rig.ready(1)

        async def scraped() -> str:
            async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}/metrics") as answer:
                text = await answer.text()
            wanted = f'haipool_pool_servers{{namespace="{rig.namespace}",pool="pool",state="Ready"}} 1.0'
            return text if wanted in text else ""

        text = await rig.until(scraped, "the Ready server in the metrics")
        assert 'haipool_offer_cny_per_hour{bundle="XL",region="ap-beijing"} 0.88' in text
        assert 'haipool_launches_total{bundle="XL",outcome="bought",region="ap-beijing"} 1.0' in text
        assert f'haipool_preset_storage_cny_per_day{{namespace="{rig.namespace}",preset="beijing"}} 0.24' in text
        assert 'haipool_cloud_calls_total{call="run_instance",outcome="ok"} 1.0' in text

    async def test_traffic_is_read_and_its_level_told(self, rig: Any, make_pool: Make, make_preset: Make) -> None:
        await rig.start_operator()
        await rig.apply(make_preset("ap-beijing"), make_pool(traffic={"intervalSeconds": 1}))
        (server,) = await rig.ready(1)
        rig.cloud.add_traffic(server["status"]["instanceId"], 410.0)
        await rig.kubectl("wait", "--for=condition=TrafficWithinQuota=False", "gp/pool", "--timeout=20s")
        found = await rig.get("gpupool", "pool")
        assert found["status"]["traffic"]["level"] == "Warning"
        assert found["status"]["traffic"]["usedGB"] == pytest.approx(410.0, abs=1e-3)  # and the answers to probes


class TestWithMonitorMetric:
    @pytest.fixture
    def cloud_config(self) -> CloudConfig:
        return CloudConfig(deploy_s=0.5, terminate_s=0.3, metrics=(CPU_METRIC,), monitor_lag_s=0.0)

    async def test_cpu_comes_from_cloud_monitor(self, rig: Any, make_pool: Make, make_preset: Make) -> None:
        await rig.start_operator()
        await rig.start_dispatcher()
        await rig.apply(
            make_preset("ap-beijing"), make_pool(scaling={"intervalSeconds": 1, "cpu": {"source": "Monitor"}})
        )
        (server,) = await rig.ready(1)
        rig.cloud.set_metric(server["status"]["instanceId"], CPU_METRIC.name, 42.0, since=0.0)

        async def known() -> dict[str, Any]:
            found = signal(await rig.get("gpupool", "pool"), "CPU")
            return found if found.get("value") is not None else {}

        found = await rig.until(known, "CPU from Cloud Monitor", seconds=60.0)
        assert (found["source"], found["value"]) == ("monitor:CpuUsage", 42.0)
