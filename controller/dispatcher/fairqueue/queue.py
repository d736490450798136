"""Tasks from their coming to their end: waiting in turn, then running and charged, then settled.

Networks take turns, and inside a network its users; a user's tasks are served first in, first out. With one user per
network and turns counted in tasks, this is A1 B1 C1 A2 B2 C2 ..., and when B is empty A11 C11 A12 C12 ....

| what happens to a task | what becomes of its place and its charge |
|---|---|
| it comes | behind its user's others; charged nothing yet |
| its turn comes: `pop` | charged its cost, or the estimate of its seconds |
| it ends, in whatever way: `settle` | the charge becomes what it used; with turns counted in tasks it stays |
| it goes back: `push_back` | its place before all its user's others, and its charge undone |
| it is cancelled or expires before its turn: `remove` | gone, charged nothing; nobody's turn passes |
"""

from collections.abc import Iterator
from math import inf
from typing import Literal

from msgspec import Struct

from controller.dispatcher.fairqueue import outlook
from controller.dispatcher.fairqueue.estimate import LEAST_SECONDS
from controller.dispatcher.fairqueue.lanes import Lanes
from controller.dispatcher.fairqueue.network import Line, Network, Ticket, weights
from controller.dispatcher.fairqueue.waiting import Waiting

#: What turns are counted in.
Fairness = Literal["Tasks", "Seconds"]


class Running(Struct, gc=False, eq=False):
    """A task that had its turn, and what it was charged."""

    ticket: Ticket
    #: Number of its first start.
    start: int
    network: Network
    line: Line
    #: Before weights.
    charge: float
    network_epoch: int
    line_epoch: int
    #: Number of the configuration it was charged under.
    era: int


class FairQueue:
    """The tasks that wait, and those that run.

    Costs: O(log n) for n networks, or users of one network, that wait, run, or had a turn that V has not passed.
    """

    def __init__(self, fairness: Fairness = "Tasks") -> None:
        self._fairness: Fairness = fairness
        self._era = 0
        self._networks: dict[str, Network] = {}
        self._lanes: Lanes[Network] = Lanes(self._networks)
        self._waiting = Waiting()
        self._running: dict[str, Running] = {}
        self._starts = 0

    # --- what is here ----------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._waiting)

    def __iter__(self) -> Iterator[Ticket]:
        """Yield the waiting tasks in the order of their submission."""
        return iter(self._waiting)

    def __contains__(self, task_id: object) -> bool:
        return task_id in self._waiting

    @property
    def fairness(self) -> Fairness:
        """What turns are counted in."""
        return self._fairness

    @property
    def running(self) -> int:
        """Tasks that had their turn and were neither settled nor put back."""
        return len(self._running)

    @property
    def user_count(self) -> int:
        """Users with a waiting task."""
        return len(self._waiting.users)

    def waiting_of(self, user: str) -> int:
        """Tasks of this user that wait."""
        return self._waiting.users.get(user, 0)

    def users(self) -> dict[str, int]:
        """Waiting tasks of every user that has any, in the order of their coming. Costs O(users)."""
        return dict(self._waiting.users)

    def networks(self) -> dict[str, int]:
        """Waiting tasks of every network that has any, in the order of their coming. Costs O(networks)."""
        return {key: network.waiting for key, network in self._networks.items() if network.waiting}

    def oldest(self) -> Ticket | None:
        """The task that waits longest. Costs O(tasks that were put back)."""
        return self._waiting.oldest()

    # --- a task's life ---------------------------------------------------------------------------------------------

    def push(self, ticket: Ticket) -> None:
        """Queue a task behind its user's others.

        Raises:
            ValueError: a task of that id is here already, or its cost or a weight is not above 0.
        """
        if ticket.task_id in self._running:
            raise ValueError(f"task {ticket.task_id} runs already")
        if not (ticket.cost > 0 and ticket.network_weight > 0 and ticket.user_weight > 0):
            raise ValueError(f"task {ticket.task_id}: cost, network_weight and user_weight must be above 0")
        self._waiting.add(ticket)
        network = self._networks.get(ticket.network)
        if network is None:
            network = self._networks[ticket.network] = Network(ticket.network)
        line = network.line(ticket.line)
        line.append(ticket)
        if line.waiting == 1:
            network.joined(line)
        network.waiting += 1
        if network.waiting == 1:
            self._lanes.join(network)

    def peek(self) -> Ticket | None:
        """The task whose turn it is; None when nothing waits that may be served now."""
        network = self._lanes.peek()
        return None if network is None else network.next_line().first()

    def pop(self, estimate: float | None = None) -> Ticket | None:
        """Take the task whose turn it is. It runs until `settle` or `push_back`.

        Args:
            estimate: server-seconds that it will probably take, see `Estimator`; its cost if not given. Turns that are
                counted in tasks take its cost in any case.

        Returns:
            The task; None when nothing waits that may be served now.

        Raises:
            ValueError: the estimate is not above 0, or not finite.
        """
        if estimate is not None and not 0 < estimate < inf:
            raise ValueError(f"an estimate must be above 0 and finite, not {estimate}")
        network = self._lanes.peek()
        if network is None:
            return None
        line = network.next_line()
        start, ticket = line.take()
        network.waiting -= 1
        self._waiting.strike(ticket)
        charge = ticket.cost if estimate is None or self._fairness == "Tasks" else estimate
        network_weight, line_weight = weights(ticket)
        if not start:
            self._starts = start = self._starts + 1
        self._running[ticket.task_id] = Running(
            ticket, start, network, line, charge, network.epoch, line.epoch, self._era
        )
        network.served(line, charge / line_weight, charge)
        self._lanes.served(network, charge / network_weight, charge)
        return ticket

    def settle(self, task_id: str, seconds: float) -> Ticket:
        """A running task is over: done, failed, timed out or cancelled.

        Args:
            task_id: the task.
            seconds: how long it kept servers busy, all its attempts together.

        Raises:
            KeyError: it does not run; whatever ended it first has settled it.
            ValueError: the seconds are negative or not finite.
        """
        if not 0 <= seconds < inf:
            raise ValueError(f"seconds must be 0 or more and finite, not {seconds}")
        run = self._running.pop(task_id)
        difference = 0.0
        if self._fairness == "Seconds" and run.era == self._era:
            difference = max(seconds, LEAST_SECONDS) - run.charge
        network_weight, line_weight = weights(run.ticket)
        run.network.settle(run.line, run.line_epoch, difference / line_weight)
        self._lanes.settle(run.network, run.network_epoch, difference / network_weight)
        return run.ticket

    def push_back(self, task_id: str) -> Ticket:
        """A running task waits again, before all its user's others, as if its turn had not come yet.

        Raises:
            KeyError: it does not run.
        """
        run = self._running.pop(task_id)
        ticket, network, line = run.ticket, run.network, run.line
        charge = run.charge if run.era == self._era else 0.0
        network_weight, line_weight = weights(ticket)
        line.put_back(ticket, run.start)
        network.restore(line, run.line_epoch, charge / line_weight)
        self._waiting.put_back(ticket)
        network.waiting += 1
        self._lanes.restore(network, run.network_epoch, charge / network_weight)
        return ticket

    def remove(self, task_id: str) -> Ticket | None:
        """Take a task out of its place (cancelled, expired); None if it does not wait. Nobody's turn passes."""
        ticket = self._waiting.get(task_id)
        if ticket is None:
            return None
        network = self._networks[ticket.network]
        line = network.line(ticket.line)
        line.remove(ticket)
        if not line.waiting:
            network.left(line)
        self._waiting.strike(ticket)
        network.waiting -= 1
        if not network.waiting:
            self._lanes.leave(network)
        return ticket

    def configure(self, fairness: Fairness) -> None:
        """Count turns in this from now on.

        If that is something else than before, everybody starts anew with what waits: in the order in which their turns
        would have come, with no memory of who was served what, and what runs is not settled. Costs O(n log n) then.
        """
        if fairness == self._fairness:
            return
        self._fairness = fairness
        self._era += 1
        for network in self._networks.values():
            network.restart()
        self._lanes.restart()

    # --- networks that cannot be served now ------------------------------------------------------------------------

    def park(self, network: str, key: str) -> None:
        """A network cannot be served now, since the only server it may go to is busy or away.

        It keeps its place for `unpark`, also for tasks that come meanwhile. All that were parked under the same key are
        parked with it again: O(1) however many they are.

        Args:
            network: a network that has tasks waiting.
            key: the server.

        Raises:
            KeyError: nothing of this network waits.
        """
        flow = self._networks.get(network)
        if flow is None or not flow.waiting:
            raise KeyError(network)
        self._lanes.park(flow, key)

    def unpark(self, key: str) -> None:
        """The server can take something: the networks parked under this key take part again, each in its old place."""
        self._lanes.unpark(key)

    def unpin(self) -> None:
        """The servers are others now: forget which network was parked under which key. Costs O(networks)."""
        self._lanes.unpin()

    def is_parked(self, network: str) -> bool:
        """Whether this network is parked."""
        flow = self._networks.get(network)
        return flow is not None and self._lanes.is_parked(flow)

    # --- what will be served when ----------------------------------------------------------------------------------

    def order(self, limit: int | None = None, estimate: outlook.Charge | None = None) -> list[Ticket]:
        """The tasks that will be served next if nothing else comes, next one first; none that is parked.

        Costs O(networks log limit).

        Args:
            limit: how many at most; all if not given.
            estimate: what `pop` will be given for a task.
        """
        charge = self._charge_of(estimate)
        return outlook.upcoming(self._networks.values(), self._lanes.offsets(), charge, limit)

    def position(self, task_id: str, estimate: outlook.Charge | None = None) -> int:
        """How many waiting tasks will be served before this one if nothing else comes.

        Exact where a user's tasks are all charged the same; see `outlook.position`. Of a parked task it is the position
        that it would have if its server could take something now.

        Costs O(networks + users of its network + tasks before it of its user).

        Args:
            task_id: a waiting task.
            estimate: what `pop` will be given for a task.

        Raises:
            KeyError: it does not wait.
        """
        ticket = self._waiting.get(task_id)
        if ticket is None:
            raise KeyError(task_id)
        offsets = self._lanes.offsets(self._networks[ticket.network].lane)
        return outlook.position(ticket, self._networks, offsets, self._charge_of(estimate))

    # --- parts -----------------------------------------------------------------------------------------------------

    def _charge_of(self, estimate: outlook.Charge | None) -> outlook.Charge:
        return _cost if estimate is None or self._fairness == "Tasks" else estimate


def _cost(ticket: Ticket) -> float:
    return ticket.cost
