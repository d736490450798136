"""The operator's three logs, as the running system writes them: every line by its schema, nothing lost by a kill."""

import asyncio
import json
import os
import signal
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator, FormatChecker

from controller.records.lines import utc_day
from controller.scaling.periods import DAY, HOUR

pytestmark = pytest.mark.processes
Make = Callable[..., dict[str, Any]]
SCHEMAS = Path(__file__).parents[2] / "docs" / "schemas"


def lines(folder: Path, kind: str) -> list[dict[str, Any]]:
    """Every line of a log, held against its schema."""
    schema = json.loads((SCHEMAS / f"{kind}.schema.json").read_text(encoding="utf-8"))
    validator = Draft202012Validator(schema, format_checker=FormatChecker())
    found = []
    for file in sorted(folder.glob(f"{kind}_*.log")):
        for line in file.read_text(encoding="utf-8").splitlines():
            entry = json.loads(line)
            validator.validate(entry)
            assert file.name == f"{kind}_{entry['timestamp'][:10]}.log"
            found.append(entry)
    return found


def servers(folder: Path, kind: str) -> list[dict[str, Any]]:
    return [entry["data"] for entry in lines(folder, "server_status") if entry["data"]["kind"] == kind]


async def test_a_servers_whole_life_is_in_the_log(rig: Any, make_pool: Make, make_preset: Make, tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    await rig.start_operator("--logs", str(logs))
    await rig.start_dispatcher()
    await rig.apply(make_preset("ap-beijing"), make_pool(1, records={"serverStatusSeconds": 10}))
    (server,) = await rig.ready(1)
    await rig.kubectl("delete", "gpupool", "pool", "--timeout=60s")

    async def over() -> bool:
        return any(s["health"] == "gone" for s in servers(logs, "sample"))

    await rig.until(over, "the server's last sample")
    steps = [(e["action"], e["outcome"], e["trigger"]) for e in servers(logs, "scaling")]
    assert steps == [
        ("Launch", "requested", "BelowMinimum"),
        ("Launch", "bought", "BelowMinimum"),
        ("Launch", "ready", "BelowMinimum"),
        ("Destroy", "requested", "PoolDeleted"),
        ("Destroy", "done", "PoolDeleted"),
    ]
    last = servers(logs, "sample")[-1]
    assert last["server_id"] == server["metadata"]["name"]
    assert last["instance_id"] == server["status"]["instanceId"]
    assert last["registered_time"] < last["ready_time"] < last["destroyed_time"]
    assert last["failure_count"] == 0
    (bill,) = rig.cloud.bills()
    assert (last["region"], last["gpu_type"], last["price_per_hour"]) == (bill.region, bill.bundle, bill.price_per_hour)
    assert last["gpu_percent"] is last["gpu_memory_percent"] is None, "this cloud publishes no such metric"
    for file in logs.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o640, file.name


async def test_what_cannot_be_bought_is_an_outcome(
    rig: Any, make_pool: Make, make_preset: Make, tmp_path: Path
) -> None:
    rig.cloud.set_stock("ap-beijing", "XL", 0)
    await rig.start_operator("--logs", str(tmp_path / "logs"))
    types = [{"bundle": "XL"}, {"bundle": "24GB_A"}]
    await rig.apply(make_preset("ap-beijing"), make_pool(1, gpuTypes=types))
    await rig.ready(1)

    async def seen() -> bool:
        return any(e["outcome"] == "ready" for e in servers(tmp_path / "logs", "scaling"))

    await rig.until(seen, "the second offer is Ready")
    outcomes = {(e["gpu_type"], e["outcome"]) for e in servers(tmp_path / "logs", "scaling")}
    assert outcomes >= {("XL", "sold_out"), ("24GB_A", "bought"), ("24GB_A", "ready")}


@pytest.mark.crash
async def test_hours_and_days_that_the_ledger_has_closed_are_in_the_log_whenever_it_is_killed(
    rig: Any, make_pool: Make, make_preset: Make, tmp_path: Path
) -> None:
    logs = tmp_path / "logs"
    await rig.apply(make_preset("ap-beijing"), make_pool(0))
    now = time.time()
    hours = [HOUR.name(now - 3600.0 * n) for n in range(30, 0, -1)]
    days = [DAY.name(now - 86400.0 * n) for n in (2, 1)]
    history: dict[str, list[dict[str, Any]]] = {
        "hours": [{"period": one, "cny": round(0.88 + 0.01 * n, 6)} for n, one in enumerate(hours)],
        "days": [{"period": one, "cny": 21.12 + n} for n, one in enumerate(days)],
    }
    patch = json.dumps({"status": {"spendHistory": history}})
    await rig.kubectl("patch", "gpupool", "pool", "--subresource=status", "--type=merge", "-p", patch)
    for pause in (0.0, 0.2, 0.4):
        child = await rig.start_operator("--logs", str(logs))

        async def decided() -> bool:
            return bool((await rig.get("gpupool", "pool"))["status"].get("observedGeneration"))

        await rig.until(decided, "a decision")
        await asyncio.sleep(pause)
        os.kill(child.pid, signal.SIGKILL)
        await child.wait()
    await rig.start_operator("--logs", str(logs))

    async def caught_up() -> bool:
        log = (await rig.get("gpupool", "pool"))["status"].get("costLog", {})
        return bool(log.get("hour") == hours[-1] and log.get("day") == days[-1])

    await rig.until(caught_up, "the log has everything")
    written: dict[tuple[str, str], set[float]] = {}
    for entry in lines(logs, "cost_traffic"):
        data = entry["data"]
        assert entry["timestamp"] == data["period_end"]
        written.setdefault((data["period"], data["period_start"]), set()).add(data["instance_cost"])
    wanted = {("hour", HOUR.start(one["period"])): one["cny"] for one in history["hours"]} | {
        ("day", DAY.start(one["period"])): one["cny"] for one in history["days"]
    }
    assert written == {(kind, stamped(start)): {cny} for (kind, start), cny in wanted.items()}


def stamped(t: float) -> str:
    from controller.records.lines import stamp

    return stamp(t)


@pytest.mark.crash
async def test_at_most_a_moments_records_are_lost_by_a_kill(
    rig: Any, make_pool: Make, make_preset: Make, tmp_path: Path
) -> None:
    """What was appended a second before the kill is there, whole; `fsyncSeconds` is 1."""
    logs = tmp_path / "logs"
    child = await rig.start_operator("--logs", str(logs))
    await rig.apply(make_preset("ap-beijing"), make_pool(2))
    await rig.ready(2)

    async def both() -> bool:
        return len([e for e in servers(logs, "scaling") if e["outcome"] == "ready"]) == 2

    await rig.until(both, "both are Ready in the log")
    os.kill(child.pid, signal.SIGKILL)
    await child.wait()
    raw = (logs / f"server_status_{utc_day(time.time())}.log").read_bytes()
    assert raw.endswith(b"\n")
    assert sum(e["outcome"] == "ready" for e in servers(logs, "scaling")) == 2
