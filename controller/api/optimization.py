"""What a pool does to use less traffic: `spec.traffic.optimization`, and what of it was done to each server."""

from typing import Annotated, ClassVar, Literal

from msgspec import Meta, field

from controller.api.model import Model, Rule
from controller.api.transfer import Compression, Reencoding

#: How strongly a server is to save traffic. `Optimize` holds from the level Optimize on, `Critical`, on top of it, from
#: the level Critical on.
Stage = Literal["Normal", "Optimize", "Critical"]


def _text(description: str) -> Meta:
    return Meta(description=description)


class HookRequest(Model, frozen=True, kw_only=True):
    """One request to every server. It may be sent more than once, so sending it twice must do no harm."""

    cel: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!self.restore || (self.method in ['POST', 'PUT', 'PATCH'] && self.body.startsWith('{'))",
            "a hook with restore: true sends a JSON object by POST, PUT or PATCH",
        ),
    )
    method: Annotated[Literal["GET", "POST", "PUT", "PATCH", "DELETE"], _text("HTTP method.")] = "POST"
    path: Annotated[str, Meta(pattern="^/", max_length=1024, description="Path and query.")]
    body: Annotated[str, Meta(max_length=8192, description="Request body.")] = ""
    content_type: Annotated[str, Meta(max_length=128, description="Content-Type of the body.")] = "application/json"
    timeout_seconds: Annotated[int, Meta(ge=1, le=300, description="How long the answer may take.")] = 30
    restore: Annotated[
        bool,
        _text(
            "true: the body's fields are read with GET from the same path before; whether they took effect is read "
            "back after; and leaving the level sends their former values by the same request. In onEnter only."
        ),
    ] = False


_Requests = Annotated[
    tuple[HookRequest, ...], Meta(max_length=16, description="Sent in this order, each once the one before succeeded.")
]


class LevelHooks(Model, frozen=True, kw_only=True):
    """Requests that bring a server into a level and out of it again."""

    cel: ClassVar[tuple[Rule, ...]] = (
        Rule("self.onLeave.all(r, !r.restore)", "restore belongs to a hook in onEnter; leaving restores by itself"),
    )
    on_enter: _Requests = ()
    on_leave: _Requests = ()


class Hooks(Model, frozen=True, kw_only=True):
    """HTTP requests by which the servers themselves are told to produce less traffic."""

    hook_set: Annotated[
        Literal["None", "StableDiffusionWebUI"],
        _text(
            "Ready requests for a known service, sent before the ones below. StableDiffusionWebUI: images as WebP, and "
            "from the level Critical on at quality 60."
        ),
    ] = "None"
    optimize: Annotated[LevelHooks, _text("From the level Optimize on.")] = field(default_factory=LevelHooks)
    critical: Annotated[LevelHooks, _text("From the level Critical on, on top of those for Optimize.")] = field(
        default_factory=LevelHooks
    )


class Cdn(Model, frozen=True, kw_only=True):
    """A CDN domain of the account, set up by a person, whose origin is the pool's dispatcher."""

    domain: Annotated[
        str,
        Meta(
            pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)+$",
            max_length=253,
            description="Acceleration domain; links to results are made on it while the level holds.",
        ),
    ]
    scheme: Annotated[Literal["https", "http"], _text("Scheme of those links.")] = "https"
    compression: Annotated[bool, _text("Have the CDN compress JSON and text.")] = True
    origin: (
        Annotated[
            str,
            Meta(
                pattern=r"^[A-Za-z0-9]([-A-Za-z0-9.]*[A-Za-z0-9])?(:[0-9]{1,5})?$",
                max_length=260,
                description="Keep the domain's origin at this HOST[:PORT]; absent: its origin is left as it is.",
            ),
        ]
        | None
    ) = None


class Optimization(Model, frozen=True, kw_only=True):
    """What is switched on as the month's traffic grows, and undone when the level falls or the month turns."""

    hooks: Hooks = field(default_factory=Hooks)
    cdn: Cdn | None = None
    compression: Compression = field(default_factory=Compression)
    reencode: Reencoding | None = None


class CdnStatus(Model, frozen=True, kw_only=True):
    """What of the CDN domain is on, and what it takes to put it back."""

    domain: str = ""
    state: Annotated[
        Literal["Off", "Starting", "Online", "Leaving", "Blocked"],
        _text("Online: links are made on it. Leaving: no more, but old ones still work. Blocked: see `error`."),
    ] = "Off"
    since: str | None = None
    minting: Annotated[bool, _text("Links to results are made on the domain.")] = False
    links_until: Annotated[str, _text("When the last link made on it is over.")] | None = None
    started: Annotated[bool, _text("The domain was offline before; it is stopped again in the end.")] = False
    before: Annotated[str, _text("Configuration objects as they were before they were changed, JSON.")] = ""
    error: str = ""
    edge_bytes: Annotated[int, _text("Sent to clients by the CDN this month.")] = 0
    origin_bytes: Annotated[int, _text("Fetched from the dispatcher by the CDN this month.")] = 0


class SavedFields(Model, frozen=True, kw_only=True):
    """Settings of a server as they were before a hook changed them."""

    level: Stage
    method: str
    path: str
    values: Annotated[str, _text("A JSON object.")]
    content_type: str = "application/json"
    timeout_seconds: int = 30


class OptimizationStatus(Model, frozen=True, kw_only=True):
    """How far a server has been brought, by hooks, to where the traffic level wants it."""

    level: Annotated[Stage, _text("The last level of which anything may have been sent.")] = "Normal"
    applied_at: Annotated[str, _text("When the last change was complete; absent while one is under way.")] | None = None
    error: Annotated[str, _text("Why the change is not complete; it is tried again.")] = ""
    hooks: Annotated[str, _text("Which hooks were used; when the pool's change, these are undone first.")] = ""
    saved: Annotated[tuple[SavedFields, ...], _text("What leaving restores.")] = ()
