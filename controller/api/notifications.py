"""`spec.notifications` of a GpuPool: who is told of its alerts, and how."""

from typing import Annotated, ClassVar, Literal

from msgspec import Meta, field

from controller.api.alerts import AlertLevel
from controller.api.model import Model, Rule

NotificationType = Literal["Webhook", "WeCom", "DingTalk", "Feishu"]
Language = Literal["zh", "en", "both"]


class SecretEntry(Model, frozen=True, kw_only=True):
    """One entry of a Secret of the pool's namespace, which the operator must be allowed to read."""

    name: Annotated[
        str, Meta(pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", max_length=253, description="Name of the Secret.")
    ]
    key: Annotated[str, Meta(pattern=r"^[-._a-zA-Z0-9]+$", max_length=253, description="Key in the Secret.")]


class Notification(Model, frozen=True, kw_only=True):
    """One destination of alerts."""

    cel: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self.type != 'WeCom' || !has(self.signSecret)",
            "WeCom robots have no signing secret: their URL's key is all there is; remove signSecret",
            ".signSecret",
        ),
    )
    name: Annotated[
        str,
        Meta(pattern="^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", max_length=63, description="Its name in status and metrics."),
    ]
    type: Annotated[
        NotificationType,
        Meta(description="Webhook: JSON to any server. The others: group robots of WeCom, DingTalk and Feishu."),
    ]
    url_secret: Annotated[SecretEntry, Meta(description="Where its URL is kept; it holds the robot's key.")]
    sign_secret: SecretEntry | None = field(default=None)
    min_level: Annotated[AlertLevel, Meta(description="Alerts below are not sent.")] = "Warning"
    language: Annotated[Language, Meta(description="Of the text.")] = "both"
    resolved: Annotated[bool, Meta(description="Also say when an alert is over, or lower.")] = True
