"""How far the log `cost_traffic` has come: `status.costLog`."""

from typing import Annotated

from msgspec import Meta, field

from controller.api.model import Model


class CostLog(Model, frozen=True, kw_only=True):
    """The last hour and day in the log, as `status.spendHistory` names them, and the traffic when they were written."""

    hour: str = ""
    day: str = ""
    hour_traffic_gb: Annotated[float, Meta(description="Traffic of the month then.")] = field(
        default=0.0, name="hourTrafficGB"
    )
    day_traffic_gb: Annotated[float, Meta(description="Traffic of the month then.")] = field(
        default=0.0, name="dayTrafficGB"
    )
    hour_traffic_cost: Annotated[float, Meta(description="Estimated CNY of the month's traffic then.")] = 0.0
    day_traffic_cost: Annotated[float, Meta(description="Estimated CNY of the month's traffic then.")] = 0.0
