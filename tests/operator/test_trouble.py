"""Bad input and a cloud that says no: a condition and an event that say what to do, and everybody else goes on."""

from collections.abc import Callable
from typing import Any

import pytest
import yaml

pytestmark = [pytest.mark.processes, pytest.mark.timeout(120)]

Make = Callable[..., dict[str, Any]]


def has(kind: str, name: str, condition: str, status: str, rig: Any) -> Callable[[], Any]:
    async def look() -> dict[str, Any] | None:
        found = await rig.condition(kind, name, condition)
        return found if found.get("status") == status else None

    return look


@pytest.mark.parametrize(
    ("spec", "field", "rule"),
    [
        ({"replicas": {"min": 3, "max": 2}}, "spec.replicas", "replicas.min must not exceed replicas.max"),
        ({"gpuTypes": [{"bundle": "5XL"}]}, "spec.gpuTypes[0].bundle", "5XL"),
        (
            {"traffic": {"thresholdsGB": {"warning": 200}}},
            "spec.traffic.thresholdsGB",
            "optimize < warning < critical < emergency",
        ),
        ({"scaling": {"down": {"queueLength": 15}}}, "spec.scaling", "must be below scaling.up.queueLength"),
    ],
)
async def test_a_wrong_pool_is_refused_at_apply_with_field_and_rule(
    rig: Any, make_pool: Make, spec: dict[str, Any], field: str, rule: str
) -> None:
    said = await rig.kubectl("apply", "-f", "-", stdin=yaml.safe_dump(make_pool(**spec)), fails=True)
    assert field in said
    assert rule in said


async def test_a_foreign_region_is_refused_at_apply(rig: Any, make_preset: Make) -> None:
    said = await rig.kubectl("apply", "-f", "-", stdin=yaml.safe_dump(make_preset("ap-singapore")), fails=True)
    assert "spec.region" in said
    assert "ap-beijing" in said


async def test_a_wrong_key_is_told_as_condition_and_event(rig: Any, make_pool: Make, make_preset: Make) -> None:
    await rig.start_operator(secret_key="wrongwrongwrong")
    await rig.apply(make_preset("ap-beijing"), make_pool())
    told = await rig.until(has("regionpreset", "beijing", "Ready", "False", rig), "the preset is not Ready")
    assert told["reason"] == "Unauthorized"
    assert "tencent-credentials" in told["message"]
    account = await rig.until(has("gpupool", "pool", "AccountHealthy", "False", rig), "AccountHealthy is False")
    assert account["reason"] == "Unauthorized"
    assert "Unauthorized" in {reason for reason, _ in await rig.events("beijing")}
    assert rig.alive() == []
    assert "wrongwrongwrong" not in rig.logs()


async def test_a_missing_application_stops_its_region_only(rig: Any, make_pool: Make, make_preset: Make) -> None:
    await rig.start_operator()
    await rig.apply(make_preset("ap-beijing", 1, "not-there"), make_preset("ap-nanjing", 2), make_pool())
    (server,) = await rig.ready(1)
    assert server["spec"]["region"] == "ap-nanjing"
    told = await rig.until(has("regionpreset", "beijing", "Ready", "False", rig), "the preset is not Ready")
    assert told["reason"] == "ApplicationMissing"
    assert "not-there" in told["message"]


async def test_everything_sold_out_is_told_and_nothing_is_bought(rig: Any, make_pool: Make, make_preset: Make) -> None:
    for bundle in ("XL", "24GB_A"):
        rig.cloud.set_stock("ap-beijing", bundle, 0)
    await rig.start_operator()
    types = [{"bundle": "XL"}, {"bundle": "24GB_A"}]
    await rig.apply(make_preset("ap-beijing"), make_pool(gpuTypes=types))
    told = await rig.until(has("gpupool", "pool", "CapacityAvailable", "False", rig), "CapacityAvailable is False")

    async def all_sold_out() -> Any:
        found = await rig.condition("gpupool", "pool", "CapacityAvailable")
        return found if found.get("reason") == "SoldOut" else None

    told = await rig.until(all_sold_out, "the reason is SoldOut")
    assert "2 of 2 offers sold out" in told["message"]
    await rig.ready(0)
    assert rig.alive() == []


async def test_arrears_stop_purchases_and_say_so(rig: Any, make_pool: Make, make_preset: Make) -> None:
    rig.cloud.set_fault("arrears", action="RunInstances")
    await rig.start_operator()
    await rig.apply(make_preset("ap-beijing", 1), make_preset("ap-nanjing", 2), make_pool())
    told = await rig.until(has("gpupool", "pool", "AccountHealthy", "False", rig), "AccountHealthy is False")
    assert told["reason"] == "Arrears"
    assert "top up" in told["message"]
    assert len(rig.cloud.purchases()) == 1


async def test_a_paused_pool_buys_nothing_and_says_so(rig: Any, make_pool: Make, make_preset: Make) -> None:
    await rig.start_operator()
    await rig.apply(make_preset("ap-beijing"), make_pool(paused="ScaleUp"))
    await rig.until(has("gpupool", "pool", "Paused", "True", rig), "Paused is True")
    await rig.until(has("gpupool", "pool", "CapacityAvailable", "True", rig), "offers are known")
    assert rig.cloud.purchases() == ()
    await rig.kubectl("patch", "gp", "pool", "--type=merge", "-p", '{"spec":{"paused":"None"}}')
    await rig.ready(1)


async def test_a_recommending_pool_decides_shows_and_does_nothing(rig: Any, make_pool: Make, make_preset: Make) -> None:
    await rig.start_operator()
    await rig.apply(make_preset("ap-beijing"), make_pool(mode="Recommend"))

    async def decided() -> bool:
        decision = (await rig.get("gpupool", "pool")).get("status", {}).get("lastDecision", {})
        return bool(decision.get("action") == "ScaleUp")

    await rig.until(decided, "it would scale up")
    assert "would ScaleUp" in (await rig.get("gpupool", "pool"))["status"]["message"]
    assert rig.cloud.purchases() == ()
