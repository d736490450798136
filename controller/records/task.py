"""The record of one task: what happened to it, when, where, and for whom."""

from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

Status = Literal["success", "failed", "cancelled", "expired"]
#: How `user_id` came about: from address and window, or also from an API key or from a header that names the user.
Identification = Literal["ip_time_window", "ip_key_time_window", "ip_header_time_window"]

#: A moment, as `lines.stamp` writes it.
TIME_PATTERN: Final = r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{6}Z$"

Time = Annotated[str, Meta(pattern=TIME_PATTERN, extra_json_schema={"format": "date-time"})]
Seconds = Annotated[float, Meta(ge=0)]
Percent = Annotated[float, Meta(ge=0, le=100)]


class TaskRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """`data` of a `task_processing` line. Null is what did not happen or is not known, never 0."""

    task_id: Annotated[str, Meta(description="Id of the task: the header X-Haipool-Task of its answer.")]
    pool: Annotated[str, Meta(description="Name of the GpuPool.")]
    task_type: Annotated[str, Meta(description="Name of the route that made the request a task.")]
    cost: Annotated[float, Meta(gt=0, description="The route's cost: turns that the task counted for.")]
    user_id: Annotated[str, Meta(description="`user_{ip}_{window}`, or `user_{ip}+{name}_{window}`.")]
    user_identification_method: Annotated[
        Identification,
        Meta(description="From what user_id was made: the client's address, its API key or user header, the window."),
    ]
    client_ip: Annotated[
        str,
        Meta(description="Address of the client, or 16 hexadecimal digits of its keyed hash (records.hashAddresses)."),
    ]
    network: Annotated[
        str, Meta(description="The client's network, by which shares are counted: an IPv4 address or an IPv6 /64.")
    ]
    time_window: Annotated[int, Meta(description="Number of the user's window, from 1.")]
    server_id: Annotated[
        str | None, Meta(description="GpuInstance that worked on it last; null if none started on it.")
    ]
    region: Annotated[str | None, Meta(description="Region of that server, where it is known.")]
    gpu_type: Annotated[str | None, Meta(description="GPU type (bundle) of that server, where it is known.")]
    submit_time: Annotated[Time, Meta(description="The task was queued; its body was here in whole.")]
    start_time: Annotated[Time | None, Meta(description="A server first started on it.")]
    complete_time: Annotated[Time, Meta(description="The task was over, however it ended.")]
    processing_duration: Annotated[
        Seconds | None, Meta(description="Seconds at servers, those of failed attempts included.")
    ]
    wait_duration: Annotated[Seconds | None, Meta(description="Seconds from submit_time to start_time.")]
    response_duration: Annotated[Seconds, Meta(description="Seconds from submit_time to complete_time.")]
    status: Annotated[
        Status,
        Meta(description="success; failed: at the server; cancelled: the client or the dispatcher went; expired: "
        "waited too long."),
    ]  # fmt: skip
    failure_reason: Annotated[str | None, Meta(description="A sentence; null on success.")]
    attempts: Annotated[int, Meta(ge=0, description="Servers it was given to, one after another.")]
    gpu_percent: Annotated[
        Percent | None, Meta(description="GPU use during the task; null where nothing measures it per task.")
    ]
    gpu_memory_percent: Annotated[
        Percent | None, Meta(description="GPU memory used during the task; null where nothing measures it per task.")
    ]
