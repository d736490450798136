"""What a pool has to tell, and to whom it has told it: `status.alerts`."""

from typing import Annotated, Literal

from msgspec import Meta, field

from controller.api.model import Model

AlertLevel = Literal["Info", "Warning", "Critical", "Emergency"]


def _text(description: str) -> Meta:
    return Meta(description=description)


class AlertStatus(Model, frozen=True, kw_only=True):
    """One alert from its first crossing until its end has been told. Rule and subject together identify it."""

    rule: Annotated[str, _text("Which rule it is, one CamelCase word.")]
    subject: Annotated[str, _text("What of the pool it is about; empty: all of it.")] = ""
    state: Annotated[Literal["Firing", "Resolved"], _text("Resolved ones stay until everybody has heard of it.")]
    level: AlertLevel
    peak: Annotated[AlertLevel, _text("Highest level since it fires.")]
    since: Annotated[str, _text("Since when it fires.")]
    changed_at: Annotated[str, _text("The last crossing: up, down, or the end.")]
    quiet_since: (
        Annotated[str, _text("Since when it would be resolved, or lower, were it not for the time it has to last.")]
        | None
    ) = None
    value: float = 0.0
    threshold: float = 0.0
    unit: str = ""
    message: str = ""
    message_zh: str = ""
    told: Annotated[
        dict[str, str],
        _text("What each destination, the log (Record) and the events (Event) last heard: a level, or Resolved."),
    ] = field(default_factory=dict)

    @property
    def key(self) -> tuple[str, str]:
        """Rule and subject."""
        return self.rule, self.subject

    @property
    def news(self) -> str:
        """What there is to hear of it now: its level, or `Resolved`."""
        return self.level if self.state == "Firing" else "Resolved"
