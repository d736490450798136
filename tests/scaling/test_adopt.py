"""What is billed already and serves nobody comes before anything new; nothing is bought before the cloud is known."""

from collections.abc import Callable
from typing import Any

import pytest

from controller.scaling.plan import Plan
from controller.scaling.snapshot import Stray

HOT = {"queue_length": 42.0}
CHEAP = Stray("hai-b", "ap-nanjing", "XL", 0.88, "app-1")
DEAR = Stray("hai-a", "ap-beijing", "4XL", 6.6, "app-1")
PAUSED = {"paused": "ScaleUp"}


def row(name: str, verdict: str, done: list[str], **given: Any) -> Any:
    return pytest.param(verdict, done, given, id=name)


@pytest.mark.parametrize(
    ("verdict", "done", "given"),
    [
        row("a stray comes before an offer", "Adopt/LongQueue", ["Adopt hai-a"], signals=HOT, strays=(DEAR,)),
        row("the cheapest stray first", "Adopt/LongQueue", ["Adopt hai-b"], signals=HOT, strays=(DEAR, CHEAP)),
        row("as many as are missing", "Adopt/BelowMinimum", ["Adopt hai-b", "Adopt hai-a"], servers=[],
            spec={"replicas": {"min": 3}}, strays=(DEAR, CHEAP)),
        row("also where nothing is for sale", "Adopt/LongQueue", ["Adopt hai-b"], signals=HOT, strays=(CHEAP,),
            offers=[]),
        row("a pool that wants nothing takes nothing", "Hold/AtMinimum", [], strays=(CHEAP,)),
        row("not above the maximum", "Hold/AtMaximum", [], signals=HOT, strays=(CHEAP,), spec={"replicas": {"max": 1}}),
        row("not while paused", "Hold/ScaleUpPaused", [], signals=HOT, strays=(CHEAP,), spec=PAUSED),
        row("a drain taken back is nearer", "Undrain/LongQueue", ["Undrain s1"], signals=HOT, strays=(CHEAP,),
            servers=[{"name": "s1", "draining": True, "drained_by_pool": True}, {"name": "s2"}]),
        row("one step at a time", "Hold/StepInFlight", [], signals=HOT, strays=(CHEAP,),
            servers=[{"name": "s1"}, {"name": "new", "age": None}]),
        row("nothing is bought before the cloud is known", "Hold/AuditPending", [], servers=[], unaudited="waiting"),
        row("what is known may be taken over meanwhile", "Adopt/BelowMinimum", ["Adopt hai-b"], servers=[],
            strays=(CHEAP,), unaudited="waiting for the rest"),
        row("shrinking does not wait for the audit", "ScaleDown/LowLoad", ["Drain s2"], unaudited="waiting",
            servers=[{"name": "s1"}, {"name": "s2", "price_per_hour": 3.0}]),
    ],
)  # fmt: skip
def test_what_is_taken_over_and_when(
    decide: Callable[..., Plan], words: Callable[[Plan], Any], verdict: str, done: list[str], given: Any
) -> None:
    assert words(decide(**given)) == (verdict, done)


def test_what_is_taken_over_counts_as_desired(decide: Callable[..., Plan]) -> None:
    assert decide(servers=[], strays=(CHEAP,)).desired == 1
