"""The triggers of both directions: up when ANY holds, down only when ALL hold."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from controller.api.scaling import Scaling
from controller.scaling.snapshot import Missing, Signal, Signals


class Level(StrEnum):
    """A signal against its two thresholds."""

    HIGH = "High"
    NORMAL = "Normal"
    LOW = "Low"
    UNKNOWN = "Unknown"


@dataclass(frozen=True, slots=True)
class Trigger:
    """One signal, its thresholds, and what follows."""

    name: str
    #: CamelCase reason when it asks for more servers.
    reason: str
    signal: Signal | None
    up: float
    #: None: the signal does not take part in scaling down.
    down: float | None
    unit: str
    #: Why the signal is unknown, where that can be told.
    missing: Missing | None = None

    @property
    def level(self) -> Level:
        """Strictly above `up` is High, strictly below `down` is Low; equality changes nothing."""
        if self.signal is None:
            return Level.UNKNOWN
        if self.signal.value > self.up:
            return Level.HIGH
        if self.down is None or self.signal.value < self.down:
            return Level.LOW
        return Level.NORMAL

    def above(self) -> str:
        """`queue length 42 > 15`."""
        value = self.signal.value if self.signal else float("nan")
        return f"{self.name} {value:.3g}{self.unit} > {self.up:g}{self.unit}"

    def not_below(self) -> str:
        """Why it forbids scaling down."""
        if self.signal is None:
            return f"{self.name} is unknown"
        limit = self.up if self.down is None else self.down
        return f"{self.name} {self.signal.value:.3g}{self.unit} is not below {limit:g}{self.unit}"


def evaluate(signals: Signals, scaling: Scaling) -> tuple[Trigger, ...]:
    """All triggers in the order of the rules: mean response, queue length, CPU, longest wait."""
    up, down, missing = scaling.up, scaling.down, signals.missing
    return (
        Trigger(
            "mean response", "SlowResponse", signals.mean_response,
            up.mean_response_seconds, down.mean_response_seconds, " s", missing.get("mean_response"),
        ),
        Trigger(
            "queue length", "LongQueue", signals.queue_length,
            up.queue_length, down.queue_length, "", missing.get("queue_length"),
        ),
        Trigger("CPU", "BusyServers", signals.cpu, up.cpu_percent, down.cpu_percent, " %", missing.get("cpu")),
        Trigger(
            "longest wait", "LongWait", signals.longest_wait,
            up.max_wait_seconds, None, " s", missing.get("longest_wait"),
        ),
    )  # fmt: skip


def firing(triggers: tuple[Trigger, ...]) -> tuple[Trigger, ...]:
    """The triggers that ask for more servers: one is enough."""
    return tuple(trigger for trigger in triggers if trigger.level is Level.HIGH)


def blocking_scale_down(triggers: tuple[Trigger, ...]) -> Iterator[Trigger]:
    """The load conditions that forbid scaling down: every one that is not known to be low.

    The longest wait has no lower threshold, but while it is unknown or high the pool is not known to be idle.
    """
    for trigger in triggers:
        if trigger.level is not Level.LOW:
            yield trigger


def is_low_load(triggers: tuple[Trigger, ...]) -> bool:
    """The load conditions of scaling down hold now. Unknown is not low."""
    return next(blocking_scale_down(triggers), None) is None
