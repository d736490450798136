"""Where the operator reads the signals of a pool: `spec.metrics`."""

from typing import Annotated, ClassVar

from msgspec import Meta, field

from controller.api.model import Model, Rule


def _text(description: str) -> Meta:
    return Meta(description=description)


class SecretKey(Model, frozen=True, kw_only=True):
    """A value in a Secret of the pool's namespace."""

    name: Annotated[
        str, Meta(pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", max_length=253, description="Name of the Secret.")
    ]
    key: Annotated[str, Meta(pattern=r"^[-._a-zA-Z0-9]+$", max_length=253, description="Key in the Secret.")] = "token"


Query = Annotated[str, Meta(min_length=1, max_length=2048)]


class Queries(Model, frozen=True, kw_only=True):
    """PromQL by signal. Each must give exactly one sample; a signal without a query is read from the dispatchers."""

    mean_response_seconds: Annotated[Query, _text("Mean response, seconds.")] | None = None
    queue_length: Annotated[Query, _text("Waiting tasks.")] | None = None
    cpu_percent: Annotated[Query, _text("Mean CPU (or GPU) of the Ready servers, 0 to 100.")] | None = None
    longest_wait_seconds: Annotated[Query, _text("Age of the oldest waiting task, seconds.")] | None = None


class Prometheus(Model, frozen=True, kw_only=True):
    """A Prometheus server, or one that speaks its API, that is asked for signals at each decision."""

    cel: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self.url.matches('^https?://[^/?#@ ]+(/[^?# ]*)?$') && !self.url.contains('/api/v1')",
            "metrics.prometheus.url is http(s)://HOST[:PORT][/PREFIX], without user, /api/v1, ? and #",
        ),
        Rule(
            "has(self.dispatchers) || has(self.queries.meanResponseSeconds) || has(self.queries.queueLength) "
            "|| has(self.queries.cpuPercent) || has(self.queries.longestWaitSeconds)",
            "metrics.prometheus needs a query in queries, or dispatchers",
        ),
    )
    url: Annotated[str, Meta(min_length=8, max_length=1024, description="Its address, without /api/v1.")]
    token_secret: SecretKey | None = None
    queries: Queries = field(default_factory=Queries)
    dispatchers: (
        Annotated[
            str,
            Meta(
                min_length=1,
                max_length=1024,
                description='Label matchers of the dispatcher\'s series there, namespace="a",pod=~"b-.*" say. With '
                "them, signals without a query are asked there too, by queries on the dispatcher's own metrics.",
            ),
        ]
        | None
    ) = None
    max_age_seconds: Annotated[
        int, Meta(ge=5, le=3600, description="A figure whose newest sample is older is unknown.")
    ] = 60


class Metrics(Model, frozen=True, kw_only=True):
    """Where the operator finds the dispatcher's metrics; by default the Service `{pool}-dispatcher-headless`."""

    cel: ClassVar[tuple[Rule, ...]] = (
        Rule("!(has(self.service) && has(self.urls))", "set metrics.service or metrics.urls, not both"),
    )
    service: (
        Annotated[
            str,
            Meta(
                pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?(:[0-9]{1,5})?$",
                max_length=260,
                description="Headless Service, NAME or NAME.NAMESPACE, optionally with the admin port (9090).",
            ),
        ]
        | None
    ) = None
    urls: (
        Annotated[
            tuple[Annotated[str, Meta(pattern="^https?://", max_length=1024)], ...],
            Meta(min_length=1, max_length=64, description="Metrics URLs, one for each dispatcher replica."),
        ]
        | None
    ) = None
    token_secret: SecretKey | None = None
    prometheus: Prometheus | None = None
