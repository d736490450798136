"""The operator with a Prometheus beside the dispatchers: which signal is missing, why, and since when."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.operator.prom import exporter, needs_prometheus, prometheus
from tests.operator.test_explain import explain

pytestmark = [pytest.mark.processes, pytest.mark.timeout(180)]

Make = Callable[..., dict[str, Any]]


async def signal(rig: Any, name: str) -> dict[str, Any]:
    signals = (await rig.get("gpupool", "pool")).get("status", {}).get("signals", [])
    return next((s for s in signals if s["name"] == name), {})


@needs_prometheus
async def test_a_signal_from_prometheus_is_missing_since_its_death_and_the_operators_restart_changes_nothing(
    rig: Any, make_pool: Make, make_preset: Make, tmp_path: Path
) -> None:
    async with exporter('gpu{server="a"} 42\n') as gpus, prometheus(tmp_path, gpus=[gpus.target]) as server:
        source = {"url": server.url, "queries": {"cpuPercent": "avg(gpu)"}}
        operator = await rig.start_operator()
        await rig.start_dispatcher()
        await rig.apply(make_preset("ap-beijing"), make_pool(metrics={"prometheus": source}))
        await rig.ready(1)

        async def read() -> bool:
            found = await signal(rig, "CPU")
            return (found.get("source"), found.get("value")) == ("prometheus", 42)

        await rig.until(read, "CPU from Prometheus")
        assert (await signal(rig, "queue length"))["source"] == "dispatcher"
        await rig.kubectl("wait", "--for=condition=MetricsAvailable", "gp/pool", "--timeout=20s")
        await server.kill()

        async def unknown() -> dict[str, Any]:
            found = await signal(rig, "CPU")
            return found if found.get("state") == "Unknown" else {}

        lost = await rig.until(unknown, "CPU unknown")
        assert "ClientConnectorError" in lost["message"]
        assert "spec.metrics.prometheus.queries.cpuPercent" in lost["message"]
        assert (await signal(rig, "queue length"))["state"] == "Low"
        condition = await rig.condition("gpupool", "pool", "MetricsAvailable")
        assert (condition["status"], condition["reason"]) == ("False", "PrometheusFailed")
        assert condition["message"].startswith(f"CPU unknown since {lost['unknownSince']}: spec.metrics.prometheus")
        await operator.stop()
        decided = (await rig.get("gpupool", "pool"))["status"]["lastDecision"]["time"]
        await rig.start_operator()

        async def decides() -> bool:
            return bool((await rig.get("gpupool", "pool"))["status"]["lastDecision"]["time"] != decided)

        await rig.until(decides, "the next operator decides")
        assert (await signal(rig, "CPU"))["unknownSince"] == lost["unknownSince"]
        text = " ".join((await explain(rig)).split())
        assert f"CPU unknown since {lost['unknownSince'][:10]} {lost['unknownSince'][11:19]} (" in text
        assert "spec.metrics.prometheus.queries.cpuPercent cannot be asked: ClientConnectorError" in text
