"""`haipool explain` of a pool whose operator was killed and started again: the story goes on where it was."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

import pytest

pytestmark = [pytest.mark.processes, pytest.mark.timeout(120)]

Make = Callable[..., dict[str, Any]]


async def explain(rig: Any, *arguments: str) -> str:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "controller.cli", "explain", "pool", "--namespace", rig.namespace, *arguments),
        env={**os.environ, "KUBECONFIG": str(rig.kubeconfig), "COLUMNS": "118"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert (process.returncode, err) == (0, b""), err.decode()
    return out.decode()


async def decided(rig: Any, reason: str) -> dict[str, Any]:
    """Wait for a decision with this reason; returns the explanation."""

    async def look() -> dict[str, Any] | None:
        told = json.loads(await explain(rig, "--output", "json"))
        return told if (told["decision"] or {}).get("reason") == reason else None

    return dict(await rig.until(look, f"a decision for {reason}"))


async def test_the_journal_outlives_the_operator(rig: Any, make_pool: Make, make_preset: Make) -> None:
    operator = await rig.start_operator()
    await rig.start_dispatcher()
    await rig.apply(make_preset("ap-beijing"), make_pool())
    await rig.ready(1)
    before = await decided(rig, "AtMinimum")
    assert before["decision"]["shrinking"]["reason"] == "AtMinimum"
    assert [(o["state"], o["bundle"]) for o in before["decision"]["offers"]] == [("First", "XL")]
    os.kill(operator.pid, signal.SIGKILL)
    await operator.wait()
    await rig.start_operator()

    async def started() -> bool:
        journal = (await rig.get("gpupool", "pool"))["status"]["journal"]
        return bool(journal[-1]["time"] > before["time"])

    await rig.until(started, "an entry of the second life")
    await decided(rig, "AtMinimum")
    text = await explain(rig)
    said = [text.find(words) for words in ("ScaleUp BelowMinimum", "pool-1 Bought", "Start OperatorStarted")]
    assert -1 not in said, text
    assert said == sorted(said)
    assert "WHY NOT FEWER SERVERS  AtMinimum: 1 Ready servers, minimum 1" in text


async def test_a_recommendation_is_explained_and_not_done(rig: Any, make_pool: Make, make_preset: Make) -> None:
    await rig.start_operator()
    await rig.apply(make_preset("ap-beijing"), make_pool(2, mode="Recommend"))
    await decided(rig, "BelowMinimum")
    text = await explain(rig)
    assert "DOES     would ScaleUp, BelowMinimum" in text
    assert "would ScaleUp BelowMinimum: 0 servers, minimum 2 -> buy 2 x XL in ap-beijing" in text
    assert rig.cloud.purchases() == ()
