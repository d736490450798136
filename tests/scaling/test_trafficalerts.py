"""Which alerts about traffic fire, for whom, and at which level."""

import pytest

from controller.api.traffic import Traffic, TrafficLevel, TrafficStatus
from controller.scaling.alerts import Alert
from controller.scaling.quota import Share
from controller.scaling.trafficalerts import traffic_alerts

SHARES = [Share("b", "2", 460.0), Share("a", "1", 310.0), Share("c", "3", 5.0), Share("gone", "4", 490.0, ended=True)]


def alerts(level: TrafficLevel, used: float) -> list[Alert]:
    return traffic_alerts(TrafficStatus(month="2026-01", used_gb=used, level=level), SHARES, Traffic())


def test_none_fires_below_the_first_threshold() -> None:
    assert alerts("Normal", 299.0) == []


@pytest.mark.parametrize(
    ("level", "used", "alert", "threshold"),
    [("Optimize", 301.0, "Info", 300.0), ("Warning", 401.0, "Warning", 400.0), ("Critical", 451.0, "Critical", 450.0),
     ("Emergency", 481.0, "Emergency", 480.0)],
)  # fmt: skip
def test_the_pool_has_one_that_rises_with_its_level(
    level: TrafficLevel, used: float, alert: str, threshold: float
) -> None:
    (found,) = alerts(level, used)
    assert (found.rule, found.level, found.subject) == ("TrafficQuota", alert, "")
    assert (found.value, found.threshold, found.unit) == (used, threshold, "GB")
    assert f"{used:.1f} GB" in found.message
    assert f"{used:.1f} GB" in found.message_zh


def test_a_level_that_is_held_keeps_its_alert() -> None:
    (found,) = alerts("Optimize", 298.0)
    assert found.level == "Info"


def test_under_the_scope_instance_each_living_server_has_its_own() -> None:
    spec = Traffic(scope="Instance")
    found = traffic_alerts(TrafficStatus(month="2026-01", used_gb=1265.0, level="Critical"), SHARES, spec)
    assert [(a.subject, a.level, a.value) for a in found] == [("a", "Info", 310.0), ("b", "Critical", 460.0)]
    assert found[0].message.startswith("a has used 310.0 GB")
