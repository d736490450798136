"""The closed set of things a decision can ask for. Each carries its reason, and the same words reach every reader."""

from dataclasses import dataclass

from controller.scaling.snapshot import Offer, Stray


@dataclass(frozen=True, slots=True)
class Launch:
    """Buy one server of this offer."""

    offer: Offer
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Adopt:
    """Take over an instance that is billed already and has no owner."""

    stray: Stray
    reason: str
    message: str

    @property
    def server(self) -> str:
        """What the action is about: it has no GpuInstance yet, so its InstanceId."""
        return self.stray.instance_id


@dataclass(frozen=True, slots=True)
class Drain:
    """Give the server no new tasks; it is destroyed once it is idle."""

    server: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Undrain:
    """Take a drain back: the cheapest new server is the one that still runs."""

    server: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Destroy:
    """Delete the GpuInstance, which destroys the HAI instance."""

    server: str
    reason: str
    message: str


Action = Launch | Adopt | Drain | Undrain | Destroy


@dataclass(frozen=True, slots=True)
class Verdict:
    """The decision in one line: what, why, and the arithmetic."""

    action: str
    reason: str
    message: str
