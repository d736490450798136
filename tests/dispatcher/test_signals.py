"""What one user's queue adds to the figures that scaling reads: no more than its first tasks do."""

from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from controller.dispatcher.signals import Signals


def test_up_to_the_limit_every_task_counts() -> None:
    signals = Signals(3)
    for number in range(3):
        signals.join(f"a{number}", "A", 0.0)
    assert signals.length == 3
    assert signals.mean_age(6.0) == 6.0


def test_a_flood_of_one_user_weighs_like_the_limit_and_others_count_beside_it() -> None:
    signals = Signals(10)
    for number in range(400):
        signals.join(f"a{number}", "A", 0.0)
    assert signals.length == 10
    signals.join("b", "B", 1.0)
    assert signals.length == 11


def test_a_wait_counts_from_the_moment_a_task_comes_among_its_users_first() -> None:
    """Two count. a3 comes among them when a1 has started, at 5, and what it waited until then was for a1 and a2."""
    signals = Signals(2)
    for name in ("a1", "a2", "a3"):
        signals.join(name, "A", 0.0)
    assert signals.leave("a1", "A", 5.0) == 0.0
    assert signals.leave("a2", "A", 6.0) == 0.0
    assert signals.oldest() == 5.0
    assert signals.leave("a3", "A", 9.0) == 5.0
    assert (signals.oldest(), signals.mean_age(9.0)) == (None, 0.0)


def test_a_task_that_goes_away_before_it_counted_says_so_and_changes_nothing() -> None:
    signals = Signals(1)
    for name in ("a1", "a2", "a3"):
        signals.join(name, "A", 0.0)
    assert signals.leave("a2", "A", 1.0) is None
    signals.leave("a1", "A", 2.0)
    assert (signals.length, signals.oldest()) == (1, 2.0)


def test_a_higher_limit_lets_more_count_at_once_and_a_lower_one_only_with_time() -> None:
    signals = Signals(1)
    for number in range(5):
        signals.join(f"a{number}", "A", 0.0)
    signals.set_limit(3, 7.0)
    assert (signals.length, signals.oldest()) == (3, 0.0)
    assert signals.mean_age(7.0) == pytest.approx(7.0 / 3)
    signals.set_limit(1, 8.0)
    assert signals.length == 3
    for number in range(3):
        signals.leave(f"a{number}", "A", 9.0)
    assert (signals.length, signals.oldest()) == (1, 9.0)


def test_what_a_store_kept_has_waited_since_its_submission() -> None:
    signals = Signals(10)
    for name, since in (("old", -100.0), ("newer", -50.0), ("now", 0.0)):
        signals.join(name, "A", since)
    assert signals.oldest() == -100.0
    assert signals.leave("old", "A", 1.0) == -100.0
    assert signals.oldest() == -50.0


@dataclass
class Line:
    """A user's tasks as the plainest of models: (name, counted since or None), first come first."""

    tasks: list[list[Any]] = field(default_factory=list)


class Machine(RuleBasedStateMachine):
    """Tasks of three users come and go in any order; the model counts anew each time."""

    def __init__(self) -> None:
        super().__init__()
        self.limit, self.now, self.made = 2, 0.0, 0
        self.signals = Signals(self.limit)
        self.lines = {user: Line() for user in "ABC"}

    def _recount(self) -> None:
        for line in self.lines.values():
            counted = sum(since is not None for _, since in line.tasks)
            for task in line.tasks:
                if task[1] is None and counted < self.limit:
                    task[1], counted = self.now, counted + 1

    @rule(user=st.sampled_from("ABC"))
    def join(self, user: str) -> None:
        self.made += 1
        self.signals.join(str(self.made), user, self.now)
        self.lines[user].tasks.append([str(self.made), None])
        self._recount()

    @rule(user=st.sampled_from("ABC"), place=st.integers(0, 5))
    def leave(self, user: str, place: int) -> None:
        tasks = self.lines[user].tasks
        if tasks:
            name, since = tasks.pop(min(place, len(tasks) - 1))
            assert self.signals.leave(name, user, self.now) == since
            self._recount()

    @rule(limit=st.integers(1, 4))
    def change(self, limit: int) -> None:
        self.limit = limit
        self.signals.set_limit(limit, self.now)
        self._recount()

    @rule(seconds=st.integers(1, 9))
    def wait(self, seconds: int) -> None:
        self.now += seconds

    @invariant()
    def it_says_what_the_model_says(self) -> None:
        counted = [since for line in self.lines.values() for _, since in line.tasks if since is not None]
        assert self.signals.length == len(counted)
        assert self.signals.oldest() == min(counted, default=None)
        ages = [self.now - since for since in counted]
        assert abs(self.signals.mean_age(self.now) - (sum(ages) / len(ages) if ages else 0.0)) < 1e-6


Machine.TestCase.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
TestMachine = Machine.TestCase
