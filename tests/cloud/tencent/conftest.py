"""A simulated cloud on a real port, and the adapter over the real SDK in front of it."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from controller.cloud.contract import LaunchSpec
from controller.cloud.tencent import Settings, TencentCloud
from controller.cloud.tencent.settings import Endpoint
from controller.sandbox.cloudsim import CPU_METRIC, SANDBOX_KEY, CloudConfig, SimulatedCloud

REGION = "ap-beijing"


class Clock:
    """The simulated cloud's time, moved by hand."""

    def __init__(self) -> None:
        self.now = 1_750_000_000.0

    def __call__(self) -> float:
        return self.now

    def pass_(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def config() -> CloudConfig:
    """Tests override it to have another cloud."""
    return CloudConfig(metrics=(CPU_METRIC,), calls_per_second=1000)


@pytest.fixture
async def sim(config: CloudConfig, clock: Clock) -> AsyncIterator[SimulatedCloud]:
    simulated = SimulatedCloud(config, clock=clock)
    await simulated.start()
    yield simulated
    await simulated.stop()


Connect = Callable[..., TencentCloud]


@pytest.fixture
async def connect_to(clock: Clock) -> AsyncIterator[Connect]:
    """Make an adapter for any URL; all are closed at the end. Pauses between attempts are short, limits as shipped."""
    made: list[TencentCloud] = []

    def make(url: str, **changes: Any) -> TencentCloud:
        values: dict[str, Any] = {
            "secret_id": SANDBOX_KEY.secret_id,
            "secret_key": SANDBOX_KEY.secret_key,
            "endpoint": Endpoint.parse(url, name="url"),
            "timeout_s": 5.0,
        }
        made.append(TencentCloud(Settings(**(values | changes)), backoff_first_s=0.01, clock=clock))
        return made[-1]

    yield make
    for cloud in made:
        await cloud.close()


@pytest.fixture
def cloud(sim: SimulatedCloud, connect_to: Connect) -> TencentCloud:
    return connect_to(sim.url)


@pytest.fixture
def spec(sim: SimulatedCloud) -> LaunchSpec:
    return LaunchSpec(sim.application_id(REGION), "XL", "hp1-aaaaaaaa-bbbbbbbb-uid-XL", "token-1")


@pytest.fixture
def running(
    sim: SimulatedCloud, cloud: TencentCloud, clock: Clock, config: CloudConfig
) -> Callable[[], Awaitable[str]]:
    """Buy one and wait until it runs."""
    numbers = iter(range(1000))

    async def buy() -> str:
        token = f"running-{next(numbers)}"
        order = LaunchSpec(sim.application_id(REGION), "XL", token, token)
        instance_id = await cloud.run_instance(REGION, order)
        clock.pass_(config.deploy_s)
        await sim.settle()
        return instance_id

    return buy
