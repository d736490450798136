"""What is on at which traffic level."""

from typing import Any

import msgspec
import pytest

from controller.api.gpupool import GpuPool, GpuPoolSpec, GpuPoolStatus
from controller.api.model import Metadata
from controller.api.traffic import TrafficStatus
from controller.dispatcher.saving.policy import Policy, policy_of


def policy(level: Any, **compression: str) -> Policy | None:
    spec = msgspec.convert({"traffic": {"optimization": {"compression": compression}}}, GpuPoolSpec)
    status = GpuPoolStatus(traffic=TrafficStatus(level=level))
    return policy_of(GpuPool(metadata=Metadata(name="demo"), spec=spec, status=status))


@pytest.mark.parametrize(
    ("since", "levels"),
    [
        ("Never", set()),
        ("Optimize", {"Optimize", "Warning", "Critical", "Emergency"}),
        ("Critical", {"Critical", "Emergency"}),
        ("Always", {"Normal", "Optimize", "Warning", "Critical", "Emergency"}),
    ],
)
def test_each_means_is_on_from_its_level(since: str, levels: set[str]) -> None:
    for level in ("Normal", "Optimize", "Warning", "Critical", "Emergency"):
        expected = level in levels
        assert policy(level, fromServers=since) == (Policy(from_servers=True) if expected else None)
        assert policy(level, fromServers="Never", toClients=since) == (Policy(to_clients=True) if expected else None)


def test_below_300_gb_a_pool_that_says_nothing_changes_nothing() -> None:
    assert policy("Normal") is None


def test_from_300_gb_servers_compress() -> None:
    assert policy("Optimize") == Policy(from_servers=True)
