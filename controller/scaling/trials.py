"""What is remembered of purchases that may not help: servers on trial, and triggers that are suspended."""

from dataclasses import dataclass
from typing import Final

#: After so long a suspended trigger may buy one server, to see whether it helps now.
SUSPENSION_SECONDS: Final = 600.0
#: A suspension whose trigger is quiet is forgotten after so long. Until then the trigger buys one server at a time.
FORGOTTEN_SECONDS: Final = 3600.0


@dataclass(frozen=True, slots=True)
class Trial:
    """A server that was bought for a trigger which has not been seen satisfied since the server had work."""

    server: str
    #: The trigger's reason, `SlowResponse` say.
    trigger: str
    #: It has had a task.
    worked: bool = False
    #: Unix seconds since which it has been Ready and without any task while the trigger held; None: it is not so now.
    idle_since: float | None = None
    #: Seconds that its slots had been taken at the last look; None before the first.
    worked_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Suspension:
    """A trigger that buys nothing, since what was bought for it stood idle."""

    trigger: str
    #: Unix seconds.
    since: float
    #: What was seen, for people.
    seen: str

    @property
    def until(self) -> float:
        """Unix seconds from which on one server may be bought again."""
        return self.since + SUSPENSION_SECONDS


@dataclass(frozen=True, slots=True)
class Efficacy:
    """Whether buying helps, as far as it is known."""

    trials: tuple[Trial, ...] = ()
    suspensions: tuple[Suspension, ...] = ()
    #: Unix seconds at which a server was last seen at work; None: never, since the operator started.
    worked_at: float | None = None
    #: Seconds that the slots of all servers had been taken at the last look.
    worked_seconds: float = 0.0

    def suspension(self, trigger: str) -> Suspension | None:
        """The suspension of a trigger, over (half-open) or not; None: it buys as it likes."""
        return next((s for s in self.suspensions if s.trigger == trigger), None)

    def unused(self, trigger: str) -> tuple[Trial, ...]:
        """The servers bought for a trigger that are Ready, hold it up, and have never had anything to do."""
        return tuple(t for t in self.trials if t.trigger == trigger and not t.worked and t.idle_since is not None)
