"""The record of an alert that crossed a line: began, rose, fell, or ended."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from controller.records.task import Time

Level = Literal["Info", "Warning", "Critical", "Emergency"]


class AlertRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """`data` of an `alerts` line. Its timestamp is the moment of the crossing."""

    namespace: Annotated[str | None, Meta(description="Of the pool; null where it is about the log itself.")]
    pool: Annotated[str | None, Meta(description="Name of the GpuPool; null likewise.")]
    rule: Annotated[str, Meta(description="Which rule, one CamelCase word.")]
    subject: Annotated[str, Meta(description="What of the pool it is about; empty: all of it.")]
    state: Annotated[Literal["Firing", "Resolved"], Meta(description="Whether it fires from here on.")]
    level: Annotated[Level, Meta(description="How urgent it is, or was when it ended.")]
    peak: Annotated[Level, Meta(description="Highest level since it fires.")]
    since: Annotated[Time, Meta(description="Since when it fires.")]
    value: Annotated[float, Meta(description="The figure, when it was last seen.")]
    threshold: Annotated[float, Meta(description="What the figure was held against.")]
    unit: Annotated[str, Meta(description="Of value and threshold.")]
    message: Annotated[str, Meta(description="A sentence.")]
    message_zh: Annotated[str, Meta(description="The same in Chinese.")]
