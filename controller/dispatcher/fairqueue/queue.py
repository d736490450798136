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

from collections import OrderedDict
from collections.abc import Iterator
from heapq import merge
from math import inf
from typing import Final, Literal

from msgspec import Struct

from controller.dispatcher.fairqueue.lanes import Lanes
from controller.dispatcher.fairqueue.network import Line, Network, Ticket

#: What turns are counted in.
Fairness = Literal["Tasks", "Seconds"]

#: Server-seconds that a task counts for at least: giving it a server takes time too, and a user whose tasks all fail at
#: once would otherwise have every turn.
LEAST_SECONDS: Final = 0.001


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
        #: Tasks that wait for their first turn, oldest first.
        self._tickets: OrderedDict[str, Ticket] = OrderedDict()
        #: Tasks that wait after they were put back.
        self._back: dict[str, Ticket] = {}
        self._running: dict[str, Running] = {}
        self._starts = 0
        #: Waiting tasks by user.
        self._users: dict[str, int] = {}

    # --- what is here ----------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._tickets) + len(self._back)

    def __iter__(self) -> Iterator[Ticket]:
        """Yield the waiting tasks in the order of their submission."""
        if not self._back:
            return iter(self._tickets.values())
        back = sorted(self._back.values(), key=_submitted)
        return merge(back, self._tickets.values(), key=_submitted)

    def __contains__(self, task_id: object) -> bool:
        return task_id in self._tickets or task_id in self._back

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
        return len(self._users)

    def waiting_of(self, user: str) -> int:
        """Tasks of this user that wait."""
        return self._users.get(user, 0)

    def users(self) -> dict[str, int]:
        """Waiting tasks of every user that has any, in the order of their coming. Costs O(users)."""
        return dict(self._users)

    def networks(self) -> dict[str, int]:
        """Waiting tasks of every network that has any, in the order of their coming. Costs O(networks)."""
        return {key: network.waiting for key, network in self._networks.items() if network.waiting}

    def oldest(self) -> Ticket | None:
        """The task that waits longest. Costs O(tasks that were put back)."""
        first = next(iter(self._tickets.values()), None)
        if not self._back:
            return first
        back = min(self._back.values(), key=_submitted)
        return back if first is None or back.submitted <= first.submitted else first

    # --- a task's life ---------------------------------------------------------------------------------------------

    def push(self, ticket: Ticket) -> None:
        """Queue a task behind its user's others.

        Raises:
            ValueError: a task of that id is here already, or its cost or a weight is not above 0.
        """
        task_id = ticket.task_id
        if task_id in self._tickets or task_id in self._running or task_id in self._back:
            raise ValueError(f"task {task_id} is queued already")
        if not (ticket.cost > 0 and ticket.network_weight > 0 and ticket.user_weight > 0):
            raise ValueError(f"task {task_id}: cost, network_weight and user_weight must be above 0")
        network = self._networks.get(ticket.network)
        if network is None:
            network = self._networks[ticket.network] = Network(ticket.network)
        line = network.line(ticket.flow or ticket.user)
        line.append(ticket)
        if line.waiting == 1:
            network.joined(line)
        self._tickets[task_id] = ticket
        self._counted(ticket)
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
        self._strike(ticket)
        charge = ticket.cost if estimate is None or self._fairness == "Tasks" else estimate
        network_weight, line_weight = _weights(ticket)
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
        network_weight, line_weight = _weights(run.ticket)
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
        network_weight, line_weight = _weights(ticket)
        line.put_back(ticket, run.start)
        network.restore(line, run.line_epoch, charge / line_weight)
        self._back[task_id] = ticket
        self._counted(ticket)
        network.waiting += 1
        self._lanes.restore(network, run.network_epoch, charge / network_weight)
        return ticket

    def remove(self, task_id: str) -> Ticket | None:
        """Take a task out of its place (cancelled, expired); None if it does not wait. Nobody's turn passes."""
        ticket = self._tickets.get(task_id) or self._back.get(task_id)
        if ticket is None:
            return None
        network = self._networks[ticket.network]
        line = network.line(ticket.flow or ticket.user)
        line.remove(ticket)
        if not line.waiting:
            network.left(line)
        self._strike(ticket)
        network.waiting -= 1
        if not network.waiting:
            self._lanes.leave(network)
        return ticket

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

    # --- parts -----------------------------------------------------------------------------------------------------

    def _counted(self, ticket: Ticket) -> None:
        self._users[ticket.user] = self._users.get(ticket.user, 0) + 1

    def _strike(self, ticket: Ticket) -> None:
        """A ticket that waits no more."""
        if self._tickets.pop(ticket.task_id, None) is None:
            del self._back[ticket.task_id]
        user = ticket.user
        if self._users[user] == 1:
            del self._users[user]
        else:
            self._users[user] -= 1


def _submitted(ticket: Ticket) -> float:
    return ticket.submitted


def _weights(ticket: Ticket) -> tuple[float, float]:
    """The weights of its network and of its user. Where every user is a network, both weigh on the only level."""
    if ticket.network == ticket.user:
        return ticket.network_weight * ticket.user_weight, 1.0
    return ticket.network_weight, ticket.user_weight
