"""The alert rules that ship: Prometheus takes them, they fire when they should, and every figure in them exists."""

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry

from controller.operator.metrics import OperatorMetrics
from controller.records.metrics import RecordsCollector
from controller.records.writer import RecordWriter

Object = dict[str, Any]


@pytest.fixture(scope="module")
def rules(root: Path) -> Object:
    document = yaml.safe_load((root / "manifests/monitoring/rules.yaml").read_text(encoding="utf-8"))
    assert (document["apiVersion"], document["kind"]) == ("monitoring.coreos.com/v1", "PrometheusRule")
    spec: Object = document["spec"]
    return spec


@pytest.fixture
def promtool() -> Callable[..., str]:
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("promtool is not installed (Debian package prometheus)")

    def run(*arguments: str) -> str:
        done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


def test_prometheus_takes_the_rules(rules: Object, promtool: Callable[..., str], tmp_path: Path) -> None:
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump(rules))
    assert f"{len(rules['groups'][0]['rules'])} rules found" in promtool("check", "rules", str(file))


def test_they_fire_and_are_silent_as_they_should(rules: Object, promtool: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(rules))
    labels = {"namespace": "n", "pool": "p"}

    def alert(severity: str, rule: str, level: str) -> Object:
        return {
            "exp_labels": {"severity": severity, "rule": rule, "level": level, **labels},
            "exp_annotations": {
                "summary": f"{rule} at pool n/p",
                "description": "kubectl -n n describe gpupool p, status.alerts",
            },
        }

    series = [
        ('haipool_alerts{namespace="n",pool="p",rule="Account",level="Emergency"}', "_x4 1x3 _x20"),
        ('haipool_alerts{namespace="n",pool="p",rule="SoldOut",level="Warning"}', "1x30"),
        ('haipool_cloud_calls_total{call="price",outcome="ok"}', "0+1x10 _x30"),
        ('haipool_decisions_total{namespace="n",pool="p",action="Hold",reason="x"}', "0+6x60"),
    ]
    cases = [
        ("3m", "HaipoolEmergency", []),
        ("6m", "HaipoolEmergency", [alert("page", "Account", "Emergency")]),
        ("20m", "HaipoolEmergency", []),
        ("6m", "HaipoolWarning", [alert("warning", "SoldOut", "Warning")]),
        ("6m", "HaipoolCritical", []),
        ("6m", "HaipoolOperatorGone", []),
        ("30m", "HaipoolNoDecisions", []),
    ]
    test = {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series],
        "alert_rule_test": [{"eval_time": at, "alertname": name, "exp_alerts": wanted} for at, name, wanted in cases],
    }
    file = tmp_path / "test.yaml"
    file.write_text(yaml.safe_dump({"rule_files": ["rules.yaml"], "evaluation_interval": "1m", "tests": [test]}))
    promtool("test", "rules", str(file))


def test_every_figure_in_the_rules_is_exported(rules: Object, tmp_path: Path) -> None:
    registry = CollectorRegistry()
    OperatorMetrics(registry)
    registry.register(RecordsCollector(RecordWriter(tmp_path, types=("alerts",))))
    exported = {f"{family.name}_total" if family.type == "counter" else family.name for family in registry.collect()}
    for rule in rules["groups"][0]["rules"]:
        used = set(re.findall(r"haipool_\w+", rule["expr"]))
        assert used
        assert used <= exported, rule["alert"]
