"""Which hooks a server needs next: one stage at a time, and undone in the reverse order, whatever came in between."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from controller.api.optimization import HookRequest, Hooks, LevelHooks, OptimizationStatus, Stage
from controller.scaling.optimization import (
    HOOK_SETS,
    STAGES,
    Step,
    below,
    digest,
    goal,
    hooks_for,
    next_step,
    plain,
    retry_pause,
    unlike,
)

WEBUI = Hooks(hook_set="StableDiffusionWebUI")
AT = "2026-01-15T04:00:00.000Z"


def status(level: Stage, *, complete: bool = True, hooks: Hooks = WEBUI) -> OptimizationStatus:
    return OptimizationStatus(level=level, applied_at=AT if complete else None, hooks=digest(hooks))


@pytest.mark.parametrize(
    ("level", "complete", "wanted", "step"),
    [
        ("Normal", True, "Normal", None),
        ("Normal", False, "Normal", None),
        ("Normal", True, "Optimize", Step("Enter", "Optimize")),
        ("Normal", True, "Critical", Step("Enter", "Optimize")),
        ("Optimize", True, "Optimize", None),
        ("Optimize", False, "Optimize", Step("Enter", "Optimize")),
        ("Optimize", False, "Critical", Step("Enter", "Optimize")),
        ("Optimize", True, "Critical", Step("Enter", "Critical")),
        ("Optimize", False, "Normal", Step("Leave", "Optimize")),
        ("Critical", False, "Critical", Step("Enter", "Critical")),
        ("Critical", True, "Optimize", Step("Leave", "Critical")),
        ("Critical", False, "Normal", Step("Leave", "Critical")),
    ],
)
def test_the_next_step(level: Stage, complete: bool, wanted: Stage, step: Step | None) -> None:
    assert next_step(status(level, complete=complete), wanted) == step


def test_a_pool_without_hooks_asks_nothing_of_its_servers() -> None:
    assert goal(Hooks(), "Critical", OptimizationStatus()) == "Normal"


def test_hooks_that_were_changed_or_removed_are_undone_first() -> None:
    done = status("Optimize")
    assert goal(WEBUI, "Critical", done) == "Critical"
    assert goal(Hooks(), "Critical", done) == "Normal"
    other = Hooks(optimize=LevelHooks(on_enter=(HookRequest(path="/low"),)))
    assert goal(other, "Critical", done) == "Normal"
    assert goal(other, "Critical", OptimizationStatus(level="Normal", hooks=digest(WEBUI))) == "Critical"


def test_the_ready_set_comes_first_and_is_undone_last() -> None:
    enter, leave = HookRequest(path="/low"), HookRequest(path="/high")
    hooks = Hooks(hook_set="StableDiffusionWebUI", optimize=LevelHooks(on_enter=(enter,), on_leave=(leave,)))
    assert [r.path for r in hooks_for(hooks, "Optimize").on_enter] == ["/sdapi/v1/options", "/low"]
    assert [r.path for r in hooks_for(hooks, "Optimize").on_leave] == ["/high"]
    assert [r.path for r in hooks_for(hooks, "Critical").on_enter] == ["/sdapi/v1/options"]


def test_critical_saves_more_than_optimize_and_changes_nothing_else_back() -> None:
    first, second = (json.loads(hooks_for(WEBUI, s).on_enter[0].body) for s in ("Optimize", "Critical"))
    assert first == {"samples_format": "webp"}
    assert second == first | {"jpeg_quality": 60}
    assert all(r.restore for stages in HOOK_SETS.values() for hooks in stages.values() for r in hooks.on_enter)


def test_pauses_after_failures_grow_to_ten_minutes() -> None:
    assert [retry_pause(n) for n in (1, 2, 3, 6, 7, 50)] == [10.0, 20.0, 40.0, 320.0, 600.0, 600.0]


def test_a_whole_number_is_sent_back_as_one_and_compared_as_one() -> None:
    assert [type(plain(v)) for v in (80.0, 80, 0.5, "80", True, None)] == [int, int, float, str, bool, type(None)]
    assert unlike({"jpeg_quality": 60.0, "samples_format": "png"}, {"jpeg_quality": 60, "samples_format": "webp"}) == [
        "samples_format"
    ]


@given(goals=st.lists(st.tuples(st.sampled_from(STAGES), st.integers(0, 4)), max_size=12))
def test_however_the_level_moves_and_tries_fail_what_was_begun_is_undone_and_in_reverse_order(
    goals: list[tuple[Stage, int]],
) -> None:
    """Each goal holds for some steps, of which every other fails once its record is written; in the end all is over."""
    at, stack, number = OptimizationStatus(), list[Stage](), 0
    for wanted, steps in [*goals, ("Normal", 99)]:
        for _ in range(steps):
            step = next_step(at, wanted)
            if step is None:
                break
            number += 1
            at = replace(at, level=step.stage, applied_at=None)  # on record before the first request
            if step.kind == "Enter" and step.stage not in stack:
                assert below(step.stage) == (stack[-1] if stack else "Normal")
                stack.append(step.stage)
            assert stack[-1] == step.stage, "only the topmost is entered again or left"
            if number % 2:
                continue
            if step.kind == "Leave":
                stack.pop()
            at = replace(at, level=step.stage if step.kind == "Enter" else below(step.stage), applied_at=AT)
    assert (stack, at.level) == ([], "Normal")
