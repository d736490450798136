"""Ready-made routes of well-known servers (`queue.routeSet`): which of their requests are work for a GPU.

A request that no route names is a task if it is a POST, PUT or PATCH. So a set names the requests that are no GPU work,
and those tasks that need a time-out or a completion of their own; what an extension adds to a server queues. Only
ComfyUI's turns it around: there, all GPU work enters by one path.
"""

from collections.abc import Mapping
from typing import Final

from controller.api.queue import Poll, Queue, Route


def _passes(name: str, *prefixes: str) -> tuple[Route, ...]:
    """POSTs that are no GPU work."""
    return tuple(Route(name=name, methods=("POST",), path_prefix=p, kind="PassThrough") for p in prefixes)


#: AUTOMATIC1111's Stable Diffusion WebUI and its forks (`modules/api/api.py`; the page itself is Gradio's).
STABLE_DIFFUSION_WEBUI: Final = (
    # The server knows one job, its current one: interrupting or watching another's would be wrong.
    Route(
        name="interrupt",
        methods=("POST",),
        path_prefix="/sdapi/v1/interrupt",
        kind="PassThrough",
        forward_to="OnlyRunning",
    ),
    Route(name="skip", methods=("POST",), path_prefix="/sdapi/v1/skip", kind="PassThrough", forward_to="OnlyRunning"),
    Route(
        name="progress", methods=("GET",), path_prefix="/sdapi/v1/progress", kind="PassThrough", forward_to="Running"
    ),
    *_passes("settings", "/sdapi/v1/options", "/sdapi/v1/refresh-checkpoints", "/sdapi/v1/refresh-vae"),
    *_passes("png-info", "/sdapi/v1/png-info"),
    # The page: what it asks in the background, and Gradio's own plumbing of version 3 and 4.
    *_passes("page", "/internal/", "/run/", "/queue/", "/upload", "/reset", "/login", "/component_server"),
    Route(name="txt2img", methods=("POST",), path_prefix="/sdapi/v1/txt2img"),
    Route(name="img2img", methods=("POST",), path_prefix="/sdapi/v1/img2img"),
    Route(name="extras", methods=("POST",), path_prefix="/sdapi/v1/extra-"),
    Route(name="interrogate", methods=("POST",), path_prefix="/sdapi/v1/interrogate"),
    # Hours of work whose result is a file on that server.
    Route(name="train", methods=("POST",), path_prefix="/sdapi/v1/train/", idempotent=False, timeout_seconds=86400),
    Route(name="create", methods=("POST",), path_prefix="/sdapi/v1/create/", idempotent=False),
)


def _prompt(prefix: str) -> Route:
    return Route(
        name="prompt",
        methods=("POST",),
        path_prefix=f"{prefix}/prompt",
        completion="Poll",
        poll=Poll(
            path=f"{prefix}/history/{{id}}",
            id_pointer="/prompt_id",
            done_pointer="/{id}",
            failed_pointer="/{id}/status/status_str",
            failed_values=("error",),
            pending_path=f"{prefix}/queue",
            # A slot stays idle for half of this on average.
            interval_seconds=0.5,
        ),
        timeout_seconds=1800,
    )


#: ComfyUI (`server.py`): POST /prompt puts a workflow into the server's own queue and returns; every path exists under
#: /api too.
COMFYUI: Final = (
    _prompt(""),
    _prompt("/api"),
    # Interrupts whatever the server executes: only for those whose workflow that may be.
    *(
        Route(name="interrupt", methods=("POST",), path_prefix=path, kind="PassThrough", forward_to="OnlyRunning")
        for path in ("/interrupt", "/api/interrupt")
    ),
    # Uploads, settings, the queue and the history as the page edits them.
    Route(name="page", kind="PassThrough"),
)

_OPENAI_TASKS: Final = (
    Route(name="chat", methods=("POST",), path_prefix="/v1/chat/completions"),
    Route(name="completions", methods=("POST",), path_prefix="/v1/completions"),
    Route(name="embeddings", methods=("POST",), path_prefix="/v1/embeddings"),
    # A response may be stored, and may have called tools: not to be made twice.
    Route(name="responses", methods=("POST",), path_prefix="/v1/responses", idempotent=False),
)

#: Servers that speak OpenAI's API: vLLM, SGLang, llama.cpp's server, LMDeploy, TGI.
OPENAI: Final = (
    *_passes("tokenize", "/tokenize", "/v1/tokenize", "/detokenize", "/v1/messages/count_tokens", "/apply-template"),
    *_OPENAI_TASKS,
)

#: Ollama (`server/routes.go`), which speaks OpenAI's API too.
OLLAMA: Final = (
    *_passes("models", "/api/show", "/api/pull", "/api/push", "/api/create", "/api/copy", "/api/blobs/"),
    *_passes("account", "/api/me", "/api/signout"),
    Route(name="generate", methods=("POST",), path_prefix="/api/generate"),
    Route(name="chat", methods=("POST",), path_prefix="/api/chat"),
    Route(name="embed", methods=("POST",), path_prefix="/api/embed"),
    *_OPENAI_TASKS,
)

ROUTE_SETS: Final[Mapping[str, tuple[Route, ...]]] = {
    "None": (),
    "StableDiffusionWebUI": STABLE_DIFFUSION_WEBUI,
    "ComfyUI": COMFYUI,
    "OpenAI": OPENAI,
    "Ollama": OLLAMA,
}


def routes_of(queue: Queue) -> tuple[Route, ...]:
    """All routes of a pool, in their order: its own, then those of its set."""
    return queue.routes + ROUTE_SETS[queue.route_set]


def keeps_networks_together(queue: Queue) -> bool:
    """Whether a network's tasks go to the server that its other requests go to (`queue.affinity: Network`).

    ComfyUI's set implies it: messages on the WebSocket, the history and the images are where the workflow ran.
    """
    return queue.affinity == "Network" or queue.route_set == "ComfyUI"
