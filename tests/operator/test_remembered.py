"""What the pool's status keeps of purchases, so that a restart of the operator forgets nothing."""

from typing import Any

import pytest

from controller.api.gpuinstance import GpuInstance
from controller.api.gpupool import GpuPool
from controller.api.model import read, write
from controller.api.scaleup import LaunchesStatus
from controller.api.times import rfc3339, unix
from controller.operator.context import PoolMemory
from controller.operator.remembered import gone_purchases, is_purchase, launches, launches_of, launches_status
from controller.scaling.launches import FAILURES_KEPT, Launches

NOW = 1_768_449_600.0


def instance(name: str, *, bought: float | None = None, ended: bool = False, **more: Any) -> GpuInstance:
    spec = {
        "pool": "p",
        "poolUID": "u",
        "region": "ap-beijing",
        "bundle": "XL",
        "applicationId": "app-1",
        "pricePerHour": 1.0,
        "launchNumber": 1,
        **more.pop("spec", {}),
    }
    status: dict[str, Any] = {"conditions": more.pop("conditions", [])}
    if bought is not None:
        status["launchedAt"] = rfc3339(bought)
    if ended:
        status["endedAt"] = rfc3339(NOW)
    return read(GpuInstance, {"metadata": {"name": name}, "spec": spec, "status": status})


def pool(status: LaunchesStatus) -> GpuPool:
    return read(GpuPool, {"metadata": {"name": "p"}, "spec": {}, "status": {"launches": write(status)}})


@pytest.mark.parametrize("failures", [0, 1, 3, FAILURES_KEPT, 50])
def test_failures_in_a_row_and_the_last_outcomes_outlive_the_operator(failures: int) -> None:
    known = Launches().succeeded()
    for n in range(failures):
        known = known.failed(NOW + n, f"p-{n}: no answer")
    again = launches_of(launches_status(known, LaunchesStatus(), [], now=NOW))
    assert len(again.failures) == min(failures, FAILURES_KEPT)
    assert again.failures[-1:] == known.failures[-1:]
    assert again.outcomes == known.outcomes


def test_a_start_reads_them_before_anything_is_noted() -> None:
    status = launches_status(Launches().failed(NOW, "p-1: no answer"), LaunchesStatus(), [], now=NOW)
    memory = PoolMemory()
    assert launches(memory, pool(status)).failures == ((NOW, "p-1: no answer"),)
    memory.launches = launches(memory, pool(status)).failed(NOW + 60.0, "p-2: no answer")
    assert len(launches(memory, pool(status)).failures) == 2


def test_a_success_clears_the_row_in_status_too() -> None:
    known = Launches().failed(NOW, "p-1: no answer").succeeded()
    status = launches_status(known, LaunchesStatus(), [], now=NOW)
    assert (status.failed_in_row, status.last_failure_time, status.recent) == (0, None, ("Failed", "Ready"))


@pytest.mark.parametrize(
    ("case", "bought"),
    [
        (instance("a", bought=NOW - 30.0), True),
        (instance("a"), True),
        (instance("a", conditions=[{"type": "Launched", "status": "Unknown", "reason": "Requested"}]), True),
        (instance("a", conditions=[{"type": "Launched", "status": "False", "reason": "SoldOut"}]), False),
        (instance("a", bought=NOW - 30.0, spec={"adopts": "hai-1"}), False),
    ],
    ids=["bought", "about to be", "being bought", "sold out", "taken over"],
)
def test_what_counts_as_a_purchase(case: GpuInstance, bought: bool) -> None:
    assert is_purchase(case) is bought


def test_a_purchase_counts_for_its_minute_also_when_it_is_gone() -> None:
    seen = [
        instance("alive", bought=NOW - 30.0),
        instance("gone", bought=NOW - 30.0, ended=True),
        instance("long-gone", bought=NOW - 60.0, ended=True),
        instance("taken-over", bought=NOW - 30.0, ended=True, spec={"adopts": "hai-1"}),
        instance("never-bought", ended=True),
    ]
    status = launches_status(Launches(), LaunchesStatus(), seen, now=NOW)
    assert [p.server for p in status.gone] == ["gone"]
    # While its object is there it is counted as that.
    assert gone_purchases(pool(status), seen) == ()
    assert gone_purchases(pool(status), seen[:1]) == (unix(rfc3339(NOW - 30.0)),)
    assert launches_status(Launches(), status, [], now=NOW + 29.0).gone == status.gone
    assert launches_status(Launches(), status, [], now=NOW + 30.0).gone == ()
