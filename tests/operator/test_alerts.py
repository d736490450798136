"""The real operator tells of what goes wrong: in status, events, metrics, the log and at a robot; and once."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from controller.sandbox.loopback import free_port

pytestmark = pytest.mark.processes
Make = Callable[..., dict[str, Any]]


class Robot:
    """A WeCom group robot."""

    def __init__(self) -> None:
        self.messages: list[str] = []
        self.works = True
        self.url = ""

    async def take(self, request: web.Request) -> web.Response:
        body = await request.json()
        if not self.works:
            return web.json_response({"errcode": 93000, "errmsg": "invalid webhook url"})
        self.messages.append(body["markdown"]["content"])
        return web.json_response({"errcode": 0, "errmsg": "ok"})

    def about(self, rule: str) -> list[str]:
        """The levels that were told of a rule, in order."""
        return [m.split(" · ")[1].split()[-1] for m in self.messages if f"· {rule} ·" in m]


@pytest.fixture
async def robot() -> AsyncIterator[Robot]:
    made = Robot()
    app = web.Application()
    app.router.add_post("/cgi-bin/webhook/send", made.take)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}/cgi-bin/webhook/send?key=s3cret-key"
    yield made
    await runner.cleanup()


def secret(url: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "robots"}, "stringData": {"url": url}}


def told_pool(make_pool: Make, **spec: Any) -> dict[str, Any]:
    one = {"name": "oncall", "type": "WeCom", "urlSecret": {"name": "robots", "key": "url"}}
    return make_pool(1, notifications=[one], **spec)


async def entry(rig: Any, rule: str) -> dict[str, Any]:
    alerts = (await rig.get("gpupool", "pool")).get("status", {}).get("alerts", [])
    return next((dict(a) for a in alerts if a["rule"] == rule), {})


def lines(folder: Path, kind: str) -> list[dict[str, Any]]:
    return [json.loads(line) for file in sorted(folder.glob(f"{kind}_*.log")) for line in file.read_text().splitlines()]


LOOSE = ("--allow-webhooks-to", "127.0.0.0/8")


async def test_arrears_are_told_everywhere_once(
    rig: Any, robot: Robot, make_pool: Make, make_preset: Make, tmp_path: Path
) -> None:
    rig.cloud.set_fault("arrears")
    port = free_port()
    await rig.apply(secret(robot.url), make_preset("ap-beijing"), told_pool(make_pool))
    await rig.start_operator("--logs", str(tmp_path / "logs"), *LOOSE, metrics_port=port)

    async def all_heard() -> bool:
        told = (await entry(rig, "Account")).get("told", {})
        return bool(told == dict.fromkeys(("Record", "Event", "oncall"), "Emergency"))

    await rig.until(all_heard, "everybody has heard of the arrears")
    assert robot.about("Account") == ["Emergency"]
    assert "账户欠费" in robot.messages[0]
    assert "Account" in {reason for reason, _ in await rig.events("pool")}
    (line,) = [a for a in lines(tmp_path / "logs", "alerts") if a["data"]["rule"] == "Account"]
    assert (line["data"]["level"], line["data"]["state"], line["data"]["pool"]) == ("Emergency", "Firing", "pool")
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}/metrics") as answer:
        text = await answer.text()
    assert f'haipool_alerts{{level="Emergency",namespace="{rig.namespace}",pool="pool",rule="Account"}} 1.0' in text
    assert 'haipool_notifications_total{outcome="delivered",type="WeCom"}' in text
    assert "s3cret-key" not in rig.logs() + text


@pytest.mark.crash
async def test_an_operator_that_is_killed_again_and_again_loses_no_alert_and_repeats_little(
    rig: Any, robot: Robot, make_pool: Make, make_preset: Make, tmp_path: Path
) -> None:
    rig.cloud.set_fault("arrears")
    await rig.apply(secret(robot.url), make_preset("ap-beijing"), told_pool(make_pool))
    kills = 0
    for pause in (0.3, 0.8, 0.1, 1.5, 0.5):
        child = await rig.start_operator("--logs", str(tmp_path / "logs"), *LOOSE)

        async def begun() -> bool:
            return bool(await entry(rig, "Account"))

        await rig.until(begun, "the alert stands in status")
        await asyncio.sleep(pause)
        os.kill(child.pid, signal.SIGKILL)
        await child.wait()
        kills += 1
    await rig.start_operator("--logs", str(tmp_path / "logs"), *LOOSE)

    async def all_heard() -> bool:
        told = (await entry(rig, "Account")).get("told", {})
        return bool(told == dict.fromkeys(("Record", "Event", "oncall"), "Emergency"))

    await rig.until(all_heard, "everybody has heard")
    assert 1 <= len(robot.about("Account")) <= 1 + kills
    recorded = [a for a in lines(tmp_path / "logs", "alerts") if a["data"]["rule"] == "Account"]
    assert 1 <= len(recorded) <= 1 + kills
    assert {(a["timestamp"], a["data"]["since"]) for a in recorded} == {
        (recorded[0]["timestamp"], recorded[0]["data"]["since"])
    }, "a repetition is the same line"


async def test_a_robot_that_refuses_is_a_condition_an_event_and_told_when_it_works(
    rig: Any, robot: Robot, make_pool: Make, make_preset: Make
) -> None:
    robot.works = False
    rig.cloud.set_fault("arrears")
    await rig.apply(secret(robot.url), make_preset("ap-beijing"), told_pool(make_pool))
    await rig.start_operator(*LOOSE)

    async def refused() -> bool:
        found = await rig.condition("gpupool", "pool", "NotificationsDelivered")
        return bool(found.get("status") == "False" and found["reason"] == "Rejected")

    await rig.until(refused, "the condition says that the robot refuses")
    assert any(reason == "Rejected" and "the robot is gone" in message for reason, message in await rig.events("pool"))
    robot.works = True
    # A changed destination begins anew, without the pause after a refusal.
    one = told_pool(make_pool)["spec"]["notifications"][0]
    change = {"spec": {"notifications": [one | {"minLevel": "Critical"}]}}
    await rig.kubectl("patch", "gpupool", "pool", "--type=merge", "-p", json.dumps(change))

    async def mended() -> bool:
        return bool((await rig.condition("gpupool", "pool", "NotificationsDelivered")).get("status") == "True")

    await rig.until(mended, "the condition is True again")
    await rig.until(lambda: heard(robot), "it was told")
    assert robot.about("Account") == ["Emergency"]


async def heard(robot: Robot) -> bool:
    return bool(robot.messages)


@pytest.mark.parametrize(
    ("url", "flags", "reason", "said"),
    [
        (None, (), "SecretUnusable", "kubectl create secret generic"),
        ("http://127.0.0.1:1/x", (), "AddressRefused", "--allow-webhooks-to"),
        ("https://10.0.0.1/x", LOOSE, "AddressRefused", "--allow-webhooks-to"),
    ],
)
async def test_what_is_wrong_with_a_destination_is_said_with_the_fix_before_anything_happens(
    url: str | None, flags: tuple[str, ...], reason: str, said: str, *, rig: Any, make_pool: Make, make_preset: Make
) -> None:
    await rig.apply(*([secret(url)] if url else []), make_preset("ap-beijing"), told_pool(make_pool))
    await rig.start_operator(*flags)

    async def seen() -> bool:
        found = await rig.condition("gpupool", "pool", "NotificationsDelivered")
        return bool(found.get("reason") == reason and said in found["message"])

    await rig.until(seen, f"the condition says {reason}")
    assert any(r == reason for r, _ in await rig.events("pool"))
