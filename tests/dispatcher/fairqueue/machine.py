"""Tasks come, are served, end, go back and are cancelled, in any order: a machine for whatever keeps the fair queue.

It knows the queue only by its hooks, so that the queue itself and every store are put through the same. What it holds
of all of them:

* Conservation: what was queued waits, runs or has ended, once; nothing else is there.
* Work conservation: while something waits that may be served, something is served.
* First in, first out for each user, but for tasks that were put back, which go first.
* Bounded lag: as long as two networks have tasks all the time, what they got differs, over their weights, by no more
  than the largest turn of each (Goyal, Vin, Cheng 1996, theorem 1), and by what was charged wrongly and put right. The
  same for two users of one network.
"""

from bisect import insort
from collections import defaultdict
from dataclasses import dataclass, field
from itertools import combinations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from controller.dispatcher.fairqueue import Ticket
from controller.dispatcher.fairqueue.estimate import LEAST_SECONDS

NETWORKS = "ABCD"
USERS = "xyz"
#: Fixed weights: a network's share has to be the same over the time in which shares are compared.
NETWORK_WEIGHTS = {"A": 1.0, "B": 1.0, "C": 2.0, "D": 0.5}
USER_WEIGHTS = {"x": 1.0, "y": 1.0, "z": 4.0}


class Shares:
    """What flows got for as long as both of two had tasks, and how far apart that may be."""

    def __init__(self) -> None:
        #: Net of corrections, over weights, since the first turn.
        self.got: defaultdict[str, float] = defaultdict(float)
        self.largest: defaultdict[str, float] = defaultdict(float)
        self.corrected: defaultdict[str, float] = defaultdict(float)
        #: Flows that have tasks, and the least and the largest lead of the first of two over the second since then.
        self.busy: set[str] = set()
        self.leads: dict[tuple[str, str], tuple[float, float]] = {}

    def update(self, busy: set[str]) -> None:
        """These have tasks that may be served; look at all leads."""
        self.busy = busy
        pairs = {pair: self.got[pair[0]] - self.got[pair[1]] for pair in combinations(sorted(busy), 2)}
        self.leads = {
            pair: (min(lead, self.leads.get(pair, (lead, lead))[0]), max(lead, self.leads.get(pair, (lead, lead))[1]))
            for pair, lead in pairs.items()
        }

    def charged(self, key: str, charge: float) -> None:
        self.got[key] += charge
        self.largest[key] = max(charge, self.largest[key])

    def correct(self, key: str, difference: float) -> None:
        self.got[key] += difference
        self.corrected[key] += abs(difference)

    def unfair(self) -> list[str]:
        """The pairs whose lead left its bound."""
        return [
            f"{a} over {b}: from {least:g} to {most:g}"
            for (a, b), (least, most) in self.leads.items()
            if most - least > sum(self.largest[key] + self.corrected[key] for key in (a, b)) + 1e-6
        ]


@dataclass
class Job:
    """A task as the machine knows it."""

    ticket: Ticket
    #: Number of its first start; 0 before.
    start: int = 0
    #: What it was charged, before weights, while it runs.
    charge: float = 0.0


@dataclass
class User:
    """The tasks of one user that wait, next one first: those that were put back, then the others."""

    back: list[tuple[int, str]] = field(default_factory=list)
    new: list[str] = field(default_factory=list)

    @property
    def tasks(self) -> list[str]:
        return [task for _, task in self.back] + self.new


class QueueMachine(RuleBasedStateMachine):
    """Fill in the hooks; `TestCase.settings` says how long it runs."""

    #: What turns are counted in.
    fairness = "Tasks"
    #: Whether there is a `crash_and_recover`.
    can_crash = False

    # --- hooks -----------------------------------------------------------------------------------------------------

    def submit(self, ticket: Ticket) -> None:
        """A task comes."""
        raise NotImplementedError

    def claim(self, estimate: float) -> tuple[str, float] | None:
        """The next task starts: its id, and what it was charged before weights. None if nothing may be served."""
        raise NotImplementedError

    def ack(self, task_id: str, seconds: float) -> None:
        """A running task is over."""
        raise NotImplementedError

    def give_back(self, task_id: str) -> None:
        """A running task waits again."""
        raise NotImplementedError

    def cancel(self, task_id: str) -> bool:
        """A waiting task is taken out; whether it did wait."""
        raise NotImplementedError

    def crash_and_recover(self) -> None:
        """All but what is kept is lost; what ran waits again before its user's others, in the order of its starts."""
        raise NotImplementedError

    def waiting_ids(self) -> set[str]:
        """Ids of the tasks that wait."""
        raise NotImplementedError

    def running_ids(self) -> set[str]:
        """Ids of the tasks that run."""
        raise NotImplementedError

    # --- the model -------------------------------------------------------------------------------------------------

    def __init__(self) -> None:
        super().__init__()
        self.made = self.starts = 0
        self.jobs: dict[str, Job] = {}
        self.running: dict[str, Job] = {}
        self.users: dict[tuple[str, str], User] = {}
        #: Networks that may not be served now.
        self.parked: set[str] = set()
        self.forget_shares()

    def forget_shares(self) -> None:
        """Shares are compared from now on only."""
        self.shares = Shares()
        self.user_shares = {network: Shares() for network in NETWORKS}

    def waiting(self) -> list[str]:
        return [task for user in self.users.values() for task in user.tasks]

    def busy(self) -> set[str]:
        """Networks with tasks that wait."""
        return {network for (network, _), user in self.users.items() if user.tasks}

    def looked(self) -> None:
        """Something changed."""
        busy = self.busy()
        self.shares.update(busy - self.parked)
        for network, shares in self.user_shares.items():
            shares.update({flow for (of, flow), user in self.users.items() if of == network and user.tasks})

    def of(self, ticket: Ticket) -> User:
        return self.users.setdefault((ticket.network, ticket.line), User())

    def correct(self, job: Job, difference: float) -> None:
        """A task was charged this much too little."""
        ticket = job.ticket
        self.shares.correct(ticket.network, difference / ticket.network_weight)
        self.user_shares[ticket.network].correct(ticket.line, difference / ticket.user_weight)

    # --- rules -----------------------------------------------------------------------------------------------------

    @rule(
        network=st.sampled_from(NETWORKS),
        user=st.sampled_from(USERS),
        window=st.integers(1, 2),
        cost=st.sampled_from([1.0, 1.0, 1.0, 0.5, 3.0]),
        tasks=st.integers(1, 4),
    )
    def come(self, network: str, user: str, window: int, cost: float, tasks: int) -> None:
        for _ in range(tasks):
            self.made += 1
            ticket = Ticket(
                f"t{self.made}",
                network,
                f"user_{network}.{user}_{window}",
                float(self.made),
                cost=cost,
                network_weight=NETWORK_WEIGHTS[network],
                user_weight=USER_WEIGHTS[user],
                flow=f"{network}.{user}",
            )
            self.submit(ticket)
            self.jobs[ticket.task_id] = Job(ticket)
            self.of(ticket).new.append(ticket.task_id)
        self.looked()

    @rule(times=st.integers(1, 6), estimate=st.sampled_from([1.0, 2.0, 7.0]))
    def serve(self, times: int, estimate: float) -> None:
        for _ in range(times):
            claimed = self.claim(estimate)
            if claimed is None:
                assert not self.busy() - self.parked, "something waits and nothing is served"
                return
            self.started(*claimed)

    def started(self, task_id: str, charge: float) -> None:
        job = self.jobs[task_id]
        ticket = job.ticket
        assert ticket.network not in self.parked, "a parked network was served"
        user = self.of(ticket)
        assert user.tasks[0] == task_id, "a user's later task overtook an earlier one"
        if user.back:
            user.back.pop(0)
        else:
            user.new.pop(0)
        if not job.start:
            self.starts += 1
            job.start = self.starts
        job.charge = charge
        self.running[task_id] = job
        self.shares.charged(ticket.network, charge / ticket.network_weight)
        self.user_shares[ticket.network].charged(ticket.line, charge / ticket.user_weight)
        self.looked()

    @precondition(lambda self: self.running)
    @rule(data=st.data(), seconds=st.sampled_from([0.0, 1.0, 2.0, 7.0, 30.0]))
    def end(self, data: st.DataObject, seconds: float) -> None:
        """Done, failed, timed out or cancelled."""
        task_id = data.draw(st.sampled_from(sorted(self.running)), label="task")
        self.ack(task_id, seconds)
        job = self.running.pop(task_id)
        if self.fairness == "Seconds":
            self.correct(job, max(seconds, LEAST_SECONDS) - job.charge)
        del self.jobs[task_id]
        self.looked()

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def go_back(self, data: st.DataObject) -> None:
        """Its server died, or the dispatcher that ran it hands it back."""
        task_id = data.draw(st.sampled_from(sorted(self.running)), label="task")
        self.give_back(task_id)
        self.gone_back(task_id)
        self.looked()

    def gone_back(self, task_id: str) -> None:
        job = self.running.pop(task_id)
        self.correct(job, -job.charge)
        insort(self.of(job.ticket).back, (job.start, task_id))

    @precondition(lambda self: self.waiting())
    @rule(data=st.data())
    def be_cancelled(self, data: st.DataObject) -> None:
        self.taken_out(data.draw(st.sampled_from(self.waiting()), label="task"))

    @precondition(lambda self: self.waiting())
    @rule()
    def expire(self) -> None:
        """The task that waits longest has waited too long."""
        self.taken_out(min(self.waiting(), key=lambda task_id: self.jobs[task_id].ticket.submitted))

    @precondition(lambda self: self.waiting())
    @rule(data=st.data())
    def all_of_a_user_are_cancelled(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(key for key, user in self.users.items() if user.tasks)), label="user")
        for task_id in self.users[key].tasks:
            self.taken_out(task_id)

    def taken_out(self, task_id: str) -> None:
        assert self.cancel(task_id)
        assert not self.cancel(task_id)
        job = self.jobs.pop(task_id)
        user = self.of(job.ticket)
        user.back = [entry for entry in user.back if entry[1] != task_id]
        user.new = [other for other in user.new if other != task_id]
        self.looked()

    @precondition(lambda self: self.can_crash)
    @rule()
    def crash(self) -> None:
        self.crash_and_recover()
        for task_id in sorted(self.running):
            self.gone_back(task_id)
        self.forget_shares()
        self.looked()

    # --- what holds ------------------------------------------------------------------------------------------------

    @invariant()
    def nothing_is_lost_or_made_up(self) -> None:
        assert self.waiting_ids() == set(self.waiting())
        assert self.running_ids() == set(self.running)

    @invariant()
    def nobody_who_has_tasks_falls_behind_another(self) -> None:
        assert not self.shares.unfair()
        assert not [line for shares in self.user_shares.values() for line in shares.unfair()]

    def teardown(self) -> None:
        """Whatever is left is served, and nothing stays behind."""
        while (claimed := self.claim(1.0)) is not None:
            self.started(*claimed)
        assert not self.busy() - self.parked
        for task_id in list(self.running):
            self.end_at_last(task_id)
        for task_id in self.waiting():
            self.taken_out(task_id)
        assert not self.waiting_ids()
        assert not self.running_ids()

    def end_at_last(self, task_id: str) -> None:
        self.ack(task_id, 0.0)
        del self.running[task_id], self.jobs[task_id]
