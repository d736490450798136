"""Applications made from instances, over the real SDK: asked for once, and every answer has its class."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from controller.cloud.errors import (
    AmbiguousError,
    CloudError,
    InProgressError,
    InvalidRequestError,
    NameTakenError,
    NotFoundError,
    QuotaError,
    ThrottledError,
    UnauthorizedError,
    UnclearError,
)
from controller.cloud.tencent import TencentCloud
from controller.sandbox.cloudsim import CloudConfig, SimulatedCloud

REGION = "ap-beijing"
PRIVATE = "PRIVATE_APPLICATION"
Running = Callable[[], Awaitable[str]]


async def test_it_is_being_made_for_a_while_and_then_online(
    sim: SimulatedCloud, cloud: TencentCloud, clock: Any, running: Running
) -> None:
    source = await running()
    application_id = await cloud.create_application(REGION, instance_id=source, name="mine")
    making = await cloud.find_application(REGION, application_id=None, name="mine", kind=PRIVATE)
    assert (making.application_id, making.state, making.min_disk_gib) == (application_id, "CREATING", 80)
    clock.pass_(sim.config.application_s)
    done = await cloud.find_application(REGION, application_id=application_id, name=None, kind=PRIVATE)
    assert (done.name, done.state) == ("mine", "ONLINE")
    (instance,) = await cloud.describe_instances(REGION, [source])
    assert (instance.state, instance.busy) == ("RUNNING", False)


async def test_meanwhile_the_instance_is_busy(cloud: TencentCloud, running: Running) -> None:
    source = await running()
    await cloud.create_application(REGION, instance_id=source, name="mine")
    with pytest.raises(InProgressError):
        await cloud.terminate_instance(REGION, source)
    with pytest.raises(InProgressError):
        await cloud.create_application(REGION, instance_id=source, name="another")


async def test_of_one_name_there_is_one(cloud: TencentCloud, clock: Any, sim: SimulatedCloud, running: Running) -> None:
    source = await running()
    await cloud.create_application(REGION, instance_id=source, name="mine")
    clock.pass_(sim.config.application_s)
    with pytest.raises(NameTakenError, match="InvalidApplicationNameDuplicate"):
        await cloud.create_application(REGION, instance_id=source, name="mine")
    assert len([one for one in sim.applications() if one.source]) == 1


async def test_a_cloud_that_allows_two_of_one_name_is_seen_through(connect_to: Any, clock: Any) -> None:
    sim = SimulatedCloud(CloudConfig(duplicate_names="allow", application_s=0.0), clock=clock)
    try:
        cloud = connect_to(await sim.start())
        (source,) = sim.add_instances(REGION, "XL", 1)
        clock.pass_(sim.config.deploy_s)
        for _ in range(2):
            await cloud.create_application(REGION, instance_id=source, name="mine")
        with pytest.raises(AmbiguousError, match="ambiguous in ap-beijing: app-made"):
            await cloud.find_application(REGION, application_id=None, name="mine", kind=PRIVATE)
    finally:
        await sim.stop()


async def test_what_cannot_be_made(sim: SimulatedCloud, cloud: TencentCloud, running: Running) -> None:
    source = await running()
    with pytest.raises(NotFoundError):
        await cloud.create_application(REGION, instance_id="hai-zzzzzzzz", name="mine")
    with pytest.raises(NotFoundError):
        await cloud.create_application("ap-nanjing", instance_id=source, name="mine")
    sim.remove_instance(source)
    with pytest.raises(InProgressError):
        await cloud.create_application(REGION, instance_id=source, name="mine")


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("InvalidParameterValue.InstanceIdNotFound", NotFoundError),
        ("InvalidParameterValue.InvalidApplicationNameDuplicate", NameTakenError),
        ("InvalidParameterValue.InvalidInstanceIdMalformed", InvalidRequestError),
        ("UnsupportedOperation.InstanceCreateApplicationNotSupport", InvalidRequestError),
        ("OperationDenied.InstanceOperationInProgress", InProgressError),
        ("LimitExceeded.Applications", QuotaError),
        ("UnauthorizedOperation.UnauthorizedUser", UnauthorizedError),
        ("RequestLimitExceeded", ThrottledError),
        ("InternalError", UnclearError),
        ("FailedOperation", UnclearError),
    ],
)
async def test_each_code_has_its_class_and_is_asked_once(
    sim: SimulatedCloud, cloud: TencentCloud, running: Running, code: str, error: type[CloudError]
) -> None:
    source = await running()
    sim.set_fault("error", action="CreateApplication", code=code)
    with pytest.raises(error) as caught:
        await cloud.create_application(REGION, instance_id=source, name="mine")
    assert type(caught.value) is error
    assert sim.count("CreateApplication") == 1


@pytest.mark.parametrize(
    ("kind", "made"),
    [
        ("http_500", 0),
        ("reset", 0),
        ("commit_then_500", 1),
        ("commit_then_reset", 1),
        ("missing_fields", 1),
        ("broken_json", 1),
    ],
)
async def test_an_answer_that_is_lost_leaves_it_open_and_is_asked_once(
    sim: SimulatedCloud, cloud: TencentCloud, running: Running, kind: Any, made: int
) -> None:
    source = await running()
    sim.set_fault(kind, action="CreateApplication")
    with pytest.raises(UnclearError):
        await cloud.create_application(REGION, instance_id=source, name="mine")
    assert sim.count("CreateApplication") == 1
    assert len([one for one in sim.applications() if one.source]) == made
