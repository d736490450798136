"""What holds of the fair queue whatever is done to it, and of two unfair queues not.

* Conservation: what was queued is served or taken out once, and nothing else is.
* Work conservation: while something waits, something is served.
* First in, first out for each user.
* Bounded lag: between two turns of a network that has tasks all the time, no other network has more than one turn; the
  same for the users of one network among themselves. A newcomer's first turn is under the same bound.
* Memory follows what waits, not what once came.
"""

from collections import OrderedDict
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from controller.dispatcher.fairqueue import FairQueue, Ticket
from controller.dispatcher.fairqueue.network import CONSUMED
from controller.dispatcher.fairqueue.turns import ROOM, SLACK, Turns

#: Turns of another key that a key may have to wait for between two of its own.
BOUND = 1


class Lag:
    """Counts, for every key that has tasks, the turns each other key had since its own last one."""

    def __init__(self) -> None:
        self.turns: dict[str, dict[str, int]] = {}
        self.worst = 0

    def has_tasks(self, key: str) -> None:
        self.turns.setdefault(key, {})

    def served(self, key: str, *, more: bool) -> None:
        for other, seen in self.turns.items():
            if other != key:
                seen[key] = seen.get(key, 0) + 1
                self.worst = max(self.worst, seen[key])
        self.turns[key] = {}
        if not more:
            del self.turns[key]

    def left(self, key: str) -> None:
        del self.turns[key]


class Machine(RuleBasedStateMachine):
    """Tasks come, are served and are taken out, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.queue = FairQueue()
        self.made = 0
        #: What must wait: user -> tasks, oldest first.
        self.waiting: dict[tuple[str, str], OrderedDict[str, Ticket]] = {}
        self.networks = Lag()
        self.users: dict[str, Lag] = {}

    def _tasks_of(self, network: str) -> int:
        return sum(len(tasks) for (of, _), tasks in self.waiting.items() if of == network)

    def _took(self, ticket: Ticket) -> tuple[bool, bool]:
        """Whether the user and the network have more."""
        key = (ticket.network, ticket.user)
        del self.waiting[key][ticket.task_id]
        if not self.waiting[key]:
            del self.waiting[key]
        return key in self.waiting, self._tasks_of(ticket.network) > 0

    @rule(network=st.sampled_from("ABCD"), user=st.sampled_from("xyz"), tasks=st.integers(1, 4))
    def come(self, network: str, user: str, tasks: int) -> None:
        for _ in range(tasks):
            self.made += 1
            ticket = Ticket(f"t{self.made}", network, f"{network}.{user}", float(self.made))
            self.queue.push(ticket)
            self.waiting.setdefault((network, ticket.user), OrderedDict())[ticket.task_id] = ticket
            self.networks.has_tasks(network)
            self.users.setdefault(network, Lag()).has_tasks(ticket.user)

    @rule(times=st.integers(1, 6))
    def serve(self, times: int) -> None:
        for _ in range(times):
            peeked, ticket = self.queue.peek(), self.queue.pop()
            assert peeked == ticket
            if ticket is None:
                assert not self.waiting, "something waits and nothing is served"
                return
            first = next(iter(self.waiting[(ticket.network, ticket.user)]))
            assert ticket.task_id == first, "a user's later task overtook an earlier one"
            user_has_more, network_has_more = self._took(ticket)
            self.queue.settle(ticket.task_id, 0.0)
            self.networks.served(ticket.network, more=network_has_more)
            self.users[ticket.network].served(ticket.user, more=user_has_more)

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def take_out(self, data: st.DataObject) -> None:
        tickets = [ticket for tasks in self.waiting.values() for ticket in tasks.values()]
        ticket = data.draw(st.sampled_from(tickets), label="ticket")
        assert self.queue.remove(ticket.task_id) == ticket
        assert self.queue.remove(ticket.task_id) is None
        user_has_more, network_has_more = self._took(ticket)
        if not user_has_more:
            self.users[ticket.network].left(ticket.user)
        if not network_has_more:
            self.networks.left(ticket.network)

    @invariant()
    def nothing_is_lost_or_made_up(self) -> None:
        expected = {task for tasks in self.waiting.values() for task in tasks}
        assert {ticket.task_id for ticket in self.queue} == expected
        assert len(self.queue) == len(expected)
        assert all(task in self.queue for task in expected)
        assert self.queue.users() == {user: len(tasks) for (_, user), tasks in self.waiting.items()}

    @invariant()
    def the_oldest_is_the_oldest(self) -> None:
        submitted = [ticket.submitted for tasks in self.waiting.values() for ticket in tasks.values()]
        oldest = self.queue.oldest()
        assert (oldest.submitted if oldest else None) == min(submitted, default=None)

    @invariant()
    def nobody_waits_for_a_second_turn_of_another(self) -> None:
        assert self.networks.worst <= BOUND
        assert all(lag.worst <= BOUND for lag in self.users.values())

    @invariant()
    def memory_follows_what_waits(self) -> None:
        assert_lean(self.queue)


TestFairQueue = Machine.TestCase
TestFairQueue.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)


class Unfair:
    """A queue to prove that the checks can fail."""

    def __init__(self, *, first_key_first: bool) -> None:
        self._first_key_first = first_key_first
        self._tickets: list[Ticket] = []

    def push(self, ticket: Ticket) -> None:
        self._tickets.append(ticket)

    def pop(self) -> Ticket | None:
        if not self._tickets:
            return None
        ticket = min(self._tickets, key=lambda t: t.network) if self._first_key_first else self._tickets[0]
        self._tickets.remove(ticket)
        return ticket


def worst_lag(queue: FairQueue | Unfair) -> int:
    """The worst lag of networks when A floods, and B and C come later and again and again."""
    lag, waiting, made = Lag(), {"A": 0, "B": 0, "C": 0}, 0

    def come(network: str) -> None:
        nonlocal made
        made += 1
        queue.push(Ticket(f"t{made}", network, network, float(made)))
        waiting[network] += 1
        lag.has_tasks(network)

    for _ in range(60):
        come("A")
    for turn in range(60):
        if turn % 3 == 1:
            come("B")
        if turn % 5 == 2:
            come("C")
        ticket = queue.pop()
        assert ticket is not None
        waiting[ticket.network] -= 1
        lag.served(ticket.network, more=waiting[ticket.network] > 0)
    return lag.worst


def test_a_flood_delays_nobody_by_more_than_a_turn() -> None:
    assert worst_lag(FairQueue()) <= BOUND


@pytest.mark.parametrize("first_key_first", [True, False])
def test_the_measure_of_lag_tells_unfair_queues(first_key_first: bool) -> None:
    """Negative control: first come first served, and the lowest key first, must come out unfair."""
    assert worst_lag(Unfair(first_key_first=first_key_first)) > 10 * BOUND


def assert_lean(queue: FairQueue) -> None:
    """Nothing is kept of who neither waits nor runs nor has a tag to wait for; heaps hold little that is outdated."""
    for network in queue._networks.values():
        assert network.waiting or network.running or network.charged
        lines = [line for line in network.lines() if line.waiting]
        assert sum(line.waiting for line in lines) == network.waiting
        assert all(len(line.tickets) <= 3 * line.waiting + 2 * CONSUMED for line in lines)
        if network.turns is not None:
            assert_lean_turns(network.turns)
    assert_lean_turns(queue._lanes._main)


def assert_lean_turns(turns: Turns[Any]) -> None:
    assert len(turns._heap) <= 2 * turns.members + SLACK
    assert turns.members <= len(turns.flows)


def finish_one(queue: FairQueue) -> Ticket:
    ticket = queue.pop()
    assert ticket is not None
    return queue.settle(ticket.task_id, 1.0)


def test_submitting_and_cancelling_for_ever_costs_no_memory() -> None:
    queue = FairQueue()
    queue.push(Ticket("first", "A", "A", 0.0))
    queue.push(Ticket("other", "B", "B", 0.0))
    for number in range(5000):
        queue.push(Ticket(f"t{number}", "A", "A", float(number)))
        queue.remove(f"t{number}")
        queue.push(Ticket(f"n{number}", f"N{number}", f"N{number}", float(number)))
        queue.remove(f"n{number}")
    assert set(queue._networks) == {"A", "B"}
    assert_lean(queue)


def test_coming_back_and_cancelling_for_ever_costs_no_memory() -> None:
    queue = FairQueue()
    for user in "ABC":
        queue.push(Ticket(f"{user}1", user, user, 0.0))
        queue.push(Ticket(f"{user}2", user, user, 0.0))
    assert [queue.pop() for _ in range(3)]
    for number in range(5000):
        for user in "AB":
            queue.push(Ticket(f"{user}n{number}", user, user, 0.0))
        queue.remove("A2" if number == 0 else f"An{number - 1}")
        assert_lean(queue)
        queue.remove(f"Bn{number}")


def test_users_who_come_once_and_never_again_are_forgotten_while_the_queue_never_runs_empty() -> None:
    queue = FairQueue()
    for number in range(10 * ROOM):
        queue.push(Ticket(f"t{number}", f"N{number}", f"N{number}", 0.0))
        if number > 3:
            finish_one(queue)
    assert len(queue._networks) <= ROOM + len(queue)


def test_an_endless_stream_of_newcomers_does_not_starve_those_who_were_there() -> None:
    """Every task of the attacker comes from an address of its own, as fast as tasks are served."""
    queue, honest = FairQueue(), 0
    for number in range(100):
        queue.push(Ticket(f"h{number}", "honest", "honest", 0.0))
    for number in range(20 * ROOM):
        for half in "ab":
            queue.push(Ticket(f"s{number}{half}", f"S{number}", f"S{number}", 0.0))
        honest += finish_one(queue).network == "honest"
    assert honest >= 4
