"""The pods agree with the code they run: commands, ports, probes, credentials, time to end."""

import argparse
from collections.abc import Callable
from typing import Any

import pytest

from controller.api.gpupool import GpuPool
from controller.api.metrics import ADMIN_PORT, DATA_PORT
from controller.api.model import Metadata
from controller.api.queue import Route
from controller.cli import COMMANDS
from controller.cloud.tencent.settings import ENV_SECRET_ID, ENV_SECRET_KEY, MAX_TIMEOUT_S
from controller.dispatcher import main as dispatcher_command
from controller.operator import main as operator_command
from controller.operator.scrape import service_address

Object = dict[str, Any]
Find = Callable[[str, str], Object]


def ports(container: Object) -> dict[str, int]:
    return {port["name"]: port["containerPort"] for port in container["ports"]}


def only_container(workload: Object) -> Object:
    (container,) = workload["spec"]["template"]["spec"]["containers"]
    return container  # type: ignore[no-any-return]


def test_pods_run_without_any_privilege(pod: Object, container: Object) -> None:
    security = pod["securityContext"]
    assert security["runAsNonRoot"] is True
    assert security["runAsUser"] == security["runAsGroup"] == 65532
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_what_a_read_only_pod_writes_has_a_volume(pod: Object, container: Object) -> None:
    assert {"name": "tmp", "emptyDir": {}} in pod["volumes"]
    assert {"name": "tmp", "mountPath": "/tmp"} in container["volumeMounts"]


def test_pods_say_what_they_need(container: Object) -> None:
    assert set(container["resources"]["requests"]) == {"cpu", "memory"}
    assert set(container["resources"]["limits"]) == {"memory"}  # a CPU limit would throttle bursts


def test_each_container_runs_a_command_that_exists(container: Object) -> None:
    assert "command" not in container  # the image's entry point is `haipool`
    assert container["args"][0] in COMMANDS


def test_every_probe_asks_a_declared_port(container: Object) -> None:
    probes = [probe for name, probe in container.items() if name.endswith("Probe")]
    assert probes
    assert {probe["httpGet"]["port"] for probe in probes} <= set(ports(container))


def test_prometheus_is_told_the_metrics_port(workloads: dict[str, Object]) -> None:
    for name, port in (("operator", "metrics"), ("dispatcher", "admin")):
        assert workloads[name]["spec"]["template"]["metadata"]["annotations"] == {
            "prometheus.io/scrape": "true",
            "prometheus.io/port": str(ports(only_container(workloads[name]))[port]),
            "prometheus.io/path": "/metrics",
        }


class TestOperator:
    @pytest.fixture
    def operator(self, workloads: dict[str, Object]) -> Object:
        return workloads["operator"]

    def test_there_is_never_a_second_writer(self, operator: Object) -> None:
        assert operator["spec"]["replicas"] == 1
        assert operator["spec"]["strategy"] == {"type": "Recreate"}

    def test_its_ports_are_the_commands_own(self, operator: Object) -> None:
        container = only_container(operator)
        parser = argparse.ArgumentParser()
        operator_command.add_arguments(parser)
        options = parser.parse_args(container["args"][1:])
        assert ports(container) == {"metrics": options.metrics_port, "liveness": options.liveness_port}

    def test_its_keys_come_from_the_secret_if_it_is_there(self, operator: Object) -> None:
        env = {entry["name"]: entry["valueFrom"]["secretKeyRef"] for entry in only_container(operator)["env"]}
        assert env == {
            ENV_SECRET_ID: {"name": "tencent-credentials", "key": "secretId", "optional": True},
            ENV_SECRET_KEY: {"name": "tencent-credentials", "key": "secretKey", "optional": True},
        }

    def test_a_purchase_in_flight_may_end(self, operator: Object) -> None:
        grace = operator["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
        assert grace > 2 * MAX_TIMEOUT_S + 5  # the longest cloud call: see Settings in controller.cloud.tencent


class TestDispatcher:
    @pytest.fixture
    def dispatcher(self, workloads: dict[str, Object]) -> Object:
        return workloads["dispatcher"]

    def options(self, dispatcher: Object) -> argparse.Namespace:
        parser = argparse.ArgumentParser()
        dispatcher_command.add_arguments(parser)
        return parser.parse_args(only_container(dispatcher)["args"][1:])

    def test_its_ports_are_the_commands_own_and_the_contracts(self, dispatcher: Object) -> None:
        options = self.options(dispatcher)
        assert ports(only_container(dispatcher)) == {"http": options.port, "admin": options.admin_port}
        assert (options.port, options.admin_port) == (DATA_PORT, ADMIN_PORT)

    def test_it_serves_the_pool_that_its_label_names(self, dispatcher: Object) -> None:
        container = only_container(dispatcher)
        assert self.options(dispatcher).pool == "$(POOL)"
        (pool,) = (e for e in container["env"] if e["name"] == "POOL")
        assert pool["valueFrom"]["fieldRef"]["fieldPath"] == "metadata.labels['haipool.io/pool']"
        assert dispatcher["spec"]["template"]["metadata"]["labels"]["haipool.io/pool"] == "default"

    def test_it_is_ready_and_alive_by_its_admin_port(self, dispatcher: Object) -> None:
        container = only_container(dispatcher)
        assert container["livenessProbe"]["httpGet"] == {"path": "/-/healthy", "port": "admin"}
        assert container["readinessProbe"]["httpGet"] == {"path": "/-/ready", "port": "admin"}

    def test_tasks_at_the_servers_may_end(self, dispatcher: Object) -> None:
        grace = dispatcher["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
        assert grace >= self.options(dispatcher).grace + 60
        assert self.options(dispatcher).grace >= Route(name="any").timeout_seconds

    def test_tasks_and_bodies_go_to_the_volume(self, dispatcher: Object) -> None:
        mounts = [mount["mountPath"] for mount in only_container(dispatcher)["volumeMounts"]]
        options = self.options(dispatcher)
        assert options.data in mounts
        assert (options.store, options.spool) == (None, None), "both follow from --data"

    def test_its_records_go_to_the_volume_and_outlive_the_pod(self, dispatcher: Object) -> None:
        (claim,) = dispatcher["spec"]["volumeClaimTemplates"]
        (mount,) = (m for m in only_container(dispatcher)["volumeMounts"] if m["mountPath"] == "/logs")
        assert self.options(dispatcher).logs == "/logs"
        assert (mount["name"], mount["subPath"]) == (claim["metadata"]["name"], "logs")

    def test_its_volume_outlives_the_pod(self, dispatcher: Object) -> None:
        (claim,) = dispatcher["spec"]["volumeClaimTemplates"]
        mounts = {mount["mountPath"]: mount["name"] for mount in only_container(dispatcher)["volumeMounts"]}
        assert mounts["/var/lib/haipool"] == claim["metadata"]["name"]
        assert dispatcher["spec"]["template"]["spec"]["securityContext"]["fsGroup"] == 65532

    def test_clients_find_it_under_the_pools_name(self, find: Find) -> None:
        service = find("Service", "default-dispatcher")["spec"]
        assert service["ports"] == [{"name": "http", "port": 80, "targetPort": "http"}]

    def test_the_operator_finds_every_replica_where_it_looks_by_default(self, find: Find) -> None:
        pool = GpuPool(metadata=Metadata(name="default", namespace="haipool-system"))
        host, port = service_address(pool)
        service = find("Service", host.split(".")[0])
        assert service["metadata"]["namespace"] == host.split(".")[1]
        assert service["spec"]["clusterIP"] == "None"
        assert service["spec"]["publishNotReadyAddresses"] is True
        assert service["spec"]["ports"] == [{"name": "metrics", "port": port, "targetPort": "admin"}]

    def test_the_services_select_this_pools_dispatcher_alone(self, find: Find, dispatcher: Object) -> None:
        labels = dispatcher["spec"]["template"]["metadata"]["labels"]
        for name in ("default-dispatcher", "default-dispatcher-headless"):
            selector = find("Service", name)["spec"]["selector"]
            assert selector["haipool.io/pool"] == "default"
            assert selector.items() <= labels.items()
