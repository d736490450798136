"""Builders: a trace is written as (arrival, user, service), a pool's spec as in YAML."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import msgspec
import pytest

from controller.api.gpupool import GpuPoolSpec
from controller.replay.engine import Market, Replay
from controller.replay.trace import Trace
from controller.scaling.snapshot import Offer

CHEAP: Final = Offer("ap-beijing", "XL", 0.9, 0, "replay", "app-replay")
DEAR: Final = Offer("ap-beijing", "4XL", 6.6, 0, "replay", "app-replay")


def run_replay(
    tasks: Iterable[tuple[float, str, float]],
    spec: Mapping[str, Any] | None = None,
    *,
    offers: tuple[Offer, ...] = (CHEAP, DEAR),
    deploy: float = 180.0,
    stock: Mapping[str, int] | None = None,
    doze: bool = True,
) -> Replay:
    market = Market(offers, deploy, tuple((stock or {}).items()))
    return Replay(msgspec.convert(spec or {}, GpuPoolSpec), Trace.of(tasks), market, doze=doze).run()


@pytest.fixture
def replayed() -> Callable[..., Replay]:
    return run_replay
