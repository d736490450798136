"""Which hooks a server needs next, so that it saves as much traffic as its pool's level asks for. Pure.

Stages are a stack: `Critical` comes on top of `Optimize`, and is taken off before it. The stage of which anything may
have been sent is on record before the first request leaves, so that after a crash anywhere it is either completed or
undone, never forgotten.
"""

import hashlib
import json
from dataclasses import dataclass
from typing import Any, Final, Literal

import msgspec

from controller.api.optimization import HookRequest, Hooks, LevelHooks, OptimizationStatus, Stage

#: From the bottom of the stack up.
STAGES: Final[tuple[Stage, ...]] = ("Normal", "Optimize", "Critical")
#: Pauses after failed tries double from the first to the longest.
RETRY_FIRST_SECONDS: Final = 10.0
RETRY_MAX_SECONDS: Final = 600.0


@dataclass(frozen=True, slots=True)
class Step:
    """One stage to be entered, or to be left."""

    kind: Literal["Enter", "Leave"]
    stage: Stage


def _webui(values: dict[str, Any]) -> LevelHooks:
    return LevelHooks(on_enter=(HookRequest(path="/sdapi/v1/options", body=json.dumps(values), restore=True),))


#: Ready hooks by name. The WebUI encodes what its API returns by these settings, and WebP by `jpeg_quality` too; a
#: task's own `override_settings` are put back before the image is encoded, so they cannot do this.
HOOK_SETS: Final[dict[str, dict[Stage, LevelHooks]]] = {
    "None": {},
    "StableDiffusionWebUI": {
        "Optimize": _webui({"samples_format": "webp"}),
        "Critical": _webui({"samples_format": "webp", "jpeg_quality": 60}),
    },
}


def hooks_for(hooks: Hooks, stage: Stage) -> LevelHooks:
    """All requests of a stage: the ready set's, then the pool's own; in leaving, the pool's own first."""
    ready = HOOK_SETS[hooks.hook_set].get(stage, LevelHooks())
    own = {"Optimize": hooks.optimize, "Critical": hooks.critical}.get(stage, LevelHooks())
    return LevelHooks(on_enter=(*ready.on_enter, *own.on_enter), on_leave=(*own.on_leave, *ready.on_leave))


def digest(hooks: Hooks) -> str:
    """What tells one set of hooks from another."""
    return hashlib.sha256(msgspec.json.encode(hooks)).hexdigest()[:16]


def goal(hooks: Hooks, wanted: Stage, status: OptimizationStatus) -> Stage:
    """The stage to bring a server to: none without hooks, and none by way of undoing those of another set."""
    if hooks == Hooks() or (status.level != "Normal" and status.hooks != digest(hooks)):
        return "Normal"
    return wanted


def next_step(status: OptimizationStatus, wanted: Stage) -> Step | None:
    """What is to be done next, one stage at a time; None when the server is where it should be."""
    at, to = STAGES.index(status.level), STAGES.index(wanted)
    if at > to:
        return Step("Leave", status.level)
    if at > 0 and status.applied_at is None:
        return Step("Enter", status.level)
    return Step("Enter", STAGES[at + 1]) if at < to else None


def below(stage: Stage) -> Stage:
    """The stage that holds once this one is left."""
    return STAGES[STAGES.index(stage) - 1]


def retry_pause(failures: int) -> float:
    """Seconds until the next try after so many failed ones in a row (1 or more)."""
    return min(RETRY_FIRST_SECONDS * 2.0 ** min(failures - 1, 10), RETRY_MAX_SECONDS)


def missing(settings: dict[str, Any], body: dict[str, Any]) -> list[str]:
    """Fields of a hook's body that the server does not have."""
    return sorted(name for name in body if name not in settings)


def unlike(settings: dict[str, Any], body: dict[str, Any]) -> list[str]:
    """Fields that have another value at the server than was sent; 80 and 80.0 are the same."""
    return sorted(name for name, value in body.items() if settings.get(name) != value)


def plain(value: Any) -> Any:
    """A value to be sent back as it was meant.

    The WebUI's API shows every whole number as a float, and stores what it is sent: given back its own 80.0 as the
    quality it can write no JPEG any more, since Pillow wants an int there.
    """
    return int(value) if isinstance(value, float) and value.is_integer() else value
