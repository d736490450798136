"""Two levels of turns: networks take turns, and inside a network its users; inside a user, first in, first out.

With one user per network this is A1 B1 C1 A2 B2 C2 ..., and when B is empty A11 C11 A12 C12 ....
"""

from collections import OrderedDict
from collections.abc import Iterator

from msgspec import Struct

from controller.dispatcher.fairqueue.turns import Turns


class Ticket(Struct, frozen=True):
    """A task's place in the queue."""

    task_id: str
    #: What shares are counted by.
    network: str
    user: str
    #: Seconds of the caller's clock.
    submitted: float


#: Tickets by task id, first come first; any of them can be taken out at once.
Line = OrderedDict[str, Ticket]


class _Network:
    """The users of one network that have tasks waiting."""

    __slots__ = ("turns", "users")

    def __init__(self) -> None:
        self.turns: Turns[str] = Turns()
        self.users: dict[str, Line] = {}


class FairQueue:
    """The tasks that wait."""

    def __init__(self) -> None:
        self._turns: Turns[str] = Turns()
        self._networks: dict[str, _Network] = {}
        #: All waiting tasks, oldest first.
        self._tickets: Line = OrderedDict()
        self._waiting: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._tickets)

    def __iter__(self) -> Iterator[Ticket]:
        return iter(self._tickets.values())

    def __contains__(self, task_id: object) -> bool:
        return task_id in self._tickets

    def waiting_of(self, user: str) -> int:
        """Tasks of this user that wait."""
        return self._waiting.get(user, 0)

    def users(self) -> dict[str, int]:
        """Waiting tasks of every user that has any, in the order of their first coming."""
        return dict(self._waiting)

    def oldest(self) -> Ticket | None:
        """The task that waits longest."""
        return next(iter(self._tickets.values()), None)

    def push(self, ticket: Ticket) -> None:
        """Queue a task behind its user's others.

        Raises:
            ValueError: a task of that id waits already.
        """
        if ticket.task_id in self._tickets:
            raise ValueError(f"task {ticket.task_id} is queued already")
        network = self._networks.get(ticket.network)
        if network is None:
            network = self._networks[ticket.network] = _Network()
        network.users.setdefault(ticket.user, OrderedDict())[ticket.task_id] = ticket
        self._tickets[ticket.task_id] = ticket
        self._waiting[ticket.user] = self._waiting.get(ticket.user, 0) + 1
        network.turns.join(ticket.user)
        self._turns.join(ticket.network)

    def peek(self) -> Ticket | None:
        """The task whose turn it is."""
        key = self._turns.peek()
        if key is None:
            return None
        network = self._networks[key]
        user = network.turns.peek()
        assert user is not None  # noqa: S101 - a network with a turn has a user with a task
        return next(iter(network.users[user].values()))

    def pop(self) -> Ticket | None:
        """Take the task whose turn it is; its user's and its network's turn has passed."""
        ticket = self.peek()
        if ticket is None:
            return None
        network = self._networks[ticket.network]
        self._forget(network, ticket)
        left = ticket.user in network.users
        network.turns.served(ticket.user, more=left)
        self._turns.served(ticket.network, more=len(network.turns) > 0)
        self._drop_if_idle(ticket.network)
        return ticket

    def remove(self, task_id: str) -> Ticket | None:
        """Take a task out of its place (cancelled, expired); None if it does not wait. Nobody's turn passes."""
        ticket = self._tickets.get(task_id)
        if ticket is None:
            return None
        network = self._networks[ticket.network]
        self._forget(network, ticket)
        if ticket.user not in network.users:
            network.turns.leave(ticket.user)
            if not network.turns:
                self._turns.leave(ticket.network)
                self._drop_if_idle(ticket.network)
        return ticket

    def _forget(self, network: _Network, ticket: Ticket) -> None:
        del self._tickets[ticket.task_id]
        line = network.users[ticket.user]
        del line[ticket.task_id]
        if not line:
            del network.users[ticket.user]
        left = self._waiting[ticket.user] - 1
        if left:
            self._waiting[ticket.user] = left
        else:
            del self._waiting[ticket.user]

    def _drop_if_idle(self, key: str) -> None:
        """A network without tasks keeps no memory of its users' turns: it has but one turn itself."""
        if not self._networks[key].turns:
            del self._networks[key]
