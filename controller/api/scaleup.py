"""What a pool remembers of its purchases, so that a restart of the operator forgets nothing: part of GpuPool.status."""

from typing import Annotated, Literal

from msgspec import Meta

from controller.api.model import Model


def _text(description: str) -> Meta:
    return Meta(description=description)


class SuspendedTrigger(Model, frozen=True, kw_only=True):
    """A signal that buys nothing, since what was bought for it stood idle while it stayed high."""

    trigger: Annotated[str, _text("The signal's reason, SlowResponse say.")]
    since: str
    until_time: Annotated[str, _text("From then on it may buy one server, to see whether it helps now.")]
    seen: Annotated[str, _text("What was seen.")] = ""


class ServerOnTrial(Model, frozen=True, kw_only=True):
    """A server that was bought for a signal that has stayed high since."""

    server: str
    trigger: str
    worked: Annotated[bool, _text("It has had a task.")] = False
    idle_since: Annotated[str, _text("Since when it has had nothing to do while the signal was high.")] | None = None


class Purchase(Model, frozen=True, kw_only=True):
    """A server that was bought within the last minute and is gone."""

    server: str
    time: str


class LaunchesStatus(Model, frozen=True, kw_only=True):
    """How the last purchases went."""

    failed_in_row: Annotated[int, _text("Failed since the last one that became Ready; sets the pause.")] = 0
    last_failure_time: str | None = None
    last_failure: str = ""
    recent: Annotated[tuple[Literal["Ready", "Failed"], ...], _text("The last four, oldest first.")] = ()
    gone: Annotated[tuple[Purchase, ...], _text("Counted by maxLaunchesPerMinute although they are gone.")] = ()


class ScaleUpStatus(Model, frozen=True, kw_only=True):
    """Whether purchases help (`scaling.up.onlyIfEffective`)."""

    suspended: tuple[SuspendedTrigger, ...] = ()
    on_trial: Annotated[tuple[ServerOnTrial, ...], _text("Ready servers whose use is still open.")] = ()
