"""Facts as the API server would send them, written as what differs from an idle pool of one old server."""

from collections.abc import Callable, Mapping
from typing import Any, Final

import pytest

from controller.api.gpuinstance import GpuInstance
from controller.api.gpupool import GpuPool
from controller.api.model import read
from controller.api.regionpreset import RegionPreset
from controller.api.times import rfc3339
from controller.explain.gather import Facts

#: 2026-01-15 04:00 UTC.
NOW: Final = 1_768_449_600.0


def ago(seconds: float) -> str:
    return rfc3339(NOW - seconds)


def decision(**changes: Any) -> dict[str, Any]:
    body = {
        "time": ago(4),
        "action": "Hold",
        "reason": "VictimTooYoung",
        "message": "the dearest server sd-2 has run for 600 s, needs more than 3600 s",
        "counts": {"serving": 2, "deploying": 1, "leaving": 0, "minimum": 1, "desired": 3},
        "terms": [{"name": "step up", "value": 1, "unit": "servers"}],
        "growing": {"acts": False, "reason": "NotNeeded", "message": "enough", "needs": "a signal"},
        "shrinking": {
            "acts": False,
            "reason": "VictimTooYoung",
            "message": "the dearest server sd-2 has run for 600 s, needs more than 3600 s",
            "needs": "that server to run longer",
            "earliestTime": ago(-3000),
            "also": ["FreshWindow"],
        },
        "victim": {"name": "sd-2", "bundle": "3XL", "region": "ap-nanjing", "pricePerHour": 2.41, "ranSeconds": 600},
        "offers": [
            {"bundle": "XL", "region": "ap-beijing", "pricePerHour": 0.88, "state": "SoldOut", "why": "sold out",
             "untilTime": ago(-60)},
            {"bundle": "XL", "region": "ap-nanjing", "pricePerHour": 0.9, "state": "First", "why": "cheapest"},
        ],
        "offersLeft": 34,
    }  # fmt: skip
    return body | changes


def entry(seconds: float, action: str, reason: str, message: str = "", **changes: Any) -> dict[str, Any]:
    return {"time": ago(seconds), "action": action, "reason": reason, "message": message} | changes


def pool(*, spec: Mapping[str, Any] | None = None, generation: int = 1, **status: Any) -> GpuPool:
    body: dict[str, Any] = {
        "observedGeneration": 1,
        "signals": [
            {"name": "queue length", "value": 2, "upThreshold": 15, "downThreshold": 3, "state": "Low",
             "source": "dispatcher", "ageSeconds": 1},
            {"name": "CPU", "upThreshold": 85, "downThreshold": 30, "state": "Unknown",
             "unknownSince": "2026-01-15T03:48:00.000Z", "message": "Cloud Monitor lags"},
        ],
        "lastDecision": decision(),
        "journal": [entry(700, "ScaleUp", "LongQueue", "queue length 42 > 15 -> buy 1 x 3XL"),
                    entry(90, "Hold", "VictimTooYoung", "the dearest server is young")],
        "spend": {"perHour": 3.29, "today": 12.5, "thisMonth": 300.25},
    }  # fmt: skip
    metadata = {"name": "sd", "namespace": "images", "uid": "u-1", "generation": generation}
    return read(GpuPool, {"metadata": metadata, "spec": dict(spec or {}), "status": body | status})


def instance(number: int, *, bundle: str = "XL", price: float = 0.88, meta: Any = None, **status: Any) -> GpuInstance:
    spec = {
        "pool": "sd",
        "poolUID": "u-1",
        "region": "ap-beijing",
        "bundle": bundle,
        "applicationId": "app-1",
        "pricePerHour": price,
        "launchNumber": number,
        "reason": "LongQueue: queue length 42 > 15 -> buy 1 x XL",
    }
    body = {"phase": "Ready", "instanceId": f"hai-{number}", "launchedAt": ago(3600), "readyAt": ago(3400)} | status
    metadata = {"name": f"sd-{number}", "namespace": "images", "uid": f"i-{number}"} | (meta or {})
    return read(GpuInstance, {"metadata": metadata, "spec": spec, "status": body})


def preset(name: str = "beijing", ready: str = "True", **spec: Any) -> RegionPreset:
    condition = {"type": "Ready", "status": ready, "reason": "ApplicationMissing", "message": "create it"}
    body = {"region": "ap-beijing", "application": {"id": "app-1"}} | spec
    status = {"dailyStorageCost": 0.24, "conditions": [condition]}
    return read(RegionPreset, {"metadata": {"name": name, "namespace": "images"}, "spec": body, "status": status})


def event(seconds: float, about: str, reason: str, message: str, **changes: Any) -> dict[str, Any]:
    body = {"type": "Normal", "reason": reason, "message": message, "lastTimestamp": ago(seconds), "count": 1}
    return body | {"involvedObject": {"kind": "GpuInstance", "name": about}} | changes


@pytest.fixture
def now() -> float:
    return NOW


@pytest.fixture
def facts() -> Callable[..., Facts]:
    def of(
        *,
        instances: tuple[GpuInstance, ...] = (),
        presets: tuple[RegionPreset, ...] | None = None,
        events: tuple[Mapping[str, Any], ...] | None = (),
        **given: Any,
    ) -> Facts:
        return Facts(pool(**given), instances, (preset(),) if presets is None else presets, events)

    return of


@pytest.fixture
def make_instance() -> Callable[..., GpuInstance]:
    return instance


@pytest.fixture
def make_preset() -> Callable[..., RegionPreset]:
    return preset


@pytest.fixture
def make_event() -> Callable[..., dict[str, Any]]:
    return event


@pytest.fixture
def make_entry() -> Callable[..., dict[str, Any]]:
    return entry


@pytest.fixture
def make_decision() -> Callable[..., dict[str, Any]]:
    return decision
