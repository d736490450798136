"""Builders for the tables: a snapshot is written as what differs from an idle pool of one old server.

`spec` is written as in YAML, signals as plain numbers (None: unknown), servers, offers and blocks as dicts.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec
import pytest

from controller.api.gpupool import GpuPoolSpec
from controller.scaling.actions import Launch
from controller.scaling.plan import Plan, plan
from controller.scaling.snapshot import (
    Block,
    Memory,
    Missing,
    Offer,
    Peak,
    ServerState,
    ServerView,
    Signal,
    Signals,
    Snapshot,
)

#: 2026-01-15 12:00 in Beijing, so neither a day nor a month is about to turn.
NOW: Final = 1_768_449_600.0
IDLE: Final = {"mean_response": 0.0, "queue_length": 0.0, "cpu": 0.0, "longest_wait": 0.0}
#: The only dispatcher replica, known by its start.
DISPATCHERS: Final = frozenset({NOW - 86_400.0})

Fields = Mapping[str, Any]


def build_signals(**changes: Any) -> Signals:
    problem, dispatchers = changes.pop("problem", ""), changes.pop("dispatchers", DISPATCHERS)
    missing: Mapping[str, Missing] = changes.pop("missing", {})
    values = {**IDLE, **changes}
    known = {name: None if value is None else Signal(value, 1.0, "test") for name, value in values.items()}
    return Signals(**known, missing=missing, problem=problem, dispatchers=frozenset(dispatchers))


def build_server(name: str, *, age: float | None = 7200.0, **changes: Any) -> ServerView:
    """A server that has been Ready for `age` seconds; None: it never was."""
    ready_at = None if age is None else NOW - age
    fields: dict[str, Any] = {
        "region": "ap-beijing",
        "bundle": "XL",
        "price_per_hour": 1.2,
        "state": ServerState.READY if age is not None else ServerState.DEPLOYING,
        "created_at": NOW - 240.0 - (age or 0.0),
        "ready_at": ready_at,
    }
    return ServerView(name=name, **(fields | changes))


def build_offer(bundle: str = "XL", region: str = "ap-beijing", price: float = 1.2, **changes: Any) -> Offer:
    fields: dict[str, Any] = {"priority": 1, "preset": region.removeprefix("ap-"), "application_id": "app-1"}
    return Offer(region=region, bundle=bundle, price_per_hour=price, **(fields | changes))


def build_snapshot(
    *,
    spec: Fields | None = None,
    signals: Fields | None = None,
    servers: Sequence[Fields] = ({"name": "s1"},),
    offers: Sequence[Fields] = ({},),
    blocks: Sequence[Fields] = (),
    **fields: Any,
) -> Snapshot:
    return Snapshot(
        spec=msgspec.convert(spec or {}, GpuPoolSpec),
        signals=build_signals(**(signals or {})),
        servers=tuple(build_server(**server) for server in servers),
        offers=tuple(build_offer(**offer) for offer in offers),
        blocks=tuple(Block(**block) for block in blocks),
        **fields,
    )


def run_plan(
    *,
    low_for: float | None = 301.0,
    drain_ended_ago: float | None = None,
    leaving: Sequence[str] = (),
    dispatchers: frozenset[float] = DISPATCHERS,
    peak: Peak | None = None,
    replaced: Sequence[str] = (),
    **given: Any,
) -> Plan:
    """The decision at NOW of a pool whose load has been low for `low_for` seconds (None: it was not low)."""
    memory = Memory(
        low_load_since=None if low_for is None else NOW - low_for,
        last_drain_ended=None if drain_ended_ago is None else NOW - drain_ended_ago,
        leaving=frozenset(leaving),
        dispatchers=dispatchers,
        peak=peak,
        replaced=tuple((name, NOW - 60.0) for name in replaced),
    )
    return plan(build_snapshot(**given), memory, now=NOW)


def in_words(decided: Plan) -> tuple[str, list[str]]:
    """A plan as ("Action/Reason", ["Launch XL ap-beijing", "Drain s2", ...])."""
    done = [
        f"Launch {action.offer.bundle} {action.offer.region}"
        if isinstance(action, Launch)
        else f"{type(action).__name__} {action.server}"
        for action in decided.actions
    ]
    return f"{decided.verdict.action}/{decided.verdict.reason}", done


@pytest.fixture
def now() -> float:
    return NOW


@pytest.fixture
def make_signals() -> Callable[..., Signals]:
    return build_signals


@pytest.fixture
def make_server() -> Callable[..., ServerView]:
    return build_server


@pytest.fixture
def make_offer() -> Callable[..., Offer]:
    return build_offer


@pytest.fixture
def make_snapshot() -> Callable[..., Snapshot]:
    return build_snapshot


@pytest.fixture
def decide() -> Callable[..., Plan]:
    return run_plan


@pytest.fixture
def words() -> Callable[[Plan], tuple[str, list[str]]]:
    return in_words
