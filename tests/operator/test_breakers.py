"""The two breakers of scale-up against a real operator: what it has learnt outlives it."""

import os
import signal
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from aiohttp import web

from controller.api import metrics
from tests.operator.conftest import HOST

pytestmark = [pytest.mark.processes, pytest.mark.timeout(120)]

Make = Callable[..., dict[str, Any]]


@pytest.fixture
async def hopeless() -> AsyncIterator[str]:
    """URL of a dispatcher's figures that no server can change: mean response is 99 s, and nobody has any work."""
    figures = {**dict.fromkeys(metrics.REQUIRED, 0.0), metrics.MEAN_RESPONSE: 99.0, metrics.DISPATCHER_SYNCED: 1.0}

    async def answer(_request: web.Request) -> web.Response:
        return web.Response(text="".join(f"{name} {value}\n" for name, value in figures.items()))

    app = web.Application()
    app.router.add_get("/metrics", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, HOST, 0)
    await site.start()
    yield f"http://{HOST}:{runner.addresses[0][1]}/metrics"
    await runner.cleanup()


async def status(rig: Any) -> dict[str, Any]:
    return dict((await rig.get("gpupool", "pool")).get("status", {}))


async def restarted(rig: Any, operator: Any) -> None:
    """The operator killed and started again; returns once it has decided."""
    os.kill(operator.pid, signal.SIGKILL)
    await operator.wait()
    before = await status(rig)
    await rig.start_operator()

    async def decided() -> bool:
        return bool((await status(rig))["lastDecision"]["time"] != before["lastDecision"]["time"])

    await rig.until(decided, "the new operator decides")


async def test_a_signal_that_servers_do_not_help_buys_one_and_no_more_after_a_restart_either(
    rig: Any, make_pool: Make, make_preset: Make, hopeless: str
) -> None:
    operator = await rig.start_operator()
    await rig.apply(make_preset("ap-beijing"), make_pool(metrics={"urls": [hopeless]}))

    async def suspended() -> Any:
        found = await rig.condition("gpupool", "pool", "ScaleUpEffective")
        return found if found.get("status") == "False" else None

    told = await rig.until(suspended, "ScaleUpEffective is False")
    assert told["reason"] == "ServersStayIdle"
    assert "mean response" in told["message"]
    assert "ServersStayIdle" in {reason for reason, _ in await rig.events("pool")}
    # The minimum, and one for mean response.
    assert len(rig.cloud.purchases()) == 2

    learned = (await rig.get("regionpreset", "beijing"))["status"]
    (offer,) = [o for o in learned["offers"] if o["bundle"] == "XL"]
    assert offer["readyCount"] == 2
    assert learned["deployTimes"] == f"XL {offer['readySeconds']:.0f} s"

    await restarted(rig, operator)
    found = await status(rig)
    assert found["lastDecision"]["reason"] == "NotEffective"
    assert [s["trigger"] for s in found["scaleUp"]["suspended"]] == ["SlowResponse"]
    assert found["launches"]["recent"] == ["Ready", "Ready"]
    assert len(rig.cloud.purchases()) == 2

    off = '{"spec":{"scaling":{"up":{"onlyIfEffective":false}}}}'
    await rig.kubectl("patch", "gp", "pool", "--type=merge", "-p", off)

    async def buys() -> bool:
        return len(rig.cloud.purchases()) > 2

    await rig.until(buys, "switched off, it buys")


async def test_the_pause_after_a_failed_launch_outlives_the_operator(
    rig: Any, make_pool: Make, make_preset: Make
) -> None:
    rig.cloud.set_fault("launch_failed", count=1)
    operator = await rig.start_operator()
    await rig.apply(make_preset("ap-beijing"), make_pool())

    async def failed() -> bool:
        return bool((await status(rig)).get("launches", {}).get("failedInRow") == 1)

    await rig.until(failed, "the failure is in status")
    await restarted(rig, operator)
    found = await status(rig)
    assert found["lastDecision"]["reason"] == "LaunchesFailing"
    assert found["launches"]["recent"] == ["Failed"]
    assert "LAUNCH_FAILED" in found["launches"]["lastFailure"]
    assert len(rig.cloud.purchases()) == 1
    assert (await rig.condition("gpupool", "pool", "LaunchHealthy"))["reason"] == "LaunchFailed"
