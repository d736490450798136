"""The real process, killed again and again while records are written and CLS makes trouble: nothing is missing."""

import asyncio
import os
import signal
import sys
from collections import Counter
from typing import Any

import pytest

from controller.sandbox.cloudsim import SANDBOX_KEY, SANDBOX_TOPIC, SANDBOX_TOPIC_REGION

pytestmark = [pytest.mark.crash, pytest.mark.processes, pytest.mark.timeout(180)]

KILLS = 5
BATCH = 40


async def start(bench: Any, *extra: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "controller.cli", "ship", "--logs", str(bench.folder.path)),
        *("--region", SANDBOX_TOPIC_REGION, "--topic", SANDBOX_TOPIC, "--pod", "pod-0"),
        *("--interval", "0.05", "--metrics-port", "0", *extra),
        env={
            **os.environ,
            "HAIPOOL_CLOUD_ENDPOINT": bench.cloud.url,
            "TENCENTCLOUD_SECRET_ID": SANDBOX_KEY.secret_id,
            "TENCENTCLOUD_SECRET_KEY": SANDBOX_KEY.secret_key,
        },
        stderr=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )


async def until(count: int, bench: Any) -> None:
    while True:
        if len({log.contents["line_id"] for log in bench.cloud.logs()}) >= count:
            return
        await asyncio.sleep(0.02)


async def saved(bench: Any) -> None:
    """Wait until the process has remembered that everything is shipped."""
    path = bench.folder.path / ".cls-offsets.json"
    size = (bench.folder.path / "task_processing_2025-01-31.log").stat().st_size
    while True:
        if path.exists() and f'"done":{size}}}' in path.read_text():
            return
        await asyncio.sleep(0.02)


async def test_nothing_is_missing_and_copies_are_bounded(bench: Any) -> None:
    written = 0
    for life in range(KILLS):
        if life % 2 == 0:
            # CLS has it, but this process will not live to hear so.
            bench.cloud.set_fault("commit_then_reset", action="UploadLog", count=1)
        process = await start(bench)
        bench.folder.add(*(bench.record(written + i) for i in range(BATCH)))
        written += BATCH
        await until(written, bench)
        if life % 2 == 1:
            await saved(bench)
        os.kill(process.pid, signal.SIGKILL)
        await process.communicate()
    process = await start(bench)
    assert process.stderr is not None
    assert b"is shipped to topic" in await process.stderr.readline()
    await until(written, bench)
    process.send_signal(signal.SIGTERM)
    await process.communicate()
    assert process.returncode == 0
    bench.check()
    copies = Counter(log.contents["line_id"] for log in bench.cloud.logs())
    # At most what was not remembered at each death: here never more than the lines of two lives.
    assert 0 < sum(copies.values()) - len(copies) <= 2 * BATCH * KILLS
    assert set(copies) == {f"pod-0/task_processing_2025-01-31.log/{at}" for at in _offsets(bench)}


def _offsets(bench: Any) -> list[int]:
    at, found = 0, []
    for line in (bench.folder.path / "task_processing_2025-01-31.log").read_bytes().splitlines(keepends=True):
        found.append(at)
        at += len(line)
    return found


async def test_trouble_that_a_person_has_to_see_to_is_an_alert_in_the_files(bench: Any) -> None:
    bench.folder.add(bench.record(1))
    number = bench.cloud.set_fault("error", action="UploadLog", code="OperationDenied.ACLFailed")
    process = await start(bench, "--grace", "0.1")

    def alerts() -> str:
        return "".join(p.read_text(encoding="utf-8") for p in bench.folder.path.glob("alerts_*.log"))

    while True:
        if '"rule":"ShippingHeld"' in alerts():
            break
        await asyncio.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, said = await process.communicate()
    assert process.returncode == 0
    assert b"OperationDenied.ACLFailed" in said
    assert SANDBOX_KEY.secret_key.encode() not in said
    bench.cloud.clear_fault(number)
    once = await start(bench, "--once")
    out, _ = await once.communicate()
    assert once.returncode == 0
    assert b"records are shipped, 0 cannot be" in out
    bench.check()
