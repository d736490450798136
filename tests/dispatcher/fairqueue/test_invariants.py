"""What holds of the fair queue whatever is done to it; and that the checks can fail."""

import sys
from typing import Any

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule, run_state_machine_as_test

from controller.dispatcher.fairqueue import Fairness, FairQueue, Ticket
from controller.dispatcher.fairqueue.estimate import LEAST_SECONDS
from controller.dispatcher.fairqueue.network import CONSUMED
from controller.dispatcher.fairqueue.turns import ROOM, SLACK, Flow, Turns
from tests.dispatcher.fairqueue.machine import NETWORKS, Job, QueueMachine

SERVERS = ("s1", "s2")


def assert_lean(queue: FairQueue) -> None:
    """Nothing is kept of who neither waits nor runs nor has a tag to wait for; little is kept that is outdated."""
    lanes = queue._lanes
    every = [lanes._main, *(lane.turns for lane in lanes._lanes.values())]
    assert sum(turns.members for turns in every) == len(queue._networks)
    for turns in every:
        assert_lean_turns(turns)
    assert sum(turns._ready for turns in every) == len(queue.networks())
    for network in queue._networks.values():
        assert_worth_keeping(network)
        lines = list(network.lines())
        assert sum(line.waiting for line in lines) == network.waiting
        assert sum(line.running for line in lines) == network.running
        assert all(len(line.tickets) <= 3 * line.waiting + 2 * CONSUMED for line in lines)
        if network.turns is not None:
            assert_lean_turns(network.turns)
            assert network.turns.members == len(lines)
            assert network.turns._ready == sum(line.waiting > 0 for line in lines)
            for line in lines:
                assert_worth_keeping(line)


def assert_lean_turns(turns: Turns[Any]) -> None:
    assert len(turns._agenda) <= 2 * turns.members + SLACK


def assert_worth_keeping(flow: Flow) -> None:
    assert flow.waiting or flow.running or flow.listed is not None or flow.charged


class Machine(QueueMachine):
    """The queue itself; networks may be bound to servers, and what turns are counted in may change."""

    def __init__(self) -> None:
        super().__init__()
        self.queue = FairQueue()
        #: Server -> networks that were parked under it, and not under another one since.
        self.under: dict[str, set[str]] = {server: set() for server in SERVERS}
        self.open = set(SERVERS)

    def submit(self, ticket: Ticket) -> None:
        self.queue.push(ticket)

    def claim(self, estimate: float) -> tuple[str, float] | None:
        peeked = self.queue.peek()
        ticket = self.queue.pop(estimate)
        assert ticket == peeked
        if ticket is None:
            return None
        return ticket.task_id, estimate if self.fairness == "Seconds" else ticket.cost

    def ack(self, task_id: str, seconds: float) -> None:
        self.queue.settle(task_id, seconds)
        with pytest.raises(KeyError):
            self.queue.settle(task_id, seconds)

    def give_back(self, task_id: str) -> None:
        self.queue.push_back(task_id)
        with pytest.raises(KeyError):
            self.queue.push_back(task_id)

    def cancel(self, task_id: str) -> bool:
        return self.queue.remove(task_id) is not None

    def waiting_ids(self) -> set[str]:
        ids = [ticket.task_id for ticket in self.queue]
        assert len(ids) == len(set(ids)) == len(self.queue)
        return set(ids)

    def running_ids(self) -> set[str]:
        assert self.queue.running == len(self.queue._running)
        return set(self.queue._running)

    @rule(fairness=st.sampled_from(["Tasks", "Seconds"]))
    def turns_are_counted_in(self, fairness: Fairness) -> None:
        if fairness != self.fairness:
            self.fairness = fairness
            self.queue.configure(fairness)
            self.forget_shares()
            for job in self.running.values():
                job.charge = 0.0
            self.looked()

    def correct(self, job: Job, difference: float) -> None:
        if job.charge:  # else it was charged before the last change of what turns are counted in
            super().correct(job, difference)

    @precondition(lambda self: self.busy())
    @rule(data=st.data(), server=st.sampled_from(SERVERS))
    def cannot_be_served(self, data: st.DataObject, server: str) -> None:
        network = data.draw(st.sampled_from(sorted(self.busy())), label="network")
        self.queue.park(network, server)
        for networks in self.under.values():
            networks.discard(network)
        self.under[server].add(network)
        self.open.discard(server)
        self._parked()

    @rule(server=st.sampled_from(SERVERS))
    def can_be_served(self, server: str) -> None:
        self.queue.unpark(server)
        self.open.add(server)
        self._parked()

    @rule()
    def servers_are_others(self) -> None:
        self.queue.unpin()
        self.under = {server: set() for server in SERVERS}
        self.open = set(SERVERS)
        self._parked()

    def _parked(self) -> None:
        self.parked = {network for server in SERVERS if server not in self.open for network in self.under[server]}
        self.looked()

    def looked(self) -> None:
        """A network of which the queue knows nothing any more is parked nowhere."""
        for networks in self.under.values():
            networks.intersection_update(self.queue._networks)
        self.parked.intersection_update(self.queue._networks)
        super().looked()

    @invariant()
    def who_is_parked_is_known(self) -> None:
        assert {network for network in NETWORKS if self.queue.is_parked(network)} == self.parked

    @invariant()
    def counts_are_right(self) -> None:
        tickets = [self.jobs[task_id].ticket for task_id in self.waiting()]
        users = {ticket.user for ticket in tickets}
        assert self.queue.users() == {u: sum(t.user == u for t in tickets) for u in users}
        assert self.queue.user_count == len(users)
        assert self.queue.networks() == {n: sum(t.network == n for t in tickets) for n in self.busy()}
        assert all(ticket.task_id in self.queue for ticket in tickets)
        assert [t.submitted for t in self.queue] == sorted(t.submitted for t in tickets)
        oldest = self.queue.oldest()
        assert (oldest.submitted if oldest else None) == min((t.submitted for t in tickets), default=None)

    @invariant()
    def memory_follows_what_waits(self) -> None:
        assert_lean(self.queue)

    @rule()
    def what_is_foretold_comes_true(self) -> None:
        foretold = [ticket.task_id for ticket in self.queue.order(estimate=lambda _: 2.0)]
        served = []
        while (claimed := self.claim(2.0)) is not None:
            self.started(*claimed)
            served.append(claimed[0])
        assert served == foretold

    @rule(limit=st.integers(0, 3))
    def looking_changes_nothing(self, limit: int) -> None:
        foretold = self.queue.order()
        assert self.queue.order(limit) == foretold[:limit]
        for task_id in self.waiting():
            assert 0 <= self.queue.position(task_id) < len(self.queue)
        assert self.queue.order() == foretold

    def teardown(self) -> None:
        super().teardown()
        # V passes whatever was served.
        self.queue.unpin()
        for number in range(2):
            self.queue.push(Ticket(f"last{number}", "last", "last", 0.0, network_weight=LEAST_SECONDS / 1000))
            ticket = self.queue.pop(1000.0)
            assert ticket is not None
            self.queue.settle(ticket.task_id, 1000.0)
        assert self.queue.peek() is None
        assert set(self.queue._networks) <= {"last"}


TestFairQueue = Machine.TestCase
TestFairQueue.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


# --- the checks can fail ---------------------------------------------------------------------------------------------


class Careless(QueueMachine):
    """A store of tasks that keeps no turns: the machine must find each of its faults."""

    @staticmethod
    def order(ticket: Ticket) -> tuple[str, float]:
        """The task of the least is served next."""
        raise NotImplementedError

    def __init__(self) -> None:
        super().__init__()
        self.tickets: list[Ticket] = []
        self.at_work: dict[str, Ticket] = {}

    def submit(self, ticket: Ticket) -> None:
        self.tickets.append(ticket)

    def claim(self, estimate: float) -> tuple[str, float] | None:
        if not self.tickets:
            return None
        ticket = min(self.tickets, key=self.order)
        self.tickets.remove(ticket)
        self.at_work[ticket.task_id] = ticket
        return ticket.task_id, ticket.cost

    def ack(self, task_id: str, seconds: float) -> None:
        del self.at_work[task_id]

    def give_back(self, task_id: str) -> None:
        self.tickets.append(self.at_work.pop(task_id))

    def cancel(self, task_id: str) -> bool:
        left = [ticket for ticket in self.tickets if ticket.task_id != task_id]
        found, self.tickets = len(left) < len(self.tickets), left
        return found

    def waiting_ids(self) -> set[str]:
        return {ticket.task_id for ticket in self.tickets}

    def running_ids(self) -> set[str]:
        return set(self.at_work)


class FirstCome(Careless):
    @staticmethod
    def order(ticket: Ticket) -> tuple[str, float]:
        return "", ticket.submitted


class FirstKey(Careless):
    @staticmethod
    def order(ticket: Ticket) -> tuple[str, float]:
        return ticket.network, ticket.submitted


class LastCome(Careless):
    @staticmethod
    def order(ticket: Ticket) -> tuple[str, float]:
        return "", -ticket.submitted


class Forgetful(Machine):
    """Loses what goes back."""

    def give_back(self, task_id: str) -> None:
        self.queue.settle(task_id, 0.0)


class Leaky(Machine):
    """Takes a task that ends for one that still runs."""

    def ack(self, task_id: str, seconds: float) -> None:
        return


class Idle(Machine):
    """Serves nothing while anything is parked."""

    def claim(self, estimate: float) -> tuple[str, float] | None:
        return None if self.parked else super().claim(estimate)


@pytest.mark.parametrize(
    ("machine", "complaint"),
    [
        (FirstCome, "unfair"),
        (FirstKey, "unfair"),
        (LastCome, "overtook"),
        (Forgetful, "waiting_ids"),
        (Leaky, "running_ids"),
        (Idle, "nothing is served"),
    ],
)
def test_the_machine_tells_queues_that_are_not_fair_or_lose_something(
    machine: type[QueueMachine], complaint: str
) -> None:
    """Negative control."""
    quick = settings(
        max_examples=300, stateful_step_count=40, deadline=None, database=None, report_multiple_bugs=False,
        phases=[Phase.generate], derandomize=True,
    )  # fmt: skip
    with pytest.raises(AssertionError) as caught:
        run_state_machine_as_test(machine, settings=quick)
    assert complaint in str(caught.getrepr(chain=True))


# --- memory ----------------------------------------------------------------------------------------------------------


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
        queue.push(Ticket(f"u{number}", "A", f"A{number}", float(number)))
        queue.remove(f"u{number}")
        queue.push(Ticket(f"n{number}", f"N{number}", f"N{number}", float(number)))
        queue.peek()
        queue.remove(f"n{number}")
    assert set(queue._networks) == {"A", "B"}
    assert_lean(queue)


def test_coming_back_and_cancelling_for_ever_costs_no_memory() -> None:
    queue = FairQueue()
    for user in "ABC":
        queue.push(Ticket(f"{user}1", user, user, 0.0))
        queue.push(Ticket(f"{user}2", user, user, 0.0))
    for _ in range(3):
        finish_one(queue)
    for number in range(5000):
        for user in "AB":
            queue.push(Ticket(f"{user}n{number}", user, user, 0.0))
        queue.remove("A2" if number == 0 else f"An{number - 1}")
        assert_lean(queue)
        queue.peek()
        queue.remove(f"Bn{number}")


def test_who_left_and_looks_in_again_and_again_is_kept_once() -> None:
    """With no slot free nothing is served, so V stands still and forgets nobody."""
    queue = FairQueue()
    for user in "AB":
        queue.push(Ticket(f"{user}1", user, user, 0.0))
        finish_one(queue)
    for number in range(5000):
        queue.push(Ticket(f"A{number}", "A", "A", 0.0))
        queue.peek()
        queue.remove(f"A{number}")
        assert queue.peek() is None
        assert_lean(queue)
    assert len(queue._lanes._main._passed) <= 2


def test_users_who_come_once_and_never_again_are_forgotten_while_the_queue_never_runs_empty() -> None:
    queue = FairQueue()
    for number in range(10 * ROOM):
        queue.push(Ticket(f"t{number}", f"N{number}", f"N{number}", 0.0))
        if number > 3:
            finish_one(queue)
    assert len(queue._networks) <= ROOM + len(queue)


def test_an_endless_stream_of_newcomers_does_not_starve_those_who_were_there() -> None:
    """Every task of the attacker comes from an address of its own, twice as fast as tasks are served."""
    queue, honest = FairQueue(), 0
    for number in range(100):
        queue.push(Ticket(f"h{number}", "honest", "honest", 0.0))
    for number in range(20 * ROOM):
        for half in "ab":
            queue.push(Ticket(f"s{number}{half}", f"S{number}{half}", f"S{number}{half}", 0.0))
        honest += finish_one(queue).network == "honest"
    assert honest >= 4


def test_users_of_a_network_without_end_are_forgotten_too() -> None:
    queue = FairQueue()
    queue.push(Ticket("first", "A", "A+first", 0.0))
    for number in range(10 * ROOM):
        queue.push(Ticket(f"t{number}", "A", f"A+{number}", 0.0))
        finish_one(queue)
    assert len(list(queue._networks["A"].lines())) <= ROOM + len(queue)


def test_a_queue_that_ran_empty_keeps_nobody_once_v_has_passed() -> None:
    queue = FairQueue()
    for number in range(100):
        queue.push(Ticket(f"t{number}", f"N{number % 10}", f"N{number % 10}", 0.0))
    while queue:
        finish_one(queue)
    for number in range(3):
        queue.push(Ticket(f"last{number}", "last", "last", 0.0, cost=1000.0))
        finish_one(queue)
    assert set(queue._networks) == {"last"}


def test_a_queue_that_is_dropped_is_freed_by_its_references_alone() -> None:
    """Flows are hidden from the garbage collector, so there must be no cycle among them."""
    queue = FairQueue()
    for number in range(10):
        queue.push(Ticket(f"t{number}", "A", f"A+{number % 2}", 0.0))
    queue.pop()
    queue.park("A", "s1")
    network = queue._networks["A"]
    before = sys.getrefcount(network)
    del queue
    assert sys.getrefcount(network) == before - 4, "the dictionary, the heaps of two lanes, the running task"
