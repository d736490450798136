"""What a pool costs: `status.spend`."""

from typing import Annotated

from msgspec import Meta

from controller.api.model import Model


def _text(description: str) -> Meta:
    return Meta(description=description)


class Spend(Model, frozen=True, kw_only=True):
    """Cost in CNY, derived from the instances' times and prices. Days and months are Beijing time."""

    per_hour: float = 0.0
    today: float = 0.0
    this_month: float = 0.0
    day: str = ""
    month: str = ""
    ended_today: Annotated[float, _text("Part of `today` that destroyed instances cost.")] = 0.0
    ended_this_month: Annotated[float, _text("Part of `thisMonth` that destroyed instances cost.")] = 0.0
    booked: Annotated[tuple[str, ...], _text("UIDs of destroyed instances booked but not yet released.")] = ()
