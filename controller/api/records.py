"""`spec.records` of a GpuPool: the logs of what happened, one JSON object a line."""

from typing import Annotated

from msgspec import Meta

from controller.api.model import Model


class Records(Model, frozen=True, kw_only=True):
    """How records are written and kept."""

    fsync_seconds: Annotated[
        float, Meta(ge=0, le=3600, description="At most so many seconds of records are lost when the machine stops.")
    ] = 1.0
    retention_days: Annotated[int, Meta(ge=1, le=3650, description="Files of older days are removed.")] = 90
    max_bytes: Annotated[
        int, Meta(ge=1048576, le=1099511627776, description="All files together; the oldest are removed first.")
    ] = 10737418240
    hash_addresses: Annotated[
        bool, Meta(description="Write a keyed hash in place of clients' addresses, also inside user ids.")
    ] = False
    server_status_seconds: Annotated[
        int, Meta(ge=10, le=3600, description="The operator notes the state of each server this often.")
    ] = 60
