"""The words: every answer is in them, and no line is too long for the terminal."""

from collections.abc import Callable
from typing import Any

import pytest

from controller.explain.explanation import explanation
from controller.explain.text import MAX_WIDTH, MIN_WIDTH, _span, render

Make = Callable[..., Any]


@pytest.fixture
def text(facts: Make, now: float) -> Callable[..., str]:
    def of(*, width: int = MAX_WIDTH, **given: Any) -> str:
        return render(explanation(facts(**given), now=now, since_seconds=86400.0), width=width)

    return of


WHOLE = """\
pool images/sd: mode Act, paused None; all times are UTC, now 2026-01-15 04:00:00

HAS      2 serving, 1 being deployed (minimum 1, no maximum)
WANTS    3 servers
DOES     Hold, VictimTooYoung, for 90 s now: the dearest server sd-2 has run for 600 s, needs more than 3600 s
COSTS    3.29 CNY/h now, 12.50 CNY today, 300.25 CNY this month (Beijing time), and 0.24 CNY/day for the stored
         presets
DECIDED  4 s ago; step up 1 servers

SIGNAL        NOW      GROWS ABOVE  SHRINKS BELOW  STATE    AGE  FROM
queue length  2        15           3              Low      1 s  dispatcher
CPU           unknown  85 %         30 %           Unknown  -    -
  CPU unknown since 2026-01-15 03:48:00 (12 min): Cloud Monitor lags

WHY NOT MORE SERVERS  NotNeeded: enough
  it takes: a signal

WHY NOT FEWER SERVERS  VictimTooYoung: the dearest server sd-2 has run for 600 s, needs more than 3600 s
  it takes: that server to run longer
  at the earliest: 04:50:00 (in 50 min), if load is low from now on
  these rules fail too: FreshWindow

PASSED OVER  XL in ap-beijing   0.88 CNY/h  sold out, tried again in 60 s
NEXT TO BUY  XL in ap-nanjing   0.9 CNY/h   cheapest
FIRST TO GO  3XL in ap-nanjing  2.41 CNY/h  sd-2, the dearest, has run for 10 min
  and 34 more offers

SERVER  PHASE  FOR     BUNDLE  REGION      CNY/H  CNY SO FAR  WHY IT WAS BOUGHT
sd-1    Ready  56 min  XL      ap-beijing  0.88   0.88        LongQueue: queue length 42 > 15

HISTORY of the last 24 h
2026-01-15
  03:48:20  11 min ago     * ScaleUp LongQueue: queue length 42 > 15 -> buy 1 x 3XL [0 Ready, 0 wanted]
  03:58:30  90 s ago       * Hold VictimTooYoung: the dearest server is young [0 Ready, 0 wanted]"""


def test_the_whole_text(text: Make, make_instance: Make) -> None:
    assert text(width=112, instances=(make_instance(1),)) == WHOLE


def test_a_recommendation_is_said_to_be_one(text: Make, make_decision: Make) -> None:
    got = text(spec={"mode": "Recommend"}, lastDecision=make_decision(action="ScaleUp", reason="LongQueue"))
    assert "decisions are shown here and not carried out" in got
    assert "DOES     would ScaleUp, LongQueue" in got


def test_a_pool_that_moves_says_why(text: Make, make_decision: Make) -> None:
    acting = {"acts": True, "reason": "LowLoad", "message": "low load for 301 s -> destroy the dearest: sd-2"}
    got = text(lastDecision=make_decision(action="ScaleDown", reason="LowLoad", shrinking=acting))
    assert "WHY FEWER SERVERS  LowLoad: low load for 301 s -> destroy the dearest: sd-2" in got


def test_a_pool_that_was_never_decided_on_says_so_and_no_more(text: Make) -> None:
    got = text(lastDecision=None, signals=[], journal=[])
    assert "! the operator has not decided on this pool yet" in got
    assert "WHY" not in got
    assert got.endswith("HISTORY of the last 24 h: nothing is recorded")


@pytest.mark.parametrize("width", [20, MIN_WIDTH, 80, 400])
def test_no_line_is_longer_than_the_terminal_or_can_be_read(
    text: Make, make_instance: Make, make_event: Make, width: int
) -> None:
    long = make_instance(1, message="waiting " * 30)
    got = text(width=width, instances=(long,), events=(make_event(5, "sd-1", "Unhealthy", "no answer " * 20),))
    tables = ("SIGNAL", "queue length", "CPU", "PASSED", "NEXT TO", "FIRST TO")
    lines = [line for line in got.splitlines() if not line.startswith(tables)]
    assert max(len(line) for line in lines) <= max(MIN_WIDTH, min(width, MAX_WIDTH))


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (119.4, "119 s"), (120, "2 min"), (3600, "1 h"), (3900, "1 h 5 min"), (86400 * 3 + 7200, "3 d 2 h")],
)
def test_spans_are_short(seconds: float, words: str) -> None:
    assert _span(seconds) == words
