"""What a pool may spend: `spec.budget`."""

from typing import Annotated, ClassVar

from msgspec import Meta, field

from controller.api.model import Model, Rule

_CNY = Meta(gt=0, le=100_000_000)


class Cap(Model, frozen=True, kw_only=True):
    """Two caps in CNY. Neither stops a server that runs."""

    cel: ClassVar[tuple[Rule, ...]] = (
        Rule("has(self.soft) || has(self.hard)", "a budget needs soft, hard, or both"),
        Rule("!has(self.soft) || !has(self.hard) || self.soft <= self.hard", "soft must not exceed hard", ".soft"),
    )
    soft: Annotated[float, _CNY, Meta(description="Beyond it the pool grows by one server in ten minutes.")] | None = (
        None
    )
    hard: Annotated[float, _CNY, Meta(description="Beyond it nothing is bought, also below the minimum.")] | None = None


class Budget(Model, frozen=True, kw_only=True):
    """Caps in CNY. `hourly` bounds what all servers together cost per hour; days and months are Beijing time."""

    hourly: Cap | None = field(default=None)
    daily: Cap | None = field(default=None)
    monthly: Cap | None = field(default=None)
