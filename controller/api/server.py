"""The servers of a pool: how the application on them is reached, probed and warmed up."""

from typing import Annotated, Literal

from msgspec import Meta, field

from controller.api.model import Model


def _text(description: str) -> Meta:
    return Meta(description=description)


class WarmUp(Model, frozen=True, kw_only=True):
    """A request every new server has to answer with 2xx before it is Ready (loads the model, say)."""

    method: Annotated[Literal["GET", "POST", "PUT"], _text("HTTP method.")] = "GET"
    path: Annotated[str, Meta(pattern="^/", max_length=1024, description="Path and query.")]
    body: Annotated[str, Meta(max_length=65536, description="Request body.")] = ""
    content_type: Annotated[str, Meta(max_length=128, description="Content-Type of the body.")] = "application/json"
    timeout_seconds: Annotated[int, Meta(ge=1, le=3600, description="How long the answer may take.")] = 120


class SystemDisk(Model, frozen=True, kw_only=True):
    """System disk of every server; must be at least the application's minimum."""

    type: Annotated[Literal["CLOUD_PREMIUM", "CLOUD_HSSD"], _text("Disk type.")] | None = None
    size_gib: Annotated[int, Meta(ge=80, le=1000, description="GiB.")] = field(default=80, name="sizeGiB")


class Ejection(Model, frozen=True, kw_only=True):
    """When the dispatcher leaves a server alone because of how it answers requests."""

    consecutive_failures: Annotated[
        int,
        Meta(ge=1, le=1000, description="Requests in a row that fail or are answered with 5xx until it is ejected."),
    ] = 5
    base_seconds: Annotated[
        int, Meta(ge=1, le=3600, description="Length of the first ejection; the n-th in a row takes n times as long.")
    ] = 30
    max_seconds: Annotated[int, Meta(ge=1, le=86400, description="Longest ejection.")] = 300
    max_ejected_percent: Annotated[
        int, Meta(ge=0, le=100, description="Share of the Ready servers that may be ejected at a time.")
    ] = 50


class Server(Model, frozen=True, kw_only=True):
    """How the application on a server is reached and probed."""

    port: Annotated[int, Meta(ge=1, le=65535, description="Port of the application.")] = 7860
    scheme: Annotated[Literal["http", "https"], _text("Scheme of the application.")] = "http"
    health_path: Annotated[str, Meta(pattern="^/", max_length=1024, description="Answers 2xx when healthy.")] = "/"
    probe_interval_seconds: Annotated[
        int, Meta(ge=1, le=3600, description="Time between two health probes of a Ready server.")
    ] = 10
    failure_threshold: Annotated[
        int, Meta(ge=1, le=100, description="Failed probes in a row that make a server Unhealthy.")
    ] = 3
    ejection: Ejection = field(default_factory=Ejection)
    slow_start_seconds: Annotated[
        int, Meta(ge=0, le=3600, description="Time in which a new server's share of the tasks grows to the full one.")
    ] = 30
    startup_timeout_seconds: Annotated[
        int, Meta(ge=1, le=86400, description="A server not Ready by then counts as failed and is destroyed.")
    ] = 900
    warm_up: WarmUp | None = None
    address: Annotated[Literal["Public", "Private"], _text("Which address of the instance to use.")] = "Public"
    system_disk: SystemDisk | None = None
