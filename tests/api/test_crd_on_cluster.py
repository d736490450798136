"""What the API server makes of haipool's kinds: defaults filled in, bad input refused with the field and the rule."""

import json
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from controller.api.gpuinstance import GpuInstance
from controller.api.gpupool import GpuPool, GpuPoolSpec
from controller.api.model import read
from controller.api.names import API_VERSION
from controller.api.regionpreset import RegionPreset

Object = dict[str, Any]
Apply = Callable[[Object], str]

PRESET = {"region": "ap-beijing", "application": {"id": "app-x1"}}
INSTANCE = {
    "pool": "demo",
    "poolUID": "u-1",
    "region": "ap-beijing",
    "bundle": "XL",
    "applicationId": "app-x1",
    "pricePerHour": 1.5,
    "launchNumber": 1,
}
ROBOT = {"name": "oncall", "type": "WeCom", "urlSecret": {"name": "robots", "key": "url"}}


def _object(kind: str, spec: Object | None, name: str = "demo") -> Object:
    written: Object = {"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": name}}
    return written if spec is None else written | {"spec": spec}


@pytest.fixture
def apply(cluster: Any, namespace: str) -> Apply:
    """Create or change an object; the error output, empty if it was taken."""

    def run(item: Object) -> str:
        done = cluster.kubectl("apply", "-n", namespace, "-f", "-", input=json.dumps(item), check=False)
        assert (done.returncode == 0) is not bool(done.stderr), done
        return str(done.stderr)

    return run


@pytest.fixture
def refused(cluster: Any, namespace: str) -> Apply:
    """Try to create an object that is invalid; what the API server says of it."""

    def run(item: Object) -> str:
        plural = f"{item['kind'].lower()}s"
        path = f"/apis/{API_VERSION}/namespaces/{namespace}/{plural}?fieldValidation=Strict"
        code, status = cluster.request("POST", path, item)
        assert code in {400, 422}, status
        return str(status["message"])

    return run


@pytest.fixture
def stored(cluster: Any, namespace: str) -> Callable[[str], Object]:
    """An object as the API server shows it."""
    return lambda what: json.loads(cluster.kubectl("get", what, "-n", namespace, "-o", "json").stdout)


def test_an_empty_pool_gets_the_rules_of_the_model(apply: Apply, stored: Callable[[str], Object]) -> None:
    assert apply(_object("GpuPool", None)) == ""
    pool = stored("gpupool/demo")
    assert read(GpuPool, pool).spec == GpuPoolSpec()
    assert pool["spec"]["scaling"]["up"]["queueLength"] == 15
    assert "max" not in pool["spec"]["replicas"]
    assert "status" not in pool


def test_defaults_come_in_beside_what_is_given(apply: Apply, stored: Callable[[str], Object]) -> None:
    spec = {
        "scaling": {"up": {"queueLength": 20}},
        "gpuTypes": [{"bundle": "XL"}],
        "server": {"warmUp": {"path": "/w"}},
    }
    assert apply(_object("GpuPool", spec)) == ""
    found = stored("gpupool/demo")["spec"]
    assert found["scaling"]["up"]["queueLength"] == 20
    assert found["scaling"]["down"]["queueLength"] == 3
    assert found["gpuTypes"] == [{"bundle": "XL", "concurrency": 1, "speed": 1}]
    assert found["server"]["warmUp"]["timeoutSeconds"] == 120
    assert "systemDisk" not in found["server"]


@pytest.mark.parametrize("step", [1, 100, "Auto"])
def test_a_step_is_a_number_or_auto(step: int | str, apply: Apply, stored: Callable[[str], Object]) -> None:
    assert apply(_object("GpuPool", {"scaling": {"up": {"step": step}, "down": {"step": step}}})) == ""
    scaling = read(GpuPool, stored("gpupool/demo")).spec.scaling
    assert (scaling.up.step, scaling.down.step) == (step, step)


def test_a_preset_and_an_instance_are_read_back_as_models(apply: Apply, stored: Callable[[str], Object]) -> None:
    assert apply(_object("RegionPreset", PRESET)) == ""
    assert read(RegionPreset, stored("regionpreset/demo")).spec.disk_gib == 50
    assert apply(_object("GpuInstance", INSTANCE)) == ""
    assert read(GpuInstance, stored("gpuinstance/demo")).spec.drain is False


POOL_FAULTS = {
    "min above max": ({"replicas": {"min": 3, "max": 2}}, "spec.replicas.min", "must not exceed replicas.max"),
    "negative minimum": ({"replicas": {"min": -1}}, "spec.replicas.min", "greater than or equal to 0"),
    "response thresholds": (
        {"scaling": {"down": {"meanResponseSeconds": 3}}},
        "spec.scaling",
        "scaling.down.meanResponseSeconds must be below scaling.up.meanResponseSeconds",
    ),
    "queue thresholds": ({"scaling": {"up": {"queueLength": 3}}}, "spec.scaling", "queueLength must be below"),
    "CPU thresholds": ({"scaling": {"up": {"cpuPercent": 30}}}, "spec.scaling", "cpuPercent must be below"),
    "CPU above 100": ({"scaling": {"up": {"cpuPercent": 101}}}, "spec.scaling.up.cpuPercent", "less than or equal to"),
    "no step": ({"scaling": {"up": {"step": 0}}}, "spec.scaling.up.step", "greater than or equal to 1"),
    "a leap": ({"scaling": {"up": {"step": 101}}}, "spec.scaling.up.step", "less than or equal to 100"),
    "no step down": ({"scaling": {"down": {"step": 0}}}, "spec.scaling.down.step", "greater than or equal to 1"),
    "half a step": ({"scaling": {"up": {"step": 1.5}}}, "spec.scaling.up.step", ""),
    "unknown step": ({"scaling": {"up": {"step": "auto"}}}, "spec.scaling.up.step", "should match '^(Auto)$'"),
    "traffic levels": ({"traffic": {"thresholdsGB": {"warning": 450}}}, "spec.traffic.thresholdsGB", "must be ordered"),
    "a hook that restores nothing": (
        {"traffic": {"optimization": {"hooks": {"optimize": {"onEnter": [{"path": "/low", "restore": True}]}}}}},
        "spec.traffic.optimization.hooks.optimize.onEnter[0]",
        "a hook with restore: true sends a JSON object by POST, PUT or PATCH",
    ),
    "restoring on leaving": (
        {
            "traffic": {
                "optimization": {"hooks": {"critical": {"onLeave": [{"path": "/low", "body": "{}", "restore": True}]}}}
            }
        },
        "spec.traffic.optimization.hooks.critical",
        "restore belongs to a hook in onEnter",
    ),
    "unknown hook set": (
        {"traffic": {"optimization": {"hooks": {"hookSet": "Gradio"}}}},
        "spec.traffic.optimization.hooks.hookSet",
        'Unsupported value: "Gradio"',
    ),
    "a WeCom robot that signs": (
        {"notifications": [ROBOT | {"signSecret": {"name": "robots", "key": "sign"}}]},
        "spec.notifications[0].signSecret",
        "WeCom robots have no signing secret",
    ),
    "a destination without a URL": (
        {"notifications": [{"name": "oncall", "type": "Feishu"}]},
        "spec.notifications[0].urlSecret",
        "Required value",
    ),
    "a URL that is written out": (
        {"notifications": [ROBOT | {"url": "https://a.example"}]},
        "spec.notifications[0].url",
        "unknown field",
    ),
    "two destinations of one name": ({"notifications": [ROBOT, ROBOT]}, "spec.notifications[1]", "Duplicate value"),
    "a name that is kept for the log": (
        {"notifications": [ROBOT | {"name": "Record"}]},
        "spec.notifications[0].name",
        "should match",
    ),
    "unknown robot": (
        {"notifications": [ROBOT | {"type": "Slack"}]},
        "spec.notifications[0].type",
        'Unsupported value: "Slack"',
    ),
    "samples without end": ({"records": {"serverStatusSeconds": 1}}, "spec.records.serverStatusSeconds", "equal to 10"),
    "soft above hard": (
        {"budget": {"daily": {"soft": 10, "hard": 5}}},
        "spec.budget.daily.soft",
        "soft must not exceed hard",
    ),
    "a budget of nothing": ({"budget": {"hourly": {}}}, "spec.budget.hourly", "a budget needs soft, hard, or both"),
    "no money": ({"budget": {"monthly": {"hard": 0}}}, "spec.budget.monthly.hard", "greater than 0"),
    "unknown bundle": ({"gpuTypes": [{"bundle": "9XL"}]}, "spec.gpuTypes[0].bundle", 'Unsupported value: "9XL"'),
    "bundle twice": (
        {"gpuTypes": [{"bundle": "XL"}, {"bundle": "XL", "speed": 2}]},
        "spec.gpuTypes[1]",
        "Duplicate value",
    ),
    "no speed": ({"gpuTypes": [{"bundle": "XL", "speed": 0}]}, "spec.gpuTypes[0].speed", "greater than 0"),
    "text for a number": ({"replicas": {"min": "two"}}, "spec.replicas.min", "must be of type integer"),
    "part of a task": ({"scaling": {"up": {"queueLength": 1.5}}}, "spec.scaling.up.queueLength", "of type integer"),
    "service and urls": (
        {"metrics": {"service": "a", "urls": ["http://b"]}},
        "spec.metrics",
        "set metrics.service or metrics.urls, not both",
    ),
    "a query's address": (
        {"metrics": {"prometheus": {"url": "http://p:9090/api/v1/query", "dispatchers": "a"}}},
        "spec.metrics.prometheus",
        "metrics.prometheus.url is http(s)://HOST[:PORT][/PREFIX]",
    ),
    "a user in the address": (
        {"metrics": {"prometheus": {"url": "http://me:secret@p:9090", "dispatchers": "a"}}},
        "spec.metrics.prometheus",
        "without user",
    ),
    "nothing to ask Prometheus": (
        {"metrics": {"prometheus": {"url": "http://p:9090"}}},
        "spec.metrics.prometheus",
        "metrics.prometheus needs a query in queries, or dispatchers",
    ),
    "a query without end": (
        {"metrics": {"prometheus": {"url": "http://p:9090", "queries": {"cpuPercent": "x" * 2049}}}},
        "spec.metrics.prometheus.queries.cpuPercent",
        "2048",
    ),
    "relative path": ({"server": {"healthPath": "health"}}, "spec.server.healthPath", "should match '^/'"),
    "no time": ({"queue": {"windowOrigin": "monday"}}, "spec.queue.windowOrigin", "date-time"),
    "unknown mode": ({"mode": "Guess"}, "spec.mode", 'supported values: "Act", "Recommend"'),
    "unknown field": ({"replicas": {"minimum": 1}}, "spec.replicas.minimum", "unknown field"),
    "poll without poll": (
        {"queue": {"routes": [{"name": "r", "completion": "Poll"}]}},
        "spec.queue.routes[0].completion",
        "a route with completion Poll needs poll",
    ),
    "poll of a pass-through": (
        {"queue": {"routes": [{"name": "r", "kind": "PassThrough", "completion": "Poll", "poll": {"path": "/{id}"}}]}},
        "spec.queue.routes[0].kind",
        "completion Poll is for routes of kind Task",
    ),
    "forwardTo of a task": (
        {"queue": {"routes": [{"name": "r", "forwardTo": "Running"}]}},
        "spec.queue.routes[0].forwardTo",
        "forwardTo is for routes of kind PassThrough",
    ),
    "unknown route set": ({"queue": {"routeSet": "Gradio"}}, "spec.queue.routeSet", 'Unsupported value: "Gradio"'),
    "a list for an object": ({"server": []}, "spec.server", "must be of type object"),
}


@pytest.mark.parametrize(("spec", "field", "rule"), POOL_FAULTS.values(), ids=POOL_FAULTS)
def test_a_bad_pool_is_refused_with_the_field_and_the_rule(refused: Apply, spec: Object, field: str, rule: str) -> None:
    error = refused(_object("GpuPool", spec))
    assert field in error
    assert rule in error


PRESET_FAULTS = {
    "foreign region": ({"region": "eu-frankfurt"}, "spec.region", 'Unsupported value: "eu-frankfurt"'),
    "no region": ({"region": None}, "spec.region", "Required value"),
    "id and name": ({"application": {"id": "app-1", "name": "sd"}}, "spec.application", "only one of them"),
    "neither id nor name": ({"application": {}}, "spec.application", "set application.id or application.name"),
    "malformed id": ({"application": {"id": "hai-1"}}, "spec.application.id", "should match"),
    "a source for an id": (
        {"sourceInstanceId": "hai-abc"},
        "spec",
        "sourceInstanceId goes with application.name",
    ),
    "a source for a public application": (
        {"sourceInstanceId": "hai-abc", "application": {"name": "sd", "type": "PUBLIC_APPLICATION"}},
        "spec",
        "sourceInstanceId goes with application.name",
    ),
    "malformed source": (
        {"sourceInstanceId": "app-1", "application": {"name": "sd"}},
        "spec.sourceInstanceId",
        "should match",
    ),
    "negative price": ({"storagePricePerGiBDay": -1}, "spec.storagePricePerGiBDay", "greater than or equal to 0"),
}


@pytest.mark.parametrize(("change", "field", "rule"), PRESET_FAULTS.values(), ids=PRESET_FAULTS)
def test_a_bad_preset_is_refused(refused: Apply, change: Object, field: str, rule: str) -> None:
    error = refused(_object("RegionPreset", PRESET | change))
    assert field in error
    assert rule in error


@pytest.mark.parametrize("kind", ["RegionPreset", "GpuInstance"])
def test_what_is_to_be_bought_or_stored_has_to_be_said(refused: Apply, kind: str) -> None:
    assert "spec: Required value" in refused(_object(kind, None))


@pytest.mark.parametrize(
    "change",
    [
        {"bundle": "4XL"},
        {"region": "ap-nanjing"},
        {"pricePerHour": 1.6},
        {"launchNumber": 2},
        {"poolUID": "u-2"},
        {"reason": "another"},
        {"systemDisk": {"sizeGiB": 100}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_an_instance_cannot_become_another_one(cluster: Any, namespace: str, change: Object) -> None:
    path = f"/apis/{API_VERSION}/namespaces/{namespace}/gpuinstances"
    assert cluster.request("POST", path, _object("GpuInstance", INSTANCE))[0] == 201
    code, status = cluster.request("PATCH", f"{path}/demo", {"spec": change}, "application/merge-patch+json")
    assert code == 422
    assert "spec is immutable except drain" in status["message"]


def test_a_bad_pool_is_refused_at_kubectl_apply(apply: Apply) -> None:
    error = apply(_object("GpuPool", {"replicas": {"min": 3, "max": 2}}))
    assert error.startswith('The GpuPool "demo" is invalid: spec.replicas.min: ')
    assert "replicas.min must not exceed replicas.max" in error


def test_a_system_disk_stays_as_it_was_ordered(apply: Apply) -> None:
    ordered = INSTANCE | {"systemDisk": {"sizeGiB": 100, "type": "CLOUD_HSSD"}}
    assert apply(_object("GpuInstance", ordered)) == ""
    assert "immutable" in apply(_object("GpuInstance", INSTANCE | {"systemDisk": {"sizeGiB": 120}}))
    assert apply(_object("GpuInstance", ordered | {"drain": True})) == ""


def test_drain_may_be_set_and_taken_back(apply: Apply, stored: Callable[[str], Object]) -> None:
    for drain in (False, True, False):
        assert apply(_object("GpuInstance", INSTANCE | {"drain": drain})) == ""
        assert stored("gpuinstance/demo")["spec"]["drain"] is drain


def test_scale_sets_the_minimum_within_its_bounds(cluster: Any, namespace: str, apply: Apply) -> None:
    assert apply(_object("GpuPool", {"replicas": {"max": 5}})) == ""
    cluster.kubectl("scale", "gp/demo", "--replicas=4", "-n", namespace)
    found = cluster.kubectl("get", "gp/demo", "-n", namespace, "-o", "jsonpath={.spec.replicas.min}")
    assert found.stdout == "4"
    refused = cluster.kubectl("scale", "gp/demo", "--replicas=6", "-n", namespace, check=False)
    assert refused.returncode == 1
    assert "replicas.min must not exceed replicas.max" in refused.stderr


def test_two_conditions_of_one_type_are_refused(cluster: Any, namespace: str, apply: Apply) -> None:
    assert apply(_object("RegionPreset", PRESET)) == ""
    condition = {"type": "Ready", "status": "True", "reason": "Verified"}
    patch = json.dumps({"status": {"conditions": [condition, condition]}})
    command = ["patch", "rp/demo", "-n", namespace, "--subresource=status", "--type=merge"]
    refused = cluster.kubectl(*command, "-p", patch, check=False)
    assert "status.conditions[1]: Duplicate value" in refused.stderr
    cluster.kubectl(
        *command, "-p", json.dumps({"status": {"conditions": [condition], "verifiedAt": "2025-01-31T00:00:00Z"}})
    )


COLUMNS = {
    "gp": ("NAME DESIRED READY DEPLOYING CNY/H TRIGGER AGE", "TRAFFIC SPEND TODAY MESSAGE"),
    "rp": (
        "NAME REGION PRIORITY READY APPLICATION STATE CHEAPEST CNY/DAY AGE",
        "CHECKED BLOCKED DEPLOYS IN MESSAGE",
    ),
    "gi": ("NAME POOL REGION BUNDLE CNY/H PHASE INSTANCE AGE", "ADDRESS REASON MESSAGE"),
}


def test_columns_show_what_the_kinds_are_about(cluster: Any, namespace: str, apply: Apply) -> None:
    for kind, spec in (("GpuPool", None), ("RegionPreset", PRESET), ("GpuInstance", INSTANCE)):
        assert apply(_object(kind, spec)) == ""
    for short, (narrow, wide) in COLUMNS.items():
        shown = cluster.kubectl("get", short, "-n", namespace).stdout.splitlines()[0]
        assert shown.split() == narrow.split()
        shown = cluster.kubectl("get", short, "-n", namespace, "-o", "wide").stdout.splitlines()[0]
        assert shown.split() == narrow.split() + wide.split()


def test_columns_show_the_status(cluster: Any, namespace: str, apply: Apply) -> None:
    assert apply(_object("GpuPool", None)) == ""
    status = {"desiredReplicas": 3, "readyReplicas": 2, "spend": {"perHour": 4.62}, "trigger": "QueueLength"}
    command = ["patch", "gp/demo", "-n", namespace, "--subresource=status", "--type=merge"]
    cluster.kubectl(*command, "-p", json.dumps({"status": status}))
    row = cluster.kubectl("get", "gp", "-n", namespace, "--no-headers").stdout.split()
    assert row[:5] == ["demo", "3", "2", "4.62", "QueueLength"]


def test_all_kinds_are_in_one_category(cluster: Any, namespace: str, apply: Apply) -> None:
    assert apply(_object("GpuPool", None)) == ""
    assert apply(_object("RegionPreset", PRESET)) == ""
    names = cluster.kubectl("get", "haipool", "-n", namespace, "-o", "name").stdout.split()
    assert sorted(names) == ["gpupool.haipool.io/demo", "regionpreset.haipool.io/demo"]


def test_fields_are_explained(cluster: Any) -> None:
    shown = cluster.kubectl("explain", "gpupool.spec.scaling.up.maxWaitSeconds").stdout
    assert "Longest wait above this." in shown
    assert "maxWaitSeconds <number>" in " ".join(shown.split())


def test_the_applied_files_are_the_crds_of_the_cluster(cluster: Any) -> None:
    found = yaml.safe_load(cluster.kubectl("get", "crd", "gpupools.haipool.io", "-o", "yaml").stdout)
    assert found["status"]["acceptedNames"]["shortNames"] == ["gp"]
    assert {entry["type"]: entry["status"] for entry in found["status"]["conditions"]}["Established"] == "True"
