"""`spec.queue` of a GpuPool: the order of tasks, what is a task, and the dispatcher's limits."""

from typing import Annotated, ClassVar, Literal

from msgspec import Meta, field

from controller.api.model import Model, Rule


def _text(description: str) -> Meta:
    return Meta(description=description)


class Poll(Model, frozen=True, kw_only=True):
    """How to see that a task is over which its server has answered already. Paths may hold `{id}`."""

    path: Annotated[str, Meta(pattern="^/", max_length=1024, description="GET, at the server of the task.")]
    id_pointer: Annotated[
        str, Meta(pattern="^/", max_length=256, description="JSON pointer to the id in the server's answer.")
    ] = "/id"
    done_pointer: Annotated[
        str, Meta(pattern="^/", max_length=256, description="The task is over once this JSON pointer exists.")
    ] = "/{id}"
    failed_pointer: (
        Annotated[str, Meta(pattern="^/", max_length=256, description="JSON pointer to the outcome.")] | None
    ) = None
    failed_values: Annotated[
        tuple[Annotated[str, Meta(max_length=128)], ...], Meta(max_length=16, description="Outcomes that are failures.")
    ] = ()
    pending_path: (
        Annotated[
            str,
            Meta(pattern="^/", max_length=1024, description="GET; a task whose id it does not hold any more is gone."),
        ]
        | None
    ) = None
    interval_seconds: Annotated[float, Meta(ge=0.05, le=60, description="Time between two looks.")] = 1.0


class Route(Model, frozen=True, kw_only=True):
    """Which requests a rule is for, and whether they are tasks. The first route that fits wins."""

    cel: ClassVar[tuple[Rule, ...]] = (
        Rule("self.completion != 'Poll' || has(self.poll)", "a route with completion Poll needs poll", ".completion"),
        Rule("self.completion != 'Poll' || self.kind == 'Task'", "completion Poll is for routes of kind Task", ".kind"),
        Rule(
            "self.forwardTo == 'Network' || self.kind == 'PassThrough'",
            "forwardTo is for routes of kind PassThrough",
            ".forwardTo",
        ),
    )
    name: Annotated[str, Meta(pattern="^[A-Za-z0-9_.-]{1,63}$", description="Name in metrics and records.")]
    methods: Annotated[
        tuple[Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"], ...],
        Meta(max_length=7, description="HTTP methods; empty: all."),
    ] = ()
    path_prefix: Annotated[
        str,
        Meta(
            pattern="^/",
            max_length=1024,
            description="Start of the decoded path, without `.`, `..` and doubled slashes.",
        ),
    ] = "/"
    kind: Annotated[
        Literal["Task", "PassThrough"],
        _text("Task: waits in the fair queue for a GPU slot. PassThrough: forwarded at once."),
    ] = "Task"
    forward_to: Annotated[
        Literal["Network", "Running", "OnlyRunning"],
        _text(
            "Server of a PassThrough. Network: the one its network always gets. Running: the one that works on a task "
            "of its user, if one does. OnlyRunning: likewise, otherwise 409."
        ),
    ] = "Network"
    completion: Annotated[
        Literal["Response", "Poll"],
        _text("When a task leaves its slot. Response: with the server's answer. Poll: when `poll` shows its end."),
    ] = "Response"
    poll: Poll | None = None
    cost: Annotated[
        float,
        Meta(
            gt=0, le=1000, description="Turns one task counts for; with fairness Seconds, only until one was measured."
        ),
    ] = 1.0
    idempotent: Annotated[bool, _text("May be sent to a second server after the first one died.")] = True
    timeout_seconds: Annotated[int, Meta(ge=1, le=86400, description="Longest time at a server.")] = 600


class Weight(Model, frozen=True, kw_only=True):
    """A larger or smaller share for a network, or for an API key among the users of its network."""

    cel: ClassVar[tuple[Rule, ...]] = (
        Rule("has(self.network) != has(self.apiKey)", "a weight is for a network or for an apiKey: set one of them"),
    )
    network: Annotated[str, Meta(max_length=64, description="CIDR; of several that fit the first counts.")] | None = (
        None
    )
    api_key: Annotated[str, Meta(pattern="^[A-Za-z0-9_.-]{1,63}$", description="Name of an API key.")] | None = None
    weight: Annotated[float, Meta(ge=0.01, le=100, description="Share relative to others'; 1 is everyone's.")]


class SlowClients(Model, frozen=True, kw_only=True):
    """What a client has to do at least while the dispatcher takes its body or it takes its answer."""

    idle_seconds: Annotated[int, Meta(ge=1, le=3600, description="It must send or take something within this.")] = 60
    min_bytes_per_second: Annotated[
        int, Meta(ge=0, le=1073741824, description="Average rate of a body from its tenth second on; 0: any.")
    ] = 256


class AsyncTasks(Model, frozen=True, kw_only=True):
    """Tasks sent with `Prefer: respond-async`; they need a store that outlives the process."""

    result_ttl_seconds: Annotated[
        int,
        Meta(
            ge=1,
            le=31536000,
            description="How long the outcome of a task is kept.",
        ),
    ] = 86400
    max_result_bytes: Annotated[
        int, Meta(ge=1, le=10737418240, description="Largest answer that is kept; a larger one fails the task.")
    ] = 104857600
    max_stored_bytes: Annotated[
        int,
        Meta(ge=1, le=1099511627776, description="Bodies and answers in all; above it 507, oldest answers go first."),
    ] = 10737418240


class Queue(Model, frozen=True, kw_only=True):
    """The fair queue and the dispatcher's limits."""

    window_seconds: Annotated[int, Meta(ge=1, le=604800, description="Length of a user's window.")] = 3600
    window_origin: (
        Annotated[
            str,
            Meta(
                max_length=64,
                description="Start of window 1, RFC 3339; by default the pool's creation cut to the hour.",
                extra_json_schema={"format": "date-time"},
            ),
        ]
        | None
    ) = None
    share_by: Annotated[
        Literal["Network", "User"],
        _text("Network: addresses take turns, then their users. User: every (address, window) takes turns."),
    ] = "Network"
    fairness: Annotated[
        Literal["Tasks", "Seconds"],
        _text("What turns are counted in. Tasks: one task is one turn. Seconds: measured server-seconds."),
    ] = "Tasks"
    weights: Annotated[
        tuple[Weight, ...], Meta(max_length=256, description="Larger or smaller shares; the first that fits counts.")
    ] = ()
    affinity: Annotated[
        Literal["None", "Network"],
        _text("Network: a network's tasks all go to the server its other requests go to (ComfyUI needs it)."),
    ] = "None"
    trusted_networks: Annotated[
        tuple[Annotated[str, Meta(max_length=64)], ...],
        Meta(max_length=64, description="CIDRs of proxies whose `forwardedHeader` is believed."),
    ] = ()
    forwarded_header: Annotated[
        Literal["XForwardedFor", "Forwarded"],
        _text("The header that the trusted proxies manage. The other one may be the client's own and is not believed."),
    ] = "XForwardedFor"
    user_header: (
        Annotated[
            str,
            Meta(
                pattern="^[A-Za-z0-9-]{1,64}$",
                description="Header that tells the users of one network apart. With shareBy User it is believed only "
                "from trusted networks.",
            ),
        ]
        | None
    ) = None
    api_key_header: Annotated[
        str,
        Meta(pattern="^[A-Za-z0-9-]{1,64}$", description="Header with an API key, as such or as `Bearer KEY`."),
    ] = "Authorization"
    max_tasks: Annotated[int, Meta(ge=1, le=10000000, description="Waiting tasks in all; above it 429.")] = 100000
    max_tasks_per_user: Annotated[
        int, Meta(ge=1, le=10000000, description="Waiting tasks of one user; above it 429.")
    ] = 1000
    max_signal_tasks_per_user: Annotated[
        int,
        Meta(ge=1, le=10000000, description="Waiting tasks of one user that count in the figures which scaling reads."),
    ] = 10
    max_wait_seconds: Annotated[
        int, Meta(ge=1, le=604800, description="A task that waited longer is answered with 503.")
    ] = 3600
    no_server_wait_seconds: Annotated[
        int,
        Meta(ge=1, le=604800, description="A task is answered with 503 when there was no server at all for so long."),
    ] = 900
    max_attempts: Annotated[
        int, Meta(ge=1, le=100, description="A task under which so many servers died is not given to another one.")
    ] = 3
    retry_budget_percent: Annotated[
        int, Meta(ge=0, le=100, description="Share of the running and waiting tasks that may be retries (at least 3).")
    ] = 20
    max_body_bytes: Annotated[int, Meta(ge=1, le=10737418240, description="Largest request body; above it 413.")] = (
        104857600
    )
    max_header_bytes: Annotated[
        int, Meta(ge=1024, le=1048576, description="Longest request line or header; above it 431.")
    ] = 16384
    slow_clients: SlowClients = field(default_factory=SlowClients)
    async_tasks: AsyncTasks = field(default_factory=AsyncTasks)
    route_set: Annotated[
        Literal["None", "StableDiffusionWebUI", "ComfyUI", "OpenAI", "Ollama"],
        _text("Ready-made routes of a well-known server, behind those of `routes`. ComfyUI implies affinity Network."),
    ] = "None"
    routes: Annotated[
        tuple[Route, ...],
        Meta(max_length=64, description="By default POST, PUT and PATCH are tasks and all else passes through."),
    ] = ()
