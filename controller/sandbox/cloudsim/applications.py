"""The applications of the simulated account: the configured ones, and those that were made from instances."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from controller.sandbox.cloudsim.config import CloudConfig
from controller.sandbox.cloudsim.errors import ApiError
from controller.sandbox.cloudsim.world import SimInstance

PRIVATE: Final = "PRIVATE_APPLICATION"
#: Time since which the configured applications exist: 2025-01-01 in Beijing, POSIX seconds.
LONG_AGO: Final = 1_735_660_800.0


@dataclass(slots=True)
class SimApplication:
    """One application in one region."""

    application_id: str
    region: str
    name: str
    kind: str
    min_disk_gib: int
    size_gib: int
    #: What was set; CREATING turns to ONLINE by itself at `online_at`.
    fixed_state: str = ""
    created: float = LONG_AGO
    online_at: float = LONG_AGO
    #: The instance it was made from; empty for the configured ones.
    source: str = ""

    def state(self, now: float) -> str:
        """CREATING, ONLINE, DELETING or ARREARS."""
        return self.fixed_state or ("ONLINE" if now >= self.online_at else "CREATING")


class Applications:
    """All of them, by region and id."""

    def __init__(self, config: CloudConfig) -> None:
        self._config = config
        self._all: list[SimApplication] = [
            SimApplication(
                one.id_in(region), region, one.name, one.kind, one.min_disk_gib, one.size_gib, fixed_state=one.state
            )
            for one in config.applications
            for region in one.regions
        ]

    def __iter__(self) -> Iterator[SimApplication]:
        return iter(self._all)

    def of(self, region: str) -> list[SimApplication]:
        """Those of one region, in the order in which they came."""
        return [one for one in self._all if one.region == region]

    def find(self, region: str, application_id: str) -> SimApplication | None:
        """The application with this id."""
        return next((one for one in self.of(region) if one.application_id == application_id), None)

    def named(self, region: str, name: str) -> SimApplication:
        """The first application of this name.

        Raises:
            ValueError: there is none.
        """
        found = next((one for one in self.of(region) if one.name == name), None)
        if found is None:
            raise ValueError(f"there is no application {name!r} in {region}")
        return found

    def remove(self, region: str, name: str) -> None:
        """As if someone deleted it in the console."""
        self._all.remove(self.named(region, name))

    def create(self, instance: SimInstance, name: str, now: float) -> SimApplication:
        """Begin to make one from an instance, which is busy meanwhile and otherwise left alone.

        Raises:
            ApiError: the instance cannot be used now, or the name is in use.
        """
        if instance.operation_state(now) == "OPERATING":
            raise ApiError("OperationDenied.InstanceOperationInProgress", "Another operation is in progress.")
        if instance.state != "RUNNING":
            code = "UnsupportedOperation.InstanceCreateApplicationNotSupport"
            raise ApiError(code, f"An instance that is {instance.state} cannot be made an application.")
        region = instance.order.region
        taken = any(one.name == name and one.kind == PRIVATE for one in self.of(region))
        if taken and self._config.duplicate_names == "refuse":
            raise ApiError("InvalidParameterValue.InvalidApplicationNameDuplicate", f"{name!r} is in use.")
        made = SimApplication(
            application_id=f"app-made{len(self._all):04d}",
            region=region,
            name=name,
            kind=PRIVATE,
            min_disk_gib=instance.order.disk_gib,
            size_gib=instance.order.disk_gib,
            created=now,
            online_at=now + self._config.application_s,
            source=instance.instance_id,
        )
        instance.operation, instance.busy_until = "CreateApplication", max(instance.busy_until, made.online_at)
        self._all.append(made)
        return made
