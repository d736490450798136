"""The start: nothing is decided, and the cloud is asked for nothing, before everything the operator owns is known."""

import pytest

from controller.cloud.tencent import Settings as CloudSettings
from controller.cloud.tencent import connect
from controller.kube.client import KubeClient
from controller.kube.connect import Connection
from controller.operator.context import Settings
from controller.operator.process import Operator, StartupError
from controller.sandbox.cloudsim import SANDBOX_KEY, CloudConfig, SimulatedCloud
from controller.sandbox.kubeapi.server import LocalKubernetes


async def test_an_operator_that_cannot_read_its_objects_does_not_start_and_asks_the_cloud_for_nothing() -> None:
    cloud, kubernetes = SimulatedCloud(CloudConfig()), LocalKubernetes()
    await cloud.start("127.0.0.1", 0)
    kube = KubeClient(Connection(await kubernetes.start("127.0.0.1", 0)))
    environment = {
        "HAIPOOL_CLOUD_ENDPOINT": cloud.url,
        "TENCENTCLOUD_SECRET_ID": SANDBOX_KEY.secret_id,
        "TENCENTCLOUD_SECRET_KEY": SANDBOX_KEY.secret_key,
    }
    adapter = connect(CloudSettings.from_environment(environment))
    try:
        with pytest.raises(StartupError, match="are the CRDs installed"):
            await Operator.start(kube, adapter, Settings(metrics_port=0))
        assert cloud.counts() == {}
    finally:
        await adapter.close()
        await kube.close()
        await kubernetes.stop()
        await cloud.stop()
