"""A budget at work: it stops purchases, never servers, says so everywhere, and lets go by itself."""

import json
from collections.abc import Callable
from typing import Any

import aiohttp
import pytest

from controller.sandbox.loopback import free_port

pytestmark = [pytest.mark.processes, pytest.mark.timeout(180)]

Make = Callable[..., dict[str, Any]]


async def patch(rig: Any, **spec: Any) -> None:
    await rig.kubectl("patch", "gpupool", "pool", "--type", "merge", "-p", json.dumps({"spec": spec}))


async def told(rig: Any, status: str, reason: str) -> dict[str, Any]:
    async def look() -> dict[str, Any] | None:
        found = await rig.condition("gpupool", "pool", "BudgetAvailable")
        return found if (found.get("status"), found.get("reason")) == (status, reason) else None

    return dict(await rig.until(look, f"BudgetAvailable={status}, {reason}"))


async def figures(port: int) -> dict[str, float]:
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}/metrics") as answer:
        lines = [line.rpartition(" ") for line in (await answer.text()).splitlines() if line.startswith("haipool_")]
    return {name: float(value) for name, _, value in lines}


async def test_a_hard_cap_stops_purchases_and_no_server_and_is_lifted_by_a_word(
    rig: Any, make_pool: Make, make_preset: Make
) -> None:
    port = free_port()
    await rig.start_operator(metrics_port=port)
    await rig.apply(make_preset("ap-beijing"), make_pool(budget={"hourly": {"soft": 0.9, "hard": 1.5}}))
    (server,) = await rig.ready(1)
    await told(rig, "True", "WithinBudget")
    await patch(rig, replicas={"min": 2})
    refused = await told(rig, "False", "HourlyHardCap")
    assert "0.88 + 0.88 CNY/h would exceed budget.hourly.hard 1.5" in refused["message"]
    assert "HourlyHardCap" in {reason for reason, _ in await rig.events("pool")}
    found = await rig.get("gpupool", "pool")
    growing = found["status"]["lastDecision"]["growing"]
    assert (growing["reason"], growing["needs"]) == (
        "HourlyHardCap", "a higher budget.hourly.hard, or a server that goes",
    )  # fmt: skip

    async def exported() -> bool:
        found = await figures(port)
        refuses = [value for name, value in found.items() if name.startswith("haipool_pool_budget_refuses{")]
        caps = [value for name, value in found.items() if 'period="hourly"' in name and 'cap="hard"' in name]
        return (refuses, caps) == ([1.0], [1.5])

    await rig.until(exported, "the refusal and the cap in the metrics")
    # The cap falls below what runs: nothing more is bought, and what runs goes on.
    await patch(rig, replicas={"min": 1}, budget={"hourly": {"soft": 0.1, "hard": 0.5}})
    await told(rig, "False", "HourlyHardCap")
    assert rig.alive() == [server["status"]["instanceId"]]
    await patch(rig, replicas={"min": 2}, budget={"hourly": {"soft": 1.0, "hard": 2.0}})
    await rig.ready(2)
    await told(rig, "True", "HourlySoftCap")
    assert [p.outcome for p in rig.cloud.purchases()] == ["bought", "bought"]


async def test_every_server_tells_what_it_has_cost_and_the_pool_the_sum_to_the_cent(
    rig: Any, make_pool: Make, make_preset: Make
) -> None:
    port = free_port()
    await rig.start_operator(metrics_port=port)
    await rig.start_dispatcher()
    await rig.apply(make_preset("ap-beijing"), make_pool(2))
    servers = await rig.ready(2)
    one = servers[0]["metadata"]["name"]
    first = await figures(port)
    (name,) = [n for n in first if n.startswith("haipool_instance_cost_cny{") and f'instance="{one}"' in n]
    assert 'bundle="XL"' in name

    async def dearer() -> bool:
        return (await figures(port))[name] > first[name]

    await rig.until(dearer, "a cost that grows")
    await rig.kubectl("delete", "gpuinstance", one, "--timeout=40s")
    await rig.ready(2)

    async def agrees() -> bool:
        spend = (await rig.get("gpupool", "pool"))["status"]["spend"]
        whole = sum(b.cost_cny for b in rig.cloud.bills())
        # The pool's figure is a decision old, and a purchase is counted from when it was asked for.
        return bool(abs(spend["thisMonth"] - whole) < 0.01 and spend["endedThisMonth"] > 0)

    await rig.until(agrees, "the pool's ledger and the cloud's within a cent")
    assert name not in await figures(port)
    assert (await rig.get("gpupool", "pool"))["status"]["spend"]["forecastBasis"] == "Now"
    preset = (await rig.get("regionpreset", "beijing"))["status"]
    assert preset["dailyStorageCost"] == 0.24
    assert 0 <= preset["storageThisMonth"] < 0.01
